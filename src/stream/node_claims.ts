/**
 * Who is which node: one claim per node id, kept at the broker for as long as its holder renews it. The broker
 * ends a claim that is not renewed for the length of the lease, so no clock of a node is ever asked. A KV bucket
 * keeps this contract in production (kv_node_claims.ts), a model of it in memory in tests.
 */

/** What a node says of itself. On the wire: fields may be added, never given another meaning. */
export interface NodeClaim {
  /** Tells one life of a process from every other: drawn at random when it starts. */
  readonly life: string;
  /** The host's name, for people. */
  readonly host: string;
  /** What tells this boot of this machine (or this container) from every other. */
  readonly machine: string;
  /** Absolute path of the database file. */
  readonly path: string;
  /** Identity of the file on its machine; '' where the file system does not tell. */
  readonly file: string;
  readonly pid: number;
  /** When this life took the claim, by its own clock, ISO 8601. */
  readonly since: string;
  /** Marmot's version. */
  readonly version: string;
  /** Last sequence applied, by stream name, as of the last renewal. */
  readonly cursors: Readonly<Record<string, number>>;
}

/** A claim as it stands at the broker. */
export interface HeldClaim {
  readonly nodeId: bigint;
  readonly claim: NodeClaim;
  /** Grows with each renewal. */
  readonly revision: number;
}

/** Every method throws when the broker does not answer, and MarmotError where only an operator can help. */
export interface NodeClaims {
  /** How long a claim holds after it was taken or renewed, in milliseconds. */
  leaseMs(): Promise<number>;
  /** The claim of a node id; undefined where nobody holds it. */
  find(nodeId: bigint): Promise<HeldClaim | undefined>;
  /** All claims that are held. */
  all(): Promise<HeldClaim[]>;
  /**
   * Takes a claim that nobody holds (revision undefined), or replaces the one of that revision. Resolves to the new
   * revision; undefined where another one stands there by now, or none.
   */
  put(nodeId: bigint, claim: NodeClaim, revision: number | undefined): Promise<number | undefined>;
  /** Gives the claim of that revision back; does nothing where another one stands there. */
  release(nodeId: bigint, revision: number): Promise<void>;
}

/** Claims are JSON: other tools of the operator can read them. */
export function encodeClaim(claim: NodeClaim): string {
  return JSON.stringify(claim);
}

/** Reads what anybody may have written: a field that is missing or of another type is empty. */
export function decodeClaim(text: string): NodeClaim {
  const fields = parseObject(text);
  const textOf = (name: string) => typeof fields[name] === "string" ? fields[name] : "";
  const cursors = fields["cursors"];
  return {
    life: textOf("life"),
    host: textOf("host"),
    machine: textOf("machine"),
    path: textOf("path"),
    file: textOf("file"),
    pid: Number.isSafeInteger(fields["pid"]) ? Number(fields["pid"]) : 0,
    since: textOf("since"),
    version: textOf("version"),
    cursors: isObject(cursors) ? sequencesOf(cursors) : {},
  };
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function sequencesOf(cursors: Record<string, unknown>): Record<string, number> {
  const entries = Object.entries(cursors).filter(([, value]) => Number.isSafeInteger(value));
  return Object.fromEntries(entries) as Record<string, number>;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
