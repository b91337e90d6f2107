/** What `marmot verify` found, as text for people and as JSON, and the exit code that says it to programs. */

import type { RowDifference, TableReport, VerifyReport } from "../node/verify/comparison.ts";
import { EXIT_DIFFERENT, EXIT_DONE, EXIT_FAILED } from "./failure.ts";
import { plainText } from "./value_text.ts";

/** Equal; different; neither is known, because not all could be compared. */
export type Verdict = "equal" | "different" | "incomplete";

export function verdictOf({ tables, lost, copies }: VerifyReport): Verdict {
  const isDifferent = tables.some((table) =>
    table.verdict === "differing" || table.schemaDifferences.length > 0
  );
  if (isDifferent) return "different";
  const isComplete = lost.length === 0 && copies.length > 1 &&
    tables.every((table) => table.verdict === "equal" && table.obstacles.length === 0);
  return isComplete ? "equal" : "incomplete";
}

export function exitCodeOf(verdict: Verdict): number {
  return { equal: EXIT_DONE, different: EXIT_DIFFERENT, incomplete: EXIT_FAILED }[verdict];
}

export function reportJson(report: VerifyReport): string {
  return `${JSON.stringify({ verdict: verdictOf(report), ...report }, null, 2)}\n`;
}

export function reportText(report: VerifyReport): string {
  const { lost, tables } = report;
  const lines = [
    `compared: ${comparedCopies(report).join(", ") || "nothing"}`,
    ...cursorLines(report),
    ...lost.map(({ name, reason }) => `not compared to the end: ${plainText(name)}: ${plainText(reason)}`),
    ...absentLine(report),
    ...tables.flatMap(tableLines),
    resultLine(report),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

function absentLine({ absentNodes }: VerifyReport): string[] {
  if (absentNodes.length === 0) return [];
  return [`not asked, though their changes were read: ${absentNodes.map((id) => `node ${id}`).join(", ")}`];
}

function comparedCopies({ copies, lost }: VerifyReport): string[] {
  return copies.filter(({ name }) => !lost.some((each) => each.name === name))
    .map(({ name, nodeId }) => nameCopy(name, nodeId));
}

function nameCopy(name: string, nodeId: string | null): string {
  return nodeId === null || name === `node ${nodeId}`
    ? plainText(name)
    : `${plainText(name)} (node ${nodeId})`;
}

/** Where the copies stand at different points of a stream, and that they do not where they do not. */
function cursorLines({ copies }: VerifyReport): string[] {
  if (copies.length < 2) return [];
  const streams = new Set(copies.flatMap(({ cursors }) => cursors.map(([stream]) => stream)));
  const lines = [...streams].sort().flatMap((stream) => {
    const at = copies.map(({ name, cursors }) => ({
      name,
      cursor: cursors.find(([each]) => each === stream)?.[1] ?? 0,
    }));
    if (at.every(({ cursor }) => cursor === at[0]?.cursor)) return [];
    return [
      `  ${plainText(stream)}: ${at.map(({ name, cursor }) => `${plainText(name)} ${cursor}`).join(", ")}`,
    ];
  });
  if (lines.length === 0) return ["cursors: all copies have read the same"];
  return ["cursors: the copies have not read the same, so rows may differ that will be equal:", ...lines];
}

function tableLines(table: TableReport): string[] {
  const { verdict, obstacles, schemaDifferences, differences } = table;
  const facts = [verdict === "not compared" ? "" : countText(table), leftOutText(table)];
  const head = [`table ${plainText(table.name)}: ${verdict}`, ...facts.filter((fact) => fact !== "")];
  return [
    head.join(", "),
    ...[...schemaDifferences, ...obstacles].map((sentence) => `  ${plainText(sentence)}`),
    ...differences.map((difference) => `  ${differenceText(difference)}`),
    ...moreLines(table),
  ];
}

function countText({ rows }: TableReport): string {
  const counts = new Set(rows.map((each) => each.rows));
  if (counts.size === 1) return `${rows[0]?.rows} rows`;
  return `rows: ${rows.map(({ copy, rows }) => `${plainText(copy)} ${rows}`).join(", ")}`;
}

function leftOutText({ pendingKeys, hiddenKeys }: TableReport): string {
  const parts = [];
  if (pendingKeys > 0) parts.push(`${pendingKeys} keys left out whose changes are on their way`);
  if (hiddenKeys > 0) parts.push(`${hiddenKeys} keys left out that are hidden by a UNIQUE clash`);
  return parts.join(", ");
}

function differenceText({ key, versions, missingOn }: RowDifference): string {
  const [first = [], ...others] = versions.map((names) => names.map(plainText).join(", "));
  const parts = [];
  if (others.length > 0) parts.push(`${others.join("; ")} differs from ${first}`);
  if (missingOn.length > 0) parts.push(`missing on ${missingOn.map(plainText).join(", ")}`);
  return `${plainText(key)}: ${parts.join("; ")}`;
}

function moreLines({ differences, differingKeys, unreadBuckets }: TableReport): string[] {
  const more = differingKeys - differences.length;
  if (unreadBuckets > 0) return [`  and at least ${more + unreadBuckets} more, not named`];
  return more > 0 ? [`  and ${more} more: -limit ${differingKeys} names all`] : [];
}

function resultLine(report: VerifyReport): string {
  const { copies, tables, lost } = report;
  const differing = tables.filter((table) =>
    table.verdict === "differing" || table.schemaDifferences.length > 0
  );
  switch (verdictOf(report)) {
    case "equal":
      return `equal: ${tables.length} tables`;
    case "different":
      return `different: ${differing.length} of ${tables.length} tables`;
    case "incomplete": {
      if (copies.length === 1 && lost.length === 0) {
        return "incomplete: there is no other copy to compare with";
      }
      const open = tables.filter((table) => table.verdict !== "equal" || table.obstacles.length > 0).length;
      return `incomplete: ${open} of ${tables.length} tables and ${lost.length} copies could not be compared`;
    }
  }
}
