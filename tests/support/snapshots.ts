/** Snapshots of a cluster, as a test sees them from outside: the command's processes, and the files beside a database. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import assert from "node:assert/strict";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { readManifest } from "../../src/snapshot/snapshot_catalog.ts";
import type { SnapshotEntry } from "../../src/snapshot/manifest.ts";
import { openSnapshotStore } from "../../src/snapshot/open_snapshot_store.ts";
import { parseSnapshotUrl } from "../../src/snapshot/snapshot_url.ts";
import { FROM_SOURCE, MarmotProcess } from "../../scripts/marmot_process.ts";
import { dumpTables } from "../../scripts/table_dump.ts";
import { type Cluster, type ClusterNode, waitUntil } from "./cluster.ts";

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

/** A process on a path where no database is. */
export function coldNode(
  cluster: Cluster,
  nodeId: number,
  flags: readonly string[] = [],
  { natsUrl = cluster.server.url }: { natsUrl?: string } = {},
): MarmotProcess & { path: string } {
  const path = join(cluster.folder, `cold ${nodeId}.db`);
  const process = new MarmotProcess({
    nodeId,
    dbPath: path,
    natsUrl,
    folder: cluster.folder,
    flags: ["-max-log-entries", "1000000", ...flags],
  });
  return Object.assign(process, { path });
}

export async function untilReady(node: MarmotProcess, timeoutMs = 40_000): Promise<void> {
  await waitUntil(() => node.hasEnded || / INFO {2}ready /.test(node.log), {
    timeoutMs,
    what: () => node.log,
  });
  assert.ok(!node.hasEnded, node.log);
}

/** Waits until the file holds what the cluster's nodes hold. */
export async function untilEqual(cluster: Cluster, path: string): Promise<void> {
  await cluster.converge();
  using database = new DatabaseSync(path);
  const different = () => {
    // What the new node writes comes to the others in this time as well.
    const content = dumpTables(cluster.node(1).application);
    const here = dumpTables(database, [...content.keys()]);
    for (const [table, rows] of content) {
      const [wanted, found] = [rows, here.get(table) ?? ""].map((text) => new Set(text.split("\n")));
      const lines = [
        ...wanted!.difference(found!).keys().map((line) => `- ${line}`),
        ...found!.difference(wanted!).keys().map((line) => `+ ${line}`),
      ];
      if (lines.length > 0) return `table ${table}:\n${lines.slice(0, 20).join("\n")}`;
    }
    const pending = database.prepare("SELECT count(*) AS n FROM __marmot__change_log WHERE kind <> 3").get();
    return pending?.["n"] === 0 ? undefined : `${pending?.["n"]} changes are pending`;
  };
  await waitUntil(() => different() === undefined, {
    timeoutMs: 20_000,
    what: () => `the new node is not equal to the others: ${different()}`,
  });
}
