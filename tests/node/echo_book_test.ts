/** Which of the original's messages are our own, come back. */
import assert from "node:assert/strict";
import { EchoBook } from "../../src/node/echo_book.ts";

const ONE = Uint8Array.of(1, 2, 3);
const OTHER = Uint8Array.of(1, 2, 4);

Deno.test("a message that is read before its acknowledgement is known by its bytes", () => {
  const book = new EchoBook();
  book.begin(1, { number: 7, payload: ONE, top: 7 });
  assert.equal(book.topOf(1, 40, OTHER), undefined);
  assert.equal(book.topOf(2, 41, ONE), undefined);
  assert.equal(book.topOf(1, 41, ONE.slice()), 7);
  book.acknowledge(1, 41);
  assert.equal(book.topOf(1, 41, ONE), 7);
});

Deno.test("a message that is read after its acknowledgement is known by its sequence", () => {
  const book = new EchoBook();
  book.begin(1, { number: 7, payload: ONE, top: 7 });
  book.acknowledge(1, 41);
  assert.equal(book.topOf(1, 40, ONE), undefined);
  assert.equal(book.topOf(1, 41, ONE), 7);
  assert.equal(book.topOf(2, 41, ONE), undefined);
});

Deno.test("a message asked for again, as after a locked database, has the same answer until it was applied", () => {
  const book = new EchoBook();
  book.begin(1, { number: 7, payload: ONE, top: 7 });
  assert.equal(book.topOf(1, 41, ONE), 7);
  assert.equal(book.topOf(1, 41, ONE), 7);
  assert.equal(book.remove(1, 41), 7);
  assert.equal(book.remove(1, 41), undefined);
  assert.equal(book.topOf(1, 41, ONE), undefined);
});

Deno.test("an acknowledged message is not mistaken for a later one with the same bytes", () => {
  const book = new EchoBook();
  book.begin(1, { number: 7, payload: ONE, top: 7 });
  book.acknowledge(1, 41);
  book.begin(1, { number: 8, payload: OTHER, top: 8 });
  book.acknowledge(1, 42);
  // The row has its first value again.
  book.begin(1, { number: 9, payload: ONE, top: 9 });
  assert.equal(book.topOf(1, 41, ONE), 7);
  assert.equal(book.topOf(1, 42, OTHER), 8);
  book.acknowledge(1, 43);
  assert.equal(book.topOf(1, 43, ONE), 9);
});

Deno.test("what was sent on a shard that drains is no echo any more", () => {
  const book = new EchoBook();
  book.begin(1, { number: 7, payload: ONE, top: 7 });
  book.acknowledge(1, 41);
  book.begin(1, { number: 8, payload: OTHER, top: 8 });
  book.begin(2, { number: 9, payload: OTHER, top: 9 });
  book.forget(1);
  book.acknowledge(1, 42);
  assert.equal(book.topOf(1, 41, ONE), undefined);
  assert.equal(book.topOf(1, 42, OTHER), undefined);
  assert.equal(book.topOf(2, 50, OTHER), 9);
});
