/** A replica on a temporary file, the application's own connection beside it, and messages made by hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { dumpTables } from "../../scripts/table_dump.ts";
import type { IncomingMessage } from "../../src/db/apply/applier.ts";
import type { ApplyOutcome } from "../../src/db/apply/apply_outcome.ts";
import type { ArmedTable } from "../../src/db/rows/armed_tables.ts";
import type { ArmingReport } from "../../src/db/capture/arming.ts";
import { Replica, type ReplicaOptions } from "../../src/db/replica.ts";
import { silentLog } from "../../src/observability/log.ts";
import type { ChangeEvent, NodeId, TableImage } from "../../src/wire/batch.ts";
import { BATCH_FORMAT, encodeBody, encodeEnvelope } from "../../src/wire/batch_codec.ts";
import type { Value } from "../../src/wire/value.ts";

export const OWN_ID: NodeId = 1n;
export const OTHER_ID: NodeId = 2n;

/** What a message says of itself; by default it is of another node and laid out as the local table is. */
export interface MessageLayout {
  readonly columns?: string[];
  readonly key?: number[];
  readonly origin?: NodeId;
  readonly run?: number;
  readonly top?: number;
  readonly image?: TableImage;
  readonly formerNames?: readonly string[];
}

export interface OpenOptions {
  readonly nodeId?: NodeId | undefined;
  readonly isIdProvisional?: boolean;
  readonly seqMap?: ReadonlyMap<string, number>;
  /** Of another file than the world's. */
  readonly path?: string;
}

export class TestReplica implements Disposable {
  readonly path: string;
  readonly application: DatabaseSync;
  nowMs = 1_700_000_000_000;
  readonly #folder: string;
  #replica: Replica | undefined;
  #sequence = 0;

  constructor(
    schema: string,
    public options: Pick<ReplicaOptions, "retention" | "maxImageDeletes" | "hasImages" | "loadLimit"> = {},
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), "marmot-db-"));
    this.path = join(this.#folder, "application.db");
    this.application = new DatabaseSync(this.path);
    this.application.exec(schema);
  }

  /** Opened when it is first asked for. */
  get replica(): Replica {
    this.#replica ??= this.open();
    return this.#replica;
  }

  /** Another life of the process. */
  reopen(options: OpenOptions = {}): Replica {
    this.#replica?.close();
    return this.#replica = this.open(options);
  }

  open(options: OpenOptions = {}): Replica {
    const nodeId = "nodeId" in options ? options.nodeId : OWN_ID;
    const seqMap = options.seqMap ?? new Map();
    return Replica.open(options.path ?? this.path, {
      nodeId,
      isIdProvisional: options.isIdProvisional ?? false,
      makeNodeId: () => 77n,
      readSeqMap: () => seqMap,
      nowMs: () => this.nowMs,
      log: silentLog,
      ...this.options,
    });
  }

  arm(): ArmingReport {
    const report = this.replica.arm();
    if (!report) throw new Error("capture is paused");
    return report;
  }

  table(name: string): ArmedTable {
    const table = this.replica.tables.byName(name);
    if (!table) throw new Error(`table ${name} is not armed`);
    return table;
  }

  /** Applies events of another node, laid out as the local table is unless told otherwise. */
  apply(
    name: string,
    events: readonly ChangeEvent[],
    layout: MessageLayout = {},
  ): ApplyOutcome {
    const outcome = this.replica.apply([this.message(name, events, layout)], {
      rows: 1000,
      milliseconds: 1000,
    });
    if (!outcome) throw new Error("the schema has changed since the tables were armed");
    return outcome;
  }

  message(
    name: string,
    events: readonly ChangeEvent[],
    { columns, key, origin = OTHER_ID, run = 1, top = 1000, image, formerNames }: MessageLayout = {},
  ): IncomingMessage {
    const schema = this.replica.tables.byName(name)?.schema;
    const sequence = ++this.#sequence;
    const body = encodeBody({
      table: name,
      columns: columns ?? schema?.columns.map((column) => column.name) ?? [],
      key: key ?? schema?.key ?? [0],
      uniqueSignature: schema?.uniqueSignature ?? "",
      events,
      ...(image ? { image } : {}),
      ...(formerNames ? { formerNames } : {}),
    });
    const head = { origin, run, number: sequence, top, part: 0, parts: 1 };
    return {
      stream: "s",
      createdAt: "then",
      sequence,
      storedAt: "now",
      subject: "s",
      format: BATCH_FORMAT,
      payload: encodeEnvelope(head, body),
      echoTop: undefined,
    };
  }

  /** What the triggers have logged: table id, kind and key of each entry. */
  entries(): Value[][] {
    return this.replica.log.read(0, 1000).map((entry) => [
      BigInt(entry.tableId),
      BigInt(entry.kind),
      ...entry.key,
    ]);
  }

  rows(sql: string): unknown[][] {
    const statement = this.application.prepare(sql);
    statement.setReturnArrays(true);
    return statement.all() as unknown as unknown[][];
  }

  /** The application's tables, exact. */
  dump(): Map<string, string> {
    return dumpTables(this.application);
  }

  [Symbol.dispose](): void {
    this.#replica?.close();
    if (this.application.isOpen) this.application.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export function upsert(...row: Value[]): ChangeEvent {
  return { kind: "upsert", row };
}

export function deletion(...key: Value[]): ChangeEvent {
  return { kind: "delete", key };
}
