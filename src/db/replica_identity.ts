/** Which file a replica is in, and which node it is: the id on record is the file's, not that of a copy of it. */
import { existsSync, statSync } from "node:fs";
import { MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { NodeId } from "../wire/batch.ts";
import type { Connection } from "./connection.ts";
import { readMeta, readNodeId, takeNodeId, writeMeta } from "./state/meta.ts";

export class ReplicaIdentity {
  /** Which file it is on this machine, whatever it is called; undefined where the file system does not tell. */
  readonly file: string | undefined;

  constructor(readonly connection: Connection) {
    this.file = fileIdentity(connection.path);
  }

  /** Throws where the database's file is another one by now: this process would go on with one that nobody else sees. */
  assertSameFile(): void {
    const { path } = this.connection;
    if (existsSync(path) && fileIdentity(path) === this.file) return;
    throw new MarmotError(
      "database",
      `Cannot go on with the database "${path}": its file was replaced or removed`,
      {
        hint: "Stop Marmot before a database is restored or deleted, and start it again afterwards.",
      },
    );
  }

  /** The id in the database, but for a copy of the file: there it is still the original's. */
  keptNodeId(log: Log): NodeId | undefined {
    const nodeId = readNodeId(this.connection);
    const before = readMeta(this.connection, "file_identity");
    if (nodeId === undefined || before === undefined || before === inodeOf(this.file)) return nodeId;
    log.warn("the database file is a copy: this node takes an id of its own", { idInCopy: nodeId });
    return undefined;
  }

  /** Puts an id and a run on record, and that they are this file's. Call in a write transaction. */
  putOnRecord(nodeId: NodeId, run: number): void {
    const inode = inodeOf(this.file);
    if (inode !== undefined) writeMeta(this.connection, "file_identity", inode);
    takeNodeId(this.connection, nodeId, run);
  }
}

/** Which file it is, whatever it is called; undefined where the file system does not tell. Never opens the file. */
export function fileIdentity(path: string): string | undefined {
  const { dev, ino } = statSync(path, { bigint: true });
  return ino === 0n ? undefined : `${dev}:${ino}`;
}

/** What stays over a restart of the machine, on which devices may get other numbers. */
function inodeOf(identity: string | undefined): string | undefined {
  return identity?.split(":")[1];
}

/** For a node that finds messages of its id which it has not sent. */
export function takenIdError(nodeId: NodeId): MarmotError {
  return new MarmotError("identity", `Cannot go on as node ${nodeId}: another process uses this node id`, {
    hint: "Give every node an id of its own with -node-id, and start this one again.",
  });
}
