import assert from "node:assert/strict";
import { editDistance, nearestName } from "../../src/config/spelling.ts";

Deno.test("edit distance counts letters added, dropped, changed and swapped", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["abc", "abd", 1],
    ["abc", "ab", 1],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [from, to, expected] of cases) {
    assert.equal(editDistance(from, to), expected, `${from} ${to}`);
    assert.equal(editDistance(to, from), expected, `${to} ${from}`);
  }
});

Deno.test("the nearest name is found through slips, other separators and shortening", () => {
  const names = ["db-path", "node-id", "verbose", "version", "shards", "save-snapshot", "enable-snapshot"];
  const cases: [string, string | null][] = [
    ["db_path", "db-path"],
    ["dbPath", "db-path"],
    ["nodeid", "node-id"],
    ["verbos", "verbose"],
    ["vresion", "version"],
    ["shads", "shards"],
    ["save", "save-snapshot"],
    ["enable-snapshots", "enable-snapshot"],
    ["ver", null],
    ["something-else", null],
    ["--", null],
  ];
  for (const [typed, expected] of cases) assert.equal(nearestName(typed, names), expected, typed);
});
