import assert from "node:assert/strict";
import { ArmingNews } from "../../src/node/arming_news.ts";
import { RecordedLog } from "../stream/server_world.ts";
import { TestReplica } from "../db/test_replica.ts";

Deno.test("many tables of which the same is to be said are one line with all their names, few have a line each", () => {
  using world = new TestReplica("CREATE TABLE first (id INTEGER PRIMARY KEY)");
  const log = new RecordedLog();
  const news = new ArmingNews({ log, hasImages: true });
  news.say(world.arm(), []);
  assert.deepEqual(log.lines.map(({ event }) => event), ["tables armed"]);
  const names = Array.from({ length: 200 }, (_, i) => `t${i}`);
  world.application.exec(names.map((name) => `CREATE TABLE ${name} (a, b);`).join(""));
  log.lines.length = 0;
  news.say(world.arm(), []);
  assert.deepEqual(log.lines.map(({ level, event, fields }) => [level, event, fields?.["tables"]]), [
    ["info", "tables armed", 201],
    ["warn", "table has no primary key: its rows are told apart by their rowid, which VACUUM renumbers", 200],
    ["info", "new table: its rows are published", 200],
  ]);
  assert.deepEqual(String(log.lines[1]?.fields?.["names"]).split(", ").sort(), names.toSorted());
  world.application.exec("DROP TABLE t0; DROP TABLE t1");
  log.lines.length = 0;
  news.say(world.arm(), [{ table: "t2", lost: 7 }]);
  assert.deepEqual(log.lines.slice(1).map(({ event, fields }) => [event, fields?.["table"]]), [
    [
      "table needs a resync: events of it were lost to this node, marmot resync -help tells the ways out",
      "t2",
    ],
    ["table was dropped", "t0"],
    ["table was dropped", "t1"],
  ]);
});
