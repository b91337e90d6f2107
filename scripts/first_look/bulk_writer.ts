/** The thread that writes in bulk for throughput.ts. */
import { workerData } from "node:worker_threads";
import { Application } from "./bench_world.ts";

const { path, rows, rowsEach } = workerData as { path: string; rows: number; rowsEach: number };
const application = new Application(path);
application.insert(1, { rows, rowsEach });
application.close();
