"""An ordinary application of the demo in Python: it knows SQLite and nothing of Marmot. writer.ts does the same.

    python3 writer.py DATABASE WRITER SECONDS

Says on stdout, one JSON line each: {"transactions", "rows", "flights"} so far.
"""

import datetime
import json
import random
import sqlite3
import sys
import time

HOT_AIRPORTS = ["ATL", "ORD", "DFW", "LAX", "DEN"]
HOT_MOVIES = 20
PAUSE_SECONDS = 0.004
REPORT_SECONDS = 0.25

path, writer, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
database = sqlite3.connect(path, timeout=10, isolation_level=None)
database.execute("PRAGMA foreign_keys = ON")
database.execute("PRAGMA synchronous = NORMAL")
airports = [row[0] for row in database.execute("SELECT DISTINCT origin FROM flight WHERE id <= 2000")]
done = {"transactions": 0, "rows": 0, "flights": 0}
name = f"writer {writer}"
next_flight = int(writer) * 1_000_000_000


def run(sql, *values):
    """Runs a statement and returns how many rows it wrote."""
    return max(0, database.execute(sql, values).rowcount)


def transact(work):
    """Runs one transaction; every 50th is rolled back, as applications do."""
    database.execute("BEGIN IMMEDIATE")
    rows, flights = work()
    if random.random() < 0.02:
        database.execute("ROLLBACK")
        return
    database.execute("COMMIT")
    done["transactions"] += 1
    done["rows"] += rows
    done["flights"] += flights


def depart():
    global next_flight
    count = random.randint(1, 10)
    origin = random.choice(airports)
    rows = 0
    for _ in range(count):
        destination = random.choice(airports)
        date = datetime.datetime.now(datetime.timezone.utc).isoformat()
        minutes = random.randint(-15, 75)
        rows += run(
            "INSERT INTO flight (id, date, delay_minutes, distance_miles, origin, destination)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            *(next_flight, date, minutes, 500, origin, destination),
        )
        next_flight += 1
        rows += run(
            "INSERT INTO route VALUES (?, ?, 1)"
            " ON CONFLICT (origin, destination) DO UPDATE SET flights = flights + 1",
            *(origin, destination),
        )
    return rows + count_departures(count, origin), count


def count_departures(count, airport):
    sql = "UPDATE airport SET departures = departures + ?, last_writer = ? WHERE iata = ?"
    return run(sql, count, name, airport)


def rate(movie, rating):
    sql = "UPDATE movie SET rating = ?, votes = votes + 1, last_writer = ? WHERE id = ?"
    return run(sql, rating, name, movie)


def cancel():
    flight = random.randint(1, 20_000)
    return run("DELETE FROM flight WHERE id BETWEEN ? AND ?", flight, flight + 1), 0


def rename_distributor():
    new_name = f"Distributor {writer}-{done['transactions']}"
    return run("UPDATE distributor SET name = ? WHERE id = ?", new_name, random.randint(1, 10)), 0


jobs = [
    depart,
    depart,
    lambda: (count_departures(1, random.choice(HOT_AIRPORTS)), 0),
    lambda: (rate(random.randint(1, HOT_MOVIES), round(random.random() * 10, 1)), 0),
    lambda: (sum(rate(random.randint(1, 3200), random.random() * 10) for _ in range(10)), 0),
    lambda: (run("DELETE FROM bird_strike WHERE id = ?", random.randint(1, 10_000)), 0),
    cancel,
    rename_distributor,
]

end = time.monotonic() + seconds
report_at = 0.0
while time.monotonic() < end:
    transact(random.choice(jobs))
    if time.monotonic() >= report_at:
        print(json.dumps(done), flush=True)
        report_at = time.monotonic() + REPORT_SECONDS
    time.sleep(PAUSE_SECONDS)
database.close()
print(json.dumps(done), flush=True)
