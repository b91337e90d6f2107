/** Questions to all nodes at once, on a real nats-server. */
import assert from "node:assert/strict";
import { connectSoon } from "../../src/stream/connection.ts";
import { NodeQuestions } from "../../src/stream/node_questions.ts";
import { connectToNats } from "../../src/stream/socket_transport.ts";
import { NatsServer } from "../support/nats_server.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("a node that answers when it is asked again, or after that only, is heard", async () => {
  await using server = await NatsServer.start();
  const nodes = await connectToNats({ servers: `127.0.0.1:${server.port}` });
  const connection = await connectSoon({ urls: [server.url], stop: new AbortController().signal, hint: "" });
  const questions = new NodeQuestions(connection, "prefix");
  try {
    const asked: string[] = [];
    nodes.subscribe("prefix.verify", {
      callback: (_error, { reply = "" }) => {
        asked.push(reply);
        nodes.publish(reply, encode("prompt"));
        if (asked.length === 1) return;
        nodes.publish(reply, encode("missed the first question"));
        nodes.publish(asked[0] ?? "", encode("late"));
      },
    });
    await nodes.flush();
    const ask = async (tries: number) => {
      asked.length = 0;
      const answers = await questions.askAll(encode("who?"), { waitMs: 500, tries });
      return answers.map((bytes) => new TextDecoder().decode(bytes));
    };
    assert.deepEqual(await ask(1), ["prompt"]);
    assert.deepEqual(await ask(2), ["prompt", "prompt", "missed the first question", "late"]);
  } finally {
    await questions.close();
    await nodes.close();
  }
});
