/**
 * Flags and numbers as Go's flag and strconv packages read them, because the original's users have them in
 * their unit files and scripts.
 */

/** Go's integer literals as strconv.ParseInt reads them with base 0: 12, -3, 0x1F, 0b1, 0o7, 07, 1_000. */
const INTEGER =
  /^([+-]?)(?:(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|[1-9](?:_?[0-9])*|0)|0((?:_?[0-7])+))$/;

/** The number that a Go integer literal of any size stands for, or null where the text is none. */
export function parseGoInteger(text: string): bigint | null {
  const match = INTEGER.exec(text);
  if (match === null) return null;
  const [, sign, literal, oldOctal] = match;
  const digits = (literal ?? `0o${oldOctal}`).replaceAll("_", "");
  const number = BigInt(digits);
  return sign === "-" ? -number : number;
}

/** One flag as it stands on the command line. */
export interface FlagArgument {
  readonly name: string;
  /** What stands after "=", or null where there is no "=". */
  readonly attachedValue: string | null;
}

/** Reads `-name`, `--name`, `-name=value`; null for anything else. */
export function parseFlagArgument(argument: string): FlagArgument | null {
  const match = /^--?([^-=][^=]*)(?:=([^]*))?$/.exec(argument);
  if (match === null) return null;
  return { name: match[1] ?? "", attachedValue: match[2] ?? null };
}
