/**
 * The conflict journals of all nodes, against what the streams say: what they tell is true, and whatever lost its UNIQUE values
 * for good is on record on each (promise P2).
 */
import { type BatchBody, decodeBody } from "../../src/wire/batch_codec.ts";
import { Losses } from "./losses.ts";
import type { Displaced } from "./meaning.ts";
import type { MemoryServer } from "./memory_server.ts";
import type { SimulatedNode } from "./simulated_node.ts";
import { isSameRows, keyOf, keyText, readEnvelope, type RowText, rowTexts } from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

interface JournalParts {
  /** Those that have read the streams to their ends. */
  readonly nodes: readonly SimulatedNode[];
  readonly server: MemoryServer;
  readonly tables: readonly SimulatedTable[];
  /** Whether some nodes came up from snapshots, or took one over: they have not read what was in it. */
  readonly hasSnapshots: boolean;
  /** Between these moments everything happened, in milliseconds since 1970. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** One record of a journal, and the row that it is about where its key names one. */
interface JournalEntry {
  readonly node: number;
  readonly kind: string;
  readonly table: string;
  readonly losing: BatchBody;
  readonly row: { readonly key: string; readonly image: RowText | undefined } | undefined;
  readonly losingOrigin: number | undefined;
  readonly winner: { readonly shard: number; readonly sequence: number } | undefined;
  readonly winnerOrigin: string;
  readonly atMs: number;
}

/** What is wrong with the journals, in words. */
export function findJournalProblem(parts: JournalParts): string | undefined {
  const records = parts.nodes.flatMap((node) => readRecords(node, parts.tables));
  const losses = parts.hasSnapshots ? undefined : new Losses(parts.server, parts.tables);
  for (const record of records) {
    const untrue = findUntrue(record, parts) ?? (losses && findFalseImage(record, losses));
    if (untrue === undefined) continue;
    const { losing: _, ...told } = record;
    return `node ${record.node} has a conflict on record ${untrue}: ${JSON.stringify(told)}`;
  }
  for (const lost of losses?.displaced ?? []) {
    if (losses?.isReplaced(lost)) continue;
    const silent = parts.nodes.find(({ id }) =>
      !records.some((record) => record.node === id && isRecordOf(record, lost))
    );
    if (silent) return `node ${silent.id} has not put on record what lost: ${JSON.stringify(lost)}`;
  }
  return undefined;
}

function readRecords(node: SimulatedNode, tables: readonly SimulatedTable[]): JournalEntry[] {
  return node.conflicts().map((record) => {
    const losing = decodeBody(record["losing"] as Uint8Array);
    const table = tables.find(({ name }) => name === losing.table);
    const [event] = losing.events;
    const key = event && event.kind !== "list" ? keyOf(losing, event) : [null];
    const isOne = table !== undefined && event !== undefined && !key.includes(null);
    const shard = Number(String(record["winner_stream"]).split("-")[1]);
    return {
      node: node.id,
      kind: String(record["kind"]),
      table: String(record["table_name"]),
      losing,
      row: isOne ? { key: keyText(key, table.isFolded), image: rowTexts(losing, event)[0] } : undefined,
      losingOrigin: record["losing_origin"] === null ? undefined : Number(record["losing_origin"]),
      winner: record["winner_sequence"] === null
        ? undefined
        : { shard, sequence: Number(record["winner_sequence"]) },
      winnerOrigin: String(record["winner_origin"]),
      atMs: Number(record["at_ms"]),
    };
  });
}

function findUntrue(record: JournalEntry, { server, fromMs, toMs }: JournalParts): string | undefined {
  const { losing, table, winner, winnerOrigin, atMs } = record;
  if (losing.table !== table) return "of another table than it says";
  if (losing.events.length === 0) return "without a losing image";
  if (atMs < fromMs || atMs > toMs) return "from another time";
  if (!winner) return undefined;
  const message = server.everStored(winner.shard, winner.sequence);
  if (!message) return "whose winner stands nowhere";
  const { origin } = readEnvelope(message);
  return String(origin) === winnerOrigin ? undefined : "with another winner than stands there";
}

/** What lost is what the streams say that the row was; who wrote it, where that is told. */
function findFalseImage(record: JournalEntry, losses: Losses): string | undefined {
  const { kind, table, row, losingOrigin, winner } = record;
  if (!row) return undefined;
  const told = losses.told(table, row.key).filter((event) =>
    event.origin === losingOrigin && isSameRow(event.row, row.image)
  );
  if (losingOrigin !== undefined && told.length === 0) return "of an image that its origin never published";
  if (!winner) return undefined;
  if (kind === "overwritten") {
    return told.some(({ sequence }) => sequence < winner.sequence)
      ? undefined
      : "of an image that comes behind its winner";
  }
  return losses.displaced.some((lost) => isRecordOf(record, lost))
    ? undefined
    : "of a row that has not lost to this winner";
}

function isRecordOf(
  { kind, table, row, winner }: JournalEntry,
  lost: Displaced,
): boolean {
  return kind !== "overwritten" && table === lost.table && row?.key === lost.key &&
    winner?.shard === lost.shard && winner.sequence === lost.sequence && isSameRow(row.image, lost.row);
}

function isSameRow(one: RowText | undefined, other: RowText | undefined): boolean {
  return isSameRows(one ? [one] : [], other ? [other] : []);
}
