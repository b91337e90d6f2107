/**
 * Publishes table images, piece by piece. Each piece goes on the condition that its table's subject still ends where this
 * node has read it, and the next only when the last was read back: what a piece says of a range is then all that the stream
 * says of it at that place, and nobody deletes a row that this node did not know.
 */
import type { ImagePiece } from "../db/capture/image_scan.ts";
import type { Replica } from "../db/replica.ts";
import type { ArmedTable } from "../db/rows/armed_tables.ts";
import { DatabaseBusyError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { ChangeScanner, ScanObstacle } from "./change_scanner.ts";
import type { MessageSender } from "./message_sender.ts";
import type { Router } from "./router.ts";
import type { ShardPublishing } from "./shard_publishing.ts";

/** Between two looks whether a piece was read back. */
const READ_SLEEP_MS = 5;

export interface ImagePublisherParts {
  readonly replica: Replica;
  readonly router: Router;
  readonly scanner: ChangeScanner;
  readonly sender: MessageSender;
  readonly clock: Clock;
  /** The cursor of a shard's stream. */
  readonly cursorOf: (shard: number) => number;
  /** The last sequence on a table's subject, once this node has read that far. */
  readonly lastReadSequence: (state: ShardPublishing, table: string, signal: AbortSignal) => Promise<number>;
}

export class ImagePublisher {
  constructor(readonly parts: ImagePublisherParts) {}

  /** Tables of a shard of which a piece can be published now. */
  tablesDue(shard: number): ArmedTable[] {
    const { replica, router } = this.parts;
    return replica.tablesOfDueImages().filter((table) => router.shardsOf(table).includes(shard));
  }

  /**
   * Publishes the next piece of each image that is due in a checked shard. True if there may be more, after what was
   * captured meanwhile. False when the shard has to drain, or the signal aborts.
   */
  async publishNext(state: ShardPublishing, signal: AbortSignal): Promise<boolean> {
    for (const table of this.tablesDue(state.shard)) {
      if (!await this.#publishPiece(state, table, signal)) return false;
    }
    return true;
  }

  async #publishPiece(state: ShardPublishing, table: ArmedTable, signal: AbortSignal): Promise<boolean> {
    const { sender, scanner, clock, cursorOf, lastReadSequence } = this.parts;
    const isChecked = () => state.phase === "checked" && !signal.aborted;
    let expected = await lastReadSequence(state, table.schema.name, signal);
    if (!isChecked()) return false;
    const piece = this.#scan(state, table);
    if (piece === "backlog") return true;
    if (typeof piece === "string") {
      await scanner.clear(piece, signal);
      return isChecked();
    }
    for (const message of sender.encodeImage(state, piece)) {
      if (!await sender.awaitRoom(state, "checked", signal)) return false;
      state.inFlight++;
      const sequence = await sender.send(state, message, expected);
      if (sequence === undefined) return false;
      if (sequence === "refused") {
        await clock.sleep(READ_SLEEP_MS, signal);
        return isChecked();
      }
      expected = sequence;
    }
    while (isChecked() && cursorOf(state.shard) < expected) await clock.sleep(READ_SLEEP_MS, signal);
    return isChecked();
  }

  #scan(state: ShardPublishing, table: ArmedTable): ImagePiece | "backlog" | ScanObstacle {
    try {
      return this.parts.replica.scanImage(table, state.position) ?? "new schema";
    } catch (error) {
      if (error instanceof DatabaseBusyError) return "locked";
      throw error;
    }
  }
}
