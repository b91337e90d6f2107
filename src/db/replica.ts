/**
 * The database of one node: the application's tables and Marmot's state in them. All that Marmot does to it
 * goes through here, in three kinds of transaction: arm (after a change of schema), scan (read what to publish), apply
 * (write what was read). Each refuses to run on a schema that it was not armed for.
 */
import { MarmotError } from "../errors.ts";
import type { Log } from "../observability/log.ts";
import type { NodeId } from "../wire/batch.ts";
import type { Value } from "../wire/value.ts";
import { Applier, type IncomingMessage } from "./apply/applier.ts";
import type { ApplyBounds, ApplyOutcome } from "./apply/apply_outcome.ts";
import { ArmedTables } from "./rows/armed_tables.ts";
import { type ArmingReport, armTables } from "./capture/arming.ts";
import { TriggerPolicy } from "./capture/authorizer.ts";
import { ConflictJournal } from "./apply/conflict_journal.ts";
import { ChangeLog, type LogEntry } from "./capture/change_log.ts";
import { RetainedEntries, type Retention } from "./capture/retained_entries.ts";
import { scanChanges, type ScanRequest, type ScanResult } from "./capture/change_scan.ts";
import type { Connection } from "./connection.ts";
import { HiddenRows } from "./apply/hidden_rows.ts";
import { type ImagePiece, scanImage } from "./capture/image_scan.ts";
import { ImageReader } from "./apply/image_reader.ts";
import type { ArmedTable } from "./rows/armed_tables.ts";
import { DueImages } from "./state/due_images.ts";
import { firstRunOf, parentsOf, readLastRun, readMeta, recordLogTop, writeMeta } from "./state/meta.ts";
import { adoptOriginalState, dropOriginalTriggers, hasOriginalState } from "./capture/original_state.ts";
import { closePause, readPause } from "./capture/pause.ts";
import { Recovery } from "./recovery.ts";
import { openDatabase, openError } from "./open_database.ts";
import { ParkedMessages } from "./apply/parked_messages.ts";
import { Quarantine } from "./apply/quarantine.ts";
import type { RetryResult } from "./apply/quarantine_retry.ts";
import { PendingChanges } from "./capture/pending_changes.ts";
import { createStateTables, hasStateTables, STATE_VERSION } from "./state/state_tables.ts";
import { ReplicaIdentity } from "./replica_identity.ts";
import { UniqueAgreement } from "./apply/unique_agreement.ts";
import { readSchemaVersion } from "./schema/schema.ts";
import { StreamPositions } from "./state/stream_positions.ts";

export const DEFAULT_RETENTION: Retention = { milliseconds: 10 * 60_000, entries: 10_000 };

export const DEFAULT_MAX_IMAGE_DELETES = 50;
/** Bounds of a piece of a table image. */
const PIECE = { rows: 500, bytes: 192 * 1024, entries: 1000 };

export interface ReplicaOptions {
  /** The node id; undefined takes the one that the database has, or a new one. */
  readonly nodeId: NodeId | undefined;
  /** True leaves the id and the run off the record until `keepNodeId`: another node may have it. */
  readonly isIdProvisional?: boolean;
  /** Makes a node id for a database that has none. */
  readonly makeNodeId: () => NodeId;
  /** The original's positions by stream name, for a database that the original was used with. */
  readonly readSeqMap: () => ReadonlyMap<string, number>;
  readonly nowMs: () => number;
  readonly log: Log;
  /** How much of what was published and read back is kept, to be published again; DEFAULT_RETENTION unless told. */
  readonly retention?: Retention;
  /** How long SQLite itself waits for a lock, which blocks the event loop; a few milliseconds unless told. */
  readonly busyTimeoutMs?: number;
  /** How many percent of a table's rows a table image may delete; DEFAULT_MAX_IMAGE_DELETES unless told. */
  readonly maxImageDeletes?: number;
  /** Whether table images can be published, which the original's format cannot carry; true unless told. */
  readonly hasImages?: boolean;
  /** How many captured changes are taken in at once; LOAD_LIMIT of pending_changes.ts unless told. */
  readonly loadLimit?: number;
}

export class Replica {
  readonly connection: Connection;
  readonly nodeId: NodeId;
  /** This life of the process: greater than every run of this id that was read or begun here. */
  readonly run: number;
  readonly positions: StreamPositions;
  readonly tables = new ArmedTables();
  readonly log: ChangeLog;
  readonly #retained: RetainedEntries;
  readonly #pending: PendingChanges;
  readonly #parked: ParkedMessages;
  readonly #hidden: HiddenRows;
  readonly #journal: ConflictJournal;
  readonly #images: DueImages;
  /** Whether table images can be published. */
  readonly hasImages: boolean;
  readonly #agreement: UniqueAgreement;
  readonly #quarantine: Quarantine;
  /** The last request of the operator that was taken in. */
  #request: Value | undefined;
  readonly #policy: TriggerPolicy;
  readonly #applier: Applier;
  readonly #readSeqMap: () => ReadonlyMap<string, number>;
  readonly #nowMs: () => number;
  readonly #identity: ReplicaIdentity;
  /** What it does where it cannot simply read on in a stream. */
  readonly recovery: Recovery;
  #schemaVersion = -1;
  #dataVersion = -1;

  private constructor(connection: Connection, policy: TriggerPolicy, options: ReplicaOptions) {
    this.connection = connection;
    this.#policy = policy;
    this.#readSeqMap = options.readSeqMap;
    this.#nowMs = options.nowMs;
    this.log = new ChangeLog(connection);
    this.positions = new StreamPositions(connection);
    this.#parked = new ParkedMessages(connection);
    this.#hidden = new HiddenRows(connection);
    this.#retained = new RetainedEntries(connection, options.retention ?? DEFAULT_RETENTION);
    this.#pending = new PendingChanges(this.log, this.tables, this.#retained, options.loadLimit);
    this.#journal = new ConflictJournal(connection);
    this.#images = new DueImages(connection);
    this.hasImages = options.hasImages ?? true;
    const imageReader = new ImageReader(connection, {
      images: this.#images,
      pending: this.#pending,
      hidden: this.#hidden,
      log: options.log,
      maxDeletesPercent: options.maxImageDeletes ?? DEFAULT_MAX_IMAGE_DELETES,
    });
    this.#agreement = new UniqueAgreement(connection, { log: this.log, journal: this.#journal });
    this.#quarantine = new Quarantine(connection);
    this.positions.load();
    this.#identity = new ReplicaIdentity(connection);
    const nodeId = options.nodeId ?? this.#identity.keptNodeId(options.log) ?? options.makeNodeId();
    this.nodeId = nodeId;
    const lastRun = readLastRun(connection);
    this.run = Math.max(options.nowMs(), lastRun + 1, this.positions.highestRun(nodeId) + 1);
    this.#applier = new Applier(connection, {
      tables: this.tables,
      pending: this.#pending,
      hidden: this.#hidden,
      journal: this.#journal,
      agreement: this.#agreement,
      parked: this.#parked,
      positions: this.positions,
      images: this.#images,
      imageReader,
      quarantine: this.#quarantine,
      changeLog: this.log,
      applicant: {
        nodeId,
        run: this.run,
        firstRun: firstRunOf(connection, nodeId, this.run),
        parents: parentsOf(connection, nodeId),
        nowMs: options.nowMs,
      },
      log: options.log,
    });
    this.recovery = new Recovery({
      connection,
      nodeId,
      run: this.run,
      tables: this.tables,
      log: this.log,
      pending: this.#pending,
      retained: this.#retained,
      hidden: this.#hidden,
      parked: this.#parked,
      parts: this.#applier.messageParts,
      journal: this.#journal,
      agreement: this.#agreement,
      images: this.#images,
      positions: this.positions,
      tableApplier: this.#applier.tableApplier,
      nowMs: options.nowMs,
      write: (work) => this.#writeOnKnownSchema(work),
      writeAnyway: (work) => this.#write(work),
      hasNewSchema: () => this.hasNewSchema(),
      reload: () => this.#reload(),
    });
    this.#parked.load();
    this.#hidden.load();
    this.#journal.load();
    this.#quarantine.load();
    this.#images.load();
    this.#agreement.load();
    if (!options.isIdProvisional) this.#identity.putOnRecord(nodeId, this.run);
  }

  /** Opens the database and makes Marmot's tables in it. Throws DatabaseBusyError, and MarmotError as openDatabase does. */
  static open(path: string, options: ReplicaOptions): Replica {
    const connection = openDatabase(path, options.busyTimeoutMs);
    try {
      const policy = new TriggerPolicy();
      connection.setAuthorizer(policy.authorizer);
      const mode = String(connection.statement("PRAGMA journal_mode").get()?.[0]);
      if (mode !== "wal") {
        connection.exec("PRAGMA journal_mode = WAL");
        options.log.info("database put into WAL mode", { path, before: mode });
      }
      connection.exec("PRAGMA synchronous = NORMAL");
      return connection.write(() => {
        createStateTables(connection);
        writeMeta(connection, "state_version", STATE_VERSION);
        return new Replica(connection, policy, options);
      });
    } catch (error) {
      connection.close();
      throw openError(path, error);
    }
  }

  /** Puts a provisional id on record: to be called once it is certain that no other node has it. Throws DatabaseBusyError. */
  keepNodeId(): void {
    this.connection.write(() => this.#identity.putOnRecord(this.nodeId, this.run));
  }

  /** Throws where the database's file is another one by now: this process would go on with one that nobody else sees. */
  assertSameFile(): void {
    this.#identity.assertSameFile();
  }

  /** Which file it is on this machine, whatever it is called; '' where the file system does not tell. */
  get fileIdentity(): string {
    return this.#identity.file ?? "";
  }

  /** Whether another connection has committed since this was asked last. */
  hasNewCommits(): boolean {
    const version = this.connection.integer("PRAGMA data_version");
    const isNew = version !== this.#dataVersion;
    this.#dataVersion = version;
    return isNew;
  }

  /** The version of the schema that the tables were armed for. */
  get armedVersion(): number {
    return this.#schemaVersion;
  }

  /** Whether the schema is another than the tables were armed for. */
  hasNewSchema(): boolean {
    return !this.#isSchemaKnown();
  }

  /** When the operator paused capture, in milliseconds since 1970; undefined where it is not paused. */
  pausedSinceMs(): number | undefined {
    return readPause(this.connection);
  }

  /** Arms all tables as the schema is now; undefined while capture is paused. Throws DatabaseBusyError. */
  arm(): ArmingReport | undefined {
    const report = this.#write(() => {
      if (readPause(this.connection) !== undefined) return undefined;
      const isTakenOver = hasOriginalState(this.connection);
      if (isTakenOver) dropOriginalTriggers(this.connection);
      const armed = armTables(this.connection, {
        log: this.log,
        images: this.#images,
        hasImages: this.hasImages,
        policy: this.#policy,
        nowMs: this.#nowMs(),
        pauseTop: closePause(this.connection),
      });
      for (const table of armed.tables) {
        if (armed.uniqueChanged.includes(table.id)) this.#agreement.publishDisplaced(table);
      }
      if (isTakenOver) {
        const { tables } = armed;
        adoptOriginalState(this.connection, {
          tables,
          positions: this.positions,
          seqMap: this.#readSeqMap(),
        });
      }
      return { armed, schemaVersion: readSchemaVersion(this.connection) };
    });
    if (!report) return undefined;
    this.tables.set(report.armed.tables);
    this.#retained.forgetStatements();
    this.#schemaVersion = report.schemaVersion;
    this.#pending.reset();
    return report.armed;
  }

  /** What there is to publish; undefined when the schema has changed since the tables were armed. */
  scan(request: ScanRequest): ScanResult | undefined {
    return this.connection.read(() =>
      this.#isSchemaKnown()
        ? scanChanges(
          this.log,
          { tables: this.tables, isParked: this.#isParked, onRead: this.#onRead },
          request,
        )
        : undefined
    );
  }

  /** Tables of which an image has to be published, but for those of which events wait that were not applied here. */
  tablesOfDueImages(): ArmedTable[] {
    return this.#images.all().flatMap((due) => this.tables.byId(due.tableId) ?? [])
      .filter((table) => !this.#isParked(table));
  }

  /**
   * The next piece of a table's image, "backlog" where changes behind `position` must be published first, or events of the
   * table wait; undefined when the schema has changed since the tables were armed, or when none is due. Everything up to `position` was read back.
   */
  scanImage(table: ArmedTable, position: number): ImagePiece | "backlog" | undefined {
    return this.connection.read(() => {
      const due = this.#images.get(table.id);
      if (!due || !this.#isSchemaKnown()) return undefined;
      if (this.#isParked(table)) return "backlog";
      return scanImage(this.log, { table, due, position, bounds: PIECE });
    });
  }

  /**
   * Takes in part of a large backlog of captured changes, so that `apply` need not do it while it holds the write
   * lock. True if there is more.
   */
  loadBacklog(): boolean {
    return this.connection.read(() =>
      this.#isSchemaKnown() && this.#pending.isFarBehind() && this.#pending.loadSome()
    );
  }

  /**
   * Applies messages in order; undefined when the schema has changed since the tables were armed. Where the outcome says so,
   * and where it throws BacklogError, the backlog must be loaded first.
   */
  apply(messages: Iterable<IncomingMessage>, bounds: ApplyBounds): ApplyOutcome | undefined {
    return this.#writeOnKnownSchema(() => {
      recordLogTop(this.connection, this.log.highestId());
      return this.#applier.apply(messages, bounds);
    });
  }

  /** Applies parked messages that fit by now; if any did, there may be more. */
  retryParked(bounds: ApplyBounds): ApplyOutcome | undefined {
    if (this.#parked.tables().length === 0 && this.#hidden.tables().length === 0) return undefined;
    return this.#writeOnKnownSchema(() => this.#applier.retryParked(bounds));
  }

  /** What was read of the log for publishing is not read again for what is pending. */
  readonly #onRead = (after: number, entries: readonly LogEntry[]): void =>
    this.#pending.take(after, entries);

  readonly #isParked = (table: ArmedTable): boolean => this.#parked.queueOf(table.names) !== undefined;

  /** Takes in what a command of the operator has changed in Marmot's tables, and returns whether there was anything. */
  takeOperatorRequest(): boolean {
    const request = readMeta(this.connection, "operator_request");
    if (request === this.#request) return false;
    this.#request = request;
    this.#parked.load();
    this.#quarantine.load();
    return true;
  }

  /** Tries the first message in quarantine behind an id that the operator wants to have tried; undefined if there is none. */
  retryQuarantined(after: number): RetryResult | undefined {
    return this.#writeOnKnownSchema(() => this.#applier.retryQuarantined(after));
  }

  /** Tables with messages that wait for their schema. */
  parkedTables(): string[] {
    return this.#parked.tables();
  }

  /** Tables that have lost events, because too many waited for their schema, and how many messages those were. */
  tablesInNeedOfResync(): { table: string; lost: number }[] {
    return this.#parked.inNeedOfResync();
  }

  close(): void {
    this.connection.close();
  }

  #isSchemaKnown(): boolean {
    return readSchemaVersion(this.connection) === this.#schemaVersion;
  }

  /** Marmot's own change of the schema (suspended triggers) must not look like the application's. */
  #writeOnKnownSchema<T>(work: () => T): T | undefined {
    const done = this.#write(() =>
      this.#isSchemaKnown()
        ? { result: work(), schemaVersion: readSchemaVersion(this.connection) }
        : undefined
    );
    if (done) this.#schemaVersion = done.schemaVersion;
    return done?.result;
  }

  /** A write transaction after which memory and database tell the same, however it ended. */
  #write<T>(work: () => T): T {
    let hasBegun = false;
    try {
      return this.connection.write(() => {
        hasBegun = true;
        return work();
      });
    } catch (error) {
      if (!hasBegun) throw error;
      if (!hasStateTables(this.connection)) {
        throw new MarmotError(
          "database",
          "Cannot go on: Marmot's tables were removed from the database while it ran",
          {
            hint: "Stop Marmot before -cleanup, and start it again afterwards.",
            cause: error,
          },
        );
      }
      this.#reload();
      throw error;
    }
  }

  #reload(): void {
    this.#applier.forgetTransaction();
    this.#pending.reset();
    this.positions.load();
    this.#parked.load();
    this.#images.load();
    this.#hidden.load();
    this.#journal.load();
    this.#agreement.load();
    this.#quarantine.load();
  }
}
