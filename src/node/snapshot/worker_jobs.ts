/**
 * Does a job in a Worker of its own, so that the event loop goes on meanwhile. The Worker ends with the job. It uses the
 * SQLite of this very process, whose file locks therefore are not lost when it closes the database.
 */
import { DatabaseBusyError, type ErrorCode, MarmotError } from "../../errors.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import { diskError } from "./disk_errors.ts";
import type { JobName, JobRequest, JobResult } from "./snapshot_jobs.ts";

export interface JobMessage<N extends JobName> {
  readonly name: N;
  readonly request: JobRequest<N>;
}

/** How a job is done: away from whoever has other things to do meanwhile. */
export type DoJob = <N extends JobName>(
  name: N,
  request: JobRequest<N>,
  signal: AbortSignal,
) => Promise<JobResult<N>>;

export type JobOutcome =
  | { readonly kind: "done"; readonly result: unknown }
  | {
    readonly kind: "failed";
    readonly code: ErrorCode;
    readonly message: string;
    readonly hint: string | undefined;
    readonly isDamage: boolean;
  }
  | {
    readonly kind: "broken";
    readonly code: string | undefined;
    readonly message: string;
    readonly stack: string | undefined;
  };

/** Rejects with what the job threw, or with the signal's reason; then the job may be unfinished, and its files remain. */
export async function doInWorker<N extends JobName>(
  name: N,
  request: JobRequest<N>,
  signal: AbortSignal,
): Promise<JobResult<N>> {
  signal.throwIfAborted();
  const worker = new Worker(new URL("./snapshot_worker.ts", import.meta.url).href, { type: "module" });
  const { promise, resolve, reject } = Promise.withResolvers<JobOutcome>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  worker.addEventListener("message", (event) => resolve((event as MessageEvent<JobOutcome>).data));
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    reject(new MarmotError("internal", `A Worker has failed at "${name}": ${(event as ErrorEvent).message}`));
  });
  try {
    worker.postMessage({ name, request } satisfies JobMessage<N>);
    return readOutcome(await promise) as JobResult<N>;
  } finally {
    signal.removeEventListener("abort", abort);
    worker.terminate();
  }
}

function readOutcome(outcome: JobOutcome): unknown {
  if (outcome.kind === "done") return outcome.result;
  const { message, code } = outcome;
  if (outcome.kind === "failed") {
    if (outcome.isDamage) throw new DamagedSnapshotError(message);
    if (code === "database-busy") throw new DatabaseBusyError(undefined);
    throw new MarmotError(outcome.code, message, outcome.hint === undefined ? {} : { hint: outcome.hint });
  }
  throw diskError(code) ?? new Error(message, { cause: outcome.stack });
}
