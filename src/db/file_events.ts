/**
 * Tells when the database's files change. The -wal file comes and goes, so the folder is watched. A hint only: it
 * may come late, twice, or not at all (network file systems), so the caller also looks from time to time.
 */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";

export interface FileEvents {
  close(): void;
}

/** Calls `onChange` when the database file or its -wal file changes; `onError` once, when watching is over. */
export function watchDatabase(
  path: string,
  onChange: () => void,
  onError: (error: Error) => void,
): FileEvents {
  const name = basename(path);
  const watcher: FSWatcher = watch(dirname(path), { persistent: false }, (_event, file) => {
    if (file === null || file === name || file === `${name}-wal`) onChange();
  });
  watcher.on("error", (error) => onError(error instanceof Error ? error : new Error(String(error))));
  return watcher;
}
