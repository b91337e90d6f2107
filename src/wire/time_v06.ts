/**
 * Times in messages, as the original v0.6 stores them: TEXT in the first format of go-sqlite3,
 * `2006-01-02 15:04:05.999999999-07:00`, without trailing zeros of the fraction. v0.6 itself writes no times; a program
 * that speaks its format may.
 */
import { MalformedMessageError } from "../errors.ts";

const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/;
const FIRST_SECOND = -62_167_219_200; // 0000-01-01
const LAST_SECOND = 253_402_300_799; // 9999-12-31
const NANOSECONDS = 1e9;

/** The stored form of an RFC 3339 time (CBOR tag 0); it keeps its zone. */
export function formatRfc3339Time(text: string): string {
  const match = RFC_3339.exec(text);
  if (match === null) throw new MalformedMessageError("a time (tag 0) is not in the format of RFC 3339");
  const [, year, month, day, clock, fraction = "", sign = "+", zoneHours = "00", zoneMinutes = "00"] = match;
  const date = `${year}-${month}-${day}`;
  const instant = new Date(`${date}T${clock}Z`);
  const isReal = !Number.isNaN(instant.getTime()) && instant.toISOString().startsWith(`${date}T${clock}`);
  if (!isReal || Number(zoneHours) > 24 || Number(zoneMinutes) > 59) {
    throw new MalformedMessageError("a time (tag 0) names a moment that does not exist");
  }
  return `${date} ${clock}${formatFraction(fraction.slice(0, 9))}${sign}${zoneHours}:${zoneMinutes}`;
}

/** The stored form of seconds since 1970 (CBOR tag 1), in UTC. */
export function formatEpochTime(epochSeconds: number): string {
  const wholeSeconds = Math.trunc(epochSeconds);
  const nanoseconds = Math.trunc((epochSeconds - wholeSeconds) * NANOSECONDS);
  const seconds = nanoseconds < 0 ? wholeSeconds - 1 : wholeSeconds;
  if (!(seconds >= FIRST_SECOND && seconds <= LAST_SECOND)) {
    throw new MalformedMessageError("a time (tag 1) is outside the years 0 to 9999");
  }
  const [date, clock] = new Date(seconds * 1000).toISOString().slice(0, 19).split("T");
  const fraction = nanoseconds < 0 ? nanoseconds + NANOSECONDS : nanoseconds;
  return `${date} ${clock}${formatFraction(String(fraction).padStart(9, "0"))}+00:00`;
}

function formatFraction(digits: string): string {
  const significant = digits.replace(/0+$/, "");
  return significant === "" ? "" : `.${significant}`;
}
