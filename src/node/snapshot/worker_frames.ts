/** Compresses a file in a Worker of its own, so that the event loop goes on meanwhile; no faster than it is asked for. */
import { MarmotError } from "../../errors.ts";
import type { PackedFrame } from "../../snapshot/packed_file.ts";
import { diskError } from "./disk_errors.ts";

/** Frames that are made before they are asked for. */
const AHEAD = 3;

export interface FrameRequest {
  readonly path: string;
}

export type FrameAnswer =
  | { readonly kind: "frame"; readonly frame: PackedFrame }
  | { readonly kind: "end" }
  | {
    readonly kind: "failed";
    readonly code: string | undefined;
    readonly message: string;
    readonly stack: string | undefined;
  };

/** The frames of a file's object, in order; see packFrames. The Worker ends with the reading. */
export async function* packInWorker(path: string): AsyncGenerator<PackedFrame, void, void> {
  const worker = new Worker(new URL("./pack_worker.ts", import.meta.url).href, { type: "module" });
  const answers: FrameAnswer[] = [];
  let wake = () => {};
  const add = (answer: FrameAnswer) => {
    answers.push(answer);
    wake();
  };
  worker.addEventListener("message", (event) => add((event as MessageEvent<FrameAnswer>).data));
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    add({ kind: "failed", code: undefined, message: (event as ErrorEvent).message, stack: undefined });
  });
  const ask = () => worker.postMessage({ path } satisfies FrameRequest);
  try {
    for (let i = 0; i < AHEAD; i++) ask();
    for (;;) {
      if (answers.length === 0) await new Promise<void>((resolve) => wake = resolve);
      const answer = answers.shift();
      if (answer === undefined) continue;
      if (answer.kind === "end") return;
      if (answer.kind === "failed") throw failure(answer);
      ask();
      yield answer.frame;
    }
  } finally {
    worker.terminate();
  }
}

function failure({ code, message, stack }: FrameAnswer & { kind: "failed" }): Error {
  return diskError(code) ??
    new MarmotError("internal", `A Worker has failed to compress: ${message}`, { cause: stack });
}
