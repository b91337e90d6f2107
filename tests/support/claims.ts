/** The claims of a cluster, as a test looks at them from outside. */
import assert from "node:assert/strict";
import { silentLog } from "../../src/observability/log.ts";
import { connect } from "../../src/stream/connection.ts";
import { KvNodeClaims } from "../../src/stream/kv_node_claims.ts";

/** Long enough for a busy machine, short enough for a test. */
export const SHORT_LEASE_MS = 4_000;

/** Makes the bucket before the nodes do, which keep its lease. */
export async function shortenLease(url: string): Promise<void> {
  await withClaims(url, async (claims) => assert.equal(await claims.leaseMs(), SHORT_LEASE_MS));
}

export async function withClaims(url: string, work: (claims: KvNodeClaims) => Promise<void>): Promise<void> {
  const signal = new AbortController().signal;
  const connection = await connect({ urls: [url], nodeId: 0n, log: silentLog, signal, random: Math.random });
  try {
    const naming = { streamPrefix: "marmot-changes", replicas: 1 };
    await work(new KvNodeClaims({ connection, ...naming, log: silentLog, leaseMs: SHORT_LEASE_MS }));
  } finally {
    await connection.close();
  }
}
