/**
 * Laying a message's columns on the local table. A column that the table had once is left out, or goes under its new name;
 * one that the table never had does not fit: its table is parked until it has it.
 */
import { MalformedMessageError, SchemaMismatchError } from "../../errors.ts";
import type { RowEventV06 } from "../../wire/batch.ts";
import type { BatchBody } from "../../wire/batch_codec.ts";
import type { Value } from "../../wire/value.ts";
import type { ArmedTable } from "./armed_tables.ts";
import { foldName } from "../schema/identifiers.ts";
import type { BatchMapping } from "./row_access.ts";

/** Shapes of messages that are remembered per table; the original's rows can come in any order of columns. */
const MAX_SHAPES = 100;

/** The mapping of a message on a table, the same object for all messages of one shape. Throws SchemaMismatchError. */
export function mapColumns(table: ArmedTable, body: BatchBody): BatchMapping {
  const shape = JSON.stringify([body.columns, body.key]);
  let mapping = table.mappings.get(shape);
  if (!mapping) {
    if (table.mappings.size >= MAX_SHAPES) table.mappings.clear();
    mapping = makeMapping(table, body);
    table.mappings.set(shape, mapping);
  }
  return mapping;
}

/** Throws SchemaMismatchError where the message does not fit the table. */
function makeMapping(table: ArmedTable, body: BatchBody): BatchMapping {
  const targets: number[] = [];
  const sources: number[] = [];
  for (let i = 0; i < body.columns.length; i++) {
    const target = findColumn(table, body.columns[i] ?? null);
    if (target === undefined) continue;
    if (targets.includes(target)) {
      throw mismatch(table, `two of its columns are "${table.schema.columns[target]?.name}" here`);
    }
    targets.push(target);
    sources.push(i);
  }
  const keyInRow = table.schema.key.map((position) => {
    const at = targets.indexOf(position);
    return at === -1 ? -1 : sources[at] ?? -1;
  });
  const keyInKey = keyInRow.map((index) => body.key.indexOf(index));
  if (keyInKey.includes(-1) || body.key.length !== table.schema.key.length) {
    throw mismatch(table, "it has another primary key");
  }
  return { columns: { targets, sources }, keyInRow, keyInKey };
}

/** The position of a message's column; undefined for one that was dropped here. */
function findColumn(table: ArmedTable, name: string | null): number | undefined {
  const { columns } = table.schema;
  if (name === null) {
    if (table.schema.keyKind === "rowid") return 0;
    throw mismatch(table, "it is keyed by its rowid there");
  }
  const exact = columns.findIndex((column) => column.name === name);
  if (exact !== -1) return exact;
  const folded = foldName(name);
  const found = columns.findIndex((column) => column.name !== null && foldName(column.name) === folded);
  if (found !== -1) return found;
  // What is remembered has other names' prototypes: a message may say "constructor".
  const { renamedColumns, droppedColumns } = table.memory;
  const renamed = Object.hasOwn(renamedColumns, name) ? renamedColumns[name] ?? name : name;
  const now = columns.findIndex((column) => column.name === renamed);
  if (now !== -1) return now;
  if (droppedColumns.includes(renamed)) return undefined;
  throw mismatch(table, `column "${name}" is missing`);
}

function mismatch(table: ArmedTable, why: string): SchemaMismatchError {
  return new SchemaMismatchError(`Cannot apply a change to table "${table.schema.name}": ${why}`);
}

/**
 * The original's row as a batch of one event for the local table. Throws MalformedMessageError where the row lacks a key
 * column: it can never be applied.
 */
export function bodyOfRowEvent(table: ArmedTable, event: RowEventV06): BatchBody {
  const isRowid = (name: string) => table.schema.keyKind === "rowid" && foldName(name) === "rowid";
  // In a fixed order: the original writes the columns in a random one, and each order would be a statement of its own.
  const fields = [...event.row].sort(([a], [b]) => a < b ? -1 : 1);
  const columns = fields.map(([name]) => isRowid(name) ? null : name);
  const row: Value[] = fields.map(([, value]) => value);
  const key = table.schema.key.map((position) => {
    const name = table.schema.columns[position]?.name ?? null;
    const index = columns.findIndex((column) =>
      column === name || (column !== null && name !== null && foldName(column) === foldName(name))
    );
    if (index === -1) {
      throw new MalformedMessageError(
        `Cannot apply a row to table "${event.table}": it lacks the key column "${name ?? "rowid"}"`,
      );
    }
    return index;
  });
  const keyValues = key.map((index) => row[index] ?? null);
  return {
    table: event.table,
    columns,
    key,
    uniqueSignature: table.schema.uniqueSignature,
    events: [event.type === "delete" ? { kind: "delete", key: keyValues } : { kind: "upsert", row }],
  };
}
