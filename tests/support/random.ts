/** Randomness of a test on real processes: its seed is printed, so that a failure can be tried again. */
import process from "node:process";
import { Random } from "../simulation/random.ts";

/** From the seed of the SEED variable, or from a new one; says which. */
export function announcedRandom(what: string): Random {
  const seed = Number(process.env["SEED"] ?? Date.now() % 2 ** 32);
  console.log(`${what}: SEED=${seed}`);
  return new Random(seed);
}
