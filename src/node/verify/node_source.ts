/** A running node as a source to compare: asks it over NATS. */
import type { SnapshotDescription } from "../../db/verify/database_snapshot.ts";
import type { KeyDigest, TableDigest } from "../../db/verify/table_digest.ts";
import { errorText } from "../../errors.ts";
import { assertQuestionFits, type NodeQuestions } from "../../stream/node_questions.ts";
import { type Cursors, decodeAnswer, encodeJson, type Question } from "./verify_protocol.ts";
import { SourceLostError, type VerifySource } from "./verify_source.ts";

/** How long a node may be silent, and how often it is asked then. */
const SILENCE_MS = 5_000;
const TRIES = 2;
/** The same while all nodes stand still, which they do for 3 s: who is slower is left out. */
const HOLD = { silenceMs: 1_000, tries: 2 };
/** A node that does not hear of the end ends by itself. */
const END_SILENCE_MS = 1_000;
/** Keys to leave out that go in one question. */
const KEYS_PER_QUESTION = 500;

export interface NodeSourceOptions {
  readonly nodeId: bigint;
  readonly session: string;
  readonly questions: Pick<NodeQuestions, "ask">;
  readonly stop: AbortSignal;
}

export class NodeSource implements VerifySource {
  readonly name: string;
  readonly #options: NodeSourceOptions;
  #description: SnapshotDescription | undefined;

  constructor(options: NodeSourceOptions) {
    this.#options = options;
    this.name = `node ${options.nodeId}`;
  }

  /** Stops the node's apply loop for a moment, and returns where it stands. Throws SourceLostError, as all that follows. */
  async hold(): Promise<Cursors> {
    const { session } = this.#options;
    return await this.#ask({ kind: "hold", session }, HOLD) as Cursors;
  }

  /** Lets the node apply up to the common sequences, and look at its tables there. */
  async takeSnapshot(target: Cursors): Promise<void> {
    const { session } = this.#options;
    const description = await this.#ask({ kind: "snapshot", session, target }) as SnapshotDescription;
    const cursors = new Map(description.cursors);
    const other = target.find(([stream, sequence]) => (cursors.get(stream) ?? 0) !== sequence);
    if (other) throw new SourceLostError(`its tables do not stand at sequence ${other[1]} of ${other[0]}`);
    this.#description = { ...description, cursors: target };
  }

  describe(): Promise<SnapshotDescription> {
    if (!this.#description) return Promise.reject(new SourceLostError("it has no snapshot"));
    return Promise.resolve(this.#description);
  }

  async exclude(table: string, identities: readonly string[]): Promise<void> {
    const { session } = this.#options;
    for (let at = 0; at < identities.length; at += KEYS_PER_QUESTION) {
      const part = identities.slice(at, at + KEYS_PER_QUESTION);
      await this.#ask({ kind: "exclude", session, table, identities: part });
    }
  }

  async digestTable(table: string, columns: readonly (string | null)[]): Promise<TableDigest> {
    const { session } = this.#options;
    return await this.#ask({ kind: "digest", session, table, columns }) as TableDigest;
  }

  async digestKeys(
    table: string,
    columns: readonly (string | null)[],
    buckets: readonly number[],
  ): Promise<KeyDigest[]> {
    const { session } = this.#options;
    return await this.#ask({ kind: "keys", session, table, columns, buckets }) as KeyDigest[];
  }

  async close(): Promise<void> {
    const { session, questions, nodeId } = this.#options;
    await questions.ask(nodeId, encodeJson({ kind: "end", session }), END_SILENCE_MS);
  }

  /** Asks until the answer is ready. A question may be heard twice: it is the same to the node. */
  async #ask(
    question: Question,
    { silenceMs, tries } = { silenceMs: SILENCE_MS, tries: TRIES },
  ): Promise<unknown> {
    const { questions, nodeId, stop } = this.#options;
    const bytes = assertQuestionFits(encodeJson(question));
    for (let silent = 0; silent < tries;) {
      stop.throwIfAborted();
      const bytesBack = await questions.ask(nodeId, bytes, silenceMs);
      if (bytesBack === "nobody") throw new SourceLostError("it is no longer there");
      if (bytesBack === "timeout") {
        silent++;
        continue;
      }
      silent = 0;
      const answer = readAnswer(bytesBack);
      if (answer.state === "done") return answer.value;
      if (answer.state === "failed") throw new SourceLostError(answer.reason);
    }
    throw new SourceLostError(`it has not answered for ${tries * silenceMs / 1000} s`);
  }
}

function readAnswer(bytes: Uint8Array) {
  try {
    return decodeAnswer(bytes);
  } catch (error) {
    throw new SourceLostError(errorText(error));
  }
}
