import assert from "node:assert/strict";
import {
  findByFormerNames,
  findKnownTable,
  type KnownTable,
  noteColumns,
  type TableMemory,
  tellableNames,
} from "../../src/db/schema/known_tables.ts";

function memory(...columns: string[]): TableMemory {
  return {
    columns,
    types: columns.map(() => "TEXT"),
    captureSignature: "",
    uniqueSignature: "",
    renamedColumns: {},
    droppedColumns: [],
    formerNames: [],
  };
}

function note(noted: TableMemory, ...columns: string[]): boolean {
  return noteColumns(noted, columns, columns.map(() => "TEXT"));
}

Deno.test("nothing changes: no column came", () => {
  const noted = memory("a", "b");
  assert.equal(note(noted, "a", "b"), false);
  assert.deepEqual(noted, memory("a", "b"));
});

Deno.test("an added column is told", () => {
  const noted = memory("a");
  assert.equal(note(noted, "a", "b"), true);
  assert.deepEqual(noted.columns, ["a", "b"]);
  assert.deepEqual(noted.droppedColumns, []);
});

Deno.test("a dropped column is remembered until it is back", () => {
  const noted = memory("a", "b", "c");
  assert.equal(note(noted, "a", "c"), false);
  assert.deepEqual(noted.droppedColumns, ["b"]);
  assert.equal(note(noted, "a", "c", "b"), true);
  assert.deepEqual(noted.droppedColumns, []);
});

Deno.test("a renamed column is no new column, and all its former names lead to the present one", () => {
  const noted = memory("a", "b");
  assert.equal(note(noted, "a", "b2"), false);
  assert.equal(note(noted, "a", "b3"), false);
  assert.deepEqual(noted.renamedColumns, { b: "b3", b2: "b3" });
  assert.deepEqual(noted.droppedColumns, []);
  note(noted, "a", "b");
  assert.deepEqual(noted.renamedColumns, { b2: "b", b3: "b" });
});

Deno.test("a column renamed and others added behind it, in one step", () => {
  const noted = memory("a", "b");
  assert.equal(note(noted, "x", "b", "c", "d"), true);
  assert.deepEqual([noted.renamedColumns, noted.droppedColumns], [{ a: "x" }, []]);
});

Deno.test("former names of a dropped column do not lead to a new one that is called as it was last", () => {
  const noted = memory("id", "a", "z");
  note(noted, "id", "b", "z");
  note(noted, "id", "z");
  note(noted, "id", "z", "b");
  assert.deepEqual([noted.renamedColumns, noted.droppedColumns], [{}, ["a"]]);
});

Deno.test("several columns renamed at once", () => {
  const noted = memory("a", "b");
  assert.equal(note(noted, "x", "y"), false);
  assert.deepEqual(noted.renamedColumns, { a: "x", b: "y" });
});

Deno.test("swapped names, another type or another count are no renaming", () => {
  const swapped = memory("a", "b");
  note(swapped, "b", "a");
  assert.deepEqual(swapped.renamedColumns, {});
  const typed = memory("a", "b");
  assert.equal(noteColumns(typed, ["a", "c"], ["TEXT", "INTEGER"]), true);
  assert.deepEqual([typed.renamedColumns, typed.droppedColumns], [{}, ["b"]]);
  const moved = memory("a", "b", "c");
  assert.equal(note(moved, "a", "c", "d", "e"), true);
  assert.deepEqual([moved.renamedColumns, moved.droppedColumns], [{}, ["b"]]);
});

function table(
  id: number,
  name: string,
  more: { isDropped?: boolean; formerNames?: string[] } = {},
): KnownTable {
  return {
    id,
    name,
    isDropped: more.isDropped ?? false,
    memory: { ...memory("a"), formerNames: more.formerNames ?? [] },
  };
}

Deno.test("a message's table is found by its present name before a former one, the living before the dropped", () => {
  const tables = [
    table(1, "Old", { isDropped: true }),
    table(2, "new", { formerNames: ["old", "older"] }),
    table(3, "taken", { formerNames: ["new"] }),
    table(4, "gone", { isDropped: true, formerNames: ["before"] }),
  ];
  assert.equal(findKnownTable(tables, "NEW")?.id, 2);
  assert.equal(findKnownTable(tables, "old")?.id, 2);
  assert.equal(findKnownTable(tables, "OLDER")?.id, 2);
  assert.equal(findKnownTable(tables, "gone")?.id, 4);
  assert.equal(findKnownTable(tables, "nobody"), undefined);
});

Deno.test("of two tables that were called so once the first is meant, unless the origin had the name after another", () => {
  const tables = [table(1, "x", { formerNames: ["t"] }), table(2, "y", { formerNames: ["t"] })];
  assert.equal(findKnownTable(tables, "t")?.id, 1);
  assert.equal(findKnownTable(tables, "t", { isTaken: true })?.id, 2);
  assert.equal(findKnownTable(tables.slice(0, 1), "t", { isTaken: true }), undefined);
});

Deno.test("a table is found by the newest of the former names under which only one was ever known", () => {
  const find = (formerNames: string[], ...tables: KnownTable[]) => findByFormerNames(tables, formerNames)?.id;
  const renamed = table(1, "x", { formerNames: ["t"] });
  assert.equal(find(["T"], table(1, "t")), 1);
  assert.equal(find(["t"], renamed), 1);
  assert.equal(find(["t", "u"], table(1, "t"), table(2, "u")), 2);
  assert.equal(find(["t", "u"], table(1, "t")), 1);
  assert.equal(find(["t"], renamed, table(2, "t")), undefined, "another has taken the name");
  assert.equal(find(["t"], table(1, "t", { isDropped: true })), undefined);
  assert.equal(find([], table(1, "t")), undefined);
});

Deno.test("nodes are told the former names that no older table had, and whether the present one was an older one's", () => {
  const tables = [
    table(1, "x", { formerNames: ["t", "u"] }),
    table(2, "t"),
    table(3, "z", { formerNames: ["U", "v", "z"] }),
    table(4, "fresh"),
  ];
  assert.deepEqual(tables.map((each) => tellableNames(tables, each)), [["t", "u"], [], ["v"], undefined]);
});
