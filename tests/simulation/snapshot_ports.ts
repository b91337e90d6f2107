/**
 * What the engine's snapshot code takes from outside, for one life of a process: the store, the streams, and how long work on
 * files is done. That happens in a moment in which no virtual time passes, and its outcome comes later.
 */
import {
  type JobName,
  type JobRequest,
  type JobResult,
  snapshotJobs,
} from "../../src/node/snapshot/snapshot_jobs.ts";
import type { DoJob } from "../../src/node/snapshot/worker_jobs.ts";
import type { StreamAtRest } from "../../src/stream/stream_states.ts";
import { SnapshotView, type SnapshotViewParts } from "./memory_snapshots.ts";
import type { Random } from "./random.ts";
import type { Life } from "./virtual_time.ts";

/** The longest that a job, or other work on files, takes. */
const WORK_MS = 150;

export interface SnapshotPorts {
  readonly store: SnapshotView;
  readonly streamNames: readonly string[];
  readonly streamStates: () => Promise<Map<string, StreamAtRest>>;
  readonly clock: Life;
  /** Does a job as a Worker would. */
  readonly doJob: DoJob;
  /** Does other work that waits for files; the jobs in it are done by `doAtOnce`. */
  readonly onFiles: <T>(work: () => Promise<T>) => Promise<T>;
}

export function snapshotPorts(parts: SnapshotViewParts & { readonly random: Random }): SnapshotPorts {
  const { streams, life, random } = parts;
  const onFiles: SnapshotPorts["onFiles"] = (work) => life.outside(work, random.below(WORK_MS));
  return {
    store: new SnapshotView(parts),
    streamNames: Array.from({ length: streams.shards }, (_, i) => `stream-${i + 1}`),
    async streamStates() {
      const states = new Map<string, StreamAtRest>();
      for (let shard = 1; shard <= streams.shards; shard++) {
        const state = await streams.describe(shard);
        states.set(state.name, { ...state, firstStoredAt: undefined });
      }
      return states;
    },
    clock: life,
    async doJob<N extends JobName>(
      name: N,
      request: JobRequest<N>,
      signal: AbortSignal,
    ): Promise<JobResult<N>> {
      signal.throwIfAborted();
      const result = await onFiles(() => doAtOnce(name, request, signal));
      signal.throwIfAborted();
      return result;
    },
    onFiles,
  };
}

export const doAtOnce: DoJob = <N extends JobName>(name: N, request: JobRequest<N>) => {
  const job = snapshotJobs[name] as (request: JobRequest<N>) => Promise<JobResult<N>>;
  return job(request);
};
