/** How a message of a stream looks to a person and in JSON, decoded as far as it can be. */

import { type DecodedMessage, decodeQuarantined } from "../db/operator/quarantine_box.ts";
import { counted } from "./text.ts";
import { eventLines, eventsJson, plainText } from "./value_text.ts";

/** Longer messages are cut in text; JSON has them whole. */
const SHOWN_BYTES = 4096;
const BYTES_OF_LINE = 32;

/** What is in a message, and its bytes in hex. */
export function messageLines(format: string | null, payload: Uint8Array): string[] {
  const shown = payload.subarray(0, SHOWN_BYTES).toHex();
  const hex = shown.match(new RegExp(`.{1,${2 * BYTES_OF_LINE}}`, "g")) ?? [];
  return [
    ...decodedLines(decodeQuarantined(format, payload)),
    `  ${payload.length} bytes${
      payload.length > SHOWN_BYTES ? `, the first ${SHOWN_BYTES}; -json has all` : ""
    }:`,
    ...hex.map((line) => `    ${line}`),
  ];
}

/** The same without the bytes. */
export function decodedLines({ head, body, type, problem }: DecodedMessage): string[] {
  const lines: string[] = [];
  if (head) {
    const place = head.run === undefined
      ? ""
      : `, run ${head.run}, number ${head.number}, part ${(head.part ?? 0) + 1} of ${head.parts}`;
    lines.push(`  of node ${head.origin}${place}`);
  }
  if (problem !== undefined) lines.push(`  not readable: ${plainText(problem)}`);
  if (body) {
    lines.push(`  ${type ?? counted(body.events.length, "event")} of table ${plainText(body.table)}:`);
    lines.push(...eventLines(body, "    "));
  }
  return lines;
}

export function messageJson(format: string | null, payload: Uint8Array): Record<string, unknown> {
  return { ...decodedJson(decodeQuarantined(format, payload)), payload: payload.toHex() };
}

export function decodedJson({ head, body, type, problem }: DecodedMessage): Record<string, unknown> {
  return {
    ...(head && { head: { ...head, origin: head.origin.toString() } }),
    ...(body && { table: body.table, events: eventsJson(body) }),
    ...(type && { type }),
    ...(problem !== undefined && { notReadable: problem }),
  };
}
