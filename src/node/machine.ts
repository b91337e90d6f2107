/** What a claim says of this process: where it runs, and which life of it this is. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import process from "node:process";

/** Overrides what identifies the machine; a documented variable. */
export const MACHINE_VARIABLE = "MARMOT_MACHINE";

export interface Machine {
  /** For people. */
  readonly host: string;
  /**
   * Equal only where a process that is gone can be told by its pid: the same boot of the same machine, seen under the
   * same host name (containers share the boot, not the name). A clone of a machine boots by itself, so it differs.
   */
  readonly identity: string;
  readonly pid: number;
  /** Drawn at random: this life of the process. */
  readonly life: string;
  /** Whether a process of this machine lives; false for this one, which is not the one that was asked for. */
  isAlive(pid: number): boolean;
}

export function describeMachine(): Machine {
  const host = hostname();
  const given = process.env[MACHINE_VARIABLE] ?? "";
  return {
    host: given === "" ? host : `${host} (${given})`,
    identity: `${given}:${host}:${readBootId()}`,
    pid: process.pid,
    life: crypto.randomUUID(),
    isAlive: (pid) => pid !== process.pid && isAlive(pid),
  };
}

/** Drawn by Linux at each boot; '' elsewhere. Source: random(4). */
function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

/** Signal 0 only asks. A process of another user refuses it, and lives. */
function isAlive(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
