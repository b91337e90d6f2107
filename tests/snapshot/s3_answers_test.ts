/** What an S3 server may answer and a real one does seldom. */

import assert from "node:assert/strict";
import { CheckedStore } from "../../src/snapshot/stores/checked_store.ts";
import { S3Store } from "../../src/snapshot/stores/s3_store.ts";
import { bytes } from "./store_contract.ts";

type Answer = (method: string, url: URL) => Response | undefined;

/** A server that answers as it is told, else 404; gives the requests it has had. */
async function answering(
  answer: Answer,
  test: (store: CheckedStore, requests: readonly string[]) => Promise<void>,
  prefix = "",
): Promise<void> {
  const requests: string[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    await request.body?.pipeTo(new WritableStream());
    const url = new URL(request.url);
    requests.push(`${request.method} ${url.pathname}${url.search.replace(/=[^&]*/g, "")}`);
    return answer(request.method, url) ?? new Response(null, { status: 404 });
  });
  try {
    const store = new S3Store({
      ...{ bucket: "bucket", prefix, region: "us-east-1", isPathStyle: true, sessionToken: undefined },
      ...{ accessKeyId: "marmot", secretAccessKey: "s3cret" },
      endpoint: `http://127.0.0.1:${server.addr.port}`,
    });
    await test(new CheckedStore(store), requests);
  } finally {
    await server.shutdown();
  }
}

Deno.test("a server that is busy is asked again, and given up after a few times", async () => {
  let failures = 2;
  const busy = () => new Response("<Error><Code>SlowDown</Code></Error>", { status: 503 });
  await answering(() => failures-- > 0 ? busy() : new Response(null), async (store, requests) => {
    await store.put("object", bytes(10));
    assert.deepEqual(requests, Array(3).fill("PUT /bucket/object"));
    failures = Infinity;
    await assert.rejects(
      store.put("object", bytes(10)),
      /Cannot write .*the server answers 503 \(SlowDown\)$/,
    );
    assert.equal(requests.length, 3 + 4);
  });
});

Deno.test("parts that the server does not put together are an error, whatever the status says", async () => {
  const failed =
    "<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>try later</Message></Error>";
  const answer: Answer = (method, url) => {
    if (url.searchParams.has("uploads")) return new Response("<R><UploadId>1</UploadId></R>");
    if (method === "PUT") return new Response(null, { headers: { etag: '"e"' } });
    return method === "POST" ? new Response(failed) : new Response(null, { status: 204 });
  };
  await answering(answer, async (store, requests) => {
    await assert.rejects(
      store.put("object", bytes(7_000_000)),
      /does not put the parts together: try later$/,
    );
    assert.deepEqual(requests, [
      "POST /bucket/object?uploads",
      "PUT /bucket/object?partNumber&uploadId",
      "PUT /bucket/object?partNumber&uploadId",
      "POST /bucket/object?uploadId",
      "DELETE /bucket/object?uploadId",
    ]);
  });
});

Deno.test("a missing bucket, another region and a redirect are told with what to do", async () => {
  const error = (status: number, code: string) => () =>
    new Response(`<Error><Code>${code}</Code><Message>no</Message></Error>`, { status });
  const cases: [Answer, RegExp, RegExp | undefined][] = [
    [error(404, "NoSuchBucket"), /404 \(NoSuchBucket: no\)$/, /make the bucket "bucket"/],
    [error(301, "PermanentRedirect"), /301/, /region=/],
    [error(403, "RequestTimeTooSkewed"), /403 \(RequestTimeTooSkewed: no\)$/, /clock/],
    [() => new Response("<html>"), /does not answer in S3's way$/, undefined],
  ];
  for (const [answer, reason, hint] of cases) {
    await answering(answer, async (store) => {
      await assert.rejects(store.list(), (error: Error & { hint?: string }) => {
        assert.match(error.message, reason);
        if (hint !== undefined) assert.match(error.hint ?? "", hint);
        return true;
      });
    });
  }
  const location = "https://u:s3cret@elsewhere.example/x?token=s3cret";
  await answering(() => new Response(null, { status: 307, headers: { location } }), async (store) => {
    await assert.rejects(store.list(), /it redirects to https:\/\/elsewhere\.example\/x\)$/);
  });
});

Deno.test("a long list comes in pages, and keys that are not ours are left out", async () => {
  const entry = (key: string) =>
    `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>`;
  const answer: Answer = (_method, url) =>
    new Response(
      url.searchParams.get("continuation-token") === "t=1&"
        ? `<ListBucketResult><IsTruncated>false</IsTruncated>${entry("a")}${
          entry("UPPER")
        }</ListBucketResult>`
        : `<ListBucketResult><IsTruncated>true</IsTruncated>${entry("b")}${entry("x/y")}
           <NextContinuationToken>t=1&amp;</NextContinuationToken></ListBucketResult>`,
    );
  await answering(answer, async (store) => {
    assert.deepEqual((await store.list()).map(({ name }) => name), ["a", "b"]);
  });
});

Deno.test("uploads that have got no part for long are called off, those of writers at work and of others are not", async () => {
  const now = new Date("2026-01-02T00:00:00Z");
  const hoursAgo = (hours: number) => new Date(now.getTime() - hours * 3_600_000).toISOString();
  // When each was begun and has got its last part, if any.
  const uploads: [key: string, begunHoursAgo: number, partHoursAgo: number | undefined][] = [
    ["place/old", 30, 25],
    ["place/without-parts", 30, undefined],
    ["place/at-work", 30, 23],
    ["place/young", 23, undefined],
    ["elsewhere/old", 30, 30],
  ];
  const calledOff: string[] = [];
  const answer: Answer = (method, url) => {
    const key = url.pathname.slice("/bucket/".length);
    if (method === "DELETE") {
      calledOff.push(`${key} ${url.searchParams.get("uploadId")}`);
      return new Response(null, { status: 204 });
    }
    if (url.searchParams.has("uploads")) {
      assert.equal(url.searchParams.get("prefix"), "place/");
      const entries = uploads.map(([key, hours]) =>
        `<Upload><Key>${key}</Key><UploadId>id of ${key}</UploadId><Initiated>${
          hoursAgo(hours)
        }</Initiated></Upload>`
      );
      return new Response(`<ListMultipartUploadsResult>${entries.join("")}</ListMultipartUploadsResult>`, {
        headers: { date: now.toUTCString() },
      });
    }
    const [, , hours] = uploads.find(([name]) => name === key) ?? [];
    const part = hours === undefined ? "" : `<Part><LastModified>${hoursAgo(hours)}</LastModified></Part>`;
    // Pages are read to the end: the newest part comes last.
    if (url.searchParams.get("part-number-marker") === "0") {
      const first = `<Part><LastModified>${hoursAgo(30)}</LastModified></Part>`;
      return new Response(
        `<ListPartsResult><IsTruncated>true</IsTruncated>${first}<NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>`,
      );
    }
    return new Response(`<ListPartsResult><IsTruncated>false</IsTruncated>${part}</ListPartsResult>`);
  };
  await answering(answer, async (store) => {
    await store.removeAbandoned(24 * 3_600_000);
    assert.deepEqual(calledOff, [
      "place/old id of place/old",
      "place/without-parts id of place/without-parts",
    ]);
  }, "place/");
});
