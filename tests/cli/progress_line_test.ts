/** The line that tells how far a long command is, as somebody sees it who watches the terminal. */
import assert from "node:assert/strict";
import { type ProgressLine, progressText, withProgress } from "../../src/cli/progress_line.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import type { Log } from "../../src/observability/log.ts";

/** A terminal that shows what was written, the cursor in its last line. */
class Screen implements Terminal {
  written = "";
  #above: string[] = [];
  #line = "";
  #cursor = 0;

  constructor(readonly isWatched: boolean) {}

  /** All lines, without the blanks at their ends. */
  get lines(): string[] {
    return [...this.#above, this.#line].map((line) => line.trimEnd());
  }

  writeOutput(): void {
    assert.fail("progress is no output");
  }

  writeError(text: string): void {
    this.written += text;
    for (const character of text) this.#put(character);
  }

  confirm(): null {
    return null;
  }

  #put(character: string): void {
    if (character === "\r") this.#cursor = 0;
    else if (character === "\n") {
      this.#above.push(this.#line);
      [this.#line, this.#cursor] = ["", 0];
    } else {
      this.#line = this.#line.slice(0, this.#cursor).padEnd(this.#cursor) + character +
        this.#line.slice(++this.#cursor);
    }
  }
}

function logTo(screen: Screen): Log {
  const write = (event: string) => screen.writeError(`${event}\n`);
  return { debug: () => {}, info: write, warn: write, error: write };
}

for (
  const [stage, done, total, text] of [
    ["uploading", 12e6, 40e6, "uploading 12.0 of 40.0 MB (30 %)"],
    ["uploading", 0, 0, "uploading 0.0 MB"],
    ["uploading", 50e6, 40e6, "uploading 50.0 of 40.0 MB (100 %)"],
    ["fetching", 39.999e6, 40e6, "fetching 40.0 of 40.0 MB (99 %)"],
    ["copying", 1_250_000, Infinity, "copying 1.3 MB"],
    ["waiting", 3, 10, "waiting until 7 changes are published"],
  ] as const
) {
  Deno.test(`progress of ${stage} ${done} of ${total} reads "${text}"`, () => {
    assert.equal(progressText(stage, done, total), text);
  });
}

Deno.test("each text stands in the place of the one before, and none is left in the end", async () => {
  const screen = new Screen(true);
  const result = await withProgress(screen, ({ show }) => {
    show("waiting", 3, 10);
    assert.deepEqual(screen.lines, ["waiting until 7 changes are published"]);
    show("copying", 1e6, Infinity);
    assert.deepEqual(screen.lines, ["copying 1.0 MB"]);
    const { written } = screen;
    show("copying", 1e6 + 1, Infinity);
    assert.equal(screen.written, written, "the same text is not written again");
    return Promise.resolve("done");
  });
  assert.equal(result, "done");
  assert.deepEqual(screen.lines, [""]);
});

Deno.test("a failure leaves no line behind, and reaches the caller", async () => {
  const screen = new Screen(true);
  const fail = ({ show }: ProgressLine) => {
    show("copying", 1e6, Infinity);
    return Promise.reject(new Error("no room"));
  };
  await assert.rejects(withProgress(screen, fail), /^Error: no room$/);
  assert.deepEqual(screen.lines, [""]);
});

Deno.test("lines of the log stand above the line, which is written anew below them", async () => {
  const screen = new Screen(true);
  await withProgress(screen, ({ show, beside }) => {
    const log = beside(logTo(screen));
    log.info("a line before");
    show("copying", 1e6, Infinity);
    log.info("a");
    log.warn("b");
    show("copying", 1e6, Infinity);
    assert.deepEqual(screen.lines, ["a line before", "a", "b", "copying 1.0 MB"]);
    return Promise.resolve();
  });
  assert.deepEqual(screen.lines, ["a line before", "a", "b", ""]);
});

Deno.test("where nobody watches a terminal nothing but the log is written", async () => {
  const screen = new Screen(false);
  await withProgress(screen, ({ show, beside }) => {
    show("copying", 1e6, Infinity);
    beside(logTo(screen)).info("a line");
    return Promise.resolve();
  });
  assert.equal(screen.written, "a line\n");
});
