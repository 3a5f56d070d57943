// What people type, as they type it: two shell scripts against one booted guest. One has Debian's ssh, scp, sftp, rsync and
// ansible, unchanged; the other sealtty's own commands. Meanwhile the host listens.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { runCli, SEALTTY_EXEC } from "../support/cli.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { sshKeygen } from "../support/openssh.ts";
import { BOOT_TIMEOUT, bootVm, sealttydServes, type Vm } from "../support/vm.ts";

const SECRET = "canary-in-scripts-Zt5Lq81x";
const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");
const DAEMON = `[pipe]
type = "virtio"
name = "sealtty.0"
[evidence]
type = "tpm"
device = "/dev/tpmrm0"
pcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
[instance]
ssh_host_keys = ["/etc/ssh/host_key.pub"]
[users]
authorized_keys = "/etc/sealtty/authorized_keys"
names = ["root"]
[forward]
allow = true
ssh = ["/usr/sbin/sshd", "-i", "-f", "/etc/ssh/sshd_config"]
`;
const SSHD = `HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
`;
/** Two that answer with the digest of what they were sent, and a web server whose page asks the next port. */
const SERVICES = `#!/bin/sh
mkdir -p /run/sshd
nc -ll -p 7001 -e /bin/sha256sum &
nc -ll -p 7002 -e /bin/sha256sum &
httpd -p 127.0.0.1:8080 -h /srv
`;
const AROUND = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\nonce around: '
wget -q -O - http://127.0.0.1:8081/secret
`;

let vm: Vm;
let tap: WireTap;
let scratch: string;
const at = (...names: string[]): string => path.join(scratch, ...names);

/** Users' keys, and what the guest's authorized_keys says of them. */
function makeKeys(): { user: string; all: string } {
  const key = (name: string): string => sshKeygen(at("keys", name));
  const user = key("root");
  const limited = `restrict,port-forwarding,permitopen="127.0.0.1:7001" ${key("limited")}`;
  const authority = `cert-authority ${key("authority")}`;
  key("certified");
  key("stranger");
  const certify = (...more: string[]): void => {
    const args = ["-q", "-s", at("keys", "authority"), "-I", "test", "-n", "root", ...more];
    execFileSync("ssh-keygen", [...args, at("keys", "certified.pub")]);
  };
  certify("-V", "20200101:20200102");
  renameSync(at("keys", "certified-cert.pub"), at("keys", "over-cert.pub"));
  certify();
  return { user, all: `${[user, limited, authority].join("\n")}\n` };
}

beforeAll(async () => {
  scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-remote-"));
  for (const name of ["bin", "keys", "run"]) mkdirSync(at(name), { mode: 0o700 });
  symlinkSync(SEALTTY, at("bin", "sealtty"));
  symlinkSync(SEALTTY_EXEC, at("bin", "sealtty-exec"));
  const { user, all } = makeKeys();
  const hostKey = sshKeygen(at("host_key"));
  sshKeygen(at("other_key"));
  const secret = (name: string) => ({ data: readFileSync(at(name)), mode: 0o600 });
  vm = await bootVm({
    firmware: "seabios",
    programs: true,
    authorizedKeys: all,
    files: {
      "/etc/sealtty/virtio.toml": DAEMON,
      "/etc/ssh/sshd_config": SSHD,
      "/etc/ssh/authorized_keys": `${user}\n`,
      "/etc/ssh/host_key": secret("host_key"),
      "/etc/ssh/host_key.pub": `${hostKey}\n`,
      "/etc/ssh/other_key": secret("other_key"),
      "/etc/sealtty/init.d/services": { data: SERVICES, mode: 0o755 },
      "/srv/secret": `${SECRET}\n`,
      "/srv/cgi-bin/around": { data: AROUND, mode: 0o755 },
    },
  });
  process.stdout.write(`remote shell: the VM is ready after ${Math.round(vm.bootMs)} ms\n`);
  await sealttydServes(vm);
  tap = await tapWire({ path: vm.unixPath ?? "" });
  const saved = await runCli(["inspect", guest(), "--save-policy", at("policy.toml"), "--timeout", "120"]);
  if (saved.status !== 0) throw new Error(saved.stderr);
}, BOOT_TIMEOUT);

afterAll(async () => {
  await tap?.close();
  await vm?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const guest = (): string => `tcp:127.0.0.1:${tap.port}`;

/** Runs a script in a directory of its own; its steps are printed with the seconds that they began at. @returns all its output. */
async function runScript(name: string): Promise<{ status: unknown; output: string }> {
  const directory = at(name);
  mkdirSync(directory);
  const began = performance.now();
  const child = spawn("sh", [path.join(import.meta.dirname, "scripts", `${name}.sh`)], {
    cwd: directory,
    detached: true, // a process group, to be ended as a whole
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: `${at("bin")}:${path.dirname(process.execPath)}:${process.env["PATH"]}`,
      LANG: "C.UTF-8",
      HOME: directory,
      XDG_RUNTIME_DIR: at("run"),
      SSH_AUTH_SOCK: "",
      GUEST: guest(),
      POLICY: at("policy.toml"),
      KEY: at("keys", "root"),
      KEYS: at("keys"),
      SECRET,
    },
  });
  onTestFinished(() => {
    try {
      process.kill(-(child.pid as number), "SIGKILL");
    } catch {
      // it has ended, with all its children
    }
  });
  let output = "";
  const take = (chunk: Buffer): void => {
    output += chunk.toString();
    for (const [, what] of chunk.toString().matchAll(/^step: (.*)$/gm))
      process.stdout.write(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s: ${what}\n`);
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const [status] = (await once(child, "exit")) as [number | null];
  process.stdout.write(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s: the end\n`);
  return { status, output };
}

test.each(["with-sealtty", "with-openssh"])(
  "%s.sh",
  async (name) => {
    const { status, output } = await runScript(name);
    expect(status, `${output}\n--- the guest's serial console\n${vm.serialLog().slice(-4000)}`).toBe(0);
    expect(output.trimEnd()).toMatch(/passed$/);
  },
  900_000,
);

test("the host saw none of it", () => {
  expect(tap.bytes()).toBeGreaterThan(5_000_000); // all of the above went by here
  expect(findSecret(tap.captured(), SECRET)).toEqual([]);
  expect(vm.serialLog()).not.toContain(SECRET);
});
