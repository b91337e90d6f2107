/** The Worker's side of worker_frames.ts: compresses one frame more for each time that it is asked. */
import { type PackedFrame, packFrames } from "../../snapshot/packed_file.ts";
import type { FrameAnswer, FrameRequest } from "./worker_frames.ts";

/** What is used of the Worker's global scope; the types of the main thread's are another's. */
const scope = globalThis as unknown as {
  onmessage: (event: { data: FrameRequest }) => void;
  postMessage(answer: FrameAnswer, moved: ArrayBuffer[]): void;
};

let frames: Generator<PackedFrame, void, void> | undefined;

scope.onmessage = ({ data: { path } }) => {
  try {
    frames ??= packFrames(path);
    const { value } = frames.next();
    if (value === undefined) scope.postMessage({ kind: "end" }, []);
    else scope.postMessage({ kind: "frame", frame: value }, [value.frame.buffer]);
  } catch (error) {
    const { code, message, stack } = error as NodeJS.ErrnoException;
    scope.postMessage({ kind: "failed", code, message, stack }, []);
  }
};
