/**
 * One SSH connection with SFTP on it, for one piece of work. Nothing is sent to a server whose key is not known.
 * Every call rejects as soon as the connection is gone or the signal aborts. Source: draft-ietf-secsh-filexfer-02
 * (SFTP version 3), and OpenSSH's PROTOCOL for its extensions.
 */

import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
// @ts-types="npm:@types/ssh2@1.15.5"
import ssh2, {
  type AnyAuthMethod,
  type Client,
  type FileEntryWithStats,
  type SFTPWrapper,
  type Stats,
} from "ssh2";
import { errorText } from "../../errors.ts";
import { ExplainedError } from "./backend.ts";
import { hostKeyFingerprint, judgeHostKey, keyType, knownKeyTypes } from "./known_hosts.ts";

export interface SftpServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string | undefined;
  /** Private keys to try; those that are not there are passed over. */
  readonly keyPaths: readonly string[];
  readonly keyPassphrase: string | undefined;
  /** Socket of an SSH agent. */
  readonly agent: string | undefined;
  readonly trust: HostTrust;
}

/** How the server proves that it is the right one. */
export type HostTrust = { readonly fingerprint: string } | { readonly knownHostsPath: string };

const CONNECT_TIMEOUT_MS = 20_000;

/** Status codes of SFTP's answers. */
export const SftpStatus = { noSuchFile: 2, permissionDenied: 3 } as const;

type Callback<T> = (error: Error | null | undefined, value: T) => void;

export class SftpSession implements AsyncDisposable {
  readonly #client: Client;
  readonly #lost: Promise<never>;
  #sftp!: SFTPWrapper;
  #release = () => {};

  private constructor(signal: AbortSignal) {
    this.#client = new ssh2.Client();
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.#lost = promise;
    const abort = () => {
      reject(signal.reason);
      this.#client.destroy();
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#release = () => signal.removeEventListener("abort", abort);
    this.#client.on("error", reject);
    this.#client.on("close", () => reject(new ExplainedError("the connection broke off")));
  }

  static async open(server: SftpServer, signal: AbortSignal): Promise<SftpSession> {
    signal.throwIfAborted();
    const session = new SftpSession(signal);
    try {
      await session.#connect(server);
      session.#sftp = await session.#call<SFTPWrapper>((done) => session.#client.sftp(done));
      return session;
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#release();
    this.#client.end();
    this.#client.destroy();
    await Promise.resolve();
  }

  openFile(path: string, flags: "r" | "wx"): Promise<Buffer> {
    return this.#call((done) => this.#sftp.open(path, flags, { mode: 0o600 }, done));
  }

  closeFile(handle: Buffer): Promise<void> {
    return this.#call((done) => this.#sftp.close(handle, (error) => done(error, undefined)));
  }

  statFile(handle: Buffer): Promise<Stats> {
    return this.#call((done) => this.#sftp.fstat(handle, done));
  }

  write(handle: Buffer, piece: Uint8Array, position: number): Promise<void> {
    const buffer = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    return this.#call((done) =>
      this.#sftp.write(handle, buffer, 0, piece.length, position, (error) => done(error, undefined))
    );
  }

  /** As many bytes as the server gives at once; none at the end of the file. */
  async read(handle: Buffer, target: Uint8Array, position: number): Promise<number> {
    const buffer = Buffer.from(target.buffer, target.byteOffset, target.length);
    return await this.#call<number>((done) =>
      this.#sftp.read(
        handle,
        buffer,
        0,
        target.length,
        position,
        (error, bytesRead) => isEndOfFile(error) ? done(null, 0) : done(error, bytesRead),
      )
    );
  }

  /** Has the file written to disk, where the server offers that (OpenSSH does). */
  async sync(handle: Buffer): Promise<void> {
    await this.#call<void>((done) => this.#sftp.ext_openssh_fsync(handle, (error) => done(error, undefined)))
      .catch(ignoreUnsupported);
  }

  /** Puts a file in place of another in one step; servers that can't do that have a moment with neither. */
  async replace(from: string, to: string): Promise<void> {
    let isSupported = true;
    await this.#call<void>((done) =>
      this.#sftp.ext_openssh_rename(from, to, (error) => done(error, undefined))
    ).catch((error) => {
      ignoreUnsupported(error);
      isSupported = false;
    });
    if (isSupported) return;
    await this.remove(to);
    await this.#call<void>((done) => this.#sftp.rename(from, to, (error) => done(error, undefined)));
  }

  /** A file that is not there is fine. */
  async remove(path: string): Promise<void> {
    await this.#call<void>((done) => this.#sftp.unlink(path, (error) => done(error, undefined)))
      .catch(undefinedIfMissing);
  }

  /** What the folder holds; undefined where there is no folder. */
  readFolder(path: string): Promise<FileEntryWithStats[] | undefined> {
    return this.#call<FileEntryWithStats[]>((done) => this.#sftp.readdir(path, done)).catch(
      undefinedIfMissing,
    );
  }

  exists(path: string): Promise<boolean> {
    return this.#call<Stats>((done) => this.#sftp.stat(path, done)).then(() => true, (error) => {
      undefinedIfMissing(error);
      return false;
    });
  }

  async makeFolder(path: string): Promise<void> {
    try {
      await this.#call<void>((done) =>
        this.#sftp.mkdir(path, { mode: 0o700 }, (error) => done(error, undefined))
      );
    } catch (error) {
      // Another writer may have made it meanwhile.
      if (!await this.exists(path)) throw error;
    }
  }

  #call<T>(start: (done: Callback<T>) => void): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    try {
      start((error, value) => error ? reject(error) : resolve(value));
    } catch (error) {
      reject(error);
    }
    return Promise.race([promise, this.#lost]);
  }

  async #connect(server: SftpServer): Promise<void> {
    const { host, port, user, trust } = server;
    const knownHosts = "knownHostsPath" in trust ? await readIfThere(trust.knownHostsPath) ?? "" : "";
    const types = knownKeyTypes(knownHosts, { host, port });
    let refusal: ExplainedError | undefined;
    const hostVerifier = (key: Buffer) => {
      refusal = checkHostKey({ host, port, key: new Uint8Array(key), trust, knownHosts });
      return refusal === undefined;
    };
    const authHandler = await authenticationMethods(server);
    await this.#call<void>((done) => {
      this.#client.once("ready", () => done(null, undefined));
      this.#client.connect({
        host,
        port,
        username: user,
        authHandler,
        hostVerifier,
        readyTimeout: CONNECT_TIMEOUT_MS,
        ...(types.length === 0 ? {} : { algorithms: { serverHostKey: preferKnown(types) } }),
      });
      // Every message of the handshake is a small one.
      this.#client.setNoDelay(true);
    }).catch((error) => {
      throw refusal ?? error;
    });
  }
}

function checkHostKey(
  { host, port, key, trust, knownHosts }: {
    host: string;
    port: number;
    key: Uint8Array;
    trust: HostTrust;
    knownHosts: string;
  },
): ExplainedError | undefined {
  const fingerprint = hostKeyFingerprint(key);
  const described = `its ${keyType(key)} key has fingerprint ${fingerprint}`;
  if ("fingerprint" in trust) {
    if (fingerprint === trust.fingerprint) return undefined;
    return new ExplainedError(
      `${described}, not ${trust.fingerprint}`,
      "if the server has got a new key, put its fingerprint into -snapshot-url; else somebody may be in between",
    );
  }
  const path = trust.knownHostsPath;
  switch (judgeHostKey(knownHosts, { host, port, key })) {
    case "known":
      return undefined;
    case "unknown":
      return new ExplainedError(
        `${described}, and ${path} does not know this host`,
        `if that is its key, run ssh-keyscan -p ${port} ${host} >> ${path}, or add fingerprint= to -snapshot-url`,
      );
    case "changed":
      return new ExplainedError(
        `${described}, and ${path} has another one for this host`,
        `if the server has got a new key, mend ${path}; else somebody may be in between`,
      );
    case "revoked":
      return new ExplainedError(`${described}, which is revoked in ${path}`, "give the server a new key");
  }
}

/** The algorithms that prove one of the known keys. An RSA key signs by newer names than its own. */
function preferKnown(types: readonly string[]): never {
  return types.flatMap((type) =>
    type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type]
  ) as never;
}

async function authenticationMethods(server: SftpServer): Promise<AnyAuthMethod[]> {
  const { user: username, password, keyPaths, keyPassphrase, agent } = server;
  const methods: AnyAuthMethod[] = [];
  if (agent !== undefined) methods.push({ type: "agent", username, agent });
  for (const path of keyPaths) {
    const key = await readIfThere(path);
    if (key === undefined) continue;
    const parsed = ssh2.utils.parseKey(key, keyPassphrase);
    if (parsed instanceof Error) {
      // With other ways to log in, a key that is not for us is passed over.
      if (password !== undefined || agent !== undefined || keyPaths.length > 1) continue;
      throw new ExplainedError(
        `the key ${path} can't be read: ${errorText(parsed)}`,
        "if it has a passphrase, put that into MARMOT_SNAPSHOT_PASSPHRASE",
      );
    }
    methods.push({
      type: "publickey",
      username,
      key,
      ...(keyPassphrase === undefined ? {} : { passphrase: keyPassphrase }),
    });
  }
  if (password !== undefined) {
    methods.push({ type: "password", username, password });
    methods.push({
      type: "keyboard-interactive",
      username,
      prompt: (_name, _instructions, _language, prompts, finish) => finish(prompts.map(() => password)),
    });
  }
  if (methods.length === 0) {
    throw new ExplainedError(
      "there is no way to log in",
      "give a password, add key= with the path of a private key to -snapshot-url, or start an SSH agent",
    );
  }
  return methods;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new ExplainedError(errorText(error));
  }
}

function isEndOfFile(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && error.code === 1;
}

/** For what may not be there: undefined where it is not, every other error is thrown again. */
export function undefinedIfMissing(error: unknown): undefined {
  if (!(error instanceof Error && "code" in error && error.code === SftpStatus.noSuchFile)) throw error;
}

function ignoreUnsupported(error: unknown): void {
  if (!(error instanceof Error && /does not support/.test(error.message))) throw error;
}
