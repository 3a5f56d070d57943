// The instance document in the guest: believed by the evidence alone, and what it then decides; the instance key; host keys.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import os, { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { parseOpensshKey } from "../../node/openssh-key-file.ts";
import { documentDigests, parseInstanceDocument } from "../../protocol/attestation/instance/document.ts";
import { verifyInstanceKey } from "../../protocol/attestation/instance/key-proof.ts";
import { Reader, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { encodeEd25519Key, encodeEd25519Signature } from "../../protocol/user-auth/ssh-wire.ts";
import { encodeSshsig, sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import type { InstanceConfig, UsersConfig } from "../../server/config.ts";
import { TpmChannel } from "../../server/evidence/tpm-channel.ts";
import { type InstanceAnchor, InstanceParts, believeDocument } from "../../server/instance.ts";
import { createLog } from "../../server/log.ts";
import { loginProgram, planPrograms, startPlanned } from "../../server/sessions/user-programs.ts";
import { userKeys } from "../../server/user-keys.ts";
import { Swtpm, hasSwtpm } from "./support/swtpm.ts";

const directory = mkdtempSync(join(tmpdir(), "sealtty-instance-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const places = { fwCfg: join(directory, "raw"), commandLine: join(directory, "cmdline") };
beforeEach(() => {
  rmSync(places.fwCfg, { force: true });
  writeFileSync(places.commandLine, "BOOT_IMAGE=/vmlinuz quiet\n");
});

const seed = new Uint8Array(32).fill(5);
const keyBlob = encodeEd25519Key(nodeSuite.ed25519PublicKey(seed));
const keyLine = `ssh-ed25519 ${Buffer.from(keyBlob).toString("base64")} owner`;
const me = os.userInfo().username;
const documentText = (more = "", agent = "") =>
  `version = 1\nname = "db1"\nauthorized_keys = ["${keyLine}"]\n${more}\n${agent}`;
const open = 'users = ["*"]\ncommands = ["*"]';
const text = documentText(open);
const bytes = utf8(text);
const digests = documentDigests(nodeSuite, bytes);

const field = (value: Uint8Array, hash: "sha256" | "sha384" = "sha256"): InstanceAnchor => ({
  kind: "field",
  field: hash === "sha256" ? "HOST_DATA" : "MRCONFIGID",
  hash,
  read: async () => value,
});
const believe = (sources: readonly string[], anchor: InstanceAnchor) =>
  believeDocument(nodeSuite, sources, anchor, places);

async function failure(attempt: Promise<unknown>): Promise<string> {
  const error = await attempt.then(
    () => new Error("it was believed"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("bad-config");
  return (error as SealttyError).message;
}

test("believed when its digest is in HOST_DATA or MRCONFIGID, from every source, in their order", async () => {
  const file = join(directory, "document.toml");
  writeFileSync(file, text);
  const fromFile = await believe(["fw_cfg", "cmdline", file], field(digests.sha256));
  expect(fromFile.document.name).toBe("db1");
  expect(fromFile.bytes).toEqual(bytes);
  expect(fromFile.words).toBe(`in ${file}, its sha256 is this machine's HOST_DATA`);

  writeFileSync(
    places.commandLine,
    `quiet sealtty.instance=${Buffer.from(bytes).toString("base64url")} panic=-1\n`,
  );
  const fromLine = await believe(["fw_cfg", "cmdline", file], field(digests.sha384, "sha384"));
  expect(fromLine.words).toBe("on the kernel command line, its sha384 is this machine's MRCONFIGID");
  expect(fromLine.bytes).toEqual(bytes);

  writeFileSync(places.fwCfg, text);
  expect((await believe(["fw_cfg", "cmdline", file], field(digests.sha256))).words).toContain("from fw_cfg");
});

test("anything else is refused: another document, another field, none launched, none delivered", async () => {
  writeFileSync(places.fwCfg, text);
  const other = digests.sha256.slice();
  other[31] = (other[31] as number) ^ 1;
  expect(await failure(believe(["fw_cfg"], field(other)))).toContain("The host delivered another document");
  expect(await failure(believe(["fw_cfg"], field(digests.sha384)))).toContain("is not believed");
  expect(await failure(believe(["fw_cfg"], field(digests.sha256, "sha384")))).toContain("is not believed");
  expect(await failure(believe(["fw_cfg"], field(digests.pcr.sha256)))).toContain("is not believed");
  expect(await failure(believe(["fw_cfg"], field(new Uint8Array(32))))).toContain("was launched without any");
  writeFileSync(places.fwCfg, `${text} `);
  expect(await failure(believe(["fw_cfg"], field(digests.sha256)))).toContain("is not believed");
  rmSync(places.fwCfg);
  expect(await failure(believe(["fw_cfg", "cmdline"], field(digests.sha256)))).toContain(
    "No instance document was delivered (tried from fw_cfg opt/org.sealtty/instance, on the kernel command line)",
  );
});

test("the first source that has one decides, even where a later one would be believed", async () => {
  writeFileSync(places.fwCfg, documentText(`${open}\n# another`));
  writeFileSync(places.commandLine, `sealtty.instance=${Buffer.from(bytes).toString("base64url")}`);
  expect(await failure(believe(["fw_cfg", "cmdline"], field(digests.sha256)))).toContain("is not believed");
});

test.each([
  ["twice", "sealtty.instance=YQ sealtty.instance=YQ"],
  ["empty", "sealtty.instance="],
  ["padded", "sealtty.instance=YQ=="],
  ["plain base64", "sealtty.instance=+/+/"],
  ["with stray bits", "sealtty.instance=YR"],
])("on the command line %s: refused", async (_what, line) => {
  writeFileSync(places.commandLine, `quiet ${line}\n`);
  expect(await failure(believe(["cmdline"], field(digests.sha256)))).toContain("Write it once");
});

test("documents that are malformed, too long or no files are refused before anything is measured", async () => {
  const anchor: InstanceAnchor = {
    kind: "field",
    field: "HOST_DATA",
    hash: "sha256",
    read: () => Promise.reject(new Error("asked")),
  };
  writeFileSync(places.fwCfg, "version = 2\n");
  expect(await failure(believe(["fw_cfg"], anchor))).toContain("is malformed");
  writeFileSync(places.fwCfg, new Uint8Array(65_537).fill(0x23));
  expect(await failure(believe(["fw_cfg"], anchor))).toContain("file too large");
  expect(await failure(believe([directory], anchor))).toContain("cannot be read");
});

describe.runIf(hasSwtpm)("in a PCR of a real software TPM", () => {
  const tpm = new Swtpm(mkdtempSync(join(tmpdir(), "sealtty-instance-tpm-")));
  const channel = new TpmChannel({ transmit: tpm.transmit });
  const anchor = (index: number): InstanceAnchor => ({ kind: "pcr", index, channel });
  const valuesOf = (index: number) =>
    channel.exclusive(() => channel.readPcrInBanks(index, ["sha256", "sha384"]));
  beforeAll(() => tpm.start());
  afterAll(async () => {
    await tpm.stop();
    rmSync(tpm.directory, { recursive: true, force: true });
  });

  test("a register that is zero is extended once, in both banks; afterwards it must hold this document and no other", async () => {
    writeFileSync(places.fwCfg, text);
    expect((await believe(["fw_cfg"], anchor(15))).words).toContain("its digest is in PCR 15");
    const after = await valuesOf(15);
    expect(after.map(({ bank, value }) => [bank, new Uint8Array(value)])).toEqual([
      ["sha256", digests.pcr.sha256],
      ["sha384", digests.pcr.sha384],
    ]);
    await believe(["fw_cfg"], anchor(15)); // a restart of sealttyd in the same boot
    expect(await valuesOf(15)).toEqual(after);
    writeFileSync(places.fwCfg, documentText(`${open}\n# another`));
    expect(await failure(believe(["fw_cfg"], anchor(15)))).toContain("PCR 15 holds something else");
    expect(await valuesOf(15)).toEqual(after);
  });

  test("what an initramfs measured into one bank is completed; another thing in one bank is not touched", async () => {
    writeFileSync(places.fwCfg, text);
    await tpm.extend(14, digests.sha256); // in the bank SHA-256 alone
    await believe(["fw_cfg"], anchor(14));
    expect((await valuesOf(14)).map(({ value }) => new Uint8Array(value))).toEqual([
      digests.pcr.sha256,
      digests.pcr.sha384,
    ]);
    await tpm.extend(12, new Uint8Array(32).fill(1));
    const before = await valuesOf(12);
    expect(await failure(believe(["fw_cfg"], anchor(12)))).toContain("PCR 12 holds something else");
    expect(await valuesOf(12)).toEqual(before);
  });

  test("a document that nobody can read does not cost the register", async () => {
    writeFileSync(places.fwCfg, "name = 1");
    expect(await failure(believe(["fw_cfg"], anchor(13)))).toContain("malformed");
    expect((await valuesOf(13)).every(({ value }) => value.every((byte) => byte === 0))).toBe(true);
  });
});

// --- What goes beside the evidence -----------------------------------------------------------------------------------

const config = (change: Partial<InstanceConfig> = {}): InstanceConfig => ({
  document: undefined,
  pcr: 15,
  key: undefined,
  sshHostKeys: [],
  ...change,
});
const context = new Uint8Array(100).fill(1);

test("nothing configured: nothing beside the evidence", async () => {
  const parts = await InstanceParts.open(nodeSuite, config(), undefined, () => {});
  expect(await parts.forConnection(context)).toEqual({});
});

test("the document, a proof of the instance key for this connection, and the SSH host keys that are there", async () => {
  const key = join(directory, "instance_key");
  const hostKey = join(directory, "ssh_host_ed25519_key");
  for (const file of [key, hostKey])
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file]);
  const warnings: string[] = [];
  const later = join(directory, "later.pub");
  const broken = join(directory, "broken.pub");
  writeFileSync(broken, "ssh-rsa AAAA");
  const believed = { bytes, document: parseInstanceDocument(bytes), words: "" };
  const parts = await InstanceParts.open(
    nodeSuite,
    config({ key, sshHostKeys: [`${hostKey}.pub`, later, broken] }),
    believed,
    (problem) => warnings.push(problem),
  );
  const { instanceDocument, instanceKey, sshHostKeys } = await parts.forConnection(context);
  expect(instanceDocument).toEqual(bytes);
  const { publicKeyBlob } = parseOpensshKey(execFileSync("cat", [key]).toString(), key);
  const proven = verifyInstanceKey(nodeSuite, instanceKey ?? new Uint8Array(), context);
  expect(encodeEd25519Key(proven ?? new Uint8Array(32))).toEqual(publicKeyBlob);
  expect(verifyInstanceKey(nodeSuite, instanceKey ?? new Uint8Array(), new Uint8Array(100))).toBeUndefined();
  const reader = new Reader(sshHostKeys ?? new Uint8Array(), "host keys");
  const only = reader.lv16(1024);
  reader.end();
  expect(Buffer.from(only).toString("base64")).toBe(
    execFileSync("cut", ["-d ", "-f2", `${hostKey}.pub`])
      .toString()
      .trim(),
  );
  writeFileSync(later, keyLine);
  const more = new Reader((await parts.forConnection(context)).sshHostKeys ?? new Uint8Array(), "host keys");
  expect([more.lv16(1024), more.lv16(1024)][1]).toEqual(keyBlob);
  expect(warnings).toEqual([expect.stringContaining("broken.pub: it is no public key file")]);
});

test("an instance key that others can read, that is missing or none is refused at the start", async () => {
  const key = join(directory, "open_key");
  const openKey = () => failure(InstanceParts.open(nodeSuite, config({ key }), undefined, () => {}));
  expect(await openKey()).toContain("ENOENT");
  writeFileSync(key, "nothing", { mode: 0o600 });
  expect(await openKey()).toContain("not an OpenSSH private key file");
  chmodSync(key, 0o644);
  expect(await openKey()).toContain("chmod 600");
});

// --- What the document decides -----------------------------------------------------------------------------------------

const log = createLog({ write: () => {} });
const noUsers: UsersConfig = {
  authorizedKeys: undefined,
  names: "any",
  login: undefined,
  shell: undefined,
  passkeyOrigins: [],
  pam: "auto",
  maxPrograms: 512,
};

function attempt(user: string): [UserAuthFields, Uint8Array, Uint8Array] {
  const fields = {
    handshakeHash: new Uint8Array(32),
    evidenceDigest: new Uint8Array(32),
    user,
    service: "sealtty-session",
  };
  const signed = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", userAuthMessage(fields));
  const signature = encodeEd25519Signature(nodeSuite.ed25519Sign(seed, signed));
  return [
    fields,
    keyBlob,
    encodeSshsig({ publicKey: keyBlob, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature }),
  ];
}

test("its keys are good for its users only; a configured file is not read beside it", async () => {
  const file = join(directory, "authorized_keys");
  writeFileSync(file, keyLine, { mode: 0o600 });
  const other = new Uint8Array(32).fill(6);
  const otherLine = `ssh-ed25519 ${Buffer.from(encodeEd25519Key(nodeSuite.ed25519PublicKey(other))).toString("base64")} other`;
  const users = { ...noUsers, authorizedKeys: file };
  const decide = async (documentOf: string | undefined, user: string) => {
    const document = documentOf === undefined ? undefined : parseInstanceDocument(utf8(documentOf));
    const grant = await userKeys(users, document, log)(...attempt(user));
    return grant !== undefined;
  };
  expect(await decide(undefined, me)).toBe(true);
  expect(await decide(text, me)).toBe(true);
  expect(await decide(text, "no-such-user")).toBe(false);
  expect(await decide(documentText(`users = ["${me}"]\ncommands = ["*"]`), me)).toBe(true);
  expect(await decide(documentText('users = ["nobody"]\ncommands = ["*"]'), me)).toBe(false);
  expect(await decide(text.replace(keyLine, otherLine), me)).toBe(false);
});

test("its commands and shell are all that a key may start, and its login flag decides on logins", async () => {
  const limited = parseInstanceDocument(
    utf8(documentText('users = ["*"]\ncommands = [["/bin/echo", "yes"]]', "[agent]\nshell = false\n")),
  );
  const start = startPlanned(planPrograms(noUsers, limited));
  const user = {
    name: me,
    method: "ssh-key",
    key: new Uint8Array(32),
    restrictions: UNRESTRICTED,
  } as const;
  const terminal = { kind: "shell", columns: 80, rows: 24, term: "xterm", environment: {} } as const;
  const exec = { kind: "exec", environment: {} } as const;
  for (const request of [
    { ...terminal, command: [] },
    { ...terminal, command: ["/bin/sh"] },
    { ...exec, command: ["/bin/echo"] },
    { ...exec, command: ["/bin/echo", "yes", ""] },
    { ...exec, command: ["/bin/sh", "-c", "/bin/echo yes"] },
    { ...exec, command: ["/bin/echo", "yes"], environment: { LANG: "C", LD_PRELOAD: "/opt/mine.so" } },
    { ...exec, command: ["/bin/echo", "yes"], directory: "/tmp" },
  ]) {
    await expect(start(user, request)).rejects.toThrow("The instance document does not allow");
  }
  // Whoever can write files can have anything run.
  await expect(start(user, { kind: "files" })).rejects.toThrow("so no files");
  const asked = { ...exec, command: ["/bin/echo", "yes"], environment: { LANG: "C" } };
  const allowed = await start(user, asked);
  const printed: Uint8Array[] = [];
  for (let chunk = await allowed.stdout.read(); chunk !== undefined; chunk = await allowed.stdout.read())
    printed.push(chunk);
  while ((await allowed.stderr.read()) !== undefined);
  expect(Buffer.concat(printed).toString()).toBe("yes\n");
  expect(await allowed.exit).toEqual({ kind: "exited", status: 0 });
  await expect(
    start({ name: "", method: "none" }, { kind: "login", columns: 80, rows: 24, term: "xterm" }),
  ).rejects.toThrow("forbids it");
  const withLogin = parseInstanceDocument(utf8(documentText(open, "[agent]\nlogin = true\n")));
  const program = ["/sbin/login", "-p"];
  expect(loginProgram({ ...noUsers, login: program }, limited)).toBeUndefined();
  expect(loginProgram({ ...noUsers, login: program }, withLogin)).toEqual(program);
  expect(loginProgram(noUsers, withLogin)).toEqual(["/bin/login"]);
  expect(loginProgram(noUsers, undefined)).toBeUndefined();
});
