/**
 * MurmurHash3_x86_128: 128 bits in four lanes of 32, fast where there is no 64-bit multiplication. It tells contents
 * apart that differ by accident; it is no protection against someone who makes two contents with one hash.
 * Source: https://github.com/aappleby/smhasher, src/MurmurHash3.cpp (public domain).
 */
const C1 = 0x239b961b;
const C2 = 0xab0e9789;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93;

/** Writes the hash of the first `length` bytes into `lanes`, four unsigned integers of 32 bits. */
export function murmur3(bytes: Uint8Array, length: number, lanes: Uint32Array, seed = 0): void {
  let h1 = seed | 0, h2 = seed | 0, h3 = seed | 0, h4 = seed | 0;
  const end = length & ~15;
  for (let at = 0; at < end; at += 16) {
    h1 ^= mix(word(bytes, at), C1, 15, C2);
    h1 = Math.imul((rotate(h1, 19) + h2) | 0, 5) + 0x561ccd1b | 0;
    h2 ^= mix(word(bytes, at + 4), C2, 16, C3);
    h2 = Math.imul((rotate(h2, 17) + h3) | 0, 5) + 0x0bcaa747 | 0;
    h3 ^= mix(word(bytes, at + 8), C3, 17, C4);
    h3 = Math.imul((rotate(h3, 15) + h4) | 0, 5) + 0x96cd1c35 | 0;
    h4 ^= mix(word(bytes, at + 12), C4, 18, C1);
    h4 = Math.imul((rotate(h4, 13) + h1) | 0, 5) + 0x32ac3b17 | 0;
  }
  if (length > end) {
    h4 ^= mix(tailWord(bytes, end + 12, length), C4, 18, C1);
    h3 ^= mix(tailWord(bytes, end + 8, length), C3, 17, C4);
    h2 ^= mix(tailWord(bytes, end + 4, length), C2, 16, C3);
    h1 ^= mix(tailWord(bytes, end, length), C1, 15, C2);
  }
  h1 ^= length, h2 ^= length, h3 ^= length, h4 ^= length;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = (h2 + h1) | 0, h3 = (h3 + h1) | 0, h4 = (h4 + h1) | 0;
  h1 = finish(h1), h2 = finish(h2), h3 = finish(h3), h4 = finish(h4);
  h1 = (h1 + h2 + h3 + h4) | 0;
  lanes[0] = h1;
  lanes[1] = h2 + h1;
  lanes[2] = h3 + h1;
  lanes[3] = h4 + h1;
}

function mix(k: number, before: number, turn: number, behind: number): number {
  return Math.imul(rotate(Math.imul(k, before), turn), behind);
}

function rotate(x: number, turn: number): number {
  return (x << turn) | (x >>> (32 - turn));
}

/** Four bytes, the first of them the lowest. */
function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** The same where the bytes end at `length`: what is missing counts as 0. A word of 0 changes nothing. */
function tailWord(bytes: Uint8Array, at: number, length: number): number {
  let result = 0;
  for (let i = Math.min(at + 4, length) - 1; i >= at; i--) result = (result << 8) | bytes[i]!;
  return result;
}

function finish(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
