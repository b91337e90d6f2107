/**
 * Questions to running nodes, on core NATS beside the streams: one subject reaches all nodes of a cluster, one each
 * node. An answer may be larger than a message and comes in parts. Nothing is stored; whoever may use the NATS account
 * may ask. Subjects: `<stream-prefix>.verify` and `<stream-prefix>.verify.<node id>`.
 */
import { createInbox, headers as newHeaders, type Msg } from "@nats-io/nats-core";
import { setTimeout as delay } from "node:timers/promises";
import { MarmotError } from "../errors.ts";
import type { Connection } from "./connection.ts";

/** "<part>/<parts>", from 1. Part of the protocol between nodes. */
const PART_HEADER = "Marmot-Part";
/** Room for the subject and the header beside a part. */
const OVERHEAD_BYTES = 1024;
const DEFAULT_MAX_PAYLOAD = 1024 * 1024;
/** Longest question: exclusions go in several. */
const MAX_QUESTION_BYTES = 512 * 1024;
/** The longest answer that is put together. */
const MAX_ANSWER_PARTS = 10_000;

export type AnswerQuestion = (question: Uint8Array) => Promise<Uint8Array>;

/** Why a question stayed without an answer. */
export type NoAnswer = "nobody" | "timeout";

/**
 * Answers the questions to one node until the signal aborts. `answer` never rejects. Throws where the server does not let
 * it listen.
 */
export async function answerQuestions(
  connection: Connection,
  { streamPrefix, nodeId, answer, signal }: {
    streamPrefix: string;
    nodeId: bigint;
    answer: AnswerQuestion;
    signal: AbortSignal;
  },
): Promise<void> {
  const { nats } = connection;
  const subjects = [allNodesSubject(streamPrefix), nodeSubject(streamPrefix, nodeId)];
  const subscriptions = subjects.map((subject) => nats.subscribe(subject));
  const stop = () => subscriptions.forEach((subscription) => subscription.unsubscribe());
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    await Promise.all(subscriptions.map(async (subscription) => {
      for await (const message of subscription) {
        // Beside the loop: one asker's large table must not keep another from being told to wait.
        if (message.reply && message.data.length <= MAX_QUESTION_BYTES) {
          void reply(connection, message, answer);
        }
      }
    }));
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function reply({ nats, session }: Connection, message: Msg, answer: AnswerQuestion): Promise<void> {
  const bytes = await answer(message.data);
  if (session.aborted) return;
  const size = (nats.info?.max_payload ?? DEFAULT_MAX_PAYLOAD) - OVERHEAD_BYTES;
  const parts = Math.max(1, Math.ceil(bytes.length / size));
  for (let part = 0; part < parts && !nats.isClosed(); part++) {
    const headers = newHeaders();
    headers.set(PART_HEADER, `${part + 1}/${parts}`);
    message.respond(bytes.subarray(part * size, (part + 1) * size), { headers });
  }
}

/** Asks nodes, over a connection that is used for nothing else. */
export class NodeQuestions {
  readonly #connection: Connection;
  readonly #streamPrefix: string;

  constructor(connection: Connection, streamPrefix: string) {
    this.#connection = connection;
    this.#streamPrefix = streamPrefix;
  }

  /**
   * Asks all nodes so many times, each time for `waitMs`, and returns all answers that came: each must fit in one message. A
   * node that answers late, or was connecting when it was asked first, is heard; others are heard more than once.
   */
  async askAll(
    question: Uint8Array,
    { waitMs, tries }: { waitMs: number; tries: number },
  ): Promise<Uint8Array[]> {
    const { nats } = this.#connection;
    const answers: Uint8Array[] = [];
    const inbox = createInbox();
    const subscription = nats.subscribe(inbox, {
      callback: (error, message) => {
        if (!error && !isNobody(message)) answers.push(message.data.slice());
      },
    });
    try {
      for (let asked = 0; asked < tries; asked++) {
        nats.publish(allNodesSubject(this.#streamPrefix), question, { reply: inbox });
        await delay(waitMs);
      }
    } finally {
      subscription.unsubscribe();
    }
    return answers;
  }

  /** Asks one node. Resolves to its answer, or to why none came within `waitMs` after the last sign of it. */
  async ask(nodeId: bigint, question: Uint8Array, waitMs: number): Promise<Uint8Array | NoAnswer> {
    const { nats } = this.#connection;
    const inbox = createInbox();
    const outcome = Promise.withResolvers<Uint8Array | NoAnswer>();
    const parts: Uint8Array[] = [];
    let timer = setTimeout(() => outcome.resolve("timeout"), waitMs);
    const subscription = nats.subscribe(inbox, {
      callback: (error, message) => {
        if (error) return outcome.reject(error);
        if (isNobody(message)) return outcome.resolve("nobody");
        clearTimeout(timer);
        timer = setTimeout(() => outcome.resolve("timeout"), waitMs);
        const [part = 0, count = 0] = message.headers?.get(PART_HEADER).split("/").map(Number) ?? [];
        if (part !== parts.length + 1 || count > MAX_ANSWER_PARTS) return outcome.resolve("timeout");
        parts.push(message.data.slice());
        if (part === count) outcome.resolve(joinParts(parts));
      },
    });
    try {
      nats.publish(nodeSubject(this.#streamPrefix, nodeId), question, { reply: inbox });
      return await outcome.promise;
    } finally {
      clearTimeout(timer);
      subscription.unsubscribe();
    }
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

/** The question as bytes, if a node takes one of its size. Throws MarmotError "internal" if not. */
export function assertQuestionFits(question: Uint8Array): Uint8Array {
  if (question.length <= MAX_QUESTION_BYTES) return question;
  throw new MarmotError("internal", `A question of ${question.length} bytes is too long`);
}

function allNodesSubject(streamPrefix: string): string {
  return `${streamPrefix}.verify`;
}

function nodeSubject(streamPrefix: string, nodeId: bigint): string {
  return `${allNodesSubject(streamPrefix)}.${nodeId}`;
}

/** The server's own answer where nobody listens. Source: NATS ADR-4, status 503. */
function isNobody({ data, headers }: Msg): boolean {
  return data.length === 0 && headers?.code === 503;
}

function joinParts(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
