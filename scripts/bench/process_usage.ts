/** What a process takes of the machine, as Linux tells it in /proc; undefined on other systems. */
import { readdirSync, readFileSync } from "node:fs";

/** Seconds of processor time of all its threads. Source: Linux, Documentation/scheduler/sched-stats.rst. */
export function cpuSeconds(pid: number): number | undefined {
  return told(() => {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    }
    return nanoseconds / 1e9;
  });
}

/** Memory that it holds now. Source: proc_pid_status(5), VmRSS. */
export function memoryMb(pid: number): number | undefined {
  return statusMb(pid, "VmRSS");
}

/** The most memory that it ever held. Source: proc_pid_status(5), VmHWM. */
export function peakMemoryMb(pid: number): number | undefined {
  return statusMb(pid, "VmHWM");
}

export function openHandles(pid: number): number | undefined {
  return told(() => readdirSync(`/proc/${pid}/fd`).length);
}

function statusMb(pid: number, field: string): number | undefined {
  return told(() => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024 / 1e6;
  });
}

function told(read: () => number | undefined): number | undefined {
  try {
    return read();
  } catch {
    // Gone, or a system without /proc.
    return undefined;
  }
}
