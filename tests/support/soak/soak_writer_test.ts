/** What a soak is judged by: the writer knows its own rows, and tells every way in which a database lacks them. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Random } from "../../simulation/random.ts";
import { waitUntil } from "../cluster.ts";
import { SOAK_SCHEMA, SoakWriter } from "./soak_writer.ts";

Deno.test("a soak's writer finds no loss where there is none, and each row that was lost, changed or came back", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-soak-writer-"));
  const database = new DatabaseSync(join(folder, "application.db"));
  database.exec("PRAGMA journal_mode = WAL");
  database.exec(SOAK_SCHEMA);
  const writer = new SoakWriter(join(folder, "application.db"), { number: 2, random: new Random(7) });
  try {
    writer.start();
    await waitUntil(() => writer.committed >= 300, { timeoutMs: 20_000, what: () => "it does not write" });
    await writer.stop();
    assert.deepEqual(writer.findLosses(database), []);
    const harms = [
      "DELETE FROM item WHERE id = (SELECT max(id) FROM item)",
      "UPDATE label SET v = 'older' WHERE name = (SELECT min(name) FROM label)",
      "UPDATE account SET email = 'other@2' WHERE id = (SELECT min(id) FROM account)",
      "INSERT INTO item (id, v) VALUES (2999999, 'deleted before')",
    ];
    for (const [i, harm] of harms.entries()) {
      database.exec(harm);
      assert.equal(writer.findLosses(database).length, i + 1, harm);
    }
  } finally {
    writer.close();
    database.close();
    rmSync(folder, { recursive: true });
  }
});
