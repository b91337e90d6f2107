import assert from "node:assert/strict";
import { type Command, defineCommand, parseCommand } from "../../src/cli/command.ts";
import { COMMANDS, explainWord } from "../../src/cli/commands.ts";
import { commandHelpText, helpText } from "../../src/cli/help.ts";
import { numberOption } from "../../src/config/option.ts";
import { MarmotError } from "../../src/errors.ts";

const NO_TERMINAL = { writeOutput() {}, writeError() {}, confirm: () => null };

/** A command that notes how it was called. */
function makeCommand(calls: unknown[]): Command {
  return defineCommand({
    name: "count",
    text: "Counts.",
    options: {
      limit: numberOption({ flag: "limit", defaultValue: 3, minimum: 1, maximum: 9, text: "The most." }),
    },
    forms: [
      { words: "", text: "Counts all.", run: ({ options }) => void calls.push(["all", options.limit]) },
      {
        words: "show ID",
        text: "Counts one.",
        run: ({ words, options }) => void calls.push([...words, options.dbPath, options.json]),
      },
    ],
  });
}

function callsOf(...args: string[]): unknown[] {
  const calls: unknown[] = [];
  const invocation = parseCommand(makeCommand(calls), args);
  assert.ok(invocation.action === "run");
  invocation.run({ terminal: NO_TERMINAL, stop: new AbortController().signal });
  return calls;
}

Deno.test("words and flags of a command may stand in any order, in Go's spellings", () => {
  assert.deepEqual(callsOf(), [["all", 3]]);
  assert.deepEqual(callsOf("--limit=5"), [["all", 5]]);
  const wanted = [["7", "a b.db", true]];
  assert.deepEqual(callsOf("show", "7", "-db-path", "a b.db", "-json"), wanted);
  assert.deepEqual(callsOf("-json", "show", "--db-path=a b.db", "7"), wanted);
  assert.deepEqual(callsOf("--json", "-db-path=a b.db", "--", "show", "7"), wanted);
});

Deno.test("a command that is written wrongly is one sentence that says what is wrong", () => {
  const cases: [string[], string][] = [
    [["shwo", "7"], 'Cannot use "shwo": marmot count takes no such word, did you mean show?'],
    [["xyzzy"], 'Cannot use "xyzzy": marmot count takes no such word'],
    [["show"], "Cannot run marmot count show: its ID is missing"],
    [["show", "7", "8"], 'Cannot use "8": marmot count show ID takes no such word'],
    [["-limit", "10"], 'Cannot use -limit "10": it must be a whole number from 1 to 9'],
    [["-jsno"], "Cannot use -jsno: there is no such flag, did you mean -json?"],
    [["-db-path"], "Cannot use -db-path: its value is missing"],
  ];
  for (const [args, sentence] of cases) {
    assert.throws(
      () => callsOf(...args),
      (error) => error instanceof MarmotError && error.code === "usage" && error.message === sentence,
      args.join(" "),
    );
  }
});

Deno.test("-help of a command explains all its forms and flags", () => {
  const command = makeCommand([]);
  assert.deepEqual(parseCommand(command, ["show", "-help"]), { action: "help" });
  const help = commandHelpText(command).replaceAll(/\n {8}/g, " ");
  for (const line of ["marmot count [flags] Counts all.", "marmot count show ID [flags] Counts one."]) {
    assert.ok(help.includes(line), help);
  }
  for (const option of Object.values(command.options)) assert.ok(help.includes(`-${option.flag}`), help);
});

Deno.test("every command is well described, and listed by -help", () => {
  assert.equal(new Set(COMMANDS.map((command) => command.name)).size, COMMANDS.length);
  const help = helpText().replaceAll(/\n {8}/g, " ");
  for (const command of COMMANDS) {
    assert.ok(help.includes(`\n  ${command.name} ${command.text}`), command.name);
    const sentences = [command, ...command.forms, ...Object.values(command.options)].map(({ text }) => text);
    for (const sentence of sentences) assert.match(sentence, /^[A-Z][^]*\.$/, command.name);
    const flags = Object.values(command.options).map((option) => option.flag);
    assert.equal(new Set(flags).size, flags.length, command.name);
    for (const line of commandHelpText(command).split("\n")) assert.ok(line.length <= 110, line);
  }
});

Deno.test("a command behind a flag, or misspelt, is told apart from nonsense", () => {
  assert.match(explainWord("conflicts") ?? "", /A command stands first/);
  assert.match(explainWord("conflict") ?? "", /called conflicts/);
  assert.equal(explainWord("xyzzy"), undefined);
});
