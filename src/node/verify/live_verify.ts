/**
 * Compares running nodes at one point of their streams: asks who is there, stops their apply loops for a round trip to
 * learn the furthest that anyone has applied, and lets each look at its tables exactly there.
 */
import project from "../../../deno.json" with { type: "json" };
import { errorText, MarmotError } from "../../errors.ts";
import { connectSoon } from "../../stream/connection.ts";
import { NodeQuestions } from "../../stream/node_questions.ts";
import { compareSources, type LostCopy, type VerifyReport } from "./comparison.ts";
import { NodeSource } from "./node_source.ts";
import { type Cursors, decodeHello, encodeJson, type Hello, VERIFY_PROTOCOL } from "./verify_protocol.ts";
import { SourceLostError } from "./verify_source.ts";

/** How long nodes have to say that they are there, and how often they are asked: one that is busy answers late. */
const HELLO = { waitMs: 1_500, tries: 2 };

export interface LiveVerifyOptions {
  readonly natsUrls: readonly string[];
  readonly streamPrefix: string;
  /** How many rows of each table to name. */
  readonly limit: number;
  readonly stop: AbortSignal;
}

/** Throws MarmotError where no comparison comes about. */
export async function verifyNodes(options: LiveVerifyOptions): Promise<VerifyReport> {
  const connection = await connectSoon({
    urls: options.natsUrls,
    stop: options.stop,
    hint: "Check -nats-url, and that the server runs; -against compares with a file, without NATS.",
  });
  const questions = new NodeQuestions(connection, options.streamPrefix);
  const sources: NodeSource[] = [];
  try {
    const { nodes, lost } = chooseNodes(await findNodes(questions));
    if (nodes.length === 0 && lost.length === 0) {
      throw new MarmotError("broker", `Cannot verify: no node answers below "${options.streamPrefix}"`, {
        hint: "Check -nats-url and -stream-prefix; nodes of this release and later answer.",
      });
    }
    const session = crypto.randomUUID();
    for (const { node } of nodes) {
      sources.push(new NodeSource({ nodeId: BigInt(node), session, questions, stop: options.stop }));
    }
    const standing = await takeSnapshots(sources, lost);
    const report = await compareSources(standing, { limit: options.limit, lost });
    return { ...report, absentNodes: absentNodes(report) };
  } finally {
    await Promise.all(sources.map((source) => source.close()));
    await questions.close();
  }
}

function absentNodes({ copies, lost }: VerifyReport): string[] {
  const asked = new Set([...copies, ...lost].map(({ name }) => name));
  const written = new Set(copies.flatMap(({ origins }) => origins));
  return [...written].filter((node) => !asked.has(`node ${node}`)).sort();
}

async function findNodes(questions: NodeQuestions): Promise<Hello[]> {
  const answers = await questions.askAll(encodeJson({ kind: "hello" }), HELLO);
  const hellos: Hello[] = [];
  for (const answer of answers) {
    try {
      hellos.push(decodeHello(answer));
    } catch (error) {
      // Anyone may answer; who is no node takes no part.
      if (!(error instanceof MarmotError)) throw error;
    }
  }
  return hellos.sort((a, b) => BigInt(a.node) < BigInt(b.node) ? -1 : 1);
}

/** The nodes that can be compared, and the others with the reason why not. */
export function chooseNodes(hellos: readonly Hello[]): { nodes: Hello[]; lost: LostCopy[] } {
  const nodes: Hello[] = [];
  const lost: LostCopy[] = [];
  for (const [node, same] of Map.groupBy(hellos, (hello) => hello.node)) {
    const [hello] = same;
    const name = `node ${node}`;
    if (new Set(same.map((each) => each.process)).size > 1) {
      lost.push({ name, reason: "several processes answer under this node id" });
    } else if (hello!.protocol !== VERIFY_PROTOCOL) {
      const reason = `it runs Marmot ${hello!.version}, which this Marmot ${project.version} cannot compare`;
      lost.push({ name, reason });
    } else nodes.push(hello!);
  }
  return { nodes, lost };
}

/** Returns the nodes that stand at the common sequences; the others are added to `lost`. */
export async function takeSnapshots(sources: readonly NodeSource[], lost: LostCopy[]): Promise<NodeSource[]> {
  const held = await askEach(sources, (source) => source.hold(), lost);
  const target = furthest(held.map(([, cursors]) => cursors));
  const taken = await askEach(held.map(([source]) => source), (source) => source.takeSnapshot(target), lost);
  return taken.map(([source]) => source);
}

/** Of each stream the highest sequence that anyone has applied: everyone can reach it, and nobody is past it. */
export function furthest(all: readonly Cursors[]): Cursors {
  const highest = new Map<string, number>();
  for (const [stream, sequence] of all.flat()) {
    highest.set(stream, Math.max(sequence, highest.get(stream) ?? 0));
  }
  return [...highest].sort(([a], [b]) => a < b ? -1 : 1);
}

async function askEach<T>(
  sources: readonly NodeSource[],
  question: (source: NodeSource) => Promise<T>,
  lost: LostCopy[],
): Promise<[NodeSource, T][]> {
  const outcomes = await Promise.allSettled(sources.map(question));
  const answers: [NodeSource, T][] = [];
  for (const [i, outcome] of outcomes.entries()) {
    const source = sources[i]!;
    if (outcome.status === "fulfilled") answers.push([source, outcome.value]);
    else if (outcome.reason instanceof SourceLostError) {
      lost.push({ name: source.name, reason: errorText(outcome.reason) });
    } else throw outcome.reason;
  }
  return answers;
}
