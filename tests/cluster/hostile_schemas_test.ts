/** Schemas that real applications have and that break replicators, each on two real nodes that both write. */
import assert from "node:assert/strict";
import { Cluster } from "../support/cluster.ts";
import { dumpSchema } from "../../scripts/table_dump.ts";
import { assertCleanedUp } from "./hostile_schemas/clean_up.ts";
import { keyCases } from "./hostile_schemas/keys.ts";
import { nameCases } from "./hostile_schemas/names.ts";
import { type SchemaCase, World } from "./hostile_schemas/schema_case.ts";
import { shapeCases } from "./hostile_schemas/shapes.ts";
import { triggerCases } from "./hostile_schemas/triggers.ts";
import { uniqueCases } from "./hostile_schemas/uniques.ts";
import { writerCases } from "./hostile_schemas/writers.ts";

const GROUPS: readonly (readonly [string, readonly SchemaCase[]])[] = [
  ["names", nameCases],
  ["primary keys", keyCases],
  ["shapes of tables", shapeCases],
  ["UNIQUE indexes", uniqueCases],
  ["triggers, views and foreign keys", triggerCases],
  ["writers", writerCases],
];

for (const [group, cases] of GROUPS) {
  Deno.test(`two nodes replicate hostile ${group}, and cleanup leaves their schema as it was`, async (t) => {
    await using cluster = await Cluster.start({
      nodes: 2,
      schema: cases.map((one) => one.schema).join("\n"),
      isStarted: false,
    });
    const before = cluster.nodes.map((node) => dumpSchema(node.application));
    await Promise.all(cluster.nodes.map((node) => node.start()));
    for (const one of cases) await t.step(one.name, () => one.run(new World(cluster, one)));
    await t.step("cleanup leaves the schema as it was", async () => {
      for (const node of cluster.nodes) assert.equal(await node.stop(), 0, node.log);
      for (const node of cluster.nodes) await assertCleanedUp(node, before[node.id - 1] ?? "");
    });
  });
}
