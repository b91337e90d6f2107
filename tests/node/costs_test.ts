/**
 * What 1,000 rows cost, in counts and not in times: statements, transactions, messages and bytes of fixed workloads on the
 * real engine. A change that makes the engine do more work per row fails here on any machine.
 */
import assert from "node:assert/strict";
import { Rollout } from "./rollout.ts";
import { WorkCounter } from "./work_counter.ts";

/** Upper bounds, per 1,000 rows. */
interface Costs {
  /** Where the rows are written: reading them for publishing, settling them. */
  readonly originStatements: number;
  /** Entries, images and what else is looked up: two for each row that is published. */
  readonly originRowsRead: number;
  readonly originWrites: number;
  readonly originReads: number;
  /** Where they are applied. */
  readonly replicaStatements: number;
  readonly replicaWrites: number;
  readonly messages: number;
  readonly bytes: number;
}

interface Workload {
  readonly name: string;
  readonly schema: string;
  /** Statements of the application, a transaction each. */
  readonly transactions: readonly string[];
  /** Between two of them. */
  readonly pauseMs: number;
  readonly rows: number;
  readonly atMost: Costs;
}

const READING = "CREATE TABLE reading (id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, at INTEGER, value REAL)";
const FILLED = `${READING}; ${insert(1, 10_000)}`;

const WORKLOADS: readonly Workload[] = [
  {
    name: "bulk inserts",
    schema: READING,
    transactions: upTo(10, (i) => insert(1 + i * 1000, 1000)),
    pauseMs: 1,
    rows: 10_000,
    atMost: {
      originStatements: 22,
      originRowsRead: 2070,
      originWrites: 1,
      originReads: 2,
      replicaStatements: 62,
      replicaWrites: 3,
      messages: 3,
      bytes: 9252,
    },
  },
  {
    name: "one-row transactions, one after the other",
    schema: READING,
    transactions: upTo(2000, (i) => insert(1 + i, 1)),
    pauseMs: 1,
    rows: 2000,
    atMost: {
      originStatements: 2168,
      originRowsRead: 5730,
      originWrites: 67,
      originReads: 183,
      replicaStatements: 2651,
      replicaWrites: 181,
      messages: 181,
      bytes: 39335,
    },
  },
  {
    name: "one-row transactions on an idle system",
    schema: READING,
    transactions: upTo(100, (i) => insert(1 + i, 1)),
    pauseMs: 100,
    rows: 100,
    atMost: {
      originStatements: 21125,
      originRowsRead: 54425,
      originWrites: 1030,
      originReads: 1030,
      replicaStatements: 10836,
      replicaWrites: 1030,
      messages: 1030,
      bytes: 82617,
    },
  },
  {
    name: "updates of rows in no order",
    schema: FILLED,
    transactions: upTo(5, (i) => `UPDATE reading SET value = ${i} WHERE id * 7919 % 5 = ${i}`),
    pauseMs: 1,
    rows: 10_000,
    atMost: {
      originStatements: 22,
      originRowsRead: 2070,
      originWrites: 1,
      originReads: 2,
      replicaStatements: 62,
      replicaWrites: 3,
      messages: 3,
      bytes: 6442,
    },
  },
  {
    name: "one row updated again and again",
    schema: FILLED,
    transactions: upTo(10, (i) => update(7, { times: 1000, from: i * 1000 })),
    pauseMs: 1,
    rows: 10_000,
    atMost: {
      originStatements: 11,
      originRowsRead: 1037,
      originWrites: 1,
      originReads: 2,
      replicaStatements: 11,
      replicaWrites: 2,
      messages: 2,
      bytes: 82,
    },
  },
  {
    name: "deletes",
    schema: FILLED,
    transactions: upTo(
      10,
      (i) => `DELETE FROM reading WHERE id BETWEEN ${1 + i * 1000} AND ${1000 + i * 1000}`,
    ),
    pauseMs: 1,
    rows: 10_000,
    atMost: {
      originStatements: 22,
      originRowsRead: 1040,
      originWrites: 1,
      originReads: 2,
      replicaStatements: 1049,
      replicaWrites: 3,
      messages: 3,
      bytes: 2922,
    },
  },
  {
    name: "bulk inserts into a table with a UNIQUE index",
    schema: `${READING}; CREATE UNIQUE INDEX reading_at ON reading (at)`,
    transactions: upTo(10, (i) => insert(1 + i * 1000, 1000)),
    pauseMs: 1,
    rows: 10_000,
    atMost: {
      originStatements: 1052,
      originRowsRead: 3100,
      originWrites: 1,
      originReads: 2,
      replicaStatements: 2079,
      replicaWrites: 3,
      messages: 3,
      bytes: 9282,
    },
  },
];

for (const workload of WORKLOADS) {
  Deno.test(`what 1,000 rows cost stays within bounds: ${workload.name}`, async () => {
    const costs = await measure(workload);
    const over = Object.entries(workload.atMost).filter(([name, bound]) =>
      costs[name as keyof Costs] > bound
    );
    assert.deepEqual(over, [], `measured: ${JSON.stringify(costs)}`);
  });
}

Deno.test("the counts of a workload are the same in every run", async () => {
  const [workload] = WORKLOADS;
  assert.ok(workload);
  assert.deepEqual(await measure(workload), await measure(workload));
});

async function measure({ schema, transactions, pauseMs, rows }: Workload): Promise<Costs> {
  // First: a simulated node keeps what it finds on its connection.
  using counter = new WorkCounter();
  using world = new Rollout({ nodes: 2, schema, shards: 2 });
  await world.rest();
  const sent = () => [1, 2].flatMap((shard) => world.server.log(shard));
  const before = sent().length;
  counter.reset();
  for (const sql of transactions) {
    world.sql(1, `BEGIN IMMEDIATE; ${sql}; COMMIT`);
    await world.time.pass(pauseMs);
  }
  await world.converge();
  const [origin, replica] = [counter.of(world.node(1).path), counter.of(world.node(2).path)];
  const messages = sent().slice(before);
  const perThousand = (count: number) => Math.round(count / rows * 1000);
  return {
    originStatements: perThousand(origin.statements),
    originRowsRead: perThousand(origin.rowsRead),
    originWrites: perThousand(origin.writeTransactions),
    originReads: perThousand(origin.readTransactions),
    replicaStatements: perThousand(replica.statements),
    replicaWrites: perThousand(replica.writeTransactions),
    messages: perThousand(messages.length),
    bytes: perThousand(messages.reduce((sum, { payload }) => sum + payload.length, 0)),
  };
}

function insert(from: number, rows: number): string {
  return `WITH RECURSIVE n (i) AS (VALUES (${from}) UNION ALL SELECT i + 1 FROM n WHERE i < ${
    from + rows - 1
  }) ` +
    "INSERT INTO reading SELECT i, 'sensor ' || (i % 100), 1700000000 + i, i / 8.0 FROM n";
}

function update(id: number, { times, from }: { times: number; from: number }): string {
  return upTo(times, (i) => `UPDATE reading SET value = ${from + i} WHERE id = ${id}`).join("; ");
}

function upTo<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
