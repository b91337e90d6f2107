/**
 * Whatever comes before and after: where all messages of a table were taken out of quarantine, the table is what it would
 * be had they never been there.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Connection } from "../../src/db/connection.ts";
import { markForRetry } from "../../src/db/operator/quarantine_box.ts";
import { BATCH_FORMAT } from "../../src/wire/batch_codec.ts";
import { deletion, TestReplica, upsert } from "./test_replica.ts";

const TABLES = ["a", "b"];
const SCHEMA = TABLES.map((name) => `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, v UNIQUE)`).join(";");
const BOUNDS = { rows: 100, milliseconds: 1000 };

interface Step {
  readonly table: string;
  readonly isDeletion: boolean;
  readonly id: bigint;
  readonly value: bigint;
  readonly origin: bigint;
  /** Whether the older release cannot read it. */
  readonly isOfFuture: boolean;
  /** Whether the operator has all tried again behind it. */
  readonly isTriedBehind: boolean;
}

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    table: fc.constantFrom(...TABLES),
    isDeletion: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    id: fc.bigInt({ min: 1n, max: 4n }),
    value: fc.bigInt({ min: 1n, max: 3n }),
    origin: fc.bigInt({ min: 2n, max: 4n }),
    isOfFuture: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    isTriedBehind: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
  }),
  { minLength: 1, maxLength: 14 },
);

function take(world: TestReplica, step: Step, isOfFuture: boolean): void {
  const events = [step.isDeletion ? deletion(step.id) : upsert(step.id, step.value)];
  const message = world.message(step.table, events, { origin: step.origin });
  const format = isOfFuture ? "other/1" : BATCH_FORMAT;
  world.replica.apply([{ ...message, format }], BOUNDS);
}

/** What was applied; a message that stays is left in quarantine. */
function tryAll(world: TestReplica): number {
  world.application.exec(`UPDATE __marmot__quarantine SET format = '${BATCH_FORMAT}'`);
  const operator = new Connection(world.path);
  markForRetry(operator);
  operator.close();
  world.replica.takeOperatorRequest();
  let applied = 0;
  for (let after = 0;;) {
    const result = world.replica.retryQuarantined(after);
    if (!result) return applied;
    if (result.kind === "applied") applied++;
    after = result.id;
  }
}

/** Tables of which a message was in quarantine, and is or is not there still. */
function tablesLeft(world: TestReplica, put: ReadonlyMap<number, string>): Set<string> {
  const left = world.rows("SELECT sequence FROM __marmot__quarantine").map((row) => Number(row[0]));
  return new Set(left.map((sequence) => put.get(sequence) ?? ""));
}

Deno.test("a table whose messages were all taken out of quarantine is as if they had never been there", () => {
  let applied = 0;
  let compared = 0;
  fc.assert(
    fc.property(steps, (history) => {
      using reader = new TestReplica(SCHEMA);
      using older = new TestReplica(SCHEMA);
      reader.arm();
      older.arm();
      const put = new Map<number, string>();
      history.forEach((step, i) => {
        take(reader, step, false);
        take(older, step, step.isOfFuture);
        if (step.isOfFuture) put.set(i + 1, step.table);
        if (step.isTriedBehind) applied += tryAll(older);
      });
      applied += tryAll(older);
      const left = tablesLeft(older, put);
      for (const table of TABLES) {
        if (left.has(table)) continue;
        assert.equal(older.dump().get(table), reader.dump().get(table), table);
        if ([...put.values()].includes(table)) compared++;
      }
    }),
    { numRuns: 60 },
  );
  assert.ok(applied > 15 && compared > 10, `${applied} messages were applied, ${compared} tables compared`);
});
