/**
 * Where a message goes: the shard of a table or of a row, and the subject token of a table. All of it is a
 * compatibility constant: nodes that route one table differently lose its total order.
 */
import { MarmotError } from "../errors.ts";
import { fnv1 } from "./fnv.ts";

const textEncoder = new TextEncoder();

/** The shard of a table in Marmot's own format, 1 to `shards`. */
export function shardOfTable(table: string, shards: number): number {
  return shardOfHash(fnv1(encodeName(table)), shards);
}

/** The shard of a hash, 1 to `shards`. */
export function shardOfHash(hash: bigint, shards: number): number {
  if (!Number.isSafeInteger(shards) || shards < 1) {
    throw new MarmotError("internal", `cannot route to ${shards} shards: at least one is needed`);
  }
  return Number(hash % BigInt(shards)) + 1;
}

/**
 * The table's name as one token of a NATS subject: every byte of its UTF-8 form but A-Z a-z 0-9 _ - is written %XX
 * (upper case hex), and the empty name is "%", so no two names share a token.
 */
export function tableSubjectToken(table: string): string {
  if (table === "") return "%";
  let token = "";
  for (const byte of encodeName(table)) token += TOKEN_OF_BYTE[byte]!;
  return token;
}

const TOKEN_OF_BYTE: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const char = String.fromCharCode(byte);
  return /[A-Za-z0-9_-]/.test(char) ? char : "%" + byte.toString(16).toUpperCase().padStart(2, "0");
});

function encodeName(table: string): Uint8Array {
  if (!table.isWellFormed()) {
    throw new MarmotError(
      "wire",
      "cannot route a table whose name holds a lone surrogate: it has no UTF-8 form",
    );
  }
  return textEncoder.encode(table);
}
