/** Prints the path of a nats-server executable, fetching one where there is none. */
import process from "node:process";
import { MarmotError } from "../src/errors.ts";
import { ensureNatsServer } from "./nats_server.ts";

try {
  console.log(await ensureNatsServer((text) => console.error(text)));
} catch (error) {
  if (!(error instanceof MarmotError)) throw error;
  console.error(error.hint === undefined ? error.message : `${error.message}: ${error.hint}`);
  process.exitCode = 1;
}
