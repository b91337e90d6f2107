import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WalWatch } from "../../src/node/wal_watch.ts";

const never = new AbortController().signal;
const LONG_MS = 20_000;
/** Long enough for what was written before to be told. */
const SETTLE_MS = 100;

async function withDatabase(work: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "marmot-wal-"));
  try {
    await work(join(folder, "app.db"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

const options = { ignore: Deno.build.os !== "linux" };

Deno.test("a commit of another connection is told at once, and only once", options, async () => {
  await withDatabase(async (path) => {
    using database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const watch = new WalWatch(path);
    assert.ok(watch.open());
    assert.ok(watch.open());
    assert.equal(await watch.wait(SETTLE_MS, never), false);
    const waiting = watch.wait(LONG_MS, never);
    database.exec("INSERT INTO t VALUES (1)");
    assert.equal(await waiting, true);
    while (await watch.wait(SETTLE_MS, never)) { /* one commit may be several writes */ }
    assert.equal(await watch.wait(SETTLE_MS, never), false);
    watch.close();
  });
});

Deno.test("what was written between two waits is told by the next", options, async () => {
  await withDatabase(async (path) => {
    using database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const watch = new WalWatch(path);
    watch.open();
    database.exec("INSERT INTO t VALUES (1)");
    assert.equal(await watch.wait(LONG_MS, never), true);
    watch.close();
  });
});

Deno.test("without a write-ahead log there is nothing to watch, until there is one", options, async () => {
  await withDatabase(async (path) => {
    using database = new DatabaseSync(path);
    database.exec("CREATE TABLE t (a)");
    const watch = new WalWatch(path);
    assert.equal(watch.open(), false);
    database.exec("PRAGMA journal_mode = WAL; INSERT INTO t VALUES (1)");
    assert.equal(watch.open(), true);
    // The last connection that closes removes the file.
    database.close();
    while (watch.open()) assert.equal(await watch.wait(LONG_MS, never), true);
  });
});

Deno.test("a wait ends with its signal, and watches can be opened again", options, async () => {
  await withDatabase(async (path) => {
    using database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const watch = new WalWatch(path);
    watch.open();
    const stop = new AbortController();
    const waiting = watch.wait(LONG_MS, stop.signal);
    stop.abort();
    assert.equal(await waiting, false);
    assert.equal(await watch.wait(LONG_MS, stop.signal), false);
    watch.close();
    assert.ok(watch.open());
    const again = watch.wait(LONG_MS, never);
    database.exec("INSERT INTO t VALUES (2)");
    assert.equal(await again, true);
    watch.close();
  });
});

/** Its own handle would drop the locks of this process: another process must find the database in use. */
Deno.test("watching drops no lock that SQLite holds", options, async () => {
  await withDatabase(async (path) => {
    using database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const watch = new WalWatch(path);
    watch.open();
    const waiting = watch.wait(LONG_MS, never);
    database.exec("INSERT INTO t VALUES (1)");
    await waiting;
    database.exec("BEGIN IMMEDIATE");
    while (await watch.wait(SETTLE_MS, never)) { /* all that there was to tell */ }
    assert.equal(await canOthersWrite(path), false);
    database.exec("COMMIT");
    assert.equal(await canOthersWrite(path), true);
    watch.close();
  });
});

async function canOthersWrite(path: string): Promise<boolean> {
  const source = `
    import { DatabaseSync } from "node:sqlite";
    const database = new DatabaseSync(${JSON.stringify(path)}, { timeout: 0 });
    try { database.exec("BEGIN IMMEDIATE; ROLLBACK"); } catch { Deno.exit(7); }
    database.close();`;
  const { code } = await new Deno.Command(Deno.execPath(), { args: ["eval", source] }).output();
  assert.ok(code === 0 || code === 7);
  return code === 0;
}
