/** A node without a database connects, and takes a snapshot where there is one. */
import type { Config } from "../../config/config.ts";
import { lookAtDatabase, type Occupancy } from "../../db/snapshot/place_database.ts";
import { DatabaseBusyError } from "../../errors.ts";
import type { Log } from "../../observability/log.ts";
import { systemClock } from "../../runtime/clock.ts";
import { connect } from "../../stream/connection.ts";
import { streamName } from "../../stream/names.ts";
import { readStreamStates } from "../../stream/stream_states.ts";
import { assertFolder } from "./disk_errors.ts";
import { openStore } from "./store_access.ts";
import { takeNewest } from "./take_snapshot.ts";

/** Puts a database in its place where there is none yet. Throws MarmotError where that is impossible; no file is left then. */
export async function startCold(config: Config, log: Log, stop: AbortSignal): Promise<void> {
  const occupancy = occupancyOf(config.dbPath);
  if (occupancy === "occupied") return;
  assertFolder(config.dbPath, `Cannot make the database "${config.dbPath}"`, "-db-path");
  log.info("there is no database yet: looking for a snapshot", { database: config.dbPath });
  const { natsUrls: urls, nodeId = 0n } = config;
  const connection = await connect({ urls, nodeId, log, signal: stop, random: Math.random });
  try {
    const store = await openStore(config, () => Promise.resolve(connection));
    try {
      const streamNames = Array.from({ length: config.shards }, (_, i) => streamName(config, i + 1));
      await takeNewest({
        dbPath: config.dbPath,
        streamNames,
        streamStates: () => readStreamStates(connection, streamNames),
        store,
        isAway: () => connection.session.aborted,
        clock: systemClock,
        log,
        stop,
      }, occupancy);
    } finally {
      await store.close();
    }
  } finally {
    await connection.close();
  }
}

/** What is locked for writing is somebody's. */
function occupancyOf(path: string): Occupancy {
  try {
    return lookAtDatabase(path);
  } catch (error) {
    if (error instanceof DatabaseBusyError) return "occupied";
    throw error;
  }
}
