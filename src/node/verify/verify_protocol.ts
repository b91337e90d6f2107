/**
 * What nodes and `marmot verify` say to each other, as JSON. One session: hello (who is there), hold (stop applying, say
 * where you stand), snapshot (apply up to the common sequences, look at the tables there, go on applying), exclude,
 * digest and keys (section by section), end. A question is asked again with the same text until its answer is ready, so
 * none waits long, and a node that no longer answers is noticed.
 */
import { MarmotError } from "../../errors.ts";

/** Raised with every change of what is said or compared: nodes of different numbers are not compared. */
export const VERIFY_PROTOCOL = 1;

/** Streams and sequences. */
export type Cursors = readonly (readonly [stream: string, sequence: number])[];

export type Question =
  | { readonly kind: "hello" }
  | { readonly kind: "hold"; readonly session: string }
  | { readonly kind: "end"; readonly session: string }
  | { readonly kind: "snapshot"; readonly session: string; readonly target: Cursors }
  | {
    readonly kind: "exclude";
    readonly session: string;
    readonly table: string;
    readonly identities: readonly string[];
  }
  | {
    readonly kind: "digest";
    readonly session: string;
    readonly table: string;
    readonly columns: readonly (string | null)[];
  }
  | {
    readonly kind: "keys";
    readonly session: string;
    readonly table: string;
    readonly columns: readonly (string | null)[];
    readonly buckets: readonly number[];
  };

export interface Hello {
  /** The node's id, decimal. */
  readonly node: string;
  readonly version: string;
  readonly protocol: number;
  /** Tells two processes apart that use one id. */
  readonly process: string;
}

export type Answer =
  | { readonly state: "done"; readonly value: unknown }
  /** To be asked again. */
  | { readonly state: "working" }
  | { readonly state: "failed"; readonly reason: string };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function encodeJson(value: Question | Answer): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/** Throws MarmotError "wire". */
export function decodeAnswer(bytes: Uint8Array): Answer {
  const answer = parseJson(bytes);
  const { state } = answer;
  const isAnswer = state === "working" || state === "done" ||
    (state === "failed" && typeof answer["reason"] === "string");
  if (isAnswer) return answer as unknown as Answer;
  throw new MarmotError("wire", "The answer of a node is none");
}

/** Throws MarmotError "wire". */
export function decodeHello(bytes: Uint8Array): Hello {
  const answer = decodeAnswer(bytes);
  const hello = answer.state === "done" ? answer.value as Partial<Hello> | null : null;
  const isHello = typeof hello?.node === "string" && /^\d{1,20}$/.test(hello.node) &&
    typeof hello.version === "string" && typeof hello.protocol === "number" &&
    typeof hello.process === "string";
  if (isHello) return hello as Hello;
  throw new MarmotError("wire", "The answer of a node is none");
}

/** Throws MarmotError "wire": anyone may ask. */
export function decodeQuestion(bytes: Uint8Array): Question {
  const question = parseJson(bytes);
  const { kind, session, table, columns, buckets, identities, target } = question;
  if (kind === "hello") return { kind };
  const isColumns = isArrayOf(columns, (name) => name === null || typeof name === "string");
  const isSound = typeof session === "string" && session !== "" && (
    kind === "hold" || kind === "end" ||
    (kind === "snapshot" && isArrayOf(target, isCursor)) ||
    (typeof table === "string" && (
      (kind === "exclude" && isArrayOf(identities, (identity) => typeof identity === "string")) ||
      (kind === "digest" && isColumns) ||
      (kind === "keys" && isColumns && isArrayOf(buckets, Number.isInteger))
    ))
  );
  if (isSound) return question as unknown as Question;
  throw new MarmotError("wire", "The question is not known");
}

function parseJson(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch { /* Said below. */ }
  throw new MarmotError("wire", "The message is no JSON object");
}

function isArrayOf(value: unknown, test: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(test);
}

function isCursor(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" &&
    Number.isSafeInteger(value[1]);
}
