/** The conflict journal of all nodes, against what the streams say: what it tells is true, and what lost is in it. */
import { type BatchBody, decodeBody } from "../../src/wire/batch_codec.ts";
import { isSameValue, type Value } from "../../src/wire/value.ts";
import type { MemoryServer } from "./memory_server.ts";
import type { SimulatedNode } from "./simulated_node.ts";
import { readEnvelope } from "./stream_reading.ts";

interface JournalParts {
  readonly nodes: readonly SimulatedNode[];
  readonly server: MemoryServer;
}

export class Journal {
  readonly #parts: JournalParts;

  constructor(parts: JournalParts) {
    this.#parts = parts;
  }

  /** An untrue record, in words. */
  findUnrecorded(): string | undefined {
    for (const node of this.#parts.nodes) {
      for (const record of node.conflicts()) {
        const untrue = this.#findUntrue(record);
        if (untrue) return `node ${node.id} has a conflict on record ${untrue}: ${JSON.stringify(record)}`;
      }
    }
    return undefined;
  }

  #findUntrue(record: Record<string, unknown>): string | undefined {
    const losing = decodeBody(record["losing"] as Uint8Array);
    if (losing.table !== record["table_name"]) return "of another table than it says";
    if (losing.events.length === 0) return "without a losing image";
    if (record["winner_sequence"] === null) return undefined;
    const shard = Number(String(record["winner_stream"]).split("-")[1]);
    const winner = this.#parts.server.everStored(shard, Number(record["winner_sequence"]));
    if (!winner) return "whose winner stands nowhere";
    const { origin, parts, body } = readEnvelope(winner);
    if (String(origin) !== record["winner_origin"]) return "with another winner than stands there";
    if (record["kind"] !== "displaced" || parts > 1 || !bringsRow(decodeBody(body), losing)) return undefined;
    return "of a row that its winner itself brings back";
  }
}

/** Whether a message brings the row whose image a record holds. Keys with NULL name many rows: of these nothing is said. */
function bringsRow(message: BatchBody, { key, columns, events: [lost] }: BatchBody): boolean {
  if (lost?.kind !== "upsert") return false;
  const names = key.map((position) => columns[position] ?? null);
  const keyOf = (of: readonly (string | null)[], row: readonly Value[]) =>
    names.map((name) => row[of.indexOf(name)] ?? null);
  const wanted = keyOf(columns, lost.row);
  if (wanted.includes(null)) return false;
  return message.events.some((event) =>
    event.kind === "upsert" &&
    keyOf(message.columns, event.row).every((value, i) => isSameValue(value, wanted[i] ?? null))
  );
}
