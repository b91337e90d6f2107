/** What errors of NATS mean: which ones an operator must act on, and the sentence for each. */
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import { PermissionViolationError } from "@nats-io/nats-core";
import { errorText, MarmotError } from "../errors.ts";

/** Codes of JetStream's API errors. Source: nats-io/nats-server, server/errors.json. */
export const ApiCode = {
  noSuitablePeers: 10005,
  notEnabledForAccount: JetStreamApiCodes.JetStreamNotEnabledForAccount,
  nameInUse: 10058,
  streamNotFound: JetStreamApiCodes.StreamNotFound,
  subjectsOverlap: 10065,
  wrongLastSequence: JetStreamApiCodes.StreamWrongLastSequence,
  replicasNotSupported: 10074,
  notEnabled: 10076,
  /** In a cluster, while an earlier message to the same subject is on its way to the followers. */
  wrongLastSequenceUnknown: JetStreamApiCodes.StreamWrongLastSequenceUnknown,
} as const;

/** The sentence for an error that does not pass by itself while setting up; undefined for the others. */
export function asOperatorError(error: unknown): MarmotError | undefined {
  if (error instanceof MarmotError) return error;
  // The library wraps what the server says of a request.
  const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (reason instanceof PermissionViolationError) {
    return new MarmotError("broker", `Cannot set up the streams: ${reason.message}`, {
      hint:
        "allow this user to publish to $JS.API.> and the subjects of subject-prefix, and to subscribe to _INBOX.>",
      cause: error,
    });
  }
  if (isNotEnabled(error)) {
    return new MarmotError(
      "broker",
      "Cannot set up the streams: JetStream is not enabled on the NATS server",
      {
        hint: "start nats-server with -js, or enable JetStream for this account",
        cause: error,
      },
    );
  }
  // 503: the server asks for patience (no leader yet, shutting down). A stream may go between two questions.
  if (error instanceof JetStreamApiError && error.status !== 503 && error.code !== ApiCode.streamNotFound) {
    return new MarmotError("broker", `Cannot set up the streams: ${errorText(error)}`, { cause: error });
  }
  return undefined;
}

function isNotEnabled(error: unknown): boolean {
  if (error instanceof JetStreamApiError) {
    return error.code === ApiCode.notEnabled || error.code === ApiCode.notEnabledForAccount;
  }
  // The library's class for "nobody listens on JetStream's subjects" is not exported.
  return error instanceof Error && error.name === "JetStreamNotEnabled";
}
