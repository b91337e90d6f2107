/**
 * The expressions of an index, which no pragma tells, from its CREATE INDEX statement. SQLite has parsed the
 * statement before, so it is well formed. Source: https://www.sqlite.org/lang_createindex.html.
 */
import { foldName, unquoteName } from "./identifiers.ts";

export interface IndexDefinition {
  /** The text of each term, without COLLATE, ASC and DESC at its end. */
  readonly terms: readonly string[];
  /** The text behind WHERE, null for an index over all rows. */
  readonly where: string | null;
}

const TOKEN =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$\u0080-\u{10FFFF}]+|[\s\S]/gu;

export function parseIndexDefinition(sql: string): IndexDefinition {
  const tokens = (sql.match(TOKEN) ?? []).map((token) => /^(--|\/\*)/.test(token) ? " " : token);
  const open = tokens.indexOf("(");
  const terms: string[] = [];
  let depth = 0;
  let start = open + 1;
  let at = open;
  for (; at < tokens.length; at++) {
    if (tokens[at] === "(") depth++;
    else if (tokens[at] === ")") depth--;
    const isEnd = depth === 0;
    if (isEnd || (depth === 1 && tokens[at] === ",")) {
      terms.push(trimTerm(tokens.slice(start, at)));
      start = at + 1;
    }
    if (isEnd) break;
  }
  const rest = tokens.slice(at + 1).join("").trim();
  return { terms, where: /^where\b/i.test(rest) ? rest.slice("where".length).trim() : null };
}

/** All names and words in an expression, folded and without quotes: every column that it means is among them. */
export function wordsOf(sql: string): Set<string> {
  return new Set((sql.match(TOKEN) ?? []).map((token) => foldName(unquoteName(token))));
}

function trimTerm(tokens: string[]): string {
  const words = [...tokens];
  const dropBlanks = () => {
    while (words.length > 0 && words.at(-1)?.trim() === "") words.pop();
  };
  dropBlanks();
  if (/^(asc|desc)$/i.test(words.at(-1) ?? "")) words.pop();
  dropBlanks();
  const before = words.slice(0, -1).findLastIndex((word) => word.trim() !== "");
  if (/^collate$/i.test(words[before] ?? "")) words.length = before;
  return words.join("").trim();
}
