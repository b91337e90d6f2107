import assert from "node:assert/strict";
import { beginPause, endPause } from "../../src/db/capture/pause.ts";
import { Connection } from "../../src/db/connection.ts";
import { Armer } from "../../src/node/armer.ts";
import type { Log } from "../../src/observability/log.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { markForRetry } from "../../src/db/operator/quarantine_box.ts";
import { TestReplica, upsert } from "../db/test_replica.ts";

const HOUR_MS = 3_600_000;
const TAKEN = "info message taken out of quarantine and applied";

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

function makeArmer(world: TestReplica, clock: Clock, onLine: (line: string) => void): Armer {
  const note = (level: string) => (event: string) => onLine(`${level} ${event}`);
  const log: Log = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  return new Armer({ replica: world.replica, clock, random: () => 0, log });
}

Deno.test("a pause that was forgotten is said again and again, and its end as well", async () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const lines: string[] = [];
  const clock = new FastClock();
  const armer = makeArmer(world, clock, (line) => lines.push(line));
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
    assert.equal(lines[0], "info the pause is over: what was written meanwhile is published");
    assert.deepEqual(lines.filter((line) => line.startsWith("warn")), [], "nothing was written");
    await armer.look(signal);
    assert.equal(lines.filter((line) => line.includes("pause")).length, 1);
  } finally {
    operator.close();
  }
});

Deno.test("messages to be tried again are not forgotten when the schema moves meanwhile", async () => {
  using world = new TestReplica("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const clock = new FastClock();
  const lines: string[] = [];
  const republished: string[] = [];
  const armer = makeArmer(world, clock, (line) => {
    lines.push(line);
    if (line === TAKEN && lines.length === lines.indexOf(TAKEN) + 1) {
      world.application.exec("CREATE TABLE late (id INTEGER PRIMARY KEY)");
    }
  });
  armer.onRepublish = (tables) => republished.push(...tables);
  const signal = new AbortController().signal;
  await armer.look(signal);
  const messages = [1n, 2n].map((id) => ({ ...world.message("t", [upsert(id)]), format: "other/1" }));
  world.replica.apply(messages, { rows: 10, milliseconds: 1000 });
  world.application.exec("UPDATE __marmot__quarantine SET format = 'batch/1'");
  const operator = new Connection(world.path);
  markForRetry(operator);
  operator.close();
  clock.ms += 1000;
  await armer.look(signal);
  assert.deepEqual(world.rows("SELECT id FROM t"), [[1]]);
  clock.ms += 1000;
  await armer.look(signal);
  assert.deepEqual(world.rows("SELECT id FROM t"), [[1], [2]]);
  assert.equal(lines.filter((line) => line === TAKEN).length, 2, lines.join("\n"));
  assert.deepEqual(republished, ["t", "late", "t"]);
});
