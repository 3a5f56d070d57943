// The daemon's configuration, log and command line.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { expect, test } from "vitest";
import { SealttyError } from "../../protocol/errors.ts";
import { parseServerConfig, readServerConfig } from "../../server/config.ts";
import { createLog, escapeText } from "../../server/log.ts";
import { VERSION } from "../../node/version.ts";

const root = new URL("../../", import.meta.url);
const pipe = '[pipe]\ntype = "virtio"\nname = "sealtty.0"\n';
const evidence = '[evidence]\ntype = "tpm"\n';
const users = '[users]\nlogin = ["/bin/login"]\n';
const parse = (text: string) => parseServerConfig(text, "/etc/c.toml");

function errorOf(text: string): SealttyError {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof SealttyError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("the example that is shipped is right", async () => {
  const config = await readServerConfig(new URL("packaging/sealttyd.example.toml", root).pathname);
  expect(config).toEqual({
    pipe: { type: "virtio", name: "sealtty.0" },
    evidence: { type: "tpm", device: "/dev/tpmrm0", pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] },
    users: { authorizedKeys: "/etc/sealtty/authorized_keys", login: ["/bin/login"], shell: undefined },
  });
});

test("every other kind of pipe and evidence, and the defaults", () => {
  expect(parse(`[pipe]\ntype="tty"\ndevice="/dev/hvc0"\n${evidence}${users}`).pipe).toEqual({
    type: "tty",
    device: "/dev/hvc0",
    armourOnly: false,
  });
  expect(parse(`[pipe]\ntype="unix"\npath="/run/s"\n${evidence}${users}`).pipe).toEqual({
    type: "unix",
    path: "/run/s",
  });
  const config = parse(
    `${pipe}[evidence]\ntype="simulated"\ninstance="x"\ni_know_this_proves_nothing=true\n[users]\nauthorized_keys="/k"\nshell=["/bin/sh","-l"]`,
  );
  expect(config.evidence).toEqual({ type: "simulated", instance: "x" });
  expect(config.users).toEqual({ authorizedKeys: "/k", login: undefined, shell: ["/bin/sh", "-l"] });
  expect(parse(`${pipe}[evidence]\ntype="tpm"\npcrs=[7,0]\n${users}`).evidence).toMatchObject({
    pcrs: [0, 7],
  });
});

test.each([
  ["no pipe", evidence + users, "/etc/c.toml: the table [pipe] is missing."],
  ["no evidence", pipe + users, "the table [evidence] is missing"],
  ["no users", pipe + evidence, "the table [users] is missing"],
  ["nobody can log in", `${pipe}${evidence}[users]\nshell=["/bin/sh"]`, "[users]: nobody could log in. Set"],
  ["unknown table", `${pipe}${evidence}${users}[user]\n`, 'unknown key "user". Did you mean "users"?'],
  ["unknown key", `${pipe}nme="x"\n${evidence}${users}`, '[pipe]: unknown key "nme". Did you mean "name"?'],
  ["a key of another type", `${pipe}device="/dev/hvc0"\n${evidence}${users}`, 'unknown key "device"'],
  [
    "hostile key",
    `${pipe}"a\\u001b[2J"=1\n${evidence}${users}`,
    'unknown key "a\\x1b[2J". Known here: type, name.',
  ],
  ["unknown type", `[pipe]\ntype="virtoi"\n${evidence}${users}`, 'Did you mean "virtio"? It must be one of'],
  [
    "no type",
    `[pipe]\nname="x"\n${evidence}${users}`,
    '"type" is missing. It must be one of "virtio", "tty", "unix".',
  ],
  ["no name", `[pipe]\ntype="virtio"\n${evidence}${users}`, '"name" is missing. Add it below [pipe].'],
  ["relative path", `[pipe]\ntype="unix"\npath="s"\n${evidence}${users}`, '"path" must be an absolute path'],
  ["table as value", `pipe=1\n${evidence}${users}`, '"pipe" must be a table'],
  [
    "simulated by accident",
    `${pipe}[evidence]\ntype="simulated"\ninstance="x"\n${users}`,
    "i_know_this_proves_nothing = true",
  ],
  [
    "simulated, text for a flag",
    `${pipe}[evidence]\ntype="simulated"\ninstance="x"\ni_know_this_proves_nothing="true"\n${users}`,
    "must be true or false",
  ],
  ["no PCR", `${pipe}[evidence]\ntype="tpm"\npcrs=[]\n${users}`, '"pcrs" must list at least one PCR'],
  ["PCR twice", `${pipe}[evidence]\ntype="tpm"\npcrs=[1,1]\n${users}`, '"pcrs" must list at least one PCR'],
  ["PCR 24", `${pipe}[evidence]\ntype="tpm"\npcrs=[24]\n${users}`, '"pcrs" must list at least one PCR'],
  ["login as a text", `${pipe}${evidence}[users]\nlogin="/bin/login"`, '"login" must be a list'],
  ["login empty", `${pipe}${evidence}[users]\nlogin=[]`, '"login" must be a list'],
  ["login without path", `${pipe}${evidence}[users]\nlogin=["login"]`, '"login" must be a list'],
  ["not TOML", `${pipe}name = "secret\n`, "/etc/c.toml, line 4, column"],
])("refused: %s", (_, text, message) => {
  const error = errorOf(text);
  expect(error.code).toBe("bad-config");
  expect(error.message).toContain(message);
  expect(error.message).not.toContain("secret");
});

test("a file that is not there says what to do", async () => {
  await expect(readServerConfig("/nonexistent/c.toml")).rejects.toMatchObject({
    code: "bad-config",
    message:
      "Cannot read /nonexistent/c.toml: ENOENT. Write one (see sealttyd.example.toml), or name another with --config.",
  });
});

test("the log has journald's priorities, its levels, and no way to forge a line", () => {
  const lines: string[] = [];
  const log = createLog({ level: "info", journal: true, write: (line) => lines.push(line) });
  log.debug("not this");
  log.info("user came", { user: "ann\n<3>forged\u009b31m", bytes: 7, absent: undefined, quoted: 'a "b"' });
  log.error("bad");
  expect(lines).toEqual([
    '<6>user came user=ann\\x0a<3>forged\\x9b31m bytes=7 quoted="a \\x22b\\x22"\n',
    "<3>bad\n",
  ]);
  createLog({ journal: false, write: (line) => lines.push(line) }).warn("w");
  expect(lines[2]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z warn: w\n$/);
});

test("escapeText leaves words alone and nothing that a terminal obeys", () => {
  expect(escapeText("Grüße, 世界")).toBe("Grüße, 世界");
  expect(escapeText("\u202eevil\\\ud800")).toBe("\\u202eevil\\x5c\\ud800");
  expect(escapeText("x".repeat(5000)).length).toBe(1025);
});

test("the version is package.json's", () => {
  expect(VERSION).toBe(JSON.parse(fs.readFileSync(new URL("package.json", root), "utf8")).version);
});

test("the systemd unit is what systemd takes", () => {
  const unit = new URL("packaging/systemd/sealttyd.service", root).pathname;
  const text = fs.readFileSync(unit, "utf8");
  for (const line of [
    "DefaultDependencies=no",
    "IgnoreOnIsolate=yes",
    "Restart=always",
    "StandardInput=null",
  ]) {
    expect(text).toContain(`\n${line}\n`);
  }
  try {
    execFileSync("systemd-analyze", ["--version"], { stdio: "ignore" });
  } catch {
    return; // not on this machine
  }
  const complaints = (() => {
    try {
      return execFileSync("systemd-analyze", ["verify", unit], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      });
    } catch (error) {
      return String((error as { stderr?: string }).stderr);
    }
  })();
  expect(
    complaints
      .split("\n")
      .filter((line) => /sealttyd\.service.*(?:Unknown|Failed to parse|Invalid)/.test(line)),
  ).toEqual([]);
});
