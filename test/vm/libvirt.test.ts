// docs/recipes/libvirt.xml, with Debian's libvirtd and virsh: a session's, of a user without rights, in a directory of its own.
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../support/cli.ts";
import { findSecret } from "../support/host-eyes.ts";
import { onTerminal } from "../support/on-terminal.ts";
import { sshKeygen } from "../support/openssh.ts";
import {
  type Console,
  execOn,
  putGuest,
  recipe,
  recipeDirectory,
  start,
  type Started,
  textOf,
  until,
  untilListening,
} from "../support/recipes.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const NOBODY = 65534;
const IN_RECIPE = "/srv/db1";

/** The guest's, in place of IN_RECIPE; below it libvirt's own. */
let directory: string;
let home: string;
let libvirtd: Started;
let key: string;
/** What is only the client's, and libvirt's user cannot read. */
let secret: string;

const asNobody = (...command: string[]): string[] => [
  ...["--reuid", String(NOBODY), "--regid", String(NOBODY), "--clear-groups", "env", "-i"],
  ...[`PATH=${process.env["PATH"]}`, `HOME=${home}`, `XDG_RUNTIME_DIR=${path.join(home, "run")}`],
  ...command,
];

/** @returns what it prints. @throws where its exit status is not 0, with what it says. */
const virsh = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)("setpriv", asNobody("virsh", "-c", "qemu:///session", ...args))).stdout;

const serial = (): string => textOf(path.join(directory, "serial.log"));
const guest = (socket: string, policy: string): Console => ({
  address: `unix:${path.join(directory, socket)}`,
  policy: path.join(secret, policy),
  key,
});

beforeAll(async () => {
  secret = recipeDirectory();
  key = path.join(secret, "id");
  directory = recipeDirectory();
  home = path.join(directory, "libvirt");
  await putGuest(directory, sshKeygen(key), true);
  fs.mkdirSync(path.join(home, "run"), { recursive: true });
  for (const name of [".", ...fs.readdirSync(directory), "libvirt/run"])
    fs.chownSync(path.join(directory, name), NOBODY, NOBODY);
  // In a PID namespace: QEMU and swtpm leave libvirtd's session, and end with its first process nevertheless, which is a shell,
  // since a program that becomes another user no longer ends with its parent.
  const alone = "--fork --pid --mount-proc --kill-child=KILL".split(" ");
  libvirtd = start("unshare", [...alone, "sh", "-c", '"$@"; exit', "sh", "setpriv", ...asNobody("libvirtd")]);
  await untilListening(path.join(home, "run/libvirt/libvirt-sock"), libvirtd, CONNECT_TIMEOUT);
}, BOOT_TIMEOUT);
afterAll(async () => {
  await libvirtd?.stop();
  for (const name of [directory, secret]) fs.rmSync(name, { recursive: true, force: true });
});

test(
  "the domain of the recipe boots with its vTPM, and each of its three consoles is one of sealtty's",
  async () => {
    const xml = fs.readFileSync(recipe("libvirt.xml"), "utf8");
    expect(xml.split(IN_RECIPE)).toHaveLength(8); // two files to boot, three sockets, and twice the log
    const domain = path.join(directory, "db1.xml");
    fs.writeFileSync(domain, xml.replaceAll(IN_RECIPE, directory));
    expect(await virsh("define", "--validate", domain)).toContain("Domain 'db1' defined");
    expect(await virsh("start", "db1")).toContain("Domain 'db1' started");
    const serves = () =>
      ["virtio", "hvc0", "ttyS1"].every((name) =>
        new RegExp(`sealttyd\\[${name}\\]: .*sealttyd serves`).test(serial()),
      );
    await until("sealttyd on each console", libvirtd, serves, BOOT_TIMEOUT);

    for (const [socket, device] of [
      ["sealtty.sock", "virtio-ports"],
      ["hvc0.sock", "hvc0"],
      ["ttyS1.sock", "ttyS1"],
    ] as const) {
      const console = guest(socket, `${device}.toml`);
      const saved = await runCli([
        ...["inspect", console.address, "--save-policy", console.policy, "--timeout", "240"],
      ]);
      expect([saved.status, saved.stderr]).toEqual([0, expect.any(String)]);
      expect(saved.stdout).toMatch(/tpm/i);
      const ran = await execOn(console, "echo on-$((6*7)); grep -c quiet /proc/cmdline");
      expect([ran.stdout, ran.status], ran.stderr).toEqual(["on-42\n1\n", 0]);
    }
  },
  2 * BOOT_TIMEOUT,
);

test(
  "a login with a password; another measurement is refused; the host's files have nothing of it",
  async () => {
    const { address, policy } = guest("sealtty.sock", "virtio-ports.toml");
    const terminal = await onTerminal(["connect", address, "--policy", policy], {
      home: secret,
      patience: CONNECT_TIMEOUT,
    });
    await terminal.shows(/login: /);
    await terminal.type("root\r");
    await terminal.shows(/assword: /);
    await terminal.type(`${PASSWORD}\r`);
    await terminal.shows(/# (?:\x1b\[6n)?$/);
    await terminal.type("echo in-$((40+2)); exit\r");
    await terminal.shows(/in-42\n/);
    expect(await terminal.exit).toEqual({ kind: "exited", status: 0 });

    const text = fs.readFileSync(policy, "utf8");
    const other = guest("sealtty.sock", "other.toml");
    fs.writeFileSync(
      other.policy,
      text.replace(/"[0-9a-f]{64}"/g, (value) =>
        value.replaceAll(/[0-9a-f]/g, (digit) => (digit === "0" ? "1" : "0")),
      ),
    );
    expect(fs.readFileSync(other.policy, "utf8")).not.toBe(text);
    const refused = await execOn(other, "echo never");
    expect([refused.status, refused.stdout]).toEqual([255, ""]);
    expect(refused.stderr).toContain("evidence-refused");

    for (const name of fs.readdirSync(directory, { recursive: true, encoding: "utf8" })) {
      const file = path.join(directory, name);
      if (!/log/.test(name) || !fs.statSync(file).isFile()) continue;
      expect(findSecret([fs.readFileSync(file)], PASSWORD), name).toEqual([]);
    }
    expect(await virsh("destroy", "db1")).toContain("Domain 'db1' destroyed");
  },
  2 * BOOT_TIMEOUT,
);
