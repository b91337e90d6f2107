/** The conflict journal of all nodes, against what the streams say: what it tells is true, and what lost is in it. */
import { decodeBody } from "../../src/wire/batch_codec.ts";
import type { MemoryServer } from "./memory_server.ts";
import type { SimulatedNode } from "./simulated_node.ts";
import { decodeEnvelope } from "../../src/wire/batch_codec.ts";

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
    const { origin } = decodeEnvelope(winner.payload);
    return String(origin) === record["winner_origin"] ? undefined : "with another winner than stands there";
  }
}
