/** An application of the benchmark as a process of its own, and what it can be asked to do. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { ShapeName } from "./workload.ts";

interface OnTable {
  readonly path: string;
  readonly shape: ShapeName;
}

export interface Rows extends OnTable {
  readonly from?: number;
  readonly rows: number;
  readonly rowsEach?: number;
  readonly marker?: number;
}

export type Order =
  | { readonly do: "exec"; readonly path: string; readonly sql: string }
  | { readonly do: "close"; readonly path: string }
  | OnTable & {
    readonly do: "write";
    readonly kind: "insert" | "update" | "delete";
    /** The first id, or, with `among`, the first step of a walk over the ids 1 to `among` in no order. */
    readonly from: number;
    readonly rows: number;
    /** Rows of one transaction. */
    readonly rowsEach: number;
    readonly among?: number;
    /** Id of a row that is inserted last. */
    readonly marker?: number;
  }
  | OnTable & {
    /** One-row transactions for so many seconds. */
    readonly do: "commit";
    readonly from: number;
    readonly seconds: number;
    /** As fast as it can where left out. */
    readonly perSecond?: number;
    readonly marker: number;
  }
  | OnTable & { readonly do: "mix"; readonly from: number; readonly seconds: number }
  | OnTable & {
    readonly do: "latency";
    /** The other node's database. */
    readonly there: string;
    readonly from: number;
    readonly samples: number;
    readonly warmUp: number;
    /** Between two rows, on average. */
    readonly pauseMs: number;
  }
  | OnTable & { readonly do: "probe"; readonly marker: number };

/** What an order answers; which fields there are depends on the order. */
export interface Answer {
  readonly error?: string;
  readonly seconds?: number;
  readonly rows?: number;
  /** Milliseconds since 1970. */
  readonly endedAtMs?: number;
  readonly writesPerSecond?: number;
  readonly readsPerSecond?: number;
  readonly longestMs?: number;
  readonly p99Ms?: number;
  readonly samplesMs?: readonly number[];
}

export class ApplicationProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #stderr = "";

  constructor() {
    const program = fileURLToPath(new URL("application.ts", import.meta.url));
    const child = spawn(Deno.execPath(), ["run", "--quiet", "--no-check", "--allow-all", program], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#stderr += text);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Does one thing after the other. Throws where the application fails. */
  async do(order: Order): Promise<Answer> {
    this.#child.stdin?.write(JSON.stringify(order) + "\n");
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error(`The application ended: ${this.#stderr}`);
    const answer = JSON.parse(value) as Answer;
    if (answer.error !== undefined) throw new Error(`The application failed: ${answer.error}`);
    return answer;
  }

  /** Inserts rows in transactions of 1,000 unless told, from id 1 on unless told; the marker last where there is one. */
  insert({ path, shape, from = 1, rows, rowsEach = 1000, marker }: Rows): Promise<Answer> {
    const ending = marker === undefined ? {} : { marker };
    return this.do({ do: "write", path, shape, kind: "insert", from, rows, rowsEach, ...ending });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}
