/**
 * The plan of a history, drawn from a seed before anything happens: who is there, what the network is like, and the steps.
 * It is plain data. Steps can be left out and what is left is a history too: that is how a failure shrinks, and how a
 * history is kept that would be drawn otherwise today.
 */
import type { Network } from "./memory_server.ts";
import { Random } from "./random.ts";
import { drawTable, HAND_TABLES, LATER, type SimulatedTable } from "./tables.ts";
import { drawTransaction, type GainedColumn } from "./workload.ts";

/**
 * What is special about a history. Who writes what: "any" node any row; "sole": only the first node; "own": each node rows
 * of its own; "turns": one node at a time, which has read all that others wrote. The others are "any" but for:
 * "drawn" tables of random shapes; "retention": streams keep few messages; "files": an older copy of a database
 * comes back, or is started as another node; "rollout": columns and tables are added on one node after the other;
 * "migration": columns are renamed and dropped and UNIQUE indexes made likewise; "unsafe broker":
 * streams that are rolled back or made anew, also where each node writes rows of its own; "window": the application takes
 * the capture triggers away and writes, on one node where only one writes; "snapshots": nodes save snapshots, streams keep
 * few messages, nodes join without a database or lose theirs, also where each node writes rows of its own; "late nodes": the
 * same where nodes stay away for longer than the streams keep messages.
 */
export const MODES = [
  "any",
  "sole",
  "own",
  "turns",
  "drawn",
  "retention",
  "files",
  "rollout",
  "migration",
  "unsafe broker",
  "window",
  "snapshots",
  "late nodes",
] as const;
export type Mode = typeof MODES[number];

/** The modes of a history that asks for none, and how often each is taken. */
const USUAL_MODES: readonly Mode[] = [
  "rollout",
  "any",
  "any",
  "sole",
  "own",
  "turns",
  "turns",
  "drawn",
  "drawn",
  "retention",
  "files",
  "unsafe broker",
  "window",
  "snapshots",
  "late nodes",
];

/** Where in Marmot's next transaction something happens: at its n-th statement, at its COMMIT, or right behind that. */
export type TransactionPoint = number | "commit" | "committed";

type Action =
  | { readonly kind: "write" | "write without capture"; readonly statements: readonly string[] }
  | {
    readonly kind:
      | "crash"
      | "cut off"
      | "mute"
      | "stall"
      | "lock"
      | "hold"
      | "double"
      | "copy"
      | "restore"
      | "start copy"
      | "save"
      | "give up"
      | "join"
      | "spoil";
  }
  | { readonly kind: "start" | "reconnect" | "resume" | "wait" }
  | { readonly kind: "crash inside" | "busy"; readonly at: TransactionPoint }
  | { readonly kind: "crash looking" }
  | { readonly kind: "crash publishing"; readonly after: number }
  | { readonly kind: "alter"; readonly change: number }
  | { readonly kind: "make anew" | "roll back"; readonly by: number }
  | { readonly kind: "lose"; readonly isAnew: boolean };

/** One step: what happens, on which node (by number, from 1), and how long it is quiet after it. */
export type Step = Action & { readonly node: number; readonly pauseMs: number };

export interface SchemaChange {
  readonly sql: string;
  /** The column that the application writes from then on. */
  readonly gained: GainedColumn | undefined;
}

/** The number of the node that is started from a copy. */
export const COPY = 9;
/** The number of the node that joins without a database in the end, from whatever snapshot there is then. */
export const LAST = 8;
/** The number of the node that joins without a database. */
export const JOINER = 7;
/** The number that a node takes whose file was lost, where it does not keep its own. */
export const SUCCESSOR = 6;

export interface Plan {
  readonly seed: number;
  readonly mode: Mode;
  readonly ownership: Ownership;
  /** Numbers of the nodes. */
  readonly nodes: readonly number[];
  readonly shards: number;
  readonly tables: readonly SimulatedTable[];
  /** Schema changes that steps name by their place here; before the end every node has them all. */
  readonly changes: readonly SchemaChange[];
  readonly network: Network;
  /** How far each node is from the server, from 0 to 1, as a share of the network's latency. */
  readonly distances: readonly number[];
  readonly idleLookMs: number;
  readonly maxPayloadBytes: number;
  /** How many messages a stream keeps; null for all. */
  readonly maxMessages: number | null;
  /** How nodes save snapshots; none do without it. */
  readonly saves?: { readonly areAutomatic: boolean; readonly pendingMs: number };
  readonly steps: readonly Step[];
}

/** How a mode shares the rows out. */
export type Ownership = "any" | "sole" | "own" | "turns";

function drawOwnership(random: Random, mode: Mode): Ownership {
  if (mode === "window") return random.pick(["sole", "any", "any"]);
  if (savesSnapshots(mode)) return random.pick(["own", "any", "any"]);
  if (mode === "unsafe broker") return random.pick(["own", "own", "any"]);
  return mode === "sole" || mode === "own" || mode === "turns" ? mode : "any";
}

function savesSnapshots(mode: Mode): boolean {
  return mode === "snapshots" || mode === "late nodes";
}

const FAULTS: readonly Action["kind"][] = [
  "crash",
  "crash inside",
  "crash inside",
  "crash looking",
  "crash publishing",
  "start",
  "start",
  "busy",
  "cut off",
  "mute",
  "reconnect",
  "stall",
  "resume",
  "lock",
  "hold",
  "double",
  "wait",
];

/** The steps that only one mode has. */
const OWN_STEPS: Partial<Record<Mode, readonly Action["kind"][]>> = {
  files: ["copy", "copy", "restore", "restore", "start copy"],
  turns: ["hold", "hold"],
  rollout: ["alter", "alter", "alter"],
  migration: ["alter", "alter", "alter"],
  retention: ["stall", "crash", "start"],
  "unsafe broker": ["make anew", "roll back", "roll back"],
  window: ["write without capture", "write without capture"],
  snapshots: [
    ...Array.from({ length: 12 }, () => "write" as const),
    "save",
    "save",
    "save",
    "save",
    "join",
    "lose",
    "spoil",
    "give up",
    "start",
    "stall",
  ],
  "late nodes": [
    ...Array.from({ length: 14 }, () => "write" as const),
    "save",
    "save",
    "save",
    "stall",
    "stall",
    "cut off",
    "crash",
    "crash inside",
    "start",
    "resume",
    "reconnect",
  ],
};

const NARROW_STEPS: readonly Action["kind"][] = [
  "write",
  "write",
  "crash publishing",
  "start",
  "stall",
  "resume",
];

/** The plan that a seed means. */
export function drawPlan(seed: number, asked?: Mode): Plan {
  const random = new Random(seed);
  const usual = random.pick(USUAL_MODES);
  const mode = asked ?? usual;
  const ownership = drawOwnership(random, mode);
  const isNear = ownership !== "turns" && random.chance(0.5);
  // A node that crashes between two messages of one row, whose values come back: the old image is the new one.
  const isNarrow = random.chance(mode === "files" ? 0.6 : 0.25);
  const tables = drawTables(random, mode).slice(0, isNarrow ? 1 : undefined);
  const severity = random.pick(ownership === "turns" ? [0.3, 0.6] : [0, 0.1, 0.3]);
  const count = random.pick([2, 2, 2, 3, 3, 4, 5]);
  const nodes = Array.from({ length: count }, (_, i) => i + 1);
  const changes = mode === "rollout"
    ? drawChanges(random, tables)
    : mode === "migration"
    ? drawMigration(random, tables)
    : [];
  const workload = {
    tables,
    gained: changes.flatMap((change) => change.gained ?? []),
    keys: isNarrow ? 1 : random.pick([1, 2, 4, 4]),
    isNarrow,
    values: random.pick([[0, 40], [40], [40, 50]]),
  };
  const kinds: Action["kind"][] = ["write", "write", "write"];
  for (let i = 0; i < 6; i++) kinds.push(random.pick(FAULTS));
  kinds.push(...OWN_STEPS[mode] ?? [], ...isNarrow ? NARROW_STEPS : []);
  const pauses = ownership === "turns"
    ? [0, 1, 10, 30, 30, 50, 100, 400]
    : savesSnapshots(mode)
    ? [0, 0, 0, 0, 1, 3, 10, 30, 30, 100, 100, 400, 1500]
    : [0, 0, 0, 0, 1, 3, 10, 30, 100, 400];
  const length = (savesSnapshots(mode) ? 20 : 5) + random.below(65);
  const network = {
    ackLost: severity * random.next(),
    late: severity * random.next(),
    lost: severity * random.next(),
    latencyMs: ownership === "turns" ? 350 : random.pick([2, 20, 100]),
  };
  const places = mode === "files"
    ? [...nodes, COPY]
    : mode === "snapshots"
    ? [...nodes, ...nodes, ...nodes, JOINER, SUCCESSOR]
    : nodes;
  const steps = Array.from({ length }, (_, i) => {
    const own = new Random(seed * 1000 + i);
    const node = own.pick(places);
    const kind = own.pick(kinds);
    const owner = ownership === "own" ? node : 0;
    const draw = () => drawTransaction(own, { ...workload, owner });
    return { ...drawAction(own, kind, { draw, changes: changes.length }), node, pauseMs: own.pick(pauses) };
  });
  return {
    seed,
    mode,
    ownership,
    nodes,
    shards: 1 + random.below(3),
    tables,
    changes,
    network,
    distances: nodes.map(() => isNear ? 1 : random.pick([0.02, 0.1, 1])),
    idleLookMs: random.pick([10, 50, 200]),
    maxPayloadBytes: random.pick([1024 * 1024, 1024 * 1024, 1024 * 1024, 1100]),
    maxMessages: mode === "retention"
      ? random.pick([8, 20, 40])
      : mode === "snapshots"
      ? random.pick([null, 5, 8, 16])
      : mode === "late nodes"
      ? random.pick([4, 6, 10])
      : null,
    ...savesSnapshots(mode)
      ? { saves: { areAutomatic: random.chance(0.5), pendingMs: random.pick([200, 3000, 20_000]) } }
      : {},
    steps,
  };
}

function drawTables(random: Random, mode: Mode): SimulatedTable[] {
  if (mode === "drawn") {
    return Array.from({ length: 1 + random.below(2) }, (_, i) => drawTable(random, `drawn${i}`));
  }
  const tables = HAND_TABLES.filter(({ sql }) => random.chance(sql.includes("UNIQUE") ? 0.35 : 0.2));
  if (tables.length === 0) tables.push(random.pick(HAND_TABLES));
  return mode === "rollout" && random.chance(0.5) ? [...tables, LATER] : tables;
}

/** Changes that older events do not fit. */
function drawMigration(random: Random, tables: readonly SimulatedTable[]): SchemaChange[] {
  const { name, sql } = random.pick(tables);
  const isKeyed = !sql.includes("WITHOUT ROWID") && name !== "keyless";
  const renamed = { sql: `ALTER TABLE ${name} RENAME COLUMN v TO w`, gained: { table: name, column: "w" } };
  const dropped = { sql: `ALTER TABLE ${name} DROP COLUMN v`, gained: undefined };
  const unique = {
    sql: `BEGIN; DELETE FROM ${name} WHERE rowid NOT IN (SELECT min(rowid) FROM ${name} GROUP BY v); ` +
      `CREATE UNIQUE INDEX ${name}_v ON ${name} (v); COMMIT`,
    gained: undefined,
  };
  const isInIndex = name === "folded";
  return [random.pick([renamed, ...isKeyed && !isInIndex ? [unique, dropped] : []])];
}

/** A table that is there with rows when it is noticed: they are backfill, and each node has others. */
const LATER_SQL =
  `BEGIN; ${LATER.sql}; INSERT INTO later VALUES (0, :node), (10, 40), (50 + 10 * :node, 0); COMMIT`;

function drawChanges(random: Random, tables: readonly SimulatedTable[]): SchemaChange[] {
  const { name } = random.pick(tables.filter((table) => !table.isLater));
  const added = (column: string, definition: string) => ({
    sql: `ALTER TABLE ${name} ADD COLUMN ${column} ${definition}`,
    gained: { table: name, column },
  });
  const changes = random.pick([
    [added("more", "")],
    [added("more", "DEFAULT 7")],
    [added("more", "DEFAULT 7"), added("most", "NOT NULL DEFAULT 'x'")],
  ]);
  return tables.includes(LATER) ? [{ sql: LATER_SQL, gained: undefined }, ...changes] : changes;
}

function drawAction(
  random: Random,
  kind: Action["kind"],
  { draw, changes }: { draw: () => string[]; changes: number },
): Action {
  switch (kind) {
    case "write":
    case "write without capture":
      return { kind, statements: draw() };
    case "crash inside":
    case "busy":
      return {
        kind,
        at: random.pick<TransactionPoint>([1, 2, 3, 5, 8, 13, "commit", "commit", "committed"]),
      };
    case "crash publishing":
      return { kind, after: random.pick([1, 1, 2, 3]) };
    case "alter":
      return { kind, change: random.below(changes) };
    case "make anew":
    case "roll back":
      return { kind, by: 1 + random.below(6) };
    case "lose":
      return { kind, isAnew: random.chance(0.4) };
    default:
      return { kind } as Action;
  }
}
