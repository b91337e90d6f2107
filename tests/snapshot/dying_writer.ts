/**
 * A process that writes most of an object, says so, and waits to be killed:
 *
 *     deno run -A dying_writer.ts <snapshot URL> <bytes> [<NATS URL> <stream prefix>]
 */

import { silentLog } from "../../src/observability/log.ts";
import { openSnapshotStore } from "../../src/snapshot/open_snapshot_store.ts";
import { parseSnapshotUrl } from "../../src/snapshot/snapshot_url.ts";
import { connect } from "../../src/stream/connection.ts";

const [url = "", size = "", natsUrl = "", streamPrefix = ""] = Deno.args;

const store = await openSnapshotStore(parseSnapshotUrl(url), {
  environment: {},
  async nats() {
    const { signal } = new AbortController();
    const options = { urls: [natsUrl], nodeId: 8n, log: silentLog, signal, random: Math.random };
    return { connection: await connect(options), streamPrefix, replicas: 1 };
  },
});

await store.put("object", content());

async function* content(): AsyncGenerator<Uint8Array, void, void> {
  yield new Uint8Array(Number(size));
  // Asked for more: what came before has been taken.
  console.log("halfway");
  await new Promise((resolve) => setTimeout(resolve, 3_600_000));
}
