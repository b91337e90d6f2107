/**
 * deno run -A tests/db/verify_peak.ts FILE FILE: compares two databases in a process of its own and prints by how many bytes
 * its memory grew at most. In the tests' process, others' memory would count.
 */
import { compareSources } from "../../src/node/verify/comparison.ts";
import { FileSource } from "../../src/node/verify/file_source.ts";

const SAMPLE_MS = 10;

const before = Deno.memoryUsage().rss;
let peak = before;
const sampling = setInterval(() => peak = Math.max(peak, Deno.memoryUsage().rss), SAMPLE_MS);
const sources = Deno.args.map((path) => new FileSource(path, new AbortController().signal));
const { tables } = await compareSources(sources, { limit: 20 });
clearInterval(sampling);
for (const source of sources) await source.close();
console.log(JSON.stringify({ verdicts: tables.map(({ verdict }) => verdict), grown: peak - before }));
