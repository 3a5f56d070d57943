// sealttyd(8) and sealttyd.toml(5): every option and every key, and roff that man(1) takes.

import { execFileSync, spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { VERSION } from "../../node/version.ts";
import { parseServerConfig } from "../../server/config.ts";
import { CONFIG_WORDS } from "../../server/manual/config-words.ts";
import { MANUAL_SECTIONS, daemonManual } from "../../server/manual/manual.ts";
import { DOCTOR, type DaemonOption, SERVE, SETUP, givenOptions, usageText } from "../../server/options.ts";

const sealttyd = path.resolve(import.meta.dirname, "../../dist/bin/sealttyd.js");
const PIPE = '[pipe]\ntype = "virtio"\nname = "sealtty.0"\n';
const EVIDENCE = '[evidence]\ntype = "tpm"\n';
const USERS = '[users]\nlogin = ["/bin/login"]\n';

/** Files with an unknown key in `table`, one for each type that decides which keys it has. */
function filesWithUnknownKey(table: string): string[] {
  const unknown = "zzzz = 1\n";
  switch (table) {
    case "pipe":
      return ["virtio", "tty", "unix", "framebuffer"].map(
        (type) => `[pipe]\ntype = "${type}"\n${unknown}${EVIDENCE}${USERS}`,
      );
    case "evidence":
      return ["sev-snp", "tdx", "azure", "tpm", "simulated"].map(
        (type) =>
          `${PIPE}[evidence]\ntype = "${type}"\n${type === "simulated" ? "i_know_this_proves_nothing = true\n" : ""}${unknown}${USERS}`,
      );
    case "users":
      return [`${PIPE}${EVIDENCE}${USERS}${unknown}`];
    default:
      return [`${PIPE}${EVIDENCE}${USERS}[${table}]\n${unknown}`];
  }
}

/** What the parser says that it knows. */
function knownKeys(text: string): string[] {
  try {
    parseServerConfig(text, "made");
  } catch (error) {
    const [, list = ""] = /Known here: ([^.]+)\./.exec((error as Error).message) ?? [];
    return list.split(", ").filter(Boolean);
  }
  return [];
}

describe("the configuration's keys in words", () => {
  test("are those that the parser knows, of every table that there is", () => {
    expect(new Set(CONFIG_WORDS.map(({ table }) => table))).toEqual(
      new Set(knownKeys(`${PIPE}${EVIDENCE}${USERS}[zzzz]\n`)),
    );
  });

  test.each(CONFIG_WORDS)("[$table]", ({ table, keys }) => {
    const named = keys.map(({ key }) => key);
    const known = filesWithUnknownKey(table).map(knownKeys);
    for (const each of known) expect(each.length).toBeGreaterThan(0);
    expect(new Set(named)).toEqual(new Set(known.flat()));
    expect(new Set(named).size).toBe(named.length);
    const page = daemonManual("5", "0");
    for (const key of named) expect(page).toContain(`\\fB${key}\\fR = `);
  });
});

describe.each([
  ["sealttyd", SERVE],
  ["sealttyd setup", SETUP],
  ["sealttyd doctor", DOCTOR],
] as const)("%s", (_, command) => {
  test("every option stands in --help and in sealttyd(8), and is taken", () => {
    const help = usageText(command);
    const page = daemonManual("8", "0");
    for (const { name, value, multiple } of command.options as readonly DaemonOption[]) {
      expect(help).toMatch(
        new RegExp(`^  (?:-\\w, )?--${name}${value === undefined ? "" : ` ${value}`}  `, "m"),
      );
      expect(page).toContain(`\\fB\\-\\-${name.replaceAll("-", "\\-")}\\fR`);
      const given = givenOptions(command, value === undefined ? [`--${name}`] : [`--${name}`, "something"]);
      expect(given.has(name)).toBe(true);
      if (multiple === true) expect(given.texts(name)).toEqual(["something"]);
      else expect(given.text(name)).toBe(value === undefined ? undefined : "something");
    }
    expect(() => givenOptions(command, ["--no-such-option"])).toThrow("--no-such-option");
    for (const line of help.split("\n")) expect(line.length).toBeLessThanOrEqual(112);
  });
});

test.each(MANUAL_SECTIONS)(
  "sealttyd man %s is printed, and mandoc has nothing to say against it",
  (section) => {
    const printed = execFileSync(process.execPath, [sealttyd, "man", section], { encoding: "utf8" });
    expect(printed).toBe(daemonManual(section, VERSION));
    const lint = spawnSync("mandoc", ["-T", "lint", "-W", "warning"], { input: printed, encoding: "utf8" });
    expect(lint.error).toBeUndefined();
    expect(lint.stdout).toBe("");
  },
);

test("sealttyd man of something else is a mistake", () => {
  const { status, stderr } = spawnSync(process.execPath, [sealttyd, "man", "1"], { encoding: "utf8" });
  expect([status, stderr]).toEqual([2, "sealttyd: man takes 8 or 5: sealttyd man | man -l -\n"]);
});
