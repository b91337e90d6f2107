import assert from "node:assert/strict";
import {
  findKnownTable,
  type KnownTable,
  noteColumns,
  type TableMemory,
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

Deno.test("a message's table is found by its present name before a former one, the living before the dropped", () => {
  const table = (
    id: number,
    name: string,
    more: { isDropped?: boolean; formerNames?: string[] } = {},
  ): KnownTable => ({
    id,
    name,
    isDropped: more.isDropped ?? false,
    memory: { ...memory("a"), formerNames: more.formerNames ?? [] },
  });
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
