import assert from "node:assert/strict";
import { MarmotError } from "../../src/errors.ts";
import { parseBrokerAddress } from "../../src/stream/broker_address.ts";

Deno.test("NATS URLs give servers, encryption and credentials", () => {
  assert.deepEqual(parseBrokerAddress(["nats://127.0.0.1:4222"]), {
    servers: ["127.0.0.1:4222"],
    tls: false,
    credentials: undefined,
  });
  assert.deepEqual(parseBrokerAddress(["nats://a, nats://b:1", "c:2"]).servers, ["a:4222", "b:1", "c:2"]);
  assert.deepEqual(parseBrokerAddress(["nats://[::1]:5"]).servers, ["[::1]:5"]);
  assert.equal(parseBrokerAddress(["nats://a", "tls://b/"]).tls, true);
  assert.deepEqual(parseBrokerAddress(["nats://me:p%40ss@a,nats://b"]).credentials, {
    user: "me",
    pass: "p@ss",
  });
  assert.deepEqual(parseBrokerAddress(["nats://s3cr%2Ft@a"]).credentials, { token: "s3cr/t" });
});

Deno.test("a NATS URL that cannot be read is refused without showing its password", () => {
  const malformed = [
    [],
    [""],
    ["http://a"],
    ["nats://"],
    ["nats://a:port"],
    ["nats://a:99999"],
    ["nats://a/path"],
    ["nats://me:secret@a:x"],
    ["nats://me:secret/x@a"],
    ["me:secret@a b"],
    ["nats://me:secret%@a"],
    ["nats://me:secret@a,nats://me:other@b"],
  ];
  for (const urls of malformed) {
    assert.throws(() => parseBrokerAddress(urls), (error) => {
      assert.ok(error instanceof MarmotError && error.code === "usage" && error.hint !== undefined);
      assert.ok(!error.message.includes("secret"), error.message);
      return true;
    }, JSON.stringify(urls));
  }
});
