import assert from "node:assert/strict";
import { parseIndexDefinition, wordsOf } from "../../src/db/schema/index_definition.ts";

const DEFINITIONS: readonly (readonly [sql: string, terms: readonly string[], where: string | null])[] = [
  ["CREATE UNIQUE INDEX i ON t (a)", ["a"], null],
  ["CREATE INDEX i ON t(a,b DESC , c ASC)", ["a", "b", "c"], null],
  ["CREATE UNIQUE INDEX i ON t (lower(a) COLLATE NOCASE DESC)", ["lower(a)"], null],
  [`CREATE INDEX i ON t (a COLLATE "my coll")`, ["a"], null],
  ["CREATE INDEX i ON t (a || ',' || b, substr(c, 1, (2)))", ["a || ',' || b", "substr(c, 1, (2))"], null],
  ["CREATE INDEX i ON t (a) WHERE b > 0", ["a"], "b > 0"],
  ["create index i on t(a)where(b in (1, 2))", ["a"], "(b in (1, 2))"],
  [`CREATE INDEX "odd (name" ON "t (x)" ("a)b")`, [`"a)b"`], null],
  ["CREATE INDEX [odd (] ON `t(` (`a(`, [b)])", ["`a(`", "[b)]"], null],
  ["CREATE INDEX i ON t (a /* , b ) */, -- c )\n d)", ["a", "d"], null],
  ["CREATE INDEX i ON t ('it''s (' || a)", ["'it''s (' || a"], null],
  ["CREATE INDEX i ON t (a COLLATE nocase || 'x')", ["a COLLATE nocase || 'x'"], null],
  ["CREATE INDEX i ON t (a) WHERE b = 'x' AND c IS NOT NULL -- end", ["a"], "b = 'x' AND c IS NOT NULL"],
  ['CREATE INDEX i ON žába (šířka + "délka")', [`šířka + "délka"`], null],
];

for (const [sql, terms, where] of DEFINITIONS) {
  Deno.test(`the terms of ${JSON.stringify(sql)}`, () => {
    assert.deepEqual(parseIndexDefinition(sql), { terms, where });
  });
}

Deno.test("the words of an expression hold every column that it can mean", () => {
  const words = wordsOf(
    'lower(Name) || [two words] || "say ""hi""" || `x` || a🐘b || \'text\' || 1.5 /* gone */',
  );
  for (const name of ["name", "two words", 'say "hi"', "x", "a🐘b"]) assert.ok(words.has(name), name);
});
