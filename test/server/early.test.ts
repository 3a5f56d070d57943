// A configuration for an initramfs: what must not be in one is refused, and what is needed is listed, one line each.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const sealttyd = path.resolve(import.meta.dirname, "../../dist/bin/sealttyd.js");
const PIPE = '[pipe]\ntype = "virtio"\nname = "sealtty.0"\n';
const EVIDENCE = '[evidence]\ntype = "tpm"\n';

let scratch: string;
beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-early-"));
  fs.writeFileSync(path.join(scratch, "keys"), "");
});
afterEach(() => fs.rmSync(scratch, { recursive: true }));

const users = (): string =>
  `[users]\nauthorized_keys = ${JSON.stringify(path.join(scratch, "keys"))}\nnames = ["root"]\n`;

function check(text: string, program = sealttyd) {
  const file = path.join(scratch, "c.toml");
  fs.writeFileSync(file, text);
  const args = [program, "--check", "--initramfs", "--config", file];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("lists this Node, our programs and the files that it names, nothing twice", () => {
  fs.mkdirSync(path.join(scratch, "collateral/below"), { recursive: true });
  fs.writeFileSync(path.join(scratch, "collateral/below/a.crl"), "");
  const collateral = `[evidence]\ntype = "sev-snp"\ncollateral = ${JSON.stringify(path.join(scratch, "collateral"))}\n`;
  const { status, stdout, stderr } = check(`${PIPE}${collateral}${users()}`);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const lines = stdout.trimEnd().split("\n");
  expect(new Set(lines).size).toBe(lines.length);
  const bin = path.dirname(sealttyd);
  for (const line of [
    `program ${process.execPath}`,
    `program ${bin}/pty.node`,
    `file ${sealttyd}`,
    `file ${bin}/sealttyd-prompts.js`,
    `file ${bin}/sealttyd-service.js`,
    `file ${scratch}/keys`,
    `file ${scratch}/collateral/below/a.crl`,
  ])
    expect(lines).toContain(line);
  expect(lines.pop()).toBe("user sealtty");
  for (const line of lines) expect(line).toMatch(/^(?:program|file) \/\S+$/);
});

test("names the user whom the configuration has, and none where that is root", () => {
  const all = `${PIPE}${EVIDENCE}${users()}`;
  expect(check(`${all}[daemon]\nuser = "early-half"\n`).stdout).toMatch(/^user early-half$/m);
  expect(check(`${all}[daemon]\nuser = "root"\n`).stdout).not.toMatch(/^user /m);
});

test("SSH host keys are the public ones, or none goes in", () => {
  const secret = path.join(scratch, "ssh_host_ed25519_key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "root@guest", "-f", secret]);
  const both = path.join(scratch, "both");
  fs.writeFileSync(both, [`${secret}.pub`, secret].map((file) => fs.readFileSync(file, "utf8")).join(""));
  const withKey = (file: string) =>
    check(`${PIPE}${EVIDENCE}${users()}[instance]\nssh_host_keys = [${JSON.stringify(file)}]\n`);
  expect(withKey(`${secret}.pub`)).toMatchObject({ status: 0, stderr: "" });
  expect(withKey(`${secret}.pub`).stdout).toContain(`\nfile ${secret}.pub\n`);
  for (const [file, words] of [
    [secret, /ssh_host_ed25519_key, of ssh_host_keys, is no public key/],
    [both, /both, of ssh_host_keys, .*more than a line/],
    [path.join(scratch, "none"), /there is no SSH host key .*none/],
  ] as const) {
    const { status, stdout, stderr } = withKey(file);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(words);
  }
});

test("what the configuration needs and is not here is named", () => {
  const all = `${PIPE}${EVIDENCE}${users()}`;
  const none = path.join(scratch, "none.toml");
  const documents = (...names: string[]) =>
    check(`${PIPE}${EVIDENCE}[instance]\ndocument = ${JSON.stringify(names)}\npcr = 14\n`);
  const [later, here] = ["/sys/firmware/none", path.join(scratch, "keys")];
  const found = documents("fw_cfg", later, here); // what a machine brings itself is not there yet
  expect(found).toMatchObject({ status: 0, stderr: "" });
  expect(found.stdout).toContain(`\nfile ${here}\n`);
  expect(found.stdout).not.toContain(later);
  expect(documents("fw_cfg", none)).toMatchObject({ status: 1, stdout: "" });
  expect(documents("fw_cfg", none).stderr).toMatch(/There is no .*none\.toml/);

  const alone = path.join(scratch, "sealttyd.js");
  fs.copyFileSync(sealttyd, alone);
  const unlock = `${all}[unlock]\nusers = ["root"]\n`;
  expect(check(all, alone).stderr).toMatch(/There is no .*pty\.node: no terminal/);
  fs.copyFileSync(path.join(path.dirname(sealttyd), "pty.node"), path.join(scratch, "pty.node"));
  expect(check(all, alone).stderr).toBe("");
  const asked = check(unlock, alone);
  expect(asked).toMatchObject({ status: 1, stdout: "" });
  expect(asked.stderr).toMatch(/There is no .*sealttyd-prompts\.js: no disk could be unlocked/);
  expect(check(unlock)).toMatchObject({ status: 0, stderr: "" });
});

test.each<[string, (all: string) => string, RegExp]>([
  ["an instance key", (all) => `${all}[instance]\nkey = "/etc/k"\n`, /key is a secret/],
  ["a login program", (all) => `${all}login = ["/bin/login"]\n`, /login has nobody/],
  ["PAM", (all) => `${all}pam = "required"\n`, /has no PAM/],
  ["other users", (all) => all.replace('["root"]', '["root", "alice"]'), /alice.*no user but root/],
  ["an audit file", (all) => `${all}[audit]\nfile = "/var/log/a"\n`, /\[audit\] file would be gone/],
  [
    "a seed for cloud-init",
    (all) => `${all}[provision]\nusers = ["root"]\n`,
    /\[provision\] is for the system/,
  ],
  ["recordings", (all) => `${all}[recording]\ndirectory = "/rec"\n`, /\[recording\] would be gone/],
  [
    "a socket",
    (all) => all.replace(PIPE, '[pipe]\ntype = "unix"\npath = "/run/s"\n'),
    /type = .*unix.*initramfs has a device/,
  ],
  [
    "a screen",
    (all) => all.replace(PIPE, '[pipe]\ntype = "framebuffer"\n'),
    /type = .*framebuffer.*no drivers for screen and keys/,
  ],
  [
    "keys that are not there",
    (all) => all.replace("/keys", "/none"),
    /There is no .*none.*nobody could log in early/,
  ],
  ["what no sealttyd takes", (all) => `${all}[zzzz]\n`, /unknown key/],
])("refuses %s", (_what, change, words) => {
  const { status, stdout, stderr } = check(change(`${PIPE}${EVIDENCE}${users()}`));
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(words);
});

test("a name that shell scripts would take for two is refused", () => {
  fs.renameSync(path.join(scratch, "keys"), path.join(scratch, "my keys"));
  const { status, stderr } = check(`${PIPE}${EVIDENCE}${users().replace("/keys", "/my keys")}`);
  expect(status).toBe(1);
  expect(stderr).toMatch(/blanks in its name/);
});
