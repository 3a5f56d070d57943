// What users read agrees with the table that parses: README, docs, help and events.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { OptionSpec } from "../../cli/options.ts";
import { COMMANDS, run } from "../../cli/program.ts";
import { EVENTS, eventProblem } from "../support/json-events.ts";
import { fakeCli } from "./fake-cli.ts";

const root = new URL("../../", import.meta.url).pathname;
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const readme = read("README.md");
const documents = new Map(
  ["README.md", ...readdirSync(path.join(root, "docs")).map((name) => `docs/${name}`)]
    .filter((name) => name.endsWith(".md"))
    .map((name) => [name, read(name)]),
);
const shown = COMMANDS.filter((command) => command.hidden !== true);

describe("README and docs", () => {
  test.each(shown.map(({ name }) => [name]))("a document has %s, and README its exit status", (name) => {
    expect(new RegExp(`sealtty ${name}\\b`).test([...documents.values()].join("\n"))).toBe(true);
    const rows = readme.split("\n").filter((line) => line.startsWith("| `"));
    const statuses = rows.slice(
      rows.findIndex((line) => line.startsWith("| `connect`")),
      rows.findIndex((line) => line.startsWith("| `guest-silent`")),
    );
    expect(statuses.map((line) => line.split("|")[1]).join()).toContain(`\`${name}\``);
  });
  test("every option stands in README or docs, by its name or, in a command line or as code, by its letter", () => {
    const all = [...documents.values()].join("\n");
    const stands = (name: string, { name: option, short }: OptionSpec): boolean =>
      new RegExp(`--${option}(?![a-z-])`).test(all) ||
      (short !== undefined &&
        new RegExp(`\`-${short}[ \`,]|sealtty ${name} [^\n]*(?<= )-${short}\\b`).test(all));
    const missing = shown.flatMap(({ name, options }) =>
      options.filter((option) => !stands(name, option)).map((option) => `${name} --${option.name}`),
    );
    expect(missing).toEqual([]);
  });
  test("every command line that they show is one: command and options are known", () => {
    const wrong: string[] = [];
    for (const [file, text] of documents) {
      for (const [line, name = "", rest = ""] of text.matchAll(/\bsealtty ([a-z][a-z-]*)((?: [^`\n]*)?)/g)) {
        const command = COMMANDS.find((each) => each.name === name);
        if (command === undefined) continue; // a sentence
        const [own = ""] = rest.split(/ -- |#|; |\s\||, /, 1);
        for (const [, option = ""] of own.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)) {
          if (option === "help" || command.options.some((each) => each.name === option)) continue;
          wrong.push(`${file}: ${line.trim()}: no --${option}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe("docs/json.md", () => {
  test("has every event of the sources, and none that is not there", () => {
    const sources = readdirSync(path.join(root, "cli"), { recursive: true, encoding: "utf8" }).filter(
      (name) => name.endsWith(".ts"),
    );
    const found = new Set(
      sources.flatMap((name) =>
        [...read(`cli/${name}`).matchAll(/\b(?:event|saved|said)\(\s*"([a-z-]+)"|\bevent: "([a-z-]+)"/g)].map(
          ([, call, field]) => call ?? field ?? "",
        ),
      ),
    );
    expect([...EVENTS.keys()].sort()).toEqual([...found].sort());
  });
  test("names commands that there are", () => {
    for (const [event, { commands }] of EVENTS) {
      for (const [, name] of commands.matchAll(/`([a-z][a-z-]*)`/g)) {
        expect(
          COMMANDS.map((command) => command.name),
          event,
        ).toContain(name);
      }
    }
  });
  test("a line that is not as documented is found", () => {
    const good = '{"event":"gap","lost":1}';
    expect(eventProblem(good, "stderr")).toBeUndefined();
    expect(eventProblem("{}", "stderr")).toBeUndefined();
    expect(eventProblem(good, "stdout")).toContain("has gap on stderr");
    expect(eventProblem('{"event":"gap"}', "stderr")).toContain("lost of gap, which is not there");
    expect(eventProblem('{"event":"gap","lost":"1"}', "stderr")).toContain("lost is a text");
    expect(eventProblem('{"event":"gap","lost":1,"x":1}', "stderr")).toContain("no field x");
    expect(eventProblem('{"event":"gaps"}', "stderr")).toContain("does not have the event gaps");
  });
  test("every command that has events takes --json", () => {
    const without = shown.filter(({ options }) => !options.some(({ name }) => name === "json"));
    expect(without.map(({ name }) => name).sort()).toEqual(["completion", "man"]);
  });
  test("--version --json", async () => {
    const cli = fakeCli();
    expect(await run(["--version", "--json"], cli.services)).toBe(0);
    expect(JSON.parse(cli.out())).toEqual({
      event: "version",
      version: "1.2.3",
      protocol: 1,
      node: process.version,
    });
  });
});
