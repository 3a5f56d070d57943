// The instance document: strict, bounded, hashed byte for byte; and the schema that goes with it.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { parse } from "smol-toml";
import { describe, expect, test } from "vitest";
import {
  documentDigests,
  matchesEvidence,
  mayRun,
  mayUse,
  parseInstanceDocument,
} from "../../../protocol/attestation/instance/document.ts";
import { instanceKeyTable, instanceSchema } from "../../../protocol/attestation/instance/schema.ts";
import { toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { MAX_INSTANCE_DOCUMENT } from "../../../protocol/limits.ts";
import { schemaComplaints } from "../../support/json-schema.ts";
import { DOCUMENT, SSH_KEY } from "./made-instances.ts";
import { onlySealttyErrors, suite } from "./support.ts";

const read = (toml: string) => parseInstanceDocument(utf8(toml));
const file = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../../${name}`, import.meta.url)), "utf8");

function refusal(document: string | Uint8Array): string {
  let error: unknown;
  try {
    parseInstanceDocument(typeof document === "string" ? utf8(document) : document);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("bad-config");
  expect((error as SealttyError).message).toMatch(/^Instance document: /);
  return (error as SealttyError).message;
}

test("a whole document is read", () => {
  const document = read(
    `version = 1\nname = "db1"\nauthorized_keys = ["${SSH_KEY}"]\nusers = ["root", "alice"]\n` +
      'commands = [["uptime"], ["systemctl", "status", "a b"]]\n[agent]\nlogin = true\nshell = false\n',
  );
  expect(document).toMatchObject({
    version: 1,
    name: "db1",
    users: ["root", "alice"],
    commands: [["uptime"], ["systemctl", "status", "a b"]],
    agent: { login: true, shell: false },
  });
  expect(document.authorizedKeys).toHaveLength(1);
  expect(document.authorizedKeys[0]).toMatchObject({
    keyType: "ssh-ed25519",
    comment: "alice@laptop",
    line: SSH_KEY,
  });
  expect(document.authorizedKeys[0]?.blob).toHaveLength(51);
  const [restricted] = read(
    withLine("authorized_keys", `['command="x y",no-pty ${SSH_KEY}']`),
  ).authorizedKeys;
  expect(restricted?.options.restrictions).toEqual({ command: "x y", pty: false, portForwarding: false });
});

test("what may be absent is off, or follows from what is written", () => {
  const document = read(DOCUMENT);
  expect(document.agent).toEqual({ login: false, shell: true });
  expect(document.users).toBe("any");
  expect(document.commands).toBe("any");
  expect(document.text).toBe(DOCUMENT);
  expect(read(`${DOCUMENT}[agent]\nlogin = true\n`).agent).toEqual({ login: true, shell: true });
  expect(read(`${DOCUMENT}[agent]\nshell = false\n`).agent).toEqual({ login: false, shell: false });
});

const without = (key: string) => DOCUMENT.replace(new RegExp(`^${key} = .*\\n`, "m"), "");
const withLine = (key: string, toml: string) => `${without(key)}${key} = ${toml}\n`;

test.each([
  ["no version", without("version"), "version is missing; write `version = 1`"],
  [
    "another version",
    DOCUMENT.replace("version = 1", "version = 2"),
    "version is not one that this sealtty reads",
  ],
  ["a version of another kind", DOCUMENT.replace("version = 1", 'version = "1"'), "version is not one"],
  ["no name", without("name"), "name is missing"],
  ["a name with a line end", withLine("name", '"a\\nb"'), "name is not 1 to 64"],
  ["a name that turns the text around", withLine("name", '"a\\u202eb"'), "name is not 1 to 64"],
  ["no keys at all", without("authorized_keys"), "authorized_keys is missing"],
  ["keys outside a list", withLine("authorized_keys", `"${SSH_KEY}"`), "is not a list of strings"],
  [
    "a key with an option that is not honoured",
    withLine("authorized_keys", `['from="*" ${SSH_KEY}']`),
    "authorized_keys[0] is refused: from= cannot be honoured",
  ],
  ["a DSA key", withLine("authorized_keys", '["ssh-dss AAAA"]'), "keys of this type are not accepted"],
  ["a broken key", withLine("authorized_keys", '["ssh-ed25519 AAAA"]'), "the key is malformed"],
  ["a comment as a key", withLine("authorized_keys", '["# nobody"]'), "is not a public key"],
  ["an empty key", withLine("authorized_keys", '[""]'), "is not a public key"],
  ["two keys in one line", withLine("authorized_keys", `["${SSH_KEY}\\n${SSH_KEY}"]`), "is not a public key"],
  ["no users", without("users"), 'users is missing; write `users = ["root"]`'],
  ["an empty list of users", withLine("users", "[]"), "an empty list lets nobody in"],
  ["any user and others", withLine("users", '["root", "*"]'), 'users has "*" beside others'],
  ["a user that is an option", withLine("users", '["-froot"]'), "users[0] is not a user name"],
  ["users outside a list", withLine("users", '"*"'), "is not a list"],
  ["no commands", without("commands"), "commands is missing"],
  ["any command and others", withLine("commands", '["*", ["uptime"]]'), 'commands has "*" beside others'],
  [
    "a command that is a line for a shell",
    withLine("commands", '["uptime -p"]'),
    "commands[0] is not a command",
  ],
  ["an empty command", withLine("commands", "[[]]"), "commands[0] is not a command"],
  ["a command without a program", withLine("commands", '[["", "x"]]'), "commands[0] is not a command"],
  ["a command with NUL", withLine("commands", '[["a\\u0000b"]]'), "commands[0] is not a command"],
  ["a command with a number", withLine("commands", '[["kill", 9]]'), "commands[0] is not a command"],
  ["commands, and nothing about a shell", withLine("commands", '[["uptime"]]'), "agent.shell is missing"],
  ["no commands, and nothing about a shell", withLine("commands", "[]"), "agent.shell is missing"],
  ["nobody who could log in", withLine("authorized_keys", "[]"), "nobody could log in"],
  [
    "an unknown key",
    `${DOCUMENT}authorised_keys = []\n`,
    "unknown key authorised_keys; did you mean authorized_keys?",
  ],
  ["an unknown setting", `${DOCUMENT}[agent]\npassword = true\n`, "unknown key agent.password"],
  [
    "a setting of another kind",
    `${DOCUMENT}[agent]\nlogin = "yes"\n`,
    "agent.login is neither true nor false",
  ],
  ["a shell of another kind", `${DOCUMENT}[agent]\nshell = 1\n`, "agent.shell is neither true nor false"],
  ["settings that are no section", `${DOCUMENT}agent = true\n`, "agent is not a section"],
  ["no TOML", `${DOCUMENT}[[[`, "not valid TOML"],
  ["an empty file", "", "version is missing"],
  ["a byte order mark", `\ufeff${DOCUMENT}`, "byte order mark"],
  ["a dangerous key", `${DOCUMENT}__proto__ = 1\n`, "not valid TOML"],
])("a document is refused: %s", (_what, toml, part) => {
  const message = refusal(toml);
  expect(message).toContain(part);
  expect(message).not.toMatch(/[^\x20-\x7e…]/);
});

test("bytes that are no UTF-8, and a file that is too long, are refused", () => {
  expect(refusal(Uint8Array.of(...utf8(DOCUMENT), 0xff))).toContain("not UTF-8");
  const padded = (length: number) => utf8(DOCUMENT + "#".repeat(length - utf8(DOCUMENT).length));
  expect(parseInstanceDocument(padded(MAX_INSTANCE_DOCUMENT)).name).toBe("db1");
  expect(refusal(padded(MAX_INSTANCE_DOCUMENT + 1))).toContain("longer than 64 KiB");
});

test("a login without keys is a decision that can be written", () => {
  const document = read(`${withLine("authorized_keys", "[]")}[agent]\nlogin = true\n`);
  expect(document.authorizedKeys).toEqual([]);
});

describe("who and what", () => {
  test("users by name, or any", () => {
    expect(mayUse({ users: ["root"] }, "root")).toBe(true);
    expect(mayUse({ users: ["root"] }, "roo")).toBe(false);
    expect(mayUse({ users: ["root"] }, "any")).toBe(false);
    expect(mayUse({ users: "any" }, "whoever")).toBe(true);
  });
  test("commands word for word", () => {
    const commands = [["systemctl", "status"], ["uptime"]];
    expect(mayRun({ commands }, ["uptime"])).toBe(true);
    expect(mayRun({ commands }, ["systemctl", "status"])).toBe(true);
    for (const other of [
      ["systemctl"],
      ["systemctl", "status", "x"],
      ["systemctl status"],
      ["status", "systemctl"],
      [],
    ]) {
      expect(mayRun({ commands }, other), other.join(" ")).toBe(false);
    }
    expect(mayRun({ commands: [] }, ["uptime"])).toBe(false);
    expect(mayRun({ commands: "any" }, ["rm"])).toBe(true);
  });
});

describe("digests", () => {
  const hash = (name: string, ...parts: Uint8Array[]) =>
    new Uint8Array(parts.reduce((sum, part) => sum.update(part), createHash(name)).digest());
  test("are those of the exact bytes; a PCR is one extend of zeros", () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const digests = documentDigests(suite, bytes);
        expect(digests.sha256).toEqual(hash("sha256", bytes));
        expect(digests.sha384).toEqual(hash("sha384", bytes));
        expect(digests.pcr.sha256).toEqual(hash("sha256", new Uint8Array(32), hash("sha256", bytes)));
        expect(digests.pcr.sha384).toEqual(hash("sha384", new Uint8Array(48), hash("sha384", bytes)));
      }),
      { numRuns: 50 },
    ));
  test("match their own place only", () => {
    const digests = documentDigests(suite, utf8(DOCUMENT));
    expect(matchesEvidence(digests, { kind: "field", hash: "sha256", value: digests.sha256 })).toBe(true);
    expect(matchesEvidence(digests, { kind: "field", hash: "sha384", value: digests.sha384 })).toBe(true);
    expect(matchesEvidence(digests, { kind: "pcr", hash: "sha256", value: digests.pcr.sha256 })).toBe(true);
    expect(matchesEvidence(digests, { kind: "pcr", hash: "sha256", value: digests.sha256 })).toBe(false);
    expect(matchesEvidence(digests, { kind: "field", hash: "sha256", value: digests.pcr.sha256 })).toBe(
      false,
    );
    expect(matchesEvidence(digests, { kind: "field", hash: "sha384", value: digests.sha256 })).toBe(false);
    expect(matchesEvidence(digests, { kind: "field", hash: "sha256", value: new Uint8Array(32) })).toBe(
      false,
    );
  });
  test("docs/instance.md computes the same example", () => {
    const { sha256, sha384, pcr } = documentDigests(suite, utf8("version = 1"));
    const text = file("docs/instance.md");
    for (const value of [sha256, sha384, pcr.sha256, pcr.sha384])
      expect(text).toContain(`  ${toHex(value)}\n`);
    expect(text).toContain(`at most ${MAX_INSTANCE_DOCUMENT} bytes`);
  });
});

describe("schema", () => {
  const complaints = (toml: string) => schemaComplaints(instanceSchema(), parse(toml));
  test("docs/instance.schema.json is what the keys say (else: node scripts/generate-schemas.mjs)", () => {
    expect(JSON.parse(file("docs/instance.schema.json"))).toEqual(instanceSchema());
  });
  test("docs/instance.md has the table of every key (else: node scripts/generate-schemas.mjs)", () => {
    expect(file("docs/instance.md").includes(`-->\n\n${instanceKeyTable()}\n<!-- end of keys -->`)).toBe(
      true,
    );
  });
  test("docs/instance.md begins with a document that is good, but for its shortened key", () => {
    const example = /```toml\n([^]*?)```/.exec(file("docs/instance.md"))?.[1] ?? "";
    expect(read(example.replace(/"ssh-ed25519 [^"]*"/, `"${SSH_KEY}"`)).name).toBe("db1");
  });
  test.each([
    ["the shortest", DOCUMENT],
    [
      "lists",
      `${withLine("commands", '[["uptime"], ["a", "b"]]').replace('["*"]', '["root"]')}[agent]\nshell = false\n`,
    ],
    ["no commands", `${withLine("commands", "[]")}[agent]\nshell = false\n`],
    ["a key with options", withLine("authorized_keys", `['command="x y",no-pty ${SSH_KEY}']`)],
    ["no keys", `${withLine("authorized_keys", "[]")}[agent]\nlogin = true\n`],
  ])("accepts what the parser accepts: %s", (_what, toml) => {
    expect(read(toml).name).toBe("db1");
    expect(complaints(toml)).toEqual([]);
  });
  test.each([
    ["an unknown key", `${DOCUMENT}x = 1\n`],
    ["no users", without("users")],
    ["any and others", withLine("users", '["*", "root"]')],
    ["a command line", withLine("commands", '["uptime -p"]')],
    ["a DSA key", withLine("authorized_keys", '["ssh-dss AAAA"]')],
    ["half a key", withLine("authorized_keys", '["ssh-rsa AAAA"]')],
  ])("refuses what the parser refuses: %s", (_what, toml) => {
    expect(onlySealttyErrors(() => read(toml))).toBe(false);
    expect(complaints(toml)).not.toEqual([]);
  });
});

test("parseInstanceDocument() never throws anything but a SealttyError", () => {
  const pieces = fc.constantFrom(
    DOCUMENT,
    without("users"),
    "[agent]\n",
    "shell = true\n",
    'users = ["*"]\n',
    "commands = [[[[",
    "a.b.c = {",
    `authorized_keys = ["${SSH_KEY}"]\n`,
    '"""',
  );
  const text = fc
    .array(fc.oneof(pieces, fc.string({ unit: "binary" })), { maxLength: 6 })
    .map((parts) => utf8(parts.join("")));
  const mutated = fc
    .tuple(fc.nat(DOCUMENT.length - 1), fc.nat(255))
    .map(([at, byte]) => utf8(DOCUMENT).map((each, i) => (i === at ? byte : each)));
  fc.assert(
    fc.property(fc.oneof(text, mutated, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      onlySealttyErrors(() => parseInstanceDocument(bytes));
    }),
    { numRuns: 400 },
  );
  for (const deep of [`x = ${"[".repeat(50_000)}`, `[${"x.".repeat(20_000)}x]`]) {
    expect(onlySealttyErrors(() => parseInstanceDocument(utf8(DOCUMENT + deep)))).toBe(false);
  }
});
