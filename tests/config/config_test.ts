import assert from "node:assert/strict";
import { type Config, makeConfig, parseCommandLine } from "../../src/config/config.ts";
import { OPTIONS } from "../../src/config/options.ts";
import { MarmotError } from "../../src/errors.ts";

function configOf(...args: string[]): Config {
  const invocation = parseCommandLine(args);
  assert.ok(invocation.action === "run");
  return invocation.config;
}

function refusalOf(...args: string[]): MarmotError {
  try {
    parseCommandLine(args);
  } catch (error) {
    assert.ok(error instanceof MarmotError);
    assert.equal(error.code, "usage");
    return error;
  }
  assert.fail(`accepted: ${args.join(" ")}`);
}

Deno.test("without flags the config holds the original's defaults", () => {
  assert.deepEqual({ ...configOf() }, {
    cleanup: false,
    dbPath: "/tmp/marmot.db",
    nodeId: undefined,
    natsUrls: ["nats://127.0.0.1:4222"],
    maxImageDeletes: 50,
    maxLogEntries: 1024,
    keepMinutes: 10,
    keepEntries: 10_000,
    logReplicas: 1,
    subjectPrefix: "marmot-change-log",
    streamPrefix: "marmot-changes",
    shards: 8,
    snapshotUrl: { kind: "nats" },
    verbose: false,
    saveSnapshot: false,
    enableSnapshot: true,
    seqMapPath: "/tmp/seq-map.cbor",
    compress: false,
    wireFormat: "batch",
  });
});

Deno.test("a config can't be changed", () => {
  assert.ok(Object.isFrozen(configOf()));
  assert.ok(Object.isFrozen(configOf("-nats-url", "nats://a,nats://b").natsUrls));
});

const SPELLINGS: readonly [string[], Partial<Config>][] = [
  [["-node-id", "1"], { nodeId: 1n }],
  [["--node-id", "1"], { nodeId: 1n }],
  [["-node-id=1"], { nodeId: 1n }],
  [["--node-id=1"], { nodeId: 1n }],
  [["-node-id", "0"], { nodeId: 0n }],
  [["-node-id=18446744073709551615"], { nodeId: 18446744073709551615n }],
  [["-node-id=9007199254740993"], { nodeId: 9007199254740993n }],
  [["-node-id=0xFF_ff"], { nodeId: 0xffffn }],
  [["-node-id", "1", "-node-id", "2"], { nodeId: 2n }],
  [["-cleanup"], { cleanup: true }],
  [["--cleanup"], { cleanup: true }],
  [["-cleanup", "-verbose"], { cleanup: true, verbose: true }],
  ...["1", "t", "T", "TRUE", "true", "True"].map((word): [string[], Partial<Config>] => [
    [`-compress=${word}`],
    { compress: true },
  ]),
  ...["0", "f", "F", "FALSE", "false", "False"].map((word): [string[], Partial<Config>] => [
    [`--enable-snapshot=${word}`],
    { enableSnapshot: false },
  ]),
  [["-db-path", "/a b/c=d.db"], { dbPath: "/a b/c=d.db" }],
  [["-db-path=/a=b.db"], { dbPath: "/a=b.db" }],
  [["-db-path", "-odd-name.db"], { dbPath: "-odd-name.db" }],
  [["-db-path", "--", "-shards", "1"], { dbPath: "--", shards: 1 }],
  [["-shards", "1", "--"], { shards: 1 }],
  [["-shards=1024"], { shards: 1024 }],
  [["-max-log-entries=1_000_000"], { maxLogEntries: 1_000_000 }],
  [["-wire-format", "v0.6"], { wireFormat: "v0.6" }],
  [["-subject-prefix", "my.app.changes"], { subjectPrefix: "my.app.changes" }],
  [["-stream-prefix", "mine"], { streamPrefix: "mine" }],
  [["-nats-url", "nats://a:1, tls://u:p@b"], { natsUrls: ["nats://a:1", "tls://u:p@b"] }],
  [["-seq-map-path", "m.cbor"], { seqMapPath: "m.cbor" }],
  [["-save-snapshot=false"], { saveSnapshot: false }],
  [["-help=false", "-version=0", "-verbose"], { verbose: true }],
];

Deno.test("every spelling that Go's flag package knows is read", () => {
  for (const [args, expected] of SPELLINGS) {
    assert.deepEqual({ ...configOf(...args) }, { ...configOf(), ...expected }, args.join(" "));
  }
});

const REFUSALS: readonly [string[], string][] = [
  [["-shards", "0"], 'Cannot use -shards "0": it must be a whole number from 1 to 1024'],
  [["-shards", "1025"], 'Cannot use -shards "1025": it must be a whole number from 1 to 1024'],
  [["-shards", "2.5"], 'Cannot use -shards "2.5": it must be a whole number from 1 to 1024'],
  [["-shards="], 'Cannot use -shards "": it must be a whole number from 1 to 1024'],
  [["-shards"], "Cannot use -shards: its value is missing"],
  [["-node-id", "-1"], 'Cannot use -node-id "-1": it must be a whole number from 0 to 18446744073709551615'],
  [
    ["-node-id=18446744073709551616"],
    'Cannot use -node-id "18446744073709551616": it must be a whole number from 0 to 18446744073709551615',
  ],
  [
    ["-max-log-entries", "0"],
    'Cannot use -max-log-entries "0": it must be a whole number from 1 to 9007199254740991',
  ],
  [["-cleanup=yes"], 'Cannot use -cleanup "yes": it must be true or false'],
  [["-wire-format", "v1"], 'Cannot use -wire-format "v1": it must be batch or v0.6'],
  [["-db-path", ""], 'Cannot use -db-path "": it must not be empty'],
  [["-db-path=:memory:"], 'Cannot use -db-path ":memory:": a database in memory is seen by one process only'],
  [["-seq-map-path="], 'Cannot use -seq-map-path "": it must not be empty'],
  [["-shard", "8"], "Cannot use -shard: there is no such flag, did you mean -shards?"],
  [["-dbpath", "x"], "Cannot use -dbpath: there is no such flag, did you mean -db-path?"],
  [["-hlep"], "Cannot use -hlep: there is no such flag, did you mean -help?"],
  [["-quux"], "Cannot use -quux: there is no such flag"],
  [["marmot.db"], 'Cannot use "marmot.db": it is neither a flag nor the value of one'],
  [["-"], 'Cannot use "-": it is neither a flag nor the value of one'],
  [["---shards", "8"], 'Cannot use "---shards": it is neither a flag nor the value of one'],
  [["-=8"], 'Cannot use "-=8": it is neither a flag nor the value of one'],
  [[""], 'Cannot use "": it is neither a flag nor the value of one'],
  [["-verbose", "--", "-shards"], 'Cannot use "-shards": it is neither a flag nor the value of one'],
  [
    ["-save-snapshot", "-enable-snapshot=false"],
    "Cannot save a snapshot: -enable-snapshot=false switches snapshots off",
  ],
];

Deno.test("what can't be used is refused with one sentence and a hint", () => {
  for (const [args, expected] of REFUSALS) {
    const refusal = refusalOf(...args);
    assert.equal(refusal.message, expected);
    assert.ok(refusal.hint !== undefined && refusal.hint !== "");
  }
});

Deno.test("a value that stands apart from its switch is explained", () => {
  assert.equal(refusalOf("-cleanup", "true").hint, 'A switch takes its value after "=": -cleanup=true');
  assert.equal(refusalOf("-cleanup", "now").hint, "marmot -help lists all commands and flags.");
});

Deno.test("a refused NATS URL is not repeated, for it may hold a password", () => {
  const { message, hint } = refusalOf("-nats-url", "nats://ok,http://user:secret@host");
  assert.equal(
    message,
    "Cannot use -nats-url: URL 2 of 2 begins with http://, but only nats:// and tls:// work",
  );
  assert.ok(!hint?.includes("secret"));
});

Deno.test("help and version win over everything that is sound before them", () => {
  for (const flag of ["-h", "-help", "--help", "-help=true", "--h"]) {
    assert.deepEqual(parseCommandLine(["-cleanup", flag, "-nonsense"]), { action: "help" });
  }
  assert.deepEqual(parseCommandLine(["-version", "-cleanup"]), { action: "version" });
  refusalOf("-version", "-nonsense");
});

Deno.test("log-replicas follows the original: below 1 half of the shards plus 1, at most 5", () => {
  const cases = [[1, 8, 1], [3, 8, 3], [6, 8, 5], [0, 1, 1], [0, 4, 3], [-1, 5, 3], [0, 8, 5], [0, 100, 5]];
  for (const [logReplicas = 0, shards = 0, expected] of cases) {
    assert.equal(makeConfig({ logReplicas, shards }).logReplicas, expected, `${logReplicas} of ${shards}`);
  }
});

Deno.test("every default passes its own validation", () => {
  for (const [name, option] of Object.entries(OPTIONS)) {
    if (name !== "nodeId") assert.deepEqual(option.parse(option.defaultText), option.defaultValue, name);
  }
});
