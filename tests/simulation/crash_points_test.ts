/**
 * A process that ends at the n-th point of its life, for every n: before each statement of a transaction, before and
 * behind each COMMIT, and whenever it goes on after it has waited. It starts again later, and nothing may be missing.
 */
import assert from "node:assert/strict";
import { HEALTHY } from "./memory_server.ts";
import type { Plan, Step } from "./plan.ts";
import { HAND_TABLES } from "./tables.ts";
import { World } from "./world.ts";

const tables = HAND_TABLES.filter(({ name }) => name === "uniq" || name === "plain");

function write(node: number, pauseMs: number, ...statements: string[]): Step {
  return { kind: "write", node, pauseMs, statements };
}

const MORE = { sql: "ALTER TABLE plain ADD COLUMN more", gained: undefined };

interface Scenario {
  readonly name: string;
  readonly mode: Plan["mode"];
  readonly steps: readonly Step[];
  /** What is otherwise in its plan. */
  readonly plan?: Partial<Plan>;
  /** Of its points only each so-manieth is tried: it is a long one. */
  readonly stride?: number;
}

/** Rows of one's own (their numbers end with the node's), as ownership "own" asks for. */
const SCENARIOS: readonly Scenario[] = [
  {
    name: "changes of both nodes, with rows that take each other's values",
    mode: "own",
    steps: [
      write(1, 3, "INSERT INTO uniq VALUES (1, 'a1', 1), (11, 'b1', 1)", "INSERT INTO plain VALUES (1, 1)"),
      write(2, 3, "INSERT INTO uniq VALUES (2, 'a2', 1)", "INSERT INTO plain VALUES (2, 1)"),
      write(1, 3, "UPDATE OR REPLACE uniq SET u = 'b1' WHERE id = 1"),
      write(2, 20, "UPDATE plain SET id = 12 WHERE id = 2", "DELETE FROM uniq WHERE id = 2"),
      { kind: "start", node: 1, pauseMs: 10 },
      write(1, 20, "DELETE FROM plain WHERE id = 1", "INSERT OR REPLACE INTO uniq VALUES (21, 'b1', 2)"),
    ],
  },
  {
    name: "a column that comes, and a row in parts",
    mode: "rollout",
    steps: [
      write(
        1,
        10,
        "INSERT INTO plain VALUES (1, 1)",
        "INSERT INTO uniq VALUES (1, 'a1', hex(zeroblob(1500)))",
      ),
      { kind: "alter", node: 1, pauseMs: 10, change: 0 },
      write(1, 10, "UPDATE plain SET more = 3"),
      { kind: "start", node: 1, pauseMs: 10 },
      { kind: "alter", node: 2, pauseMs: 10, change: 0 },
      write(2, 20, "INSERT INTO plain (id, v) VALUES (2, 1)"),
    ],
  },
  {
    name: "a stream that loses its end",
    mode: "unsafe broker",
    steps: [
      write(1, 5, "INSERT INTO plain VALUES (1, 1), (11, 1)"),
      write(2, 20, "INSERT INTO plain VALUES (2, 1)"),
      { kind: "roll back", node: 1, pauseMs: 20, by: 6 },
      { kind: "start", node: 1, pauseMs: 10 },
      write(2, 20, "UPDATE plain SET v = 2 WHERE id = 2"),
    ],
  },
  {
    name: "a window without capture",
    mode: "window",
    steps: [
      write(1, 10, "INSERT INTO plain VALUES (1, 1), (11, 1)"),
      {
        kind: "write without capture",
        node: 1,
        pauseMs: 30,
        statements: ["DELETE FROM plain WHERE id = 1", "UPDATE plain SET v = 2 WHERE id = 11"],
      },
      { kind: "start", node: 1, pauseMs: 10 },
      write(2, 20, "INSERT INTO plain VALUES (2, 2)"),
    ],
  },
  {
    name: "a snapshot that is taken over by a late node with changes of its own",
    mode: "late nodes",
    steps: [
      write(1, 5, "INSERT INTO plain VALUES (1, 1)", "INSERT INTO uniq VALUES (1, 'a1', 1)"),
      write(2, 20, "INSERT INTO plain VALUES (2, 1)", "INSERT INTO uniq VALUES (2, 'a2', 1)"),
      { kind: "stall", node: 1, pauseMs: 1 },
      write(1, 5, "UPDATE plain SET v = 2 WHERE id = 1"),
      ...[2, 3, 4].map((v) =>
        write(2, 20, `UPDATE plain SET v = ${v} WHERE id = 2`, `UPDATE uniq SET v = ${v} WHERE id = 2`)
      ),
      { kind: "save", node: 2, pauseMs: 500 },
      write(1, 5, "INSERT INTO uniq VALUES (11, 'b1', 1)"),
      { kind: "resume", node: 1, pauseMs: 400 },
      { kind: "start", node: 1, pauseMs: 400 },
      write(1, 20, "DELETE FROM uniq WHERE id = 1"),
    ],
    plan: { maxMessages: 4, idleLookMs: 50, saves: { areAutomatic: false, pendingMs: 3000 } },
    stride: 11,
  },
];

function planOf({ mode, steps, plan }: Scenario): Plan {
  return {
    seed: 1,
    mode,
    ownership: mode === "rollout" ? "any" : "own",
    nodes: [1, 2],
    shards: 1,
    tables,
    changes: mode === "rollout" ? [MORE] : [],
    network: HEALTHY,
    distances: [1, 1],
    idleLookMs: 10,
    maxPayloadBytes: 1100,
    maxMessages: null,
    ...plan,
    steps,
  };
}

for (const scenario of SCENARIOS) {
  Deno.test(`a node may crash at every point of: ${scenario.name}`, async () => {
    const plan = planOf(scenario);
    const { stride = 1 } = scenario;
    let crashes = 0;
    for (let point = 1;; point += stride) {
      const world = new World(plan);
      const [node] = world.nodes;
      assert.ok(node);
      node.crashAtPoint = point;
      try {
        const problem = await world.run();
        assert.equal(problem, undefined, `crashed at point ${point}: ${problem?.check} ${problem?.reason}`);
        if (node.points < point) break;
      } finally {
        world.end();
      }
      crashes++;
    }
    assert.ok(crashes * stride > 100, `only ${crashes} points`);
  });
}
