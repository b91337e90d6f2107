/** The question before something is gone for good. */

import { switchOption } from "../config/option.ts";
import { MarmotError } from "../errors.ts";
import type { Terminal } from "./terminal.ts";

export const yesOption = switchOption({
  flag: "yes",
  defaultValue: false,
  text: "Discard without asking.",
});

/** Asks unless `isYes`; false where the answer is no. Throws MarmotError where nobody is there to answer. */
export function isConfirmed(terminal: Terminal, { isYes, what }: { isYes: boolean; what: string }): boolean {
  const answer = isYes || terminal.confirm(`Discard ${what}?`);
  if (answer !== null) return answer;
  throw new MarmotError("usage", `Cannot discard ${what}: nobody is here to be asked`, {
    hint: "-yes discards without asking.",
  });
}
