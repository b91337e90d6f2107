/** The command behind -cleanup, run as an operator runs it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ClusterNode } from "../../support/cluster.ts";
import { dumpSchema } from "../../../scripts/table_dump.ts";

const MAIN = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));

/** Takes Marmot out of the database of a stopped node: its schema must be what it was before Marmot came. */
export async function assertCleanedUp(node: ClusterNode, schemaBefore: string): Promise<void> {
  assert.notEqual(dumpSchema(node.application), schemaBefore, "Marmot was never there");
  const flags = ["run", "--quiet", "--allow-all", "--no-check", MAIN, "-cleanup", "-db-path", node.path];
  await promisify(execFile)(Deno.execPath(), flags);
  assert.equal(dumpSchema(node.application), schemaBefore);
  const check = node.application.prepare("PRAGMA integrity_check").get();
  assert.equal(check?.["integrity_check"], "ok");
}
