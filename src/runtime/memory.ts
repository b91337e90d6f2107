/**
 * Memory of buffers that nobody uses any more. V8 collects them when there are 64 MiB in a thread, which is much beside
 * what a node takes otherwise; whoever goes through a large file asks earlier.
 */
import v8 from "node:v8";
import vm from "node:vm";

/** A collection takes some milliseconds. */
const STEP_BYTES = 32 * 1024 * 1024;

export class GarbageMeter {
  #bytes = 0;

  /** To be told how many bytes of buffers were used up; now and then they are collected. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < STEP_BYTES) return;
    this.#bytes = 0;
    collect?.();
  }
}

/** V8 gives it to contexts that are made behind the flag. */
const collect: (() => void) | undefined = (() => {
  try {
    v8.setFlagsFromString("--expose-gc");
    return vm.runInNewContext("gc");
  } catch {
    return undefined;
  }
})();
