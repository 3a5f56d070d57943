// Debian's ssh, scp, sftp, rsync and ansible, unchanged, through `sealtty config-ssh`, into a guest whose sshd has no port:
// `sshd -i` as an ordinary child. Host keys are checked strictly, and are known from the guest's evidence alone.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isInstalled } from "../../bench/children.ts";
import { type Outcome, runProgram, SEALTTY, type SshGuest, startSshGuest } from "../support/ssh-guest.ts";

const HOST = "test.sealtty";
const MiB = 1024 * 1024;

let ssh: SshGuest;
let scratch: string;
const run = (program: string, ...args: string[]): Promise<Outcome> => runProgram(ssh.home, program, args);
const sealtty = (...args: string[]): Promise<Outcome> => run(process.execPath, SEALTTY, ...args);

beforeAll(async () => {
  ssh = await startSshGuest();
  scratch = ssh.at("files");
  mkdirSync(scratch);
  const made = await sealtty("config-ssh", ssh.address, ...ssh.options);
  if (made.status !== 0) throw new Error(made.stderr);
});
afterAll(async () => {
  await ssh?.stop();
});

/** What a guest with simulated evidence says at each connection, and nothing else. */
const WARNING = /sealtty: warning: SIMULATED evidence: nothing about this guest is proven\r?\n/g;
const quiet = (text: string): string => text.replaceAll(WARNING, "");
const file = (name: string): string => path.join(scratch, name);
const digest = (name: string): string => createHash("sha256").update(readFileSync(name)).digest("hex");

function madeFile(name: string, length: number): string {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i + 4 <= length; i += 4) bytes.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  writeFileSync(file(name), bytes);
  return file(name);
}

// The programs look for ~/.ssh/config in the home directory of /etc/passwd, whatever HOME says.
const config = (): string => ssh.at(".ssh/config");

test("ssh: command, input, output, both streams apart, exit status", async () => {
  const outcome = await runProgram(
    ssh.home,
    "ssh",
    ["-F", config(), HOST, "cat; echo error >&2; exit 37"],
    "what goes in",
  );
  expect({ ...outcome, stderr: quiet(outcome.stderr) }).toEqual({
    status: 37,
    stdout: "what goes in",
    stderr: "error\n",
  });
  // One connection: known-hosts took what the proxy had verified. QEMU's pipes have a place for one client alone.
  expect(outcome.stderr.match(WARNING)?.length).toBe(1);
});

test("ssh: a terminal, and 4 MiB through a pipe of shells", async () => {
  expect((await run("ssh", "-F", config(), "-tt", HOST, "tty; exit 3")).stdout).toMatch(
    /^\/dev\/pts\/[0-9]+\r\n/,
  );
  const bytes = readFileSync(madeFile("stream", 4 * MiB));
  const outcome = await runProgram(ssh.home, "ssh", ["-F", config(), HOST, "sha256sum"], bytes);
  expect(outcome.stdout).toContain(createHash("sha256").update(bytes).digest("hex"));
  const back = await run("ssh", "-F", config(), HOST, `cat ${file("stream")}`);
  expect(Buffer.from(back.stdout, "latin1").equals(bytes)).toBe(true);
});

test("ssh's own master works through it", async () => {
  const control = ssh.at("control");
  const master = ["-F", config(), "-o", `ControlPath=${control}`];
  // What goes into the background keeps its outputs.
  const background = `exec ssh -F ${config()} -o ControlPath=${control} -M -f -N ${HOST} > /dev/null 2>&1`;
  expect(await run("sh", "-c", background)).toMatchObject({ status: 0 });
  const results = await Promise.all([1, 2, 3].map((n) => run("ssh", ...master, HOST, `exit ${n}`)));
  expect(results.map(({ status }) => status)).toEqual([1, 2, 3]);
  expect(await run("ssh", ...master, "-O", "exit", HOST)).toMatchObject({ status: 0 });
});

test("scp and sftp, both ways", async () => {
  madeFile("scp.in", 3 * MiB + 5);
  expect(
    await run("scp", "-q", "-F", config(), file("scp.in"), `${HOST}:${file("scp.there")}`),
  ).toMatchObject({
    status: 0,
  });
  expect(
    await run("scp", "-q", "-F", config(), `${HOST}:${file("scp.there")}`, file("scp.back")),
  ).toMatchObject({
    status: 0,
  });
  expect(digest(file("scp.back"))).toBe(digest(file("scp.in")));
  writeFileSync(
    file("batch"),
    `put ${file("scp.in")} ${file("sftp.there")}\nget ${file("sftp.there")} ${file("sftp.back")}\n`,
  );
  expect(await run("sftp", "-q", "-F", config(), "-b", file("batch"), HOST)).toMatchObject({ status: 0 });
  expect(digest(file("sftp.back"))).toBe(digest(file("scp.in")));
});

test.runIf(isInstalled("rsync"))("rsync: a tree there and back, and only what changed", async () => {
  const tree = file("tree");
  mkdirSync(path.join(tree, "below"), { recursive: true });
  for (let i = 0; i < 200; i++)
    writeFileSync(path.join(tree, i % 2 === 0 ? "below" : ".", `f${i}`), `file ${i}\n`);
  utimesSync(path.join(tree, "f1"), 1_000_000_000, 1_000_000_000);
  const rsync = (...args: string[]): Promise<Outcome> =>
    run("rsync", "-a", "-e", `ssh -F ${config()}`, ...args);
  expect(await rsync(`${tree}/`, `${HOST}:${file("tree.there")}/`)).toMatchObject({ status: 0 });
  expect(await rsync(`${HOST}:${file("tree.there")}/`, `${file("tree.back")}/`)).toMatchObject({ status: 0 });
  expect(readdirSync(file("tree.back"), { recursive: true }).length).toBe(201);
  expect(readFileSync(path.join(file("tree.back"), "below/f42"), "utf8")).toBe("file 42\n");
  expect(statSync(path.join(file("tree.back"), "f1")).mtimeMs).toBe(1_000_000_000_000);
  writeFileSync(path.join(tree, "f3"), "another\n");
  const second = await rsync("-i", `${tree}/`, `${HOST}:${file("tree.there")}/`);
  expect(second.stdout.trim().split("\n")).toEqual([expect.stringMatching(/^<f.* f3$/)]);
});

describe.runIf(isInstalled("ansible"))("ansible", () => {
  const ansible = (program: string, ...args: string[]): Promise<Outcome> =>
    runProgram(ssh.home, program, ["-i", file("hosts"), ...args], "", {
      ANSIBLE_SSH_ARGS: `-F ${config()} -o ControlMaster=auto -o ControlPersist=30s`,
      ANSIBLE_LOCAL_TEMP: ssh.at("ansible"),
      ANSIBLE_REMOTE_TMP: ssh.at("ansible-there"),
      ANSIBLE_NOCOLOR: "1",
      ANSIBLE_PYTHON_INTERPRETER: "/usr/bin/python3",
    });

  beforeAll(() => writeFileSync(file("hosts"), `${HOST}\n`));
  afterAll(async () => {
    for (const name of readdirSync(ssh.at(".ansible/cp"))) {
      const at = ssh.at(path.join(".ansible/cp", name));
      await run("ssh", "-F", config(), "-o", `ControlPath=${at}`, "-O", "exit", HOST);
    }
  });

  test("ping and copy", async () => {
    const ping = await ansible("ansible", "all", "-m", "ping");
    expect(ping.stdout, ping.stderr).toMatch(/test\.sealtty \| SUCCESS[\s\S]*"ping": "pong"/);
    madeFile("ansible.in", 100_000);
    const copy = await ansible(
      "ansible",
      "all",
      "-m",
      "copy",
      "-a",
      `src=${file("ansible.in")} dest=${file("ansible.there")} mode=0640`,
    );
    expect(copy.stdout, copy.stderr).toMatch(/test\.sealtty \| CHANGED/);
    expect(digest(file("ansible.there"))).toBe(digest(file("ansible.in")));
    expect(statSync(file("ansible.there")).mode & 0o777).toBe(0o640);
  });

  test("a small playbook", async () => {
    const playbook = [
      "- hosts: all",
      "  gather_facts: false",
      "  tasks:",
      `  - file: {path: "${file("made")}", state: directory, mode: "0750"}`,
      `  - copy: {content: "hello {{ inventory_hostname }}\\n", dest: "${file("made")}/hello"}`,
      "  - command: sh -c 'exit 0'",
      "    changed_when: false",
      "",
    ];
    writeFileSync(file("playbook.yml"), playbook.join("\n"));
    const played = await ansible("ansible-playbook", file("playbook.yml"));
    expect(played.stdout, played.stderr).toMatch(/test\.sealtty +: ok=3 +changed=2 .*failed=0/);
    expect(readFileSync(file("made/hello"), "utf8")).toBe(`hello ${HOST}\n`);
  });
});

describe("host keys", () => {
  test("known-hosts prints those of the evidence, by the name that was asked for", async () => {
    const asked = await sealtty("known-hosts", ssh.address, "db1", ...ssh.options.slice(0, 3), "-q");
    const [, ed25519] = readFileSync(ssh.at("host_ed25519.pub"), "utf8").split(" ");
    const [, ecdsa] = readFileSync(ssh.at("host_ecdsa.pub"), "utf8").split(" ");
    expect(asked).toMatchObject({
      status: 0,
      stdout: `db1 ssh-ed25519 ${ed25519}\ndb1 ecdsa-sha2-nistp256 ${ecdsa}\n`,
    });
  });

  test("an sshd with another key than the evidence names is refused, whatever known_hosts says", async () => {
    const other = await startSshGuest({ hostKeys: (at) => [at("other_host_key.pub")] });
    try {
      await runProgram(other.home, process.execPath, [
        SEALTTY,
        "config-ssh",
        other.address,
        ...other.options,
      ]);
      const key = readFileSync(other.at("host_ed25519.pub"), "utf8").split(" ").slice(0, 2).join(" ");
      writeFileSync(other.at(".ssh/known_hosts"), `${HOST} ${key}\n`);
      const refused = await runProgram(other.home, "ssh", ["-F", other.at(".ssh/config"), HOST, "echo in"]);
      expect(refused).toMatchObject({ status: 255, stdout: "" });
      expect(refused.stderr).toMatch(/REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/);
    } finally {
      await other.stop();
    }
  });

  test("evidence without a key, and evidence that the policy refuses: nothing is printed, and ssh does not go in", async () => {
    const none = await startSshGuest({ hostKeys: (at) => [at("not-there.pub")] });
    try {
      const known = await runProgram(none.home, process.execPath, [
        ...[SEALTTY, "known-hosts", none.address, "-q", ...none.options.slice(0, 3)],
      ]);
      expect(known).toMatchObject({ status: 255, stdout: "" });
      expect(quiet(known.stderr)).toMatch(
        /^sealtty: evidence-unavailable: .* names no SSH host key: add ssh_host_keys/,
      );
      await runProgram(none.home, process.execPath, [SEALTTY, "config-ssh", none.address, ...none.options]);
      const refused = await runProgram(none.home, "ssh", ["-F", none.at(".ssh/config"), HOST, "echo in"]);
      expect(refused).toMatchObject({ status: 255, stdout: "" });
      expect(refused.stderr).toMatch(/KnownHostsCommand failed|Host key verification failed/);

      const strange = none.at("strange.toml");
      writeFileSync(
        strange,
        'version = 1\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "another"\n',
      );
      const wrong = await runProgram(none.home, process.execPath, [
        ...[SEALTTY, "known-hosts", none.address, "-q", "--policy", strange, "--simulated"],
      ]);
      expect(wrong).toMatchObject({ status: 255, stdout: "" });
      expect(wrong.stderr).toContain("evidence-refused");
    } finally {
      await none.stop();
    }
  });

  test("a proxy's key is for nobody with another policy, and goes with the proxy", async () => {
    // ssh's part is played by a shell: parent of both.
    const state = ssh.at("state");
    const proxy = [process.execPath, SEALTTY, "proxy", ssh.address, "-q", ...ssh.options].join(" ");
    const known = (policy: string) =>
      [
        process.execPath,
        SEALTTY,
        "known-hosts",
        "unix:/nobody/there",
        "-q",
        "--simulated",
        "--policy",
        policy,
      ].join(" ");
    // Another address is another guest: known-hosts asks for itself, and finds nobody.
    const script = `mkfifo in; exec 3<> in; ${proxy} < in > out & pid=$!; until [ -s out ]; do sleep 0.05; done; ls ${state}/sealtty/host-keys | wc -l; ${known(ssh.guest.policyFile)}; echo status=$?; kill -HUP $pid; wait $pid; ls ${state}/sealtty/host-keys | wc -l`;
    const outcome = await runProgram(ssh.home, "bash", ["-c", script], "", { XDG_STATE_HOME: state });
    expect(outcome.stdout).toBe("1\nstatus=255\n0\n");
    expect(readFileSync(ssh.at("out"), "latin1")).toMatch(/^SSH-2\.0-/);
  });
});

test("what ssh leaves behind ends: no sshd of a connection that is over", async () => {
  const one = await run("ssh", "-F", config(), HOST, "echo $PPID");
  const pid = Number(one.stdout);
  expect(pid).toBeGreaterThan(1);
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      break; // gone
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test("--remove takes the block out again, and nothing else", async () => {
  const mine = "Host mine\n    Port 2222\n";
  writeFileSync(config(), readFileSync(config(), "utf8") + mine);
  expect(await run("ssh", "-F", config(), "-G", "mine")).toMatchObject({ status: 0 });
  expect((await run("ssh", "-F", config(), "-G", "mine")).stdout).toMatch(/^port 2222$/m);
  expect((await run("ssh", "-F", config(), "-G", HOST)).stdout).toMatch(/^stricthostkeychecking true$/m);
  expect(statSync(config()).mode & 0o777).toBe(0o600);
  expect(await sealtty("config-ssh", "--remove")).toMatchObject({ status: 0, stdout: "" });
  expect(readFileSync(config(), "utf8")).toBe(mine);
});
