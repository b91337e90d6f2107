/** The events of a message by the keys of the local table, and what they say of its rows. */
import type { ChangeEvent } from "../../wire/batch.ts";
import { isSameValue, type Value } from "../../wire/value.ts";
import type { ArmedTable } from "../rows/armed_tables.ts";
import type { BatchMapping } from "../rows/row_access.ts";
import type { KeyIdentity } from "../schema/key.ts";

export interface KeyedEvent {
  readonly event: ChangeEvent;
  readonly key: readonly Value[];
  readonly identity: KeyIdentity;
}

export function keyed(table: ArmedTable, mapping: BatchMapping, event: ChangeEvent): KeyedEvent {
  const key = event.kind === "upsert"
    ? mapping.keyInRow.map((index) => event.row[index] ?? null)
    : mapping.keyInKey.map((index) => event.key[index] ?? null);
  return { event, key, identity: table.rows.identityOf(key) };
}

/** The rows that an event brings. */
export function rowsOf(event: ChangeEvent): readonly (readonly Value[])[] {
  if (event.kind === "upsert") return [event.row];
  return event.kind === "list" ? event.rows : [];
}

/** Whether the table holds what the event says, in all columns that the event has. */
export function isImageOf(table: ArmedTable, { columns }: BatchMapping, { event, key }: KeyedEvent): boolean {
  const here = table.rows.read(key);
  const there = event.kind === "delete" ? [] : event.kind === "list" ? event.rows : [event.row];
  if (here.length !== there.length) return false;
  const left = [...here];
  return there.every((row) => {
    const wanted = columns.sources.map((source) => row[source] ?? null);
    const at = left.findIndex((candidate) => isSameRow(columns.targets, candidate, wanted));
    if (at !== -1) left.splice(at, 1);
    return at !== -1;
  });
}

export function hasSameRow(
  rows: readonly Value[][],
  { columns }: BatchMapping,
  row: readonly Value[],
): boolean {
  const wanted = columns.sources.map((source) => row[source] ?? null);
  return rows.some((candidate) => isSameRow(columns.targets, candidate, wanted));
}

/** Whether the columns `targets` of a row hold the values wanted. */
export function isSameRow(
  targets: readonly number[],
  row: readonly Value[],
  wanted: readonly Value[],
): boolean {
  return targets.every((target, i) => isSameValue(row[target], wanted[i]));
}
