import assert from "node:assert/strict";
import { beginPause, endPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import { Armer } from "../../src/node/armer.ts";
import type { Log } from "../../src/observability/log.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { TestReplica } from "../db/test_replica.ts";

const HOUR_MS = 3_600_000;

/** A clock that sleeps at once, and counts. */
class FastClock implements Clock {
  ms = 1_700_000_000_000;
  sleeps = 0;
  nowMs = () => this.ms;
  turn = () => Promise.resolve();
  sleep = (ms: number) => {
    this.ms += ms;
    this.sleeps++;
    return Promise.resolve();
  };
}

Deno.test("a pause that was forgotten is said again and again, and its end as well", async () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const lines: string[] = [];
  const note = (level: string) => (event: string) => void lines.push(`${level} ${event}`);
  const log: Log = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  const clock = new FastClock();
  const armer = new Armer({ replica: world.replica, clock, random: () => 0, log });
  const signal = new AbortController().signal;
  await armer.look(signal);
  const operator = new Connection(world.path);
  try {
    beginPause(operator, clock.ms);
    lines.length = 0;
    const beganMs = clock.ms;
    while (clock.ms < beganMs + HOUR_MS) await armer.look(signal);
    assert.ok(clock.sleeps > 0, "whoever waits for the tables does not spin");
    assert.equal(lines.length, 12, lines.join("\n"));
    for (const line of lines) assert.match(line, /^warn paused for a migration: .* until marmot pause -end$/);
    endPause(operator);
    lines.length = 0;
    await armer.look(signal);
    assert.equal(lines[0], "info the pause is over: tables are captured again");
    assert.ok(
      lines.some((line) => line.startsWith("warn table was changed without capture")),
      lines.join("\n"),
    );
    await armer.look(signal);
    assert.equal(lines.filter((line) => line.includes("pause")).length, 1);
  } finally {
    operator.close();
  }
});
