/** The command behind -cleanup: takes Marmot out of a database. */
import type { Config } from "../config/config.ts";
import { removeMarmot } from "../db/state/remove_marmot.ts";
import { openDatabase } from "../db/open_database.ts";
import { DatabaseBusyError, MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import { systemClock } from "../runtime/clock.ts";

const PATIENCE_MS = 30_000;
const SLEEP_MS = 20;

/** Removes Marmot's triggers and tables. Throws MarmotError where the database stays locked or cannot be opened. */
export async function cleanUp(config: Config, log: Log): Promise<void> {
  const connection = openDatabase(config.dbPath);
  const never = new AbortController().signal;
  try {
    for (let waitedMs = 0;; waitedMs += SLEEP_MS) {
      try {
        const removed = removeMarmot(connection, (changes) => {
          log.warn(
            "changes that were not published are dropped: they stay in this database, no other node gets them",
            {
              changes,
            },
          );
        });
        log.info("Marmot is removed from the database", { database: config.dbPath, ...removed });
        return;
      } catch (error) {
        if (!(error instanceof DatabaseBusyError)) throw error;
        if (waitedMs >= PATIENCE_MS) {
          throw new MarmotError(
            "database-busy",
            `Cannot clean up "${config.dbPath}": another program holds its write lock`,
            {
              hint: "Stop the application or try again.",
            },
          );
        }
        await systemClock.sleep(SLEEP_MS, never);
      }
    }
  } finally {
    connection.close();
  }
}
