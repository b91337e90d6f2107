/** The Worker's side of worker_jobs.ts: does one job, tells the outcome. */
import { MarmotError } from "../../errors.ts";
import { DamagedSnapshotError } from "../../snapshot/packed_file.ts";
import { type JobName, snapshotJobs } from "./snapshot_jobs.ts";
import type { JobMessage, JobOutcome } from "./worker_jobs.ts";

/** What is used of the Worker's global scope; the types of the main thread's are another's. */
const scope = globalThis as unknown as {
  onmessage: (event: { data: JobMessage<JobName> }) => void;
  postMessage(outcome: JobOutcome): void;
};

scope.onmessage = async ({ data: { name, request } }) => {
  try {
    const job = snapshotJobs[name] as (request: unknown) => Promise<unknown>;
    scope.postMessage({ kind: "done", result: await job(request) });
  } catch (error) {
    scope.postMessage(describeFailure(error));
  }
};

/** Errors lose their class on the way between threads. */
function describeFailure(error: unknown): JobOutcome {
  if (error instanceof MarmotError) {
    const { code, message, hint } = error;
    return { kind: "failed", code, message, hint, isDamage: error instanceof DamagedSnapshotError };
  }
  const cause = error as NodeJS.ErrnoException;
  return { kind: "broken", code: cause.code, message: cause.message, stack: cause.stack };
}
