/**
 * FNV-1, 64 bits (not 1a): the hash that the original Marmot routes rows with and tags snapshots with.
 * Source: http://www.isthe.com/chongo/tech/comp/fnv/.
 *
 * The state is two halves of 32 bits: a bigint per byte would be fifty times slower. The prime is
 * 2^40 + 0x1b3, so the product is state * 0x1b3 plus the low half moved 40 bits up.
 */

const OFFSET_HIGH = 0xcbf29ce4;
const OFFSET_LOW = 0x84222325;
const PRIME_LOW = 0x1b3;
const TWO_TO_32 = 0x100000000;

/** A hash over bytes that come piece by piece. */
export class Fnv1 {
  #high = OFFSET_HIGH;
  #low = OFFSET_LOW;

  update(bytes: Uint8Array): this {
    let high = this.#high;
    let low = this.#low;
    for (let i = 0; i < bytes.length; i++) {
      const product = low * PRIME_LOW; // below 2^41, so exact
      high = (Math.imul(high, PRIME_LOW) + (low << 8) + Math.floor(product / TWO_TO_32)) | 0;
      low = ((product | 0) ^ bytes[i]!) >>> 0;
    }
    this.#high = high >>> 0;
    this.#low = low;
    return this;
  }

  /** The hash of all bytes so far, 0 to 2^64 - 1. */
  digest(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }
}

/** The FNV-1 64 hash of `bytes`. */
export function fnv1(bytes: Uint8Array): bigint {
  return new Fnv1().update(bytes).digest();
}
