/**
 * An ordinary application of the demo in JavaScript: it knows SQLite and nothing of Marmot. writer.py does the same.
 *
 *     deno run -A writer.ts DATABASE WRITER SECONDS
 *
 * Says on stdout, one JSON line each: { transactions, rows, flights } so far.
 */
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";

/** Rows that all writers write: conflicts are wanted. */
const HOT = { airports: ["ATL", "ORD", "DFW", "LAX", "DEN"], movies: 20 };
const PAUSE_MS = 4;
const REPORT_MS = 250;

const [path = "", writer = "", seconds = ""] = process.argv.slice(2);
const database = new DatabaseSync(path, { timeout: 10_000, enableForeignKeyConstraints: true });
database.exec("PRAGMA synchronous = NORMAL");
const airports = database.prepare("SELECT DISTINCT origin FROM flight WHERE id <= 2000").all()
  .map((row) => String(row["origin"]));
const done = { transactions: 0, rows: 0, flights: 0 };
/** Of the transaction that is open. */
let rows = 0;

const statements = {
  insertFlight: database.prepare(
    "INSERT INTO flight (id, date, delay_minutes, distance_miles, origin, destination) VALUES (?, ?, ?, ?, ?, ?)",
  ),
  countDeparture: database.prepare(
    "UPDATE airport SET departures = departures + ?, last_writer = ? WHERE iata = ?",
  ),
  countRoute: database.prepare(
    "INSERT INTO route VALUES (?, ?, 1) ON CONFLICT (origin, destination) DO UPDATE SET flights = flights + 1",
  ),
  rateMovie: database.prepare("UPDATE movie SET rating = ?, votes = votes + 1, last_writer = ? WHERE id = ?"),
  replaceDistributor: database.prepare("UPDATE distributor SET name = ? WHERE id = ?"),
  deleteStrike: database.prepare("DELETE FROM bird_strike WHERE id = ?"),
  cancelFlights: database.prepare("DELETE FROM flight WHERE id BETWEEN ? AND ?"),
};

function run(statement: keyof typeof statements, ...values: (string | number)[]): void {
  rows += Number(statements[statement].run(...values).changes);
}

/** Runs one transaction; every 50th is rolled back, as applications do. */
function transact(work: () => number | void): void {
  rows = 0;
  database.exec("BEGIN IMMEDIATE");
  const flights = work() ?? 0;
  if (Math.random() < 0.02) {
    database.exec("ROLLBACK");
    return;
  }
  database.exec("COMMIT");
  done.transactions++;
  done.rows += rows;
  done.flights += flights;
}

let nextFlight = Number(writer) * 1_000_000_000;

function depart(): number {
  const count = 1 + Math.floor(Math.random() * 10);
  const origin = pick(airports);
  for (let i = 0; i < count; i++) {
    const destination = pick(airports);
    const minutes = Math.floor(Math.random() * 90) - 15;
    run("insertFlight", nextFlight++, new Date().toISOString(), minutes, 500, origin, destination);
    run("countRoute", origin, destination);
  }
  run("countDeparture", count, `writer ${writer}`, origin);
  return count;
}

const jobs: readonly (() => number | void)[] = [
  depart,
  depart,
  () => run("countDeparture", 1, `writer ${writer}`, pick(HOT.airports)),
  () => run("rateMovie", Math.round(Math.random() * 100) / 10, `writer ${writer}`, below(HOT.movies)),
  () => {
    for (let i = 0; i < 10; i++) run("rateMovie", Math.random() * 10, `writer ${writer}`, below(3200));
  },
  () => run("deleteStrike", below(10_000)),
  () => {
    const id = below(20_000);
    run("cancelFlights", id, id + 1);
  },
  () => run("replaceDistributor", `Distributor ${writer}-${done.transactions}`, below(10)),
];

function below(count: number): number {
  return 1 + Math.floor(Math.random() * count);
}

function pick<T>(list: readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)] as T;
}

const end = Date.now() + Number(seconds) * 1000;
let reportAt = 0;
while (Date.now() < end) {
  transact(pick(jobs));
  if (Date.now() >= reportAt) {
    console.log(JSON.stringify(done));
    reportAt = Date.now() + REPORT_MS;
  }
  await delay(PAUSE_MS);
}
database.close();
console.log(JSON.stringify(done));
