import assert from "node:assert/strict";
import { sayNowAndThen } from "../../src/node/snapshot/byte_reports.ts";
import { Life, VirtualTime } from "../simulation/virtual_time.ts";
import { RecordedLog } from "../stream/server_world.ts";

Deno.test("work on a large file is told of every few seconds, with a total where there is one", async () => {
  const time = new VirtualTime();
  const clock = new Life(time);
  const log = new RecordedLog();
  const say = sayNowAndThen("at work", { log, clock });
  const signal = new AbortController().signal;
  const working = (async () => {
    for (let second = 1; second <= 11; second++) {
      await clock.sleep(1000, signal);
      say(second, second < 10 ? 20 : Infinity);
    }
  })();
  await time.pass(20_000);
  await working;
  assert.deepEqual(log.lines, [
    { level: "info", event: "at work", fields: { bytes: 5, of: 20 } },
    { level: "info", event: "at work", fields: { bytes: 10, of: undefined } },
  ]);
});
