/** Answers the questions of `marmot verify` to this node: one session at a time. */
import project from "../../../deno.json" with { type: "json" };
import { errorText, MarmotError } from "../../errors.ts";
import {
  type Answer,
  decodeQuestion,
  encodeJson,
  type Hello,
  type Question,
  VERIFY_PROTOCOL,
} from "./verify_protocol.ts";
import { Wakeup } from "../../runtime/wakeup.ts";
import { VerifySession, type VerifySessionParts } from "./verify_session.ts";

/** How long an answer may take before the asker is told to ask again. */
const ANSWER_MS = 250;
/** Between two looks whether the session is over. */
const LOOK_MS = 500;

export interface VerifyServiceParts extends VerifySessionParts {
  readonly nodeId: bigint;
}

export class VerifyService {
  readonly #parts: VerifyServiceParts;
  readonly #process = crypto.randomUUID();
  readonly #begun = new Wakeup();
  #session: VerifySession | undefined;
  #isStopped = false;

  constructor(parts: VerifyServiceParts) {
    this.#parts = parts;
  }

  /** Ends sessions whose asker is gone, until the signal aborts; then no snapshot is open any more. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#begun.ring());
    while (!signal.aborted) {
      if (this.#session === undefined) await this.#begun.wait();
      await this.#parts.clock.sleep(LOOK_MS, signal);
      if (this.#session?.isOver) await this.#end();
    }
    this.#isStopped = true;
    await this.#end();
  }

  /** The answer to a question, both encoded. Never rejects. */
  readonly answer = async (bytes: Uint8Array): Promise<Uint8Array> => {
    let answer: Answer;
    try {
      answer = await this.#answer(decodeQuestion(bytes));
    } catch (error) {
      if (!(error instanceof MarmotError)) {
        this.#parts.log.error("a question of marmot verify failed", { reason: errorText(error) });
      }
      answer = { state: "failed", reason: errorText(error) };
    }
    return encodeJson(answer);
  };

  async #answer(question: Question): Promise<Answer> {
    if (question.kind === "hello") return { state: "done", value: this.#hello() };
    if (question.kind === "end") {
      if (this.#session?.id === question.session) await this.#end();
      return { state: "done", value: null };
    }
    const session = await this.#sessionOf(question);
    const done = session.answer(question).then((value): Answer => ({ state: "done", value }));
    const waiting = new AbortController();
    const late = this.#parts.clock.sleep(ANSWER_MS, waiting.signal).then((): Answer => ({
      state: "working",
    }));
    return await Promise.race([done, late]).finally(() => waiting.abort());
  }

  #hello(): Hello {
    return {
      node: this.#parts.nodeId.toString(),
      version: project.version,
      protocol: VERIFY_PROTOCOL,
      process: this.#process,
    };
  }

  async #sessionOf({ kind, session: id }: { kind: string; session: string }): Promise<VerifySession> {
    if (this.#session?.isOver) await this.#end();
    if (this.#session?.id === id) return this.#session;
    if (this.#isStopped) throw new MarmotError("broker", "it is being stopped");
    if (this.#session) throw new MarmotError("broker", "another marmot verify is asking it");
    if (kind !== "hold") throw new MarmotError("broker", "it has given up this comparison: it took too long");
    this.#parts.log.info("tables are compared by marmot verify", { session: id });
    this.#session = new VerifySession(id, this.#parts);
    this.#begun.ring();
    return this.#session;
  }

  async #end(): Promise<void> {
    const session = this.#session;
    if (!session) return;
    await session.close();
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#parts.log.info("tables were compared by marmot verify", { session: session.id });
  }
}
