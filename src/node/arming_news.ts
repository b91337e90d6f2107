/**
 * What the operator is told of the tables after each change of schema: every table by its name, those of which the same is to
 * be said together, and what has not changed since once only.
 */
import type { ArmingReport } from "../db/capture/arming.ts";
import { indexOverAutomaticKey } from "../db/capture/capture_triggers.ts";
import type { Log } from "../observability/log.ts";

/** Up to so many tables have a line each. */
const MAX_LINES = 3;

type Level = "info" | "warn";

interface News {
  readonly level: Level;
  readonly event: string;
  readonly reason?: string | undefined;
  /** Whether it is said again whenever tables are armed. */
  readonly isNew?: boolean;
}

export interface ArmingNewsParts {
  readonly log: Log;
  /** Whether table images can be published. */
  readonly hasImages: boolean;
}

export class ArmingNews {
  readonly #parts: ArmingNewsParts;
  readonly #said = new Set<string>();

  constructor(parts: ArmingNewsParts) {
    this.#parts = parts;
  }

  /** Says what is to be said of a report, and of tables that have lost events. */
  say(report: ArmingReport, inNeedOfResync: readonly { table: string; lost: number }[]): void {
    const { log } = this.#parts;
    log.info("tables armed", { tables: report.tables.length });
    const news = this.#collect(report, inNeedOfResync);
    for (const [{ level, event, reason }, tables] of news) {
      const names = [...tables];
      if (names.length <= MAX_LINES) { for (const table of names) log[level](event, { table, reason }); }
      else log[level](event, { tables: names.length, reason, names: names.join(", ") });
    }
    for (const [from, to] of report.renamed) log.info("table was renamed", { from, to });
  }

  #collect(
    report: ArmingReport,
    inNeedOfResync: readonly { table: string; lost: number }[],
  ): (readonly [News, ReadonlySet<string>])[] {
    const found = new Map<string, readonly [News, Set<string>]>();
    const add = (news: News, table: string) => {
      const key = [news.level, news.event, news.reason].join(" ");
      const said = `${key} ${table}`;
      if (!news.isNew && this.#said.has(said)) return;
      if (!news.isNew) this.#said.add(said);
      const entry = found.get(key) ?? [news, new Set<string>()];
      found.set(key, entry);
      entry[1].add(table);
    };
    for (const { name, reason } of report.excluded) {
      add({ level: "warn", event: "table is not replicated", reason }, name);
    }
    for (const { schema } of report.tables) {
      if (schema.keyKind === "rowid") add({ level: "warn", event: NO_KEY }, schema.name);
      const index = indexOverAutomaticKey(schema);
      if (index !== undefined) {
        add({ level: "warn", event: INDEX_ON_KEY, reason: `index ${index}` }, schema.name);
      }
    }
    for (const { table, lost } of inNeedOfResync) {
      add({ level: "warn", event: NEEDS_RESYNC, reason: `${lost} messages` }, table);
    }
    const fresh = (level: Level, event: string, tables: readonly string[]) => {
      for (const table of tables) add({ level, event, isNew: true }, table);
    };
    fresh("info", "new table: its rows are published", report.appeared);
    fresh("info", "table was dropped", report.dropped);
    fresh("warn", RENUMBERED, report.renumbered);
    fresh("warn", this.#parts.hasImages ? UNCAPTURED : UNCAPTURED_V06, report.uncaptured);
    return [...found.values()];
  }
}

const NO_KEY = "table has no primary key: its rows are told apart by their rowid, which VACUUM renumbers";
const INDEX_ON_KEY =
  "INSERT OR REPLACE without a key is not seen to remove rows by an index that computes with the key: give the key";
const NEEDS_RESYNC =
  "table needs a resync: events of it were lost to this node, marmot resync -help tells the ways out";
const RENUMBERED = "rows of a table without a primary key were renumbered (VACUUM): they are published again";
const UNCAPTURED =
  "table was changed without capture: its content is published again, and rows that it lacks are deleted everywhere";
const UNCAPTURED_V06 =
  "table was changed without capture: its rows are published again, deletions meanwhile are not known";
