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
    daemon: { user: "sealtty", sandbox: true },
    pipe: { type: "virtio", name: "sealtty.0" },
    evidence: {
      type: "tpm",
      device: "/dev/tpmrm0",
      pcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14],
      probeMinutes: 60,
    },
    users: {
      authorizedKeys: "/etc/sealtty/authorized_keys",
      names: ["root"],
      login: ["/bin/login"],
      shell: undefined,
      passkeyOrigins: ["http://localhost:*"],
      pam: "auto",
      maxPrograms: 512,
    },
    instance: { document: undefined, pcr: 15, key: undefined, sshHostKeys: [] },
    sessions: { keep: true, ringBytes: 4 * 1024 * 1024, idleMs: 86_400_000 },
    forward: { allow: true, ssh: undefined, gateway: false },
    unlock: { users: [], keys: undefined },
    audit: { file: undefined, required: false },
    recording: undefined,
    services: { kernelLog: [], sysrq: [], sysrqKeys: [] },
    provision: undefined,
  });
});

test("nobody unlocks unless the file says who; what is no user and no fingerprint is refused", () => {
  const all = `${pipe}${evidence}${users}`;
  const print = `SHA256:${"a".repeat(43)}`;
  expect(parse(all).unlock).toEqual({ users: [], keys: undefined });
  expect(parse(`${all}[unlock]\nusers=["root"]`).unlock).toEqual({ users: ["root"], keys: undefined });
  expect(parse(`${all}[unlock]\nusers=["root"]\nkeys=["${print}"]`).unlock.keys).toEqual([print]);
  for (const [table, words] of [
    ["", /"users" is missing/],
    ["users=[]", /"users" must be a list of names/],
    ['users=["*"]', /"users" must be a list of names/],
    ['users=["root"]\nkeys=[]', /"keys" must be a list of fingerprints/],
    ['users=["root"]\nkeys=["MD5:00"]', /"keys" must be a list of fingerprints/],
    ['users=["root"]\nkey=["x"]', /Did you mean "keys"/],
  ] as const)
    expect(errorOf(`${all}[unlock]\n${table}`).message).toMatch(words);
});

test("audit and recordings: off unless the file says so; what is not understood is refused", () => {
  const all = `${pipe}${evidence}${users}`;
  expect(parse(`${all}[audit]\nfile="/var/log/a.jsonl"`).audit).toEqual({
    file: "/var/log/a.jsonl",
    required: false,
  });
  expect(parse(`${all}[recording]\ndirectory="/rec"`).recording).toEqual({
    directory: "/rec",
    users: undefined,
    services: ["login", "shell"],
    notice: true,
    required: false,
    maxMib: 64,
    userMib: 512,
    totalMib: 1024,
  });
  const some = `${all}[recording]\ndirectory="/rec"\nusers=["root"]\nservices=["shell"]\nnotice=false\nrequired=true\nmax_mib=1\ntotal_mib=2`;
  expect(parse(some).recording).toEqual({
    directory: "/rec",
    users: ["root"],
    services: ["shell"],
    notice: false,
    required: true,
    maxMib: 1,
    userMib: 1,
    totalMib: 2,
  });
  expect(parse(`${pipe}${evidence}${users}\nmax_programs=3`).users.maxPrograms).toBe(3);
  expect(() => parse(`${pipe}${evidence}${users}\nmax_programs=5000`)).toThrow(/from 1 to 4096/);
  for (const [lines, words] of [
    ["[audit]\nrequired=true", '[audit]: "file" is missing'],
    ['[audit]\nfile="audit.jsonl"', '"file" must be an absolute path'],
    [
      '[recording]\ndirectory="/r"\nuser_mib=2000',
      '"user_mib" is more than all recordings may have together',
    ],
    [
      '[recording]\ndirectory="/r"\nmax_mib=600',
      '"max_mib" is more than one user may have (user_mib, 512 here)',
    ],
    ["[recording]\nnotice=true", '[recording]: "directory" is missing'],
    ['[recording]\ndirectory="/r"\nservices=["exec"]', '"services" must be a list of "login" and "shell"'],
    ['[recording]\ndirectory="/r"\nusers=["a/b"]', '"users" must be a list of names of users'],
    ['[recording]\ndirectory="/r"\ninput=true', 'unknown key "input"'],
    ['[recording]\ndirectory="/r"\nmax_mib=0', '"max_mib" must be a whole number'],
  ] as const)
    expect(errorOf(`${all}${lines}`).message).toContain(words);
});

test("forwarding is off unless the file says so, and says so in so many words", () => {
  const all = `${pipe}${evidence}${users}`;
  expect(parse(all).forward).toEqual({ allow: false, ssh: undefined, gateway: false });
  expect(parse(`${all}[forward]\nallow=true\ngateway=true\nssh=["/usr/sbin/sshd","-i"]`).forward).toEqual({
    allow: true,
    ssh: ["/usr/sbin/sshd", "-i"],
    gateway: true,
  });
  expect(errorOf(`${all}[forward]\nssh=["/usr/sbin/sshd","-i"]`).message).toContain(
    '[forward]: "allow" is missing',
  );
  expect(errorOf(`${all}[forward]\nallow="yes"`).message).toContain('"allow" must be true or false');
  expect(errorOf(`${all}[forward]\nallow=true\nssh=["sshd"]`).message).toContain('"ssh" must be a list');
  expect(errorOf(`${all}[forward]\nallow=true\nports=[1]`).message).toContain('unknown key "ports"');
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
    `${pipe}[evidence]\ntype="simulated"\ninstance="x"\ni_know_this_proves_nothing=true\n[users]\nauthorized_keys="/k"\nnames=["*"]\nshell=["/bin/sh","-l"]`,
  );
  expect(config.evidence).toEqual({ type: "simulated", instance: "x" });
  expect(config.users).toMatchObject({ authorizedKeys: "/k", login: undefined, shell: ["/bin/sh", "-l"] });
  expect(config.users.passkeyOrigins).toEqual(["http://localhost:*"]);
  const origins = (list: string) =>
    parse(`${pipe}${evidence}${users}passkey_origins=${list}`).users.passkeyOrigins;
  expect(origins("[]")).toEqual([]);
  expect(origins('["https://a.example", "http://localhost:8743"]')).toEqual([
    "https://a.example",
    "http://localhost:8743",
  ]);
  for (const bad of ['["a.example"]', '"http://localhost"', '["http://localhost/"]', '["*"]'])
    expect(() => origins(bad)).toThrow(/"passkey_origins" must be a list of pages' origins/);
  expect(parse(`${pipe}[evidence]\ntype="tpm"\npcrs=[7,0]\n${users}`).evidence).toMatchObject({
    pcrs: [0, 7],
  });
});

test("whose keys are good for whom: said in so many words, or by each user's own file", () => {
  const withUsers = (text: string): string => `${pipe}${evidence}[users]\n${text}\n`;
  const namesOf = (text: string) => parse(withUsers(text)).users.names;
  expect(namesOf('authorized_keys="/k"\nnames=["alice", "bob"]')).toEqual(["alice", "bob"]);
  expect(namesOf('authorized_keys="/k"\nnames=["*"]')).toBe("any");
  expect(namesOf('authorized_keys="/k/%u"')).toBe("any");
  expect(namesOf('authorized_keys="/k/%u"\nnames=["alice"]')).toEqual(["alice"]);
  expect(namesOf('login=["/bin/login"]')).toEqual([]);
  for (const [text, words] of [
    ['authorized_keys="/k"', '"names" is missing: authorized_keys is one file for all users'],
    ['authorized_keys="/k"\nnames=[]', '"names" must be a list of users\' names'],
    ['authorized_keys="/k"\nnames="*"', '"names" must be a list of users\' names'],
    ['authorized_keys="/k"\nnames=["a b"]', '"names" must be a list of users\' names'],
    ['authorized_keys="/k/%u"\nnames=["*", "alice"]', '"names" has "*" beside names'],
    ['login=["/bin/login"]\nnames=["alice"]', '"names" says who may use a key'],
  ] as const) {
    expect(errorOf(withUsers(text)).message).toContain(words);
  }
  expect(
    errorOf(`${pipe}${evidence}[instance]\ndocument=["fw_cfg"]\n[users]\nnames=["alice"]`).message,
  ).toContain("the instance document ([instance] document) says which users");
});

test("hardware evidence: its defaults, and every key", () => {
  const evidenceOf = (text: string) => parse(`${pipe}[evidence]\n${text}\n${users}`).evidence;
  const tee = { collateral: undefined, timeoutSeconds: 75, secondsBetweenReports: 1, probeMinutes: 60 };
  expect(evidenceOf('type="sev-snp"')).toEqual({ type: "sev-snp", collector: "auto", vmpl: 0, ...tee });
  expect(evidenceOf('type="tdx"')).toEqual({ type: "tdx", ...tee });
  const all = 'collateral="/c"\ntimeout_seconds=9\nseconds_between_reports=3\nprobe_minutes=0';
  const set = { collateral: "/c", timeoutSeconds: 9, secondsBetweenReports: 3, probeMinutes: 0 };
  expect(evidenceOf(`type="sev-snp"\ncollector="sev-guest"\nvmpl=2\n${all}`)).toEqual({
    type: "sev-snp",
    collector: "sev-guest",
    vmpl: 2,
    ...set,
  });
  expect(evidenceOf(`type="tdx"\n${all}`)).toEqual({ type: "tdx", ...set });
  const azure = {
    type: "azure",
    device: "/dev/tpmrm0",
    probeMinutes: 60,
    collateral: undefined,
    imds: false,
  };
  expect(evidenceOf('type="azure"')).toMatchObject(azure);
  expect(evidenceOf('type="azure"\nimds=true\npcrs=[4]\ncollateral="/c"\ndevice="/dev/t"')).toMatchObject({
    imds: true,
    pcrs: [4],
    collateral: "/c",
    device: "/dev/t",
  });
});

test("[instance]: a document takes the place of authorized_keys, and of [users] whole", () => {
  const withDocument = `${pipe}${evidence}[instance]\ndocument = ["fw_cfg", "cmdline", "/d"]\n`;
  expect(parse(`${withDocument}pcr=11\nkey="/k"\nssh_host_keys=["/h.pub"]`)).toMatchObject({
    users: { authorizedKeys: undefined, login: undefined, shell: undefined },
    instance: { document: ["fw_cfg", "cmdline", "/d"], pcr: 11, key: "/k", sshHostKeys: ["/h.pub"] },
  });
  expect(parse(`${withDocument}[users]\nshell=["/bin/sh"]`).users.shell).toEqual(["/bin/sh"]);
  const keyOnly = parse(`${pipe}${evidence}${users}[instance]\nkey="/k"`);
  expect(keyOnly.instance).toEqual({ document: undefined, pcr: 15, key: "/k", sshHostKeys: [] });
  expect(() => parse(`${pipe}${evidence}[instance]\nkey="/k"`)).toThrow("the table [users] is missing");
});

test.each([
  [
    "an SVSM",
    `${pipe}[evidence]\ntype="sev-snp"\nservice_provider="svsm"\n${users}`,
    "has no verifier in this version",
  ],
  ["VMPL 4", `${pipe}[evidence]\ntype="sev-snp"\nvmpl=4\n${users}`, "whole number from 0 to 3"],
  ["half a VMPL", `${pipe}[evidence]\ntype="sev-snp"\nvmpl=0.5\n${users}`, "whole number from 0 to 3"],
  ["a VMPL for TDX", `${pipe}[evidence]\ntype="tdx"\nvmpl=0\n${users}`, 'unknown key "vmpl"'],
  ["no pause", `${pipe}[evidence]\ntype="tdx"\nseconds_between_reports=0\n${users}`, "from 1 to 60"],
  ["a collector", `${pipe}[evidence]\ntype="sev-snp"\ncollector="tsm"\n${users}`, '"auto", "configfs"'],
  ["imds as a text", `${pipe}[evidence]\ntype="azure"\nimds="yes"\n${users}`, "must be true or false"],
  [
    "keys twice",
    `${pipe}${evidence}[instance]\ndocument=["fw_cfg"]\n[users]\nauthorized_keys="/k"`,
    "both authorized_keys and the instance document",
  ],
  ["no source", `${pipe}${evidence}[instance]\ndocument=[]`, '"document" must be a list'],
  [
    "an unknown source",
    `${pipe}${evidence}[instance]\ndocument=["smbios"]`,
    '"fw_cfg", "cmdline" and absolute paths',
  ],
  ["a document as a text", `${pipe}${evidence}[instance]\ndocument="fw_cfg"`, '"document" must be a list'],
  ["PCR 16, which anyone resets", `${pipe}${evidence}${users}[instance]\npcr=16`, "from 8 to 15"],
  ["PCR 7, which is the firmware's", `${pipe}${evidence}${users}[instance]\npcr=7`, "from 8 to 15"],
  [
    "a PCR where there is none",
    `${pipe}[evidence]\ntype="tdx"\n${users}[instance]\npcr=15`,
    '"pcr" has no meaning for tdx evidence',
  ],
  [
    "a document beside simulated evidence",
    `${pipe}[evidence]\ntype="simulated"\ninstance="x"\ni_know_this_proves_nothing=true\n[instance]\ndocument=["fw_cfg"]`,
    "simulated evidence holds no digest",
  ],
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
    '"type" is missing. It must be one of "virtio", "tty", "unix", "framebuffer".',
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
      "Cannot read /nonexistent/c.toml: ENOENT. Have `sealttyd setup` write one (sealttyd.toml(5) has every key), or name another with --config.",
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

test("every unit gives a screen back that a sealttyd took, and only where one did", () => {
  for (const name of ["sealttyd.service", "sealttyd@.service"]) {
    const text = fs.readFileSync(new URL(`packaging/systemd/${name}`, root), "utf8");
    for (const module of ["virtio_input", "evdev", "serio_raw"])
      expect(text).toContain(`\nExecStartPre=-/sbin/modprobe -q ${module}\n`);
    expect(text).toMatch(
      /\nExecStopPost=-\/bin\/sh -c "test ! -e \/run\/sealtty\/console\.json \|\| exec \/usr\/bin\/sealttyd --give-back-console"\n/,
    );
  }
});

test("the systemd unit is what systemd takes", () => {
  const unit = new URL("packaging/systemd/sealttyd.service", root).pathname;
  const text = fs.readFileSync(unit, "utf8");
  for (const line of [
    "DefaultDependencies=no",
    "IgnoreOnIsolate=yes",
    "Restart=always",
    "StandardInput=null",
    "ExecStartPre=-/sbin/modprobe -q sev-guest",
    "ExecStartPre=-/sbin/modprobe -q tdx-guest",
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

test("sessions: what they keep and how long they wait, within bounds", () => {
  const parts = `${pipe}${evidence}${users}[sessions]\n`;
  expect(parse(`${parts}keep = false\nring_kib = 64\nidle_minutes = 1\n`).sessions).toEqual({
    keep: false,
    ringBytes: 65_536,
    idleMs: 60_000,
  });
  expect(errorOf(`${parts}ring_kib = 65537\n`).message).toContain("from 64 to 65536");
  expect(errorOf(`${parts}idle_minutes = 0\n`).message).toContain("from 1 to 34560");
  expect(parse(`${parts}idle_minutes = 34560\n`).sessions.idleMs).toBeLessThan(2 ** 31); // a timer's longest
  expect(errorOf(`${parts}idle_minutes = 34561\n`).message).toContain("from 1 to 34560");
  expect(errorOf(`${parts}ring = 1\n`).message).toContain("unknown key");
});
