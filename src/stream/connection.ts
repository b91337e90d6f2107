/**
 * The connection to NATS: made with patience at start, kept up for ever, and honest about being down. The client
 * library hides outages by design; here every outage ends the current session, so nobody waits for an answer
 * that cannot come, and nothing is handed to the library while it would only keep it.
 */
import { type ConnectionOptions as LibraryOptions, errors, type NatsConnection } from "@nats-io/nats-core";
import { setTimeout as delay } from "node:timers/promises";
import { errorText, MarmotError } from "../errors.ts";
import { type Log, silentLog } from "../observability/log.ts";
import { backoffDelayMs } from "../runtime/backoff.ts";
import { type BrokerAddress, parseBrokerAddress } from "./broker_address.ts";
import { connectToNats } from "./socket_transport.ts";

/** Longest wait for the server's greeting, and for an answer to any request. */
export const REQUEST_TIMEOUT_MS = 5_000;
/** A server that is silent for up to three of these is given up. */
const PING_INTERVAL_MS = 5_000;
const RETRY = { firstMs: 100, maxMs: 5_000 } as const;
const WARN_INTERVAL_MS = 30_000;
/** How long a command waits for a server. */
const COMMAND_CONNECT_MS = 10_000;

export interface ConnectionOptions {
  /** NATS URLs, each of which may be a list with commas. */
  readonly urls: readonly string[];
  readonly nodeId: bigint;
  readonly log: Log;
  /** Ends the waiting for a first connection. */
  readonly signal: AbortSignal;
  /** Gives numbers in [0, 1). */
  readonly random: () => number;
}

/**
 * Waits for as long as it takes until a server is there. Throws MarmotError "usage" for a URL that cannot be
 * read, "broker" where the server refuses the credentials, and the signal's reason when it aborts.
 */
export async function connect(options: ConnectionOptions): Promise<Connection> {
  const address = parseBrokerAddress(options.urls);
  const attempt = () => Connection.open(address, options);
  return await retryUntilDone(attempt, { ...options, event: "cannot connect to NATS, trying again" });
}

/**
 * Connects as a command does, which is no node and has not all day: within 10 s, in silence. Throws MarmotError with the
 * hint where no server is there by then, else as connect does.
 */
export async function connectSoon(
  { urls, stop, hint }: { urls: readonly string[]; stop: AbortSignal; hint: string },
): Promise<Connection> {
  const late = AbortSignal.timeout(COMMAND_CONNECT_MS);
  const signal = AbortSignal.any([stop, late]);
  try {
    return await connect({ urls, nodeId: 0n, log: silentLog, signal, random: Math.random });
  } catch (error) {
    if (stop.aborted || !late.aborted || error instanceof MarmotError) throw error;
    throw new MarmotError("broker", `Cannot connect to NATS within ${COMMAND_CONNECT_MS / 1000} s`, {
      hint,
      cause: error,
    });
  }
}

export interface RetryOptions extends Pick<ConnectionOptions, "log" | "signal" | "random"> {
  /** What the log says of a failure: the first one at once, then one every 30 seconds. */
  readonly event: string;
}

/** Calls until it succeeds or throws MarmotError; every other error is taken to pass by itself. */
export async function retryUntilDone<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, log, random, event } = options;
  let warnAt = 0;
  for (let failures = 1;; failures++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof MarmotError) throw error;
      if (Date.now() >= warnAt) {
        log.warn(event, { reason: errorText(error) });
        warnAt = Date.now() + WARN_INTERVAL_MS;
      }
    }
    await delay(backoffDelayMs(failures, { ...RETRY, random }), undefined, { signal })
      .catch(() => signal.throwIfAborted());
  }
}

export class Connection {
  /** The client library's connection. While there is no session, nothing may be sent on it. */
  readonly nats: NatsConnection;
  readonly #log: Log;
  #session = new AbortController();
  #isClosing = false;

  private constructor(nats: NatsConnection, log: Log, onDial: () => void) {
    this.nats = nats;
    this.#log = log;
    void this.#watch(onDial);
  }

  /** One try. */
  static async open(address: BrokerAddress, options: ConnectionOptions): Promise<Connection> {
    // The library asks for the delay more than once per try, so it is drawn once per try.
    let dials = 0;
    let delayMs = 0;
    const onDial = (isUp = false) => {
      dials = isUp ? 0 : dials + 1;
      delayMs = backoffDelayMs(Math.max(1, dials), { ...RETRY, random: options.random });
    };
    const settings: LibraryOptions = {
      servers: [...address.servers],
      ...(address.tls ? { tls: {} } : {}),
      ...address.credentials,
      name: `marmot-node-${options.nodeId}`,
      timeout: REQUEST_TIMEOUT_MS,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: 2,
      maxReconnectAttempts: -1,
      // An operator who changes credentials must not end the nodes that were up.
      ignoreAuthErrorAbort: true,
      reconnectDelayHandler: () => delayMs,
      noAsyncTraces: true,
    };
    const opening = connectToNats(settings);
    try {
      const nats = await untilAborted(opening, options.signal);
      options.log.info("connected to NATS", { server: nats.getServer() });
      return new Connection(nats, options.log, onDial);
    } catch (error) {
      if (options.signal.aborted) void opening.then((nats) => nats.close(), () => {});
      if (!(error instanceof errors.AuthorizationError)) throw error;
      throw new MarmotError("broker", `Cannot connect to NATS: ${error.message}`, {
        hint: "put the user and password, or the token, into nats-url: nats://user:password@host:port",
        cause: error,
      });
    }
  }

  /** Aborts as soon as the connection of this moment is lost; already aborted while there is none. */
  get session(): AbortSignal {
    return this.#session.signal;
  }

  /** Closes at once; what was sent before goes out first if the server takes it within a second. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (!this.session.aborted) {
      const flushed = this.nats.flush().catch(() => {});
      await Promise.race([flushed, delay(1_000, undefined, { signal: this.session }).catch(() => {})]);
    }
    await this.nats.close();
    this.#session.abort(new Error("the connection is closed"));
  }

  async #watch(onDial: (isUp?: boolean) => void): Promise<void> {
    let warnAt = 0;
    for await (const status of this.nats.status()) {
      switch (status.type) {
        case "disconnect":
          // The library says it once more for every try that ends after the greeting.
          if (this.session.aborted) break;
          onDial(true);
          this.#session.abort(new Error("the connection to NATS was lost"));
          if (!this.#isClosing) this.#log.warn("lost the connection to NATS", { server: status.server });
          break;
        case "reconnecting":
          onDial();
          break;
        case "reconnect":
          if (!this.session.aborted) break;
          this.#session = new AbortController();
          this.#log.info("connected to NATS again", { server: status.server });
          break;
        case "error":
          if (Date.now() < warnAt) break;
          warnAt = Date.now() + WARN_INTERVAL_MS;
          this.#log.warn("NATS reports an error", { reason: status.error.message });
          break;
      }
    }
    this.#session.abort(new Error("the connection is closed"));
  }
}

/** The promise's outcome, or the signal's reason as soon as it aborts. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    // Nobody waits for it any more, so nobody may be told of its failure.
    promise.catch(() => {});
    throw signal.reason;
  }
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
