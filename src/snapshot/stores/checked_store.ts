/**
 * What all stores have in common, so that a backend does nothing but move bytes: names are checked, lists are
 * sorted and free of foreign files, reading checks the length and does not wait for ever, and every failure
 * becomes one sentence. What the caller causes (its content throws, its signal aborts) reaches it unchanged.
 */

import { errorText, MarmotError } from "../../errors.ts";
import {
  type AccessOptions,
  assertObjectName,
  isObjectName,
  type ObjectInfo,
  type PutOptions,
  type SnapshotStore,
  sortByName,
  type StoredObject,
} from "../snapshot_store.ts";
import { type Backend, type BackendObject, ExplainedError } from "./backend.ts";

/** How long a store may be silent while it is read from or written to. */
export const STALL_MS = 60_000;
/** How many times as long it may take over a whole object once it has all bytes: disks sync, S3 joins parts. */
const FINISH_FACTOR = 10;

export interface CheckedStoreOptions {
  /** In place of STALL_MS, for tests. */
  readonly stallMs?: number | undefined;
}

export class CheckedStore implements SnapshotStore {
  readonly #backend: Backend;
  readonly #stallMs: number;
  readonly #closing = new AbortController();

  constructor(backend: Backend, { stallMs = STALL_MS }: CheckedStoreOptions = {}) {
    this.#backend = backend;
    this.#stallMs = stallMs;
  }

  get location(): string {
    return this.#backend.location;
  }

  async put(name: string, content: AsyncIterable<Uint8Array>, options: PutOptions = {}): Promise<void> {
    assertObjectName(name);
    const source = new PutSource(content, { stallMs: this.#stallMs, signal: this.#signal(options) });
    try {
      source.signal.throwIfAborted();
      await this.#backend.write(name, source, { signal: source.signal, headers: options.headers ?? {} });
    } catch (error) {
      if (source.failure !== undefined) throw source.failure.reason;
      throw this.#explain(`write snapshot object "${name}" to`, { error, signal: source.signal });
    } finally {
      source.end();
    }
  }

  async get(name: string, options: AccessOptions = {}): Promise<StoredObject | undefined> {
    assertObjectName(name);
    const reading = new AbortController();
    const signal = AbortSignal.any([this.#signal(options), reading.signal]);
    const action = `read snapshot object "${name}" from`;
    const stall = new Stall(this.#stallMs, (error) => reading.abort(error));
    const fail = (error: unknown) => this.#explain(action, { error, signal });
    const object = await this.#do(() => this.#backend.open(name, signal), { signal, stall, fail });
    if (object === undefined) return undefined;
    return { info: object.info, content: exactContent(object, { reading, signal, stall, fail }) };
  }

  async list(options: AccessOptions = {}): Promise<ObjectInfo[]> {
    const objects = await this.#run("list the snapshots in", options, (signal) => this.#backend.list(signal));
    return sortByName(objects.filter(({ name }) => isObjectName(name)));
  }

  async delete(name: string, options: AccessOptions = {}): Promise<void> {
    assertObjectName(name);
    const action = `delete snapshot object "${name}" from`;
    await this.#run(action, options, (signal) => this.#backend.delete(name, signal));
  }

  async removeAbandoned(olderThanMs: number, options: AccessOptions = {}): Promise<void> {
    const action = "remove unfinished snapshots from";
    await this.#run(action, options, (signal) => this.#backend.removeAbandoned(olderThanMs, signal));
  }

  async close(): Promise<void> {
    this.#closing.abort(new MarmotError("snapshot", `the snapshot store ${this.location} is closed`));
    await this.#backend.close();
  }

  #signal({ signal }: AccessOptions): AbortSignal {
    return signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
  }

  /** Calls the backend, which gets as long as it may be silent. */
  async #run<T>(
    action: string,
    options: AccessOptions,
    call: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const stalled = new AbortController();
    const signal = AbortSignal.any([this.#signal(options), stalled.signal]);
    const stall = new Stall(this.#stallMs, (error) => stalled.abort(error));
    const fail = (error: unknown) => this.#explain(action, { error, signal });
    return await this.#do(() => call(signal), { signal, stall, fail });
  }

  async #do<T>(call: () => Promise<T>, { signal, stall, fail }: CallOptions): Promise<T> {
    // Not every answer that is waited for ends with the signal.
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      signal.throwIfAborted();
      stall.begin();
      return await Promise.race([call(), aborted]);
    } catch (error) {
      throw fail(error);
    } finally {
      stall.end();
      signal.removeEventListener("abort", abort);
    }
  }

  /** The error to throw: the signal's reason where it is the cause, else a sentence. */
  #explain(action: string, { error, signal }: { error: unknown; signal: AbortSignal }): unknown {
    if (signal.aborted) error = signal.reason;
    if (signal.aborted && !(error instanceof ExplainedError)) return error;
    const { reason, hint } = error instanceof ExplainedError
      ? { reason: error.message, hint: error.hint }
      : this.#backend.explain(error) ?? { reason: errorText(error), hint: undefined };
    return new MarmotError("snapshot", `Cannot ${action} ${this.location}: ${reason}`, {
      ...(hint === undefined ? {} : { hint }),
      cause: error,
    });
  }
}

/** What is put: remembers whether the content itself failed, and notices a store that takes nothing any more. */
class PutSource implements AsyncIterable<Uint8Array> {
  failure: { readonly reason: unknown } | undefined;
  /** Also aborts when the store is silent. */
  readonly signal: AbortSignal;
  readonly #content: AsyncIterable<Uint8Array>;
  readonly #stall: Stall;

  constructor(
    content: AsyncIterable<Uint8Array>,
    { stallMs, signal }: { stallMs: number; signal: AbortSignal },
  ) {
    this.#content = content;
    const stalled = new AbortController();
    this.#stall = new Stall(stallMs, (error) => stalled.abort(error));
    this.signal = AbortSignal.any([signal, stalled.signal]);
    this.#stall.begin();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const content = this.#content[Symbol.asyncIterator]();
    let isDone = false;
    try {
      for (;;) {
        this.signal.throwIfAborted();
        this.#stall.end();
        const step = await this.#next(content);
        isDone = step.done === true;
        this.#stall.begin(isDone ? FINISH_FACTOR : 1);
        if (step.done) return;
        if (step.value.length > 0) yield step.value;
      }
    } finally {
      if (!isDone) await content.return?.();
    }
  }

  end(): void {
    this.#stall.end();
  }

  async #next(content: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    try {
      return await content.next();
    } catch (reason) {
      this.failure = { reason };
      throw reason;
    }
  }
}

interface CallOptions {
  /** Aborts for the caller's reasons, and when the store is silent. */
  readonly signal: AbortSignal;
  readonly stall: Stall;
  /** The error that the caller gets. */
  readonly fail: (error: unknown) => unknown;
}

interface ReadingOptions extends CallOptions {
  /** Aborted when the reader wants no more. */
  readonly reading: AbortController;
}

/** The object's bytes, exactly as many as it has. */
function exactContent(
  { info, content }: BackendObject,
  { reading, signal, stall, fail }: ReadingOptions,
): ReadableStream<Uint8Array> {
  const chunks = content[Symbol.asyncIterator]();
  let left = info.sizeBytes;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        signal.throwIfAborted();
        stall.begin();
        const { done, value } = await chunks.next();
        stall.end();
        signal.throwIfAborted();
        const length = done ? 0 : value.length;
        if (done ? left > 0 : length > left) {
          const end = done ? `broke off after ${info.sizeBytes - left} of` : "goes on after";
          throw new ExplainedError(`it ${end} ${info.sizeBytes} bytes`);
        }
        left -= length;
        if (done) return controller.close();
        controller.enqueue(value);
      } catch (error) {
        stall.end();
        await chunks.return?.().catch(() => {});
        controller.error(fail(error));
      }
    },
    async cancel() {
      reading.abort(new ExplainedError("it is not read any more"));
      await chunks.return?.().catch(() => {});
    },
  }, { highWaterMark: 0 });
}

/** Tells when something takes too long between `begin` and `end`. */
class Stall {
  readonly #limitMs: number;
  readonly #onStall: (error: ExplainedError) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limitMs: number, onStall: (error: ExplainedError) => void) {
    this.#limitMs = limitMs;
    this.#onStall = onStall;
  }

  begin(factor = 1): void {
    this.end();
    const limitMs = this.#limitMs * factor;
    const error = new ExplainedError(`nothing went on for ${limitMs / 1000} seconds`);
    this.#timer = setTimeout(() => this.#onStall(error), limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
