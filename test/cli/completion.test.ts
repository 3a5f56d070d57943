// What the shells themselves make of the scripts of `sealtty completion`, and the manual page's readers of `sealtty man`.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { spawn } from "@lydell/node-pty";
import headless from "@xterm/headless";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bashCompletion } from "../../cli/completion/bash.ts";
import { fishCompletion } from "../../cli/completion/fish.ts";
import { completionModel, operandModel } from "../../cli/completion/model.ts";
import { zshCompletion } from "../../cli/completion/zsh.ts";
import type { Command } from "../../cli/options.ts";
import { manualPage } from "../../cli/man-page.ts";
import { COMMANDS, run } from "../../cli/program.ts";
import { fakeCli } from "./fake-cli.ts";

const { Terminal } = headless;

/** Takes what no command does yet: GUEST:PATH, and words that each shell could take for its own. */
const COPY: Command = {
  name: "copy",
  summary: "made up",
  operands: "SOURCE… TARGET",
  options: [
    {
      name: "local",
      short: "L",
      value: "[BIND:]PORT:HOST:PORT",
      help: "listen here: \"a\" 'b' [c] (d) {e} \\ %f $g `h` ~ | & ; < > * ? # !",
    },
    { name: "switch", help: "it's a switch: [or not]" },
  ],
  exits: "ssh-like",
  run: () => Promise.resolve(0),
};

let directory: string;
let work: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-completion-test-"));
  work = path.join(directory, "work");
  mkdirSync(path.join(work, "a directory"), { recursive: true });
  writeFileSync(path.join(work, "a policy.toml"), "");
  const model = completionModel([...COMMANDS, COPY]);
  writeFileSync(path.join(directory, "sealtty.bash"), bashCompletion(model));
  writeFileSync(path.join(directory, "sealtty.zsh"), zshCompletion(model));
  writeFileSync(path.join(directory, "sealtty.fish"), fishCompletion(model));
  // The scripts ask the program on the PATH for the names of guests.
  const bin = path.join(directory, "bin");
  mkdirSync(bin);
  const program = '#!/bin/sh\n[ "$*" = "completion guests" ] && printf "%s\\n" db1 db2.example web\n';
  writeFileSync(path.join(bin, "sealtty"), program, { mode: 0o755 });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function said(...args: string[]): Promise<string> {
  const cli = fakeCli();
  expect(await run(args, cli.services)).toBe(0);
  return cli.out();
}

function environment(): Record<string, string> {
  return {
    PATH: `${path.join(directory, "bin")}:${process.env["PATH"] ?? ""}`,
    HOME: directory,
    TERM: "dumb",
    LC_ALL: "C.UTF-8",
  };
}

/** Completes the last word. @returns what the shell would offer, sorted. */
type Complete = (...words: string[]) => string[];

/** As readline takes a line apart: at colons and equal signs, too. */
const bash: Complete = (...words) => {
  const parts = words.flatMap((word, i) => {
    const pieces = word.split(/([:=]+)/).filter((piece) => piece !== "");
    return pieces.length === 0 || (i === words.length - 1 && word === "") ? [word] : pieces;
  });
  const script =
    'cd "$1"; source "$2"; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sealtty; printf "%s\\n" "${COMPREPLY[@]}"';
  const args = [
    "--norc",
    "-c",
    script,
    "bash",
    work,
    path.join(directory, "sealtty.bash"),
    "sealtty",
    ...parts,
  ];
  return lines(execFileSync("bash", args, { env: environment(), encoding: "utf8" }));
};

const fish: Complete = (...words) => {
  const line = ["sealtty", ...words].join(" ");
  const script = `cd ${work}; source ${directory}/sealtty.fish; complete -C '${line}'`;
  const out = execFileSync("fish", ["--no-config", "-c", script], { env: environment(), encoding: "utf8" });
  return lines(out.replaceAll(/\t.*$/gm, ""));
};

function lines(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .sort();
}

const optionsOf = (name: string): string[] =>
  (COMMANDS.find((command) => command.name === name)?.options ?? [])
    .map((option) => `--${option.name}`)
    .sort();
const names = COMMANDS.filter((command) => command.hidden !== true).map((command) => command.name);

describe.each([
  ["bash", bash],
  ["fish", fish],
])("%s", (shell, complete) => {
  test("commands, and none that is hidden", () => {
    const found = complete("");
    for (const name of [...names, "help"]) expect(found).toContain(name);
    expect(found).not.toContain("demo");
    expect(complete("conn")).toEqual(["connect"]);
    expect(complete("help", "conn")).toEqual(["connect"]);
  });
  test("every option of every command", () => {
    for (const name of names) {
      const found = complete(name, "--");
      expect(found, name).toEqual([...optionsOf(name), "--help"].sort());
    }
  }, 600_000);
  test("guests' names, as the first operand only, wherever options stand", () => {
    const guests = ["db1", "db2.example", "web"];
    expect(complete("connect", "")).toEqual(guests);
    expect(complete("connect", "--policy", "x", "-v", "d")).toEqual(["db1", "db2.example"]);
    expect(complete("exec", "-l", "root", "w")).toEqual(["web"]);
    expect(complete("connect", "db1", "")).toEqual([]);
  });
  test("values: choices, files, directories, nothing", () => {
    expect(complete("connect", "--obfuscate", "")).toEqual(["adaptive", "off", "strict"]);
    expect(complete("connect", "--encoding", "b")).toEqual(["binary"]);
    expect(complete("connect", "--login", "")).toEqual([]);
    expect(complete("connect", "-o", "us")).toEqual(["user="]);
    const [file, folder] = ["a policy.toml", shell === "fish" ? "a directory/" : "a directory"];
    expect(complete("connect", "--policy", "a")).toEqual([folder, file]);
    expect(complete("connect", "-i", "a")).toEqual([folder, file]);
    expect(complete("connect", "--collateral", "a")).toEqual([folder]);
  });
  test("verbs, and the files behind them", () => {
    expect(complete("policy", "")).toEqual(["check", "schema"]);
    expect(complete("measure", "")).toEqual(["snp", "tpm"]);
    expect(complete("collateral", "")).toEqual(["fetch"]);
    expect(complete("policy", "check", "a").join()).toContain("policy.toml");
  });
  test("an option whose words are full of what shells act on", () => {
    expect(complete("copy", "--")).toEqual(["--help", "--local", "--switch"]);
    expect(complete("copy", "--local", "")).toEqual([]);
    expect(complete("copy", "-L", "1:h:2", "we")).toEqual(["web:"]);
  });
  test("GUEST:PATH or a file", () => {
    expect(complete("copy", "w")).toEqual(["web:"]);
    expect(complete("copy", "x", "a").join()).toContain("policy.toml");
  });
  test("nothing of sealtty's behind --", () => {
    expect(complete("exec", "db1", "--", "--pol")).toEqual([]);
    expect(complete("exec", "db1", "--", "db")).toEqual([]);
  });
});

describe("bash", () => {
  test("what it takes apart itself: --option=value, and addresses", () => {
    expect(bash("connect", "--obfuscate=a")).toEqual(["adaptive"]);
    expect(bash("connect", "--obfuscate=")).toEqual(["adaptive", "off", "strict"]);
    expect(bash("connect", "--timeout=9", "")).toEqual(["db1", "db2.example", "web"]);
    expect(bash("connect", "unix:a")).toEqual(["a directory", "a policy.toml"]);
    expect(bash("connect", "ws://h:1/", "")).toEqual([]);
    expect(bash("connect", "tcp:h:1", "--obf")).toEqual(["--obfuscate"]);
    expect(bash("copy", "")).toEqual(["a\\ directory", "a\\ policy.toml", "db1:", "db2.example:", "web:"]);
  });
});

/** Typed behind a Tab: once it is on the screen, the Tab was dealt with. */
const MARK = "Q";

/** Types a line into a real shell. @returns the line that its screen shows in the end, without prompt and mark. */
async function typed(shell: string, args: string[], setUp: string, line: string): Promise<string> {
  const size = { cols: 200, rows: 50 };
  const screen = new Terminal({ ...size, allowProposedApi: true });
  const env = { ...environment(), TERM: "xterm", PS1: "ready> " };
  const terminal = spawn(shell, args, { env, cwd: work, ...size });
  const rows = (): string[] => {
    const { active } = screen.buffer;
    const all = Array.from({ length: size.rows }, (_, y) => active.getLine(y)?.translateToString(true) ?? "");
    return all.join("\n").trimEnd().split("\n");
  };
  const steps = [
    { until: /^ready>$/m, type: `${setUp}; echo set-up-"done"\r` },
    { until: /set-up-done\nready>$/, type: `${line}${MARK}` },
    { until: new RegExp(`\nready> .*${MARK}$`), type: undefined },
  ];
  try {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        const [step] = steps;
        if (step === undefined || !step.until.test(rows().join("\n"))) return;
        steps.shift();
        if (step.type === undefined) resolve();
        else terminal.write(step.type);
      };
      screen.onData((answer) => terminal.write(answer)); // some shells ask what the terminal is
      terminal.onData((data) => screen.write(data, look));
      terminal.onExit(() => reject(new Error(`${shell} ended:\n${rows().join("\n")}`)));
    });
    return (rows().at(-1) ?? "").slice("ready> ".length, -MARK.length);
  } finally {
    terminal.kill("SIGKILL");
    screen.dispose();
  }
}

describe("typed into a real shell", () => {
  test.each([
    ["sealtty conn\t", "sealtty connect "],
    ["sealtty connect --obf\t", "sealtty connect --obfuscate "],
    ["sealtty connect --obfuscate st\t", "sealtty connect --obfuscate strict "],
    ["sealtty connect --policy a\\ p\t", "sealtty connect --policy a\\ policy.toml "],
    ["sealtty connect --policy a\\ d\t", "sealtty connect --policy a\\ directory/"],
    ["sealtty connect w\t", "sealtty connect web "],
    ["sealtty copy we\t", "sealtty copy web:"],
    ["sealtty connect -o us\t", "sealtty connect -o user="],
    ["sealtty policy ch\t", "sealtty policy check "],
  ])("bash: %j", async (line, wanted) => {
    const script = path.join(directory, "sealtty.bash");
    expect(await typed("bash", ["--norc", "--noprofile", "-i"], `source ${script}`, line)).toBe(wanted);
  });
  test.each([
    ["sealtty conn\t", "sealtty connect "],
    ["sealtty connect --obf\t", "sealtty connect --obfuscate="],
    ["sealtty connect --obfuscate st\t", "sealtty connect --obfuscate strict "],
    ["sealtty connect --policy a\\ p\t", "sealtty connect --policy a\\ policy.toml "],
    ["sealtty connect w\t", "sealtty connect web "],
    ["sealtty copy we\t", "sealtty copy web:"],
    ["sealtty copy --lo\t", "sealtty copy --local="],
    ["sealtty copy --sw\t", "sealtty copy --switch "],
    ["sealtty copy -L 1:h:2 --switch we\t", "sealtty copy -L 1:h:2 --switch web:"],
    ["sealtty copy web:/etc/fstab a\\ p\t", "sealtty copy web:/etc/fstab a\\ policy.toml "],
    ["sealtty connect --policy x -v w\t", "sealtty connect --policy x -v web "],
    ["sealtty connect -o us\t", "sealtty connect -o user="],
    ["sealtty policy ch\t", "sealtty policy check "],
    ["sealtty policy check a\\ p\t", "sealtty policy check a\\ policy.toml "],
  ])("zsh: %j", async (line, wanted) => {
    const script = path.join(directory, "sealtty.zsh");
    const setUp = `PS1='ready> '; autoload -Uz compinit; compinit -u -d ${directory}/dump; source ${script}`;
    expect(await typed("zsh", ["-f", "-i"], setUp, line)).toBe(wanted);
  });
  test.each(["bash", "zsh", "fish"])("%s finds no fault with the script's syntax", (shell) => {
    const { status, stderr } = spawnSync(shell, ["-n", path.join(directory, `sealtty.${shell}`)], {
      encoding: "utf8",
    });
    expect([status, stderr]).toEqual([0, ""]);
  });
});

describe("sealtty completion", () => {
  test("prints the scripts of all the commands there are", async () => {
    const model = completionModel(COMMANDS);
    expect(await said("completion", "bash")).toBe(bashCompletion(model));
    expect(await said("completion", "zsh")).toBe(zshCompletion(model));
    expect(await said("completion", "fish")).toBe(fishCompletion(model));
  });
  test("guests: the names in guests.toml, or in the file of -F; none without one", async () => {
    expect(await said("completion", "guests")).toBe("");
    const file = path.join(directory, "guests.toml");
    writeFileSync(file, "[guests.one]\n[guests.'two.x']\n");
    expect(await said("completion", "guests", "-F", file)).toBe("one\ntwo.x\n");
  });
  test.each([
    [[], "say bash, zsh or fish"],
    [["tcsh"], "no script for that shell"],
    [["constructor"], "no script for that shell"],
    [["bash", "zsh"], "unexpected operand"],
  ])("%j is refused", async (args, why) => {
    const cli = fakeCli();
    expect(await run(["completion", ...args], cli.services)).toBe(255);
    expect(cli.errors()).toContain(why);
  });
  test("operands are read as the help has them, those of commands to come as well", () => {
    const shape = (operands: string) => {
      const { first, others } = operandModel(operands);
      const of = (words: typeof first) =>
        Object.entries(words)
          .filter(([, value]) => value !== false && (!Array.isArray(value) || value.length > 0))
          .map(([key, value]) => (key === "fixed" ? value : key));
      return [of(first), of(others)];
    };
    expect(shape("GUEST -- COMMAND…")).toEqual([["guests"], []]);
    expect(shape("GUEST [HOST:PORT|unix:PATH|ssh]")).toEqual([["guests"], []]);
    expect(shape("GUEST -L [BIND:]PORT:HOST:PORT …")).toEqual([["guests"], []]);
    expect(shape("GUEST…")).toEqual([["guests"], ["guests"]]);
    expect(shape("[GUEST…]")).toEqual([["guests"], ["guests"]]);
    expect(shape("[GUEST…] [--dry-run|--remove]")).toEqual([["guests"], ["guests"]]);
    expect(shape("SOURCE… TARGET")).toEqual([
      ["guestPaths", "files"],
      ["guestPaths", "files"],
    ]);
    expect(shape("check FILE | schema")).toEqual([[["check", "schema"]], ["files"]]);
    expect(shape("--policy FILE --evidence FILE")).toEqual([[], []]);
    expect(shape("")).toEqual([[], []]);
  });
});

describe("sealtty man", () => {
  test("readers find no fault with it", async () => {
    const file = path.join(directory, "sealtty.1");
    writeFileSync(file, await said("man"));
    const lint = spawnSync("mandoc", ["-T", "lint", file], { encoding: "utf8" });
    expect([lint.status, lint.stdout, lint.stderr]).toEqual([0, "", ""]);
  });
  test("with such an option as well", () => {
    const file = path.join(directory, "sealtty.1");
    writeFileSync(file, manualPage([...COMMANDS, COPY], "1.2.3"));
    const lint = spawnSync("mandoc", ["-T", "lint", file], { encoding: "utf8" });
    expect([lint.status, lint.stdout, lint.stderr]).toEqual([0, "", ""]);
    const text = execFileSync("mandoc", ["-T", "utf8", file], { encoding: "utf8" }).replaceAll(/.\x08/gu, "");
    expect(text.replaceAll(/\s+/g, " ")).toContain(COPY.options[0]?.help.slice(1) ?? "?");
  });
  test("has every command with every option, as it is typed", async () => {
    const file = path.join(directory, "sealtty.1");
    writeFileSync(file, await said("man"));
    const text = execFileSync("mandoc", ["-T", "ascii", file], { encoding: "utf8" }).replaceAll(/.\x08/g, "");
    for (const { name, hidden, options } of COMMANDS) {
      expect(text.includes(`sealtty ${name}`), name).toBe(hidden !== true);
      if (hidden === true) continue;
      const short = ({ name: option, short: letter }: (typeof options)[number]) =>
        letter === undefined ? `--${option}` : `-${letter}`;
      const begin = text.indexOf(`\n   sealtty ${name}`);
      const section = text.slice(begin, text.slice(begin + 1).search(/\n {3}\S|\n\S/) + begin + 1);
      for (const option of options) {
        expect(section.replaceAll(/-\n\s+|\s+/g, " "), `${name} --${option.name}`).toContain(short(option));
        expect(text, option.name).toContain(`--${option.name}`);
      }
    }
  });
});
