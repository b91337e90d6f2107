/** The demo's table of what the nodes do: repainted on a terminal, a line for each node now and then elsewhere. */
import process from "node:process";
import type { DemoNode } from "./demo_node.ts";

const HEAD = ["node", "application", "written", "captured", "published", "applied", "conflicts", "lag"];
const PLAIN_INTERVAL_MS = 2000;

export class LiveView {
  #paintedLines = 0;
  #saidAt = -Infinity;

  /** Shows the figures of now; `note` says what is going on. */
  show(nodes: readonly DemoNode[], note: string): void {
    const isTerminal = process.stdout.isTTY;
    if (!isTerminal && performance.now() - this.#saidAt < PLAIN_INTERVAL_MS) return;
    this.#saidAt = performance.now();
    const lines = [...formatTable([HEAD, ...nodes.map(figuresOf)]), note];
    const back = isTerminal && this.#paintedLines > 0 ? `\u001b[${this.#paintedLines}F\u001b[J` : "";
    process.stdout.write(`${back}${lines.join("\n")}\n`);
    this.#paintedLines = lines.length;
  }
}

function figuresOf(node: DemoNode): string[] {
  const { marmot, writer, language } = node;
  const figures = [
    writer?.written.rows ?? 0,
    marmot.figure("captured"),
    marmot.figure("publishedEvents"),
    marmot.figure("applied"),
    marmot.figure("overwritten") + marmot.figure("displaced"),
    node.lag,
  ];
  return [String(node.id), language.name, ...figures.map(formatCount)];
}

export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** Lines with the columns aligned: the first two to the left, figures to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row.map((cell, column) =>
      column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
    )
      .join("  ").trimEnd()
  );
}
