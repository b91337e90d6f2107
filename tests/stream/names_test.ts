import assert from "node:assert/strict";
import {
  assertNaming,
  isCovered,
  shardOfStream,
  shardSubject,
  streamName,
  tableSubject,
  tableSubjects,
} from "../../src/stream/names.ts";
import { streamConfig, streamConfigV06 } from "../../src/stream/stream_config.ts";
import { readVectors } from "../golden/vectors.ts";

interface NamesVector {
  names: {
    compress: boolean;
    shard: number;
    stream: string;
    streamPrefix: string;
    subject: string;
    subjectPrefix: string;
  }[];
  streamConfigs: {
    compress: boolean;
    config: Record<string, unknown>;
    logReplicas: number;
    maxLogEntries: number;
    shard: number;
    shards: number;
  }[];
}

const vectors = readVectors<NamesVector>("names_v06.json");
const naming = { streamPrefix: "marmot-changes", subjectPrefix: "marmot-change-log", compress: false };

Deno.test("streams and shard subjects have the original's names", () => {
  for (const { shard, stream, subject, ...own } of vectors.names) {
    assert.equal(streamName(own, shard), stream);
    assert.equal(shardSubject(own, shard), subject);
    assert.equal(shardOfStream(own, stream), shard);
  }
});

Deno.test("streams for the original's format are asked for exactly as the original asks", () => {
  assert.ok(vectors.streamConfigs.length > 0);
  for (const { compress, config, logReplicas, maxLogEntries, shard, shards } of vectors.streamConfigs) {
    const settings = { naming: { ...naming, compress }, shards, replicas: logReplicas, maxLogEntries };
    assert.deepEqual(streamConfigV06(settings, shard), config);
  }
});

Deno.test("streams for our format have the subjects of tables and the number of shards besides", () => {
  const settings = { naming, shards: 8, replicas: 1, maxLogEntries: 1024 };
  const { subjects, metadata, ...rest } = streamConfig({ ...settings, hasMetadata: true }, 3);
  const { subjects: originalSubjects, ...original } = streamConfigV06(settings, 3);
  assert.deepEqual(rest, original);
  assert.deepEqual(subjects, [...originalSubjects, "marmot-change-log-3.*"]);
  assert.deepEqual(metadata, { "marmot-shards": "8" });
  assert.equal("metadata" in streamConfig({ ...settings, hasMetadata: false }, 3), false);
});

Deno.test("a stream of another naming is no shard", () => {
  const compressed = { ...naming, compress: true };
  for (
    const name of ["marmot-changes-c-1", "marmot-changes-0", "marmot-changes-01", "marmot-changes-", "x-1"]
  ) {
    assert.equal(shardOfStream(naming, name), undefined, name);
  }
  assert.equal(shardOfStream(compressed, "marmot-changes-c-12"), 12);
  assert.equal(shardOfStream(compressed, "marmot-changes-12"), undefined);
});

Deno.test("the subjects of a shard's tables match each of them and nothing of another shard", () => {
  for (const table of ["users", "a.b", "*", ">", "", " ", "Ünïcode"]) {
    assert.ok(isCovered(tableSubject(naming, 1, table), tableSubjects(naming, 1)), table);
    assert.ok(!isCovered(tableSubject(naming, 11, table), tableSubjects(naming, 1)), table);
  }
  assert.ok(!isCovered(shardSubject(naming, 1), tableSubjects(naming, 1)));
});

Deno.test("a subject is covered by an equal or a wider pattern", () => {
  const covered = [["a", "a"], ["a.b", "a.*"], ["a.*", "a.*"], ["a.*", "a.>"], ["a.b", "*.b"], [
    "a.b.c",
    ">",
  ]];
  const open = [["a", "b"], ["a", "a.>"], ["a.*", "a.b"], ["a.>", "a.*"], ["a.b.c", "a.*"], ["a", "a.*"]];
  for (const [subject, pattern] of covered) assert.ok(isCovered(subject!, pattern!), `${subject} ${pattern}`);
  for (const [subject, pattern] of open) assert.ok(!isCovered(subject!, pattern!), `${subject} ${pattern}`);
});

Deno.test("prefixes that NATS cannot take are refused", () => {
  assertNaming(naming);
  assertNaming({ ...naming, subjectPrefix: "acme.changes" });
  for (const streamPrefix of ["", "a.b", "a b", "a*", "a/b", ">"]) {
    assert.throws(() => assertNaming({ ...naming, streamPrefix }), { name: "MarmotError", code: "usage" });
  }
  for (const subjectPrefix of ["", "a b", "a.", ".a", "a..b", "a.*", "$JS.API"]) {
    assert.throws(() => assertNaming({ ...naming, subjectPrefix }), { name: "MarmotError", code: "usage" });
  }
});
