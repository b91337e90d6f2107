/**
 * Reads the XML that S3 and WebDAV servers answer with: elements and their text. Namespace prefixes, attributes,
 * comments and processing instructions are dropped; a document type, which could define entities, is refused.
 * Source: W3C, Extensible Markup Language 1.0 (Fifth Edition).
 */

export interface XmlElement {
  /** Without the prefix. */
  readonly name: string;
  readonly children: readonly XmlElement[];
  /** All text directly inside, entities resolved. */
  readonly text: string;
}

const MAX_DEPTH = 32;

const TOKEN = new RegExp(
  [
    String.raw`<!--[\s\S]*?-->`,
    String.raw`<\?[\s\S]*?\?>`,
    String.raw`<!\[CDATA\[(?<cdata>[\s\S]*?)\]\]>`,
    String.raw`<\/(?<close>[^\s>]+)\s*>`,
    String.raw`<(?<open>[^\s<>\/!?]+)(?:\s+[^\s=<>]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(?<empty>\/?)>`,
    String.raw`(?<text>[^<]+)`,
  ].join("|"),
  "y",
);

interface OpenElement {
  readonly fullName: string;
  readonly name: string;
  readonly children: XmlElement[];
  text: string;
}

/** The root element; undefined for what is no well-formed document of this kind. */
export function parseXml(document: string): XmlElement | undefined {
  const top: OpenElement = { fullName: "", name: "", children: [], text: "" };
  const open = [top];
  const text = document.replace(/^\ufeff/, "");
  for (let position = 0; position < text.length;) {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(text);
    const current = open.at(-1);
    if (match === null || current === undefined) return undefined;
    position = TOKEN.lastIndex;
    const { cdata, close, open: opened, empty, text: plain } = match.groups ?? {};
    if (opened !== undefined) {
      const element: OpenElement = { fullName: opened, name: localName(opened), children: [], text: "" };
      current.children.push(element);
      if (empty === "") open.push(element);
      if (open.length > MAX_DEPTH) return undefined;
    } else if (close !== undefined) {
      if (open.pop()?.fullName !== close) return undefined;
    } else {
      current.text += cdata ?? resolveEntities(plain ?? "");
    }
  }
  return open.length === 1 && top.children.length === 1 && top.text.trim() === ""
    ? top.children[0]
    : undefined;
}

/** The children of this name. */
export function childrenNamed(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

/** The text of the first child of this name, without white space around it. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text.trim();
}

/** Text as it stands inside of an element. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function resolveEntities(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{1,8}));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal === undefined ? parseInt(hex, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
