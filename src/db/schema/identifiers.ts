/**
 * Names in SQL. Names come from the local schema only, and always go through quoteIdentifier.
 */

/** Compatibility constant: the prefix of everything that Marmot keeps in the application's database. */
export const MARMOT_PREFIX = "__marmot__";

/** `name` as an SQL identifier. Source: https://www.sqlite.org/lang_keywords.html. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Whether a token is a name in one of the quotes that SQLite takes: "x", `x` or [x]. */
export function isQuotedName(token: string): boolean {
  return /^(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])$/.test(token);
}

/** The name that a token stands for, in quotes or bare. */
export function unquoteName(token: string): string {
  if (!isQuotedName(token)) return token;
  const quote = token[0] ?? "";
  return quote === "[" ? token.slice(1, -1) : token.slice(1, -1).replaceAll(quote + quote, quote);
}

/** Two names are the same to SQLite where they differ in the case of ASCII letters alone. */
export function foldName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Tables that are never replicated: SQLite's own and Marmot's. */
export function isReservedName(name: string): boolean {
  const folded = foldName(name);
  return folded.startsWith("sqlite_") || folded.startsWith(MARMOT_PREFIX);
}
