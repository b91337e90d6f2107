/** Turns the signals that ask a process to end into an AbortSignal; a second one ends it at once. */

/** SIGTERM does not exist on Windows; SIGBREAK is Ctrl+Break and what service managers send there. */
const STOP_SIGNALS: Readonly<Record<string, number>> = Deno.build.os === "windows"
  ? { SIGINT: 2, SIGBREAK: 21 }
  : { SIGINT: 2, SIGTERM: 15 };

/** One Ctrl+C can arrive several times: from the terminal, and again from each program that passes it on. */
const SAME_SIGNAL_MS = 500;

/**
 * An AbortSignal that aborts at the first stop signal, with an AbortError that names it as the reason.
 * `onSecondSignal` gets 128 plus the number of the second: the exit code that shells expect. The same signal within half
 * a second is not a second one.
 */
export function abortOnSignals(onSecondSignal: (exitCode: number) => void): AbortSignal {
  const controller = new AbortController();
  let first = { name: "", atMs: 0 };
  for (const [name, number] of Object.entries(STOP_SIGNALS)) {
    Deno.addSignalListener(name as Deno.Signal, () => {
      if (!controller.signal.aborted) {
        first = { name, atMs: performance.now() };
        controller.abort(new DOMException(`stopped by ${name}`, "AbortError"));
      } else if (name !== first.name || performance.now() - first.atMs > SAME_SIGNAL_MS) {
        onSecondSignal(128 + number);
      }
    });
  }
  return controller.signal;
}
