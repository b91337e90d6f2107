/**
 * A real nats-server with JetStream on a free port, its store in a folder of its own. It ends, and the folder
 * goes, with the `await using` block that made it. Used by tests, benchmarks and the demo.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { ensureNatsServer } from "../../scripts/nats_server.ts";

const START_TIMEOUT_MS = 20_000;
const POLL_MS = 5;

export interface NatsServerOptions {
  /** 0 takes a free port. */
  readonly port?: number;
  readonly maxPayloadBytes?: number;
  /** Clients must name this user; the URL then carries the credentials. */
  readonly auth?: { readonly user: string; readonly password: string };
  /** False starts a server without JetStream. */
  readonly jetStream?: boolean;
  /** Where JetStream keeps its streams; inside the server's own folder when left out. */
  readonly storeFolder?: string;
  /** Makes it one of the servers of a NATS cluster, whose routes it is given; see nats_cluster.ts. */
  readonly member?: NatsMember;
  /** Further lines of the configuration file. */
  readonly config?: string;
  /** Path of the executable; found or fetched when left out. */
  readonly executable?: string;
  readonly onProgress?: (text: string) => void;
}

/** One server among those of a NATS cluster. */
export interface NatsMember {
  readonly serverName: string;
  readonly clusterName: string;
  /** Where it listens for the others; their ports on 127.0.0.1 are the routes. */
  readonly routePort: number;
  readonly otherRoutePorts: readonly number[];
}

export class NatsServer {
  /** Where the store, the configuration and the log are; removed at the end. */
  readonly folder: string;
  readonly #executable: string;
  readonly #options: NatsServerOptions;
  #child: ChildProcess | undefined;
  #port: number;

  private constructor(executable: string, folder: string, options: NatsServerOptions) {
    this.#executable = executable;
    this.folder = folder;
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const executable = options.executable ?? await ensureNatsServer(options.onProgress ?? console.error);
    const folder = await mkdtemp(join(tmpdir(), "marmot-nats-"));
    const server = new NatsServer(executable, folder, options);
    try {
      await server.#spawn();
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  get storeFolder(): string {
    return this.#options.storeFolder ?? join(this.folder, "store");
  }

  get auth(): NatsServerOptions["auth"] {
    return this.#options.auth;
  }

  get port(): number {
    return this.#port;
  }

  /** With the credentials, if there are any. */
  get url(): string {
    const { auth } = this.#options;
    const user = auth && `${encodeURIComponent(auth.user)}:${encodeURIComponent(auth.password)}@`;
    return `nats://${user ?? ""}127.0.0.1:${this.#port}`;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("nats-server is not running");
    return this.#child.pid;
  }

  /** Ends the server in order (SIGTERM). */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends the server at once (SIGKILL), as a crash does. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Halts the process (SIGSTOP): connections stay open and nothing answers. Resolves once it stands still. */
  async pause(): Promise<void> {
    const { pid } = this;
    process.kill(pid, "SIGSTOP");
    while (!await isHalted(pid)) await delay(POLL_MS);
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  /** Starts the server again on the same port and store, ending it in order if it runs. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#spawn();
  }

  /** Keeps a copy of the store as it is; of a running server, what a crash at this moment would leave. */
  async copyStore(folder: string): Promise<void> {
    await cp(this.storeFolder, folder, { recursive: true });
  }

  /** Puts a copy of the store back: the next start is that of a server restored from a backup. */
  async restoreStore(folder: string): Promise<void> {
    await this.wipe();
    await cp(folder, this.storeFolder, { recursive: true });
  }

  /** Forgets everything stored: the next start is that of a new server. */
  async wipe(): Promise<void> {
    if (this.#child !== undefined) throw new Error("nats-server is still running");
    await rm(this.storeFolder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #spawn(): Promise<void> {
    const { maxPayloadBytes, auth, jetStream, member, config } = this.#options;
    const quote = (text: string) => JSON.stringify(text);
    const lines = [
      `listen: "127.0.0.1:${this.#port === 0 ? -1 : this.#port}"`,
      `ports_file_dir: ${quote(this.folder)}`,
      `log_file: ${quote(join(this.folder, "log"))}`,
      jetStream === false ? "" : `jetstream { store_dir: ${quote(this.storeFolder)} }`,
      maxPayloadBytes === undefined ? "" : `max_payload: ${maxPayloadBytes}`,
      auth && `authorization { user: ${quote(auth.user)}, password: ${quote(auth.password)} }`,
      ...(member === undefined ? [] : memberLines(member)),
      config,
    ];
    const configFile = join(this.folder, "nats.conf");
    await writeFile(configFile, lines.filter((line) => line).join("\n"));
    const child = spawn(this.#executable, ["-c", configFile], { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    let failure: Error | undefined;
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => complaint += text);
    child.once("error", (error) => failure = error);
    // The server writes the file once it listens.
    const portsFile = join(this.folder, `nats-server_${child.pid}.ports`);
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const url = await readFile(portsFile, "utf8").then(firstUrl, () => undefined);
      if (url !== undefined) {
        this.#port = Number(new URL(url).port);
        return;
      }
      if (failure !== undefined || child.exitCode !== null || Date.now() > deadline) {
        const log = await readFile(join(this.folder, "log"), "utf8").catch(() => "");
        throw new Error(`nats-server did not start: ${failure?.message ?? complaint + log.slice(-2000)}`);
      }
      await delay(POLL_MS);
    }
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    // A halted process takes no SIGTERM.
    if (signal === "SIGTERM") process.kill(child.pid, "SIGCONT");
    await exited;
  }
}

function memberLines({ serverName, clusterName, routePort, otherRoutePorts }: NatsMember): string[] {
  const routes = otherRoutePorts.map((port) => `"nats://127.0.0.1:${port}"`);
  return [
    `server_name: "${serverName}"`,
    `cluster { name: "${clusterName}", listen: "127.0.0.1:${routePort}", routes: [${routes.join(", ")}] }`,
  ];
}

/** Whether every thread of a process stands still. Where there is no /proc the signal is taken at its word. */
async function isHalted(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const stats = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, "utf8").catch(() => ""));
  // The state follows the name, which stands in parentheses and may hold anything. Source: proc(5).
  return (await Promise.all(stats)).every((stat) => stat === "" || /^.*\) [TtXZ]/s.test(stat));
}

/** The ports file is JSON: {"nats": [url, …], …}; undefined while it is being written. */
function firstUrl(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { nats?: string[] }).nats?.[0];
  } catch {
    return undefined;
  }
}
