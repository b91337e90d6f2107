/** The results of a benchmark, as a table for people and as JSON. */
import { cpus } from "node:os";
import process from "node:process";
import { versionText } from "../../src/cli/version.ts";
import { formatTable } from "../demo/live_view.ts";
import type { Measurement, Result, Target } from "./figure.ts";
import type { Spread } from "./spread.ts";

/** The machine and the versions that the figures were measured with. */
export function describeMachine(): Record<string, unknown> {
  return {
    cores: cpus().length,
    model: cpus()[0]?.model ?? "",
    system: `${process.platform}-${process.arch}`,
    version: versionText().split("\n"),
  };
}

/** Lines of a table: figure by figure, next to its limit and its target. */
export function formatResults(
  measured: readonly { readonly measurement: Measurement; readonly results: readonly Result[] }[],
): string[] {
  const lines = [["figure", "", "median", "lowest – highest", "limit", "ratio", "target", "met"]];
  for (const { measurement: { name, title, limit }, results } of measured) {
    lines.push([name, `${title}${limit === undefined ? "" : `; limit: ${limit}`}`]);
    for (const result of results) lines.push(["", ...formatResult(result)]);
  }
  // The titles may be longer than any column: they stand alone in their lines.
  const table = formatTable(
    lines.map((cells) => cells.length === 2 ? ["", "", "", "", "", "", "", ""] : cells),
  );
  return lines.map((cells, i) => cells.length === 2 ? `\n${cells[0]}: ${cells[1]}` : table[i] ?? "");
}

function formatResult({ name, unit, value, limit, ratio, target, isMet }: Result): string[] {
  const met = isMet === undefined ? "" : isMet ? "yes" : "no";
  return [
    unit === "" ? name : `${name}, ${unit}`,
    value === undefined ? "not told" : formatNumber(value.median),
    value === undefined ? "" : formatRange(value),
    limit === undefined ? "" : formatNumber(limit.median),
    ratio === undefined ? "" : formatNumber(ratio.median),
    target === undefined ? "" : formatTarget(target),
    met,
  ];
}

function formatTarget({ atLeast, atMost, ratioAtLeast, ratioAtMost }: Target): string {
  const parts = [
    atLeast === undefined ? undefined : `≥ ${formatNumber(atLeast)}`,
    atMost === undefined ? undefined : `≤ ${formatNumber(atMost)}`,
    ratioAtLeast === undefined ? undefined : `ratio ≥ ${ratioAtLeast}`,
    ratioAtMost === undefined ? undefined : `ratio ≤ ${ratioAtMost}`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

function formatRange({ min, max }: Spread): string {
  return `${formatNumber(min)} – ${formatNumber(max)}`;
}

/** Three digits, or all of them before the point. */
export function formatNumber(figure: number): string {
  if (!Number.isFinite(figure)) return String(figure);
  if (Math.abs(figure) >= 100) return Math.round(figure).toLocaleString("en-US");
  return String(Number(figure.toPrecision(3)));
}
