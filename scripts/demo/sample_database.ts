/**
 * The demo's sample database: public data about air traffic and films, in related tables. It comes with npm's
 * vega-datasets (BSD-3-Clause; United States government data, and a list of films), read from Deno's own cache of
 * packages: nothing of it is kept in this repository.
 */
import { readFile } from "node:fs/promises";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
// Named only so that Deno fetches the package: its data files are not among its exports.
import "vega-datasets";

const SCHEMA = `
  CREATE TABLE airport (
    iata TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    city TEXT,
    state TEXT,
    latitude REAL,
    longitude REAL,
    departures INTEGER NOT NULL DEFAULT 0,   -- counted by the demo's writers
    last_writer TEXT                         -- who wrote the row last
  ) WITHOUT ROWID;
  CREATE TABLE flight (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL,
    delay_minutes INTEGER,
    distance_miles INTEGER,
    origin TEXT NOT NULL REFERENCES airport (iata),
    destination TEXT NOT NULL REFERENCES airport (iata)
  );
  CREATE INDEX flight_by_origin ON flight (origin);
  CREATE TABLE route (
    origin TEXT NOT NULL REFERENCES airport (iata),
    destination TEXT NOT NULL REFERENCES airport (iata),
    flights INTEGER NOT NULL,
    PRIMARY KEY (origin, destination)
  );
  CREATE TABLE bird_strike (
    id INTEGER PRIMARY KEY,
    date TEXT,
    place TEXT,
    aircraft TEXT,
    species TEXT,
    cost_dollars INTEGER
  );
  CREATE TABLE distributor (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
  );
  CREATE TABLE movie (
    id INTEGER PRIMARY KEY,
    title,                                   -- no declared type: "300" and 1776 are titles, too
    distributor_id INTEGER REFERENCES distributor (id),
    us_gross INTEGER,
    rating REAL,
    votes INTEGER,
    last_writer TEXT
  );
`;

/** Makes the database and returns how many rows it has. */
export async function makeSampleDatabase(path: string): Promise<number> {
  const sample = new Sample(path);
  try {
    for (const [iata, name, city, state, , latitude, longitude] of (await readCsv("airports.csv"))) {
      sample.insert("airport (iata, name, city, state, latitude, longitude)", [
        ...[iata, name, city, state].map(textOrNull),
        ...[Number(latitude), Number(longitude)],
      ]);
    }
    for (const row of await readJson("flights-20k.json")) {
      const { date, delay, distance, origin, destination } = row;
      sample.insert("flight (date, delay_minutes, distance_miles, origin, destination)", [
        ...[date, integer(delay), integer(distance), origin, destination],
      ]);
    }
    for (const [origin, destination, count] of await readCsv("flights-airport.csv")) {
      sample.insert("route", [textOrNull(origin), textOrNull(destination), integer(Number(count))]);
    }
    for (const fields of await readCsv("birdstrikes.csv")) {
      const [place, aircraft, , date, , , , , species, , , , cost] = fields;
      sample.insert("bird_strike (date, place, aircraft, species, cost_dollars)", [
        ...[date, place, aircraft, species].map(textOrNull),
        integer(Number(cost)),
      ]);
    }
    const distributors = new Map<unknown, number>();
    for (const row of await readJson("movies.json")) {
      const name = row["Distributor"] ?? null;
      if (name !== null && !distributors.has(name)) {
        distributors.set(name, distributors.size + 1);
        sample.insert("distributor (name)", [name]);
      }
      sample.insert("movie (title, distributor_id, us_gross, rating, votes)", [
        ...[row["Title"], integer(distributors.get(name)), integer(row["US Gross"])],
        ...[row["IMDB Rating"], integer(row["IMDB Votes"])],
      ]);
    }
    return sample.rows;
  } finally {
    sample.close();
  }
}

/** A database that is filled in one transaction. */
class Sample {
  rows = 0;
  readonly #database: DatabaseSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(`PRAGMA journal_mode = WAL; BEGIN; ${SCHEMA}`);
  }

  insert(target: string, values: readonly unknown[]): void {
    const marks = values.map(() => "?").join(", ");
    this.#statement(`INSERT INTO ${target} VALUES (${marks})`).run(...values as SQLInputValue[]);
    this.rows++;
  }

  close(): void {
    if (this.#database.isTransaction) this.#database.exec("COMMIT");
    this.#database.close();
  }

  readonly #statements = new Map<string, ReturnType<DatabaseSync["prepare"]>>();

  #statement(sql: string): ReturnType<DatabaseSync["prepare"]> {
    const statement = this.#statements.get(sql) ?? this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

async function readData(name: string): Promise<string> {
  return await readFile(new URL(`../data/${name}`, import.meta.resolve("vega-datasets")), "utf8");
}

async function readJson(name: string): Promise<Record<string, unknown>[]> {
  return JSON.parse(await readData(name));
}

/** The fields of all lines but the first, which names them. */
async function readCsv(name: string): Promise<string[][]> {
  const lines = (await readData(name)).split(/\r?\n/).slice(1).filter((line) => line !== "");
  return lines.map((line) => line.includes('"') ? splitQuoted(line) : line.split(","));
}

/** Fields in quotes may hold commas, and quotes doubled. Source: RFC 4180, section 2. */
function splitQuoted(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)]
    .map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "");
}

function textOrNull(text: string | undefined): string | null {
  return text === undefined || text === "" ? null : text;
}

function integer(value: unknown): bigint | null {
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : null;
}
