/** Randomness of a test on real processes: its seed is printed, so that a failure can be tried again. */
import process from "node:process";
import { Random } from "../simulation/random.ts";

/** The seed of the SEED variable, or a new one; says which. */
export function announcedSeed(what: string): number {
  const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 32);
  console.log(`${what}: SEED=${seed}`);
  return seed;
}

export function announcedRandom(what: string): Random {
  return new Random(announcedSeed(what));
}
