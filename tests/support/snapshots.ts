/** Snapshots of a cluster, as a test sees them from outside: the command's processes, and the files beside a database. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { readManifest } from "../../src/snapshot/snapshot_catalog.ts";
import type { SnapshotEntry } from "../../src/snapshot/manifest.ts";
import { openSnapshotStore } from "../../src/snapshot/open_snapshot_store.ts";
import { parseSnapshotUrl } from "../../src/snapshot/snapshot_url.ts";
import { FROM_SOURCE } from "../../scripts/marmot_process.ts";
import type { Cluster, ClusterNode } from "./cluster.ts";

export interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly error: string;
}

/** A process of Marmot that is not a node of the cluster. */
export class MarmotRun {
  readonly child: ChildProcess;
  output = "";
  error = "";
  readonly #closed: Promise<unknown>;

  constructor(args: readonly string[]) {
    const [program = "", ...first] = FROM_SOURCE;
    this.child = spawn(program, [...first, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    this.#closed = once(this.child, "close");
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => this.output += text);
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => this.error += text);
  }

  async ended(): Promise<Ended> {
    await this.#closed;
    return { code: this.child.exitCode, output: this.output, error: this.error };
  }
}

export function runSnapshot(
  cluster: Cluster,
  words: readonly string[],
  flags: readonly string[] = [],
): MarmotRun {
  return new MarmotRun(["snapshot", ...words, "-nats-url", cluster.server.url, ...flags]);
}

export function saveSnapshot(
  cluster: Cluster,
  node: ClusterNode,
  flags: readonly string[] = [],
): Promise<Ended> {
  return runSnapshot(cluster, ["save"], ["-db-path", node.path, ...flags]).ended();
}

/** Files of unfinished snapshots beside a database. */
export function temporaryFiles(dbPath: string): string[] {
  return readdirSync(dirname(dbPath)).filter((name) => name.startsWith(`${basename(dbPath)}.marmot-`));
}

/** Rows that make a database of about that many bytes. */
export function rowsOf(bytes: number, from = 1): string {
  const rows = Math.ceil(bytes / 1000);
  return `WITH RECURSIVE n (i) AS (VALUES (${from}) UNION ALL SELECT i + 1 FROM n WHERE i < ${
    from + rows - 1
  }) ` +
    "INSERT INTO t SELECT i, hex(randomblob(480)) FROM n";
}

/** The snapshots that count in a folder. */
export async function entriesIn(folder: string): Promise<readonly SnapshotEntry[]> {
  const nats = () => Promise.reject(new Error("a folder needs no NATS"));
  const store = await openSnapshotStore(parseSnapshotUrl(pathToFileURL(folder).href), {
    environment: {},
    nats,
  });
  const { snapshots } = await readManifest(store);
  await store.close();
  return snapshots;
}
