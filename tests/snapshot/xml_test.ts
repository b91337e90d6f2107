import fc from "fast-check";
import assert from "node:assert/strict";
import { childrenNamed, childText, escapeXml, parseXml } from "../../src/snapshot/stores/xml.ts";

Deno.test("elements are found by name whatever their prefix, with their text", () => {
  const document = `\ufeff<?xml version="1.0"?><!-- <a> -->
    <D:multi xmlns:D="DAV:" a='>'><D:href>/a&amp;b&#33;&#x21;</D:href><x:href/><empty a="1" />
      <href><![CDATA[<&amp;>]]> c </href></D:multi>`;
  const root = parseXml(document);
  assert.ok(root !== undefined);
  assert.equal(root.name, "multi");
  assert.equal(childText(root, "href"), "/a&b!!");
  assert.deepEqual(childrenNamed(root, "href").map(({ text }) => text), ["/a&b!!", "", "<&amp;> c "]);
  assert.equal(childText(root, "missing"), undefined);
});

Deno.test("what is not well formed, defines entities or is nested without end is refused", () => {
  for (
    const document of [
      "",
      "text",
      "<a>",
      "</a>",
      "<a></b>",
      "<a><b></a></b>",
      "<a/><b/>",
      "<a/>text",
      "<a b=c/>",
      '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
      "<a>".repeat(40) + "</a>".repeat(40),
      "<a/>Internal Server Error",
    ]
  ) {
    assert.equal(parseXml(document), undefined, document);
  }
});

Deno.test("text comes back as it was escaped, and no document takes long or throws", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    assert.equal(parseXml(`<a>${escapeXml(text)}</a>`)?.text, text);
  }));
  fc.assert(fc.property(fc.array(fc.constantFrom(..."<>/a=\"'&![]-? ")), (characters) => {
    parseXml(characters.join(""));
  }));
  const long = "<a " + "b=' ".repeat(50_000);
  const startedAt = performance.now();
  assert.equal(parseXml(long), undefined);
  assert.ok(performance.now() - startedAt < 2_000);
});
