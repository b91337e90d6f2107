import assert from "node:assert/strict";
import { parseNatsUrls, parseStreamPrefix, parseSubjectPrefix } from "../../src/config/nats_names.ts";
import { InvalidValueError } from "../../src/config/option.ts";

Deno.test("servers are a list, and an address without a scheme is a nats:// one", () => {
  const cases: [string, string[]][] = [
    ["nats://127.0.0.1:4222", ["nats://127.0.0.1:4222"]],
    ["localhost", ["nats://localhost"]],
    ["localhost:4222", ["nats://localhost:4222"]],
    ["nats://u:p%40ss@host:4222/", ["nats://u:p%40ss@host:4222/"]],
    ["nats://token@host", ["nats://token@host"]],
    ["u:p@host", ["nats://u:p@host"]],
    ["nats://[::1]:4222", ["nats://[::1]:4222"]],
    [" a:1 ,tls://b:2", ["nats://a:1", "tls://b:2"]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseNatsUrls(text), expected, text);
});

Deno.test("what is no NATS address is refused without being repeated", () => {
  const texts = [
    "",
    "nats://a,",
    "http://secret",
    "ws://secret",
    "nats://",
    "nats://secret:0",
    "nats://secret:70000",
    "nats://u:secret@",
    "nats://secret/path",
    "nats://secret?a=b",
    "se cret",
    "nats://u:secret#1@host",
  ];
  for (const text of texts) {
    assert.throws(() => parseNatsUrls(text), (error) => {
      return error instanceof InvalidValueError && !`${error.message} ${error.hint}`.includes("secret");
    }, text);
  }
});

Deno.test("a stream's prefix is legal in a stream's name", () => {
  for (const text of ["marmot-changes", "a", "Ünï_1$", "x".repeat(200)]) {
    assert.equal(parseStreamPrefix(text), text);
  }
  for (
    const text of [
      "",
      "a b",
      "a.b",
      "a*",
      "a>",
      "a/b",
      "a\\b",
      "a\tb",
      "a\u0000",
      "x".repeat(201),
      "é".repeat(101),
    ]
  ) {
    assert.throws(() => parseStreamPrefix(text), InvalidValueError, JSON.stringify(text));
  }
});

Deno.test("a subject's prefix is a subject without wildcards that the server does not own", () => {
  for (const text of ["marmot-change-log", "a.b.c", "a/b", "Ünï"]) {
    assert.equal(parseSubjectPrefix(text), text);
  }
  for (const text of ["", ".a", "a.", "a..b", "a.*", "a.>", "a b", "a\n", "$JS.API", "$SYS"]) {
    assert.throws(() => parseSubjectPrefix(text), InvalidValueError, JSON.stringify(text));
  }
});
