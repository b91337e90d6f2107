/**
 * P2, seen from the application: every change that it committed stands in its stream, with an image from then or later.
 * The ledger notes what each transaction touched and what each stored message covers.
 */
import type { StoredMessage } from "../../src/stream/change_streams.ts";
import {
  isSameRows,
  keyOf,
  keyText,
  type RowText,
  rowTexts,
  type SoundMessage,
  StreamReading,
} from "./stream_reading.ts";
import type { SimulatedTable } from "./tables.ts";

/** One row that a transaction touched, and the highest log id that it got. */
export interface Touch {
  readonly table: string;
  readonly key: string;
  readonly id: number;
  /** The rows of the key at COMMIT; several where it holds NULL. */
  readonly rows: readonly RowText[];
}

/** What a node's application did to one key. */
interface History {
  readonly node: number;
  readonly touches: Touch[];
  /** Touches up to this log id stand in the stream. */
  coveredTo: number;
}

export class Ledger {
  readonly #tables: ReadonlyMap<string, SimulatedTable>;
  readonly #readings = new Map<number, StreamReading>();
  readonly #histories = new Map<string, History>();
  /** The first run of a node whose file was lost: what it published before is of another change log. */
  readonly #firstRuns = new Map<number, number>();
  /** The last event of each row. */
  readonly #events = new Map<string, { origin: number; rows: readonly RowText[] }>();
  /** A stored event that has an image from before the change that it covers. */
  problem: string | undefined;

  constructor(tables: readonly SimulatedTable[]) {
    this.#tables = new Map(tables.map((table) => [table.name, table]));
  }

  noteTouches(node: number, touches: readonly Touch[]): void {
    for (const touch of touches) {
      const name = `${node} ${touch.table} ${touch.key}`;
      const history = this.#histories.get(name) ?? { node, touches: [], coveredTo: 0 };
      history.touches.push(touch);
      this.#histories.set(name, history);
    }
  }

  /** A node has lost its file and its change log begins anew with this run. What was not published is lost with it. */
  beginAnew(node: number, run: number): void {
    for (const [name, history] of this.#histories) if (history.node === node) this.#histories.delete(name);
    this.#firstRuns.set(node, run);
  }

  /** To be called with every message that a stream stores, in order. */
  noteStored(message: StoredMessage): void {
    const reading = this.#readings.get(message.shard) ?? new StreamReading();
    this.#readings.set(message.shard, reading);
    const sound = reading.take(message);
    if (sound) this.#cover(sound, message);
  }

  /** Whether all that the node's application did stands in its stream. */
  isCovered(node: number): boolean {
    return this.#uncovered(node) === undefined;
  }

  /** A committed change that is in no stream, in words. */
  findLost(nodes: readonly number[]): string | undefined {
    for (const node of nodes) {
      const touch = this.#uncovered(node);
      if (touch) {
        return `node ${node}'s change ${touch.id} of ${touch.table} ${touch.key} never came into the stream`;
      }
    }
    return undefined;
  }

  /** What the application last made of a key, undefined if it never touched it. */
  lastTouch(node: number, table: string, key: string): Touch | undefined {
    return this.#histories.get(`${node} ${table} ${key}`)?.touches.at(-1);
  }

  #uncovered(node: number): Touch | undefined {
    for (const history of this.#histories.values()) {
      const last = history.touches.at(-1);
      if (history.node === node && last && last.id > history.coveredTo) return last;
    }
    return undefined;
  }

  #cover({ origin, run, top, body }: SoundMessage, message: StoredMessage): void {
    const isFolded = this.#tables.get(body.table)?.isFolded ?? false;
    for (const event of body.events) {
      const key = keyText(keyOf(body, event), isFolded);
      const isOfThisLog = run >= (this.#firstRuns.get(origin) ?? 0);
      const history = isOfThisLog ? this.#histories.get(`${origin} ${body.table} ${key}`) : undefined;
      const covered = history?.touches.filter(({ id }) => id <= top && id > history.coveredTo) ?? [];
      const newest = covered.at(-1);
      const rows = rowTexts(body, event);
      if (!newest) this.#checkBackfill({ table: body.table, key, origin, rows }, message);
      this.#events.set(`${body.table} ${key}`, { origin, rows });
      if (!history || !newest) continue;
      history.coveredTo = newest.id;
      const isOfThen = history.touches.some((touch) => touch.id >= newest.id && isSameRows(touch.rows, rows));
      if (isOfThen) continue;
      this.problem ??=
        `message ${message.sequence} of stream ${message.shard} covers node ${origin}'s change ` +
        `${newest.id} of ${body.table} ${key}, which made ${JSON.stringify(newest.rows)}, and says ${
          JSON.stringify(rows)
        }`;
    }
  }

  /** Rows that were there when their table appeared never come over what another node has written. */
  #checkBackfill(
    { table, key, origin, rows }: { table: string; key: string; origin: number; rows: readonly RowText[] },
    message: StoredMessage,
  ): void {
    const before = this.#events.get(`${table} ${key}`);
    if (!this.#tables.get(table)?.isLater || !before || before.origin === origin) return;
    if (isSameRows(before.rows, rows)) return;
    this.problem ??=
      `message ${message.sequence} of stream ${message.shard} brings ${table} ${key} as it was at node ${origin} ` +
      `when the table appeared, over what node ${before.origin} has written: ${JSON.stringify(before.rows)}`;
  }
}
