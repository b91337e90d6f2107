/**
 * Tells at once when the write-ahead log of a database was written. Only a hint: a file system may keep silent about what
 * others write. Linux only, and the write-ahead log only: Deno opens and closes the file of each event, and closing any
 * handle of a file drops all locks of the process on it, under SQLite's feet. SQLite locks the database file and its -shm,
 * never its -wal.
 * Source: https://www.sqlite.org/howtocorrupt.html, section 2.2; https://www.sqlite.org/walformat.html, section 2.3;
 * inotify(7).
 */
import type { CommitHints } from "./commit_looks.ts";

export class WalWatch implements CommitHints {
  readonly #path: string;
  #watcher: Deno.FsWatcher | undefined;
  #isWritten = false;
  #wake: () => void = () => {};

  constructor(dbPath: string) {
    this.#path = `${dbPath}-wal`;
  }

  open(): boolean {
    if (this.#watcher) return true;
    if (Deno.build.os !== "linux") return false;
    try {
      this.#watcher = Deno.watchFs(this.#path);
    } catch {
      // No such file yet, or no more watches to be had: SQLite is asked more often then.
      return false;
    }
    this.#listen(this.#watcher).catch(() => this.close());
    return true;
  }

  wait(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", finish);
        this.#wake = () => {};
        const isWritten = this.#isWritten;
        this.#isWritten = false;
        resolve(isWritten);
      };
      const timer = setTimeout(finish, milliseconds);
      this.#wake = finish;
      signal.addEventListener("abort", finish);
      if (this.#isWritten || signal.aborted) finish();
    });
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  async #listen(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind } of watcher) {
      this.#isWritten = true;
      this.#wake();
      // Another file may have its name by now.
      if (kind === "remove" && this.#watcher === watcher) this.close();
    }
  }
}
