import assert from "node:assert/strict";
import type { Log, LogFields } from "../../src/observability/log.ts";
import { AT_ONCE, summarise, type SummarisedLog, WINDOW_MS } from "../../src/observability/summarised_log.ts";

/** A log on a clock of its own. */
class World {
  readonly lines: string[] = [];
  readonly log: SummarisedLog;
  #due: (() => void)[] = [];

  constructor() {
    const note = (level: string) => (event: string, fields: LogFields = {}) =>
      void this.lines.push([level, event, ...Object.entries(fields).map((pair) => pair.join("="))].join(" "));
    const log: Log = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
    this.log = summarise(log, {
      after: (ms, callback) => {
        assert.equal(ms, WINDOW_MS);
        this.#due.push(callback);
      },
    });
  }

  /** Lets a window go by, and returns what was logged since this was called last. */
  pass(): string[] {
    for (const callback of this.#due.splice(0)) callback();
    return this.lines.splice(0);
  }

  get isIdle(): boolean {
    return this.#due.length === 0;
  }
}

Deno.test("the first lines of a run come at once, the rest as one line with the last one's fields", () => {
  const world = new World();
  for (let i = 1; i <= 2000; i++) world.log.warn("put into quarantine", { sequence: i });
  world.log.warn("another event");
  assert.deepEqual(world.lines.splice(0), [
    ...Array.from({ length: AT_ONCE }, (_, i) => `warn put into quarantine sequence=${i + 1}`),
    "warn another event",
  ]);
  const summary = `warn put into quarantine more=${2000 - AT_ONCE} seconds=10 sequence=2000`;
  assert.deepEqual(world.pass(), [summary]);
  assert.deepEqual(world.pass(), []);
  assert.ok(world.isIdle, "nothing is waited for when no line came");
  world.log.warn("put into quarantine", { sequence: 2001 });
  assert.deepEqual(
    world.lines,
    ["warn put into quarantine sequence=2001"],
    "a new run begins with its first line",
  );
});

Deno.test("a run that goes on is one line per window", () => {
  const world = new World();
  const log = (count: number) => {
    for (let i = 1; i <= count; i++) world.log.error("stopped", { stream: i });
  };
  log(AT_ONCE + 3);
  assert.equal(world.pass().length, AT_ONCE + 1);
  log(7);
  assert.deepEqual(world.pass(), ["error stopped more=7 seconds=10 stream=7"]);
  log(1);
  assert.deepEqual(world.pass(), ["error stopped stream=1"], "a single line stands as it is");
  assert.deepEqual(world.pass(), []);
});

Deno.test("levels are told apart, debug lines are all written, and the end tells what is left", () => {
  const world = new World();
  for (let i = 0; i <= AT_ONCE; i++) {
    world.log.info("event", { i });
    world.log.error("event", { i });
    world.log.debug("event", { i });
  }
  assert.equal(world.lines.length, 3 * AT_ONCE + 1);
  world.lines.length = 0;
  world.log.flush();
  assert.deepEqual(world.lines, [`info event i=${AT_ONCE}`, `error event i=${AT_ONCE}`]);
});
