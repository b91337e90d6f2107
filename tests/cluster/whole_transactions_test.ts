/** Real processes with one shard: whoever reads a replica sees whole transactions, also of many rows in several tables. */
import assert from "node:assert/strict";
import { announcedRandom } from "../support/random.ts";
import { Cluster, waitUntil } from "../support/cluster.ts";

const ROWS = 1500;
const TOTAL = 2 * ROWS * 100;
const FILL =
  `WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) SELECT i, 100 FROM n`;
const SCHEMA = ["checking", "savings"].map((name) =>
  `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, balance INT); INSERT INTO ${name} ${FILL}`
).join("; ");
const SUM = "SELECT (SELECT sum(balance) FROM checking) + (SELECT sum(balance) FROM savings) AS n";
const TRANSFERS = 150;

Deno.test("with one shard the sum of all balances is the same at every moment on the other node", async () => {
  await using cluster = await Cluster.start({ nodes: 2, schema: SCHEMA, flags: ["-shards", "1"] });
  const [writer, reader] = [cluster.node(1).application, cluster.node(2).application];
  const random = announcedRandom("transfers");
  // What is captured before the first look goes out again message by message: begin when the first change is there.
  writer.exec("UPDATE checking SET balance = balance WHERE id = 1");
  await cluster.converge();
  const sums = new Map<number, number>();
  const seen = new Set<number>();
  const look = () => {
    const sum = Number(reader.prepare(SUM).get()?.["n"]);
    sums.set(sum, (sums.get(sum) ?? 0) + 1);
    seen.add(Number(reader.prepare("SELECT total(balance * id) AS n FROM savings").get()?.["n"]));
  };
  for (let i = 0; i < TRANSFERS; i++) {
    const rows = random.below(10) === 0 ? "" : ` WHERE id = ${1 + random.below(ROWS)}`;
    const amount = 1 + random.below(9);
    writer.exec(
      `BEGIN IMMEDIATE; UPDATE checking SET balance = balance - ${amount}${rows}; ` +
        `UPDATE savings SET balance = balance + ${amount}${rows}; COMMIT`,
    );
    // The limit that the README states: 5,000 changed rows that were not looked at yet.
    const hasCaughtUp = () => {
      look();
      return cluster.node(1).countPending() < 1000;
    };
    await waitUntil(hasCaughtUp, {
      timeoutMs: 10_000,
      what: () => "node 1 falls behind",
    });
    for (let looks = random.below(8); looks > 0; looks--) {
      look();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  await cluster.converge();
  look();
  assert.deepEqual(
    [...sums.keys()],
    [TOTAL],
    `sums and how often they were seen: ${JSON.stringify([...sums])}`,
  );
  assert.ok(seen.size > 3, `the reader saw ${seen.size} states: too few to tell`);
});
