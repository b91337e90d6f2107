/** A real S3, SFTP or WebDAV server (rclone) on a free port over a folder of its own; ends with its `await using`. */

import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostKeyFingerprint } from "../../src/snapshot/stores/known_hosts.ts";
import { ensureRclone } from "../../scripts/rclone.ts";

const START_TIMEOUT_MS = 20_000;

export class RcloneServer implements AsyncDisposable {
  /** What the server serves. */
  readonly data: string;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, { folder, port }: { folder: string; port: number }) {
    this.#child = child;
    this.#folder = folder;
    this.data = join(folder, "data");
    this.port = port;
  }

  static async start(protocol: "s3" | "sftp" | "webdav", args: readonly string[]): Promise<RcloneServer> {
    const executable = await ensureRclone(console.error);
    const folder = await mkdtemp(join(tmpdir(), `marmot-rclone-${protocol}-`));
    await mkdir(join(folder, "data"));
    const child = spawn(executable, [
      ...["serve", protocol, join(folder, "data"), "--addr", "127.0.0.1:0", ...args],
      ...["--config", join(folder, "none.conf"), "--cache-dir", join(folder, "cache")],
    ], { stdio: ["ignore", "ignore", "pipe"] });
    try {
      return new RcloneServer(child, { folder, port: await listeningPort(child) });
    } catch (error) {
      child.kill("SIGKILL");
      await rm(folder, { recursive: true });
      throw error;
    }
  }

  /** The type and the public half of the key that rclone has made for SFTP, as known_hosts has them. */
  async hostKey(): Promise<string> {
    const path = join(this.#folder, "cache", "serve-sftp", "id_ed25519.pub");
    return (await readFile(path, "utf8")).trim();
  }

  async hostKeyFingerprint(): Promise<string> {
    const [, key = ""] = (await this.hostKey()).split(" ");
    return hostKeyFingerprint(new Uint8Array(Buffer.from(key, "base64")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await rm(this.#folder, { recursive: true });
  }
}

/** The port that the server names in its log once it listens. */
function listeningPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let log = "";
    const fail = () => reject(new Error(`rclone did not start: ${log.trim()}`));
    const timer = setTimeout(fail, START_TIMEOUT_MS);
    child.once("error", reject);
    child.once("exit", fail);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log += text;
      const port = /(?:listening|Starting|Started) .*?127\.0\.0\.1:(\d+)/i.exec(log)?.[1];
      if (port === undefined) return;
      clearTimeout(timer);
      resolve(Number(port));
    });
  });
}
