/** Names that break SQL made by hand, NATS subjects, or both. */
import { lifeCase, quoted, type SchemaCase } from "./schema_case.ts";

const NAMES: readonly (readonly [what: string, table: string, key: string, value: string])[] = [
  ["reserved words", "order", "group", "select"],
  ["spaces", "two words", " leading", "trailing "],
  ["quotes", `it's "quoted"`, `say "hi"`, "it's `back`"],
  ["brackets and what ends a statement", "[b](r); --", "c[1]", "/* c */"],
  ["letters beyond ASCII", "žluťoučký 表 🐘", "größe €", "Ω"],
  ["dots, stars and other NATS wildcards", "a.b.*.>", "x.y", "*"],
  ["the percent sign of an encoded dot", "a%2Eb", "%", "_"],
  ["a line break and a tab", "line\nbreak", "tab\there", "carriage\rreturn"],
  ["nothing in them", "", "", " "],
  ["a digit first", "1st", "2nd", "3"],
  ["300 letters", "n".repeat(300), "k".repeat(300), "v".repeat(300)],
  ["words of Marmot's own SQL", "excluded", "NEW", "OLD"],
];

export const nameCases: readonly SchemaCase[] = NAMES.flatMap(([what, table, key, value]) => [
  lifeCase(
    `names with ${what}`,
    `CREATE TABLE ${quoted(table)} (${quoted(key)} INTEGER PRIMARY KEY, ${quoted(value)} TEXT);`,
    { table, key, value, keys: ["1", "2", "3", "4"] },
  ),
  lifeCase(
    `names with ${what}, where they are in a UNIQUE index and a partial one`,
    `CREATE TABLE ${quoted(`${table} u`)} (${quoted(key)} TEXT NOT NULL PRIMARY KEY, ${
      quoted(value)
    } TEXT UNIQUE);` +
      `CREATE UNIQUE INDEX ${quoted(`${table} i`)} ON ${quoted(`${table} u`)} (lower(${
        quoted(value)
      })) WHERE ${quoted(key)} <> 'none';`,
    { table: `${table} u`, key, value, keys: ["'a'", "'b'", "'c'", "'d'"] },
  ),
]);
