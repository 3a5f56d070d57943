// sealtty-confine: what a program in it can still do, and what it cannot. The real one, on this machine's kernel.

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { missingHere } from "../../server/check.ts";
import { parseServerConfig } from "../../server/config.ts";
import { type SandboxNeeds, sandboxFor } from "../../server/monitor/sandbox.ts";
import { type KeyHolder, keyHolder } from "../support/key-holder.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const confine = path.resolve(import.meta.dirname, "../../dist/bin/sealtty-confine");
const isRoot = process.getuid?.() === 0;

/** What a program says that tries everything: a word for each. */
const TRIES = `
const fs = require("node:fs"), net = require("node:net"), { spawnSync } = require("node:child_process");
const { own, beside, socket } = JSON.parse(process.argv[1]);
const found = {};
const attempt = (name, work) => {
  try { found[name] = String(work() ?? "done"); } catch (error) { found[name] = error.code ?? error.message; }
};
const status = fs.readFileSync("/proc/self/status", "utf8");
found.seccomp = /^Seccomp:\\t(\\d)/m.exec(status)[1];
found.noNewPrivs = /^NoNewPrivs:\\t(\\d)/m.exec(status)[1];
found.cores = /^Max core file size +(\\S+ +\\S+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))[1].replace(/ +/, " ");
attempt("reads the system", () => { fs.readFileSync("/etc/passwd"); });
attempt("reads beside", () => { fs.readFileSync(beside + "/secret"); });
attempt("lists beside", () => { fs.readdirSync(beside); });
attempt("changes beside", () => { fs.appendFileSync(beside + "/secret", "x"); });
attempt("makes beside", () => { fs.writeFileSync(beside + "/new", "x"); });
attempt("removes beside", () => { fs.rmSync(beside + "/secret"); });
attempt("makes in shared memory", () => { fs.writeFileSync("/dev/shm/sealtty-test-" + process.pid, "x"); fs.rmSync("/dev/shm/sealtty-test-" + process.pid); });
attempt("makes a file of its own", () => { fs.writeFileSync(own + "/new", "x"); });
attempt("writes to a device", () => { fs.writeFileSync("/dev/null", "x"); });
attempt("opens a terminal", () => { fs.closeSync(fs.openSync("/dev/ptmx", "r+")); });
attempt("runs a program of the system", () => spawnSync("/bin/true").status);
attempt("runs one beside", () => spawnSync(beside + "/program").error?.code ?? "done");
attempt("makes a namespace", () => spawnSync("unshare", ["-U", "true"]).status === 0 ? "done" : "refused");
for (const [name, family, protocol] of [["vsock", 40, 0], ["packet", 17, 0], ["crypto", 38, 0], ["netlink of audit", 16, 9], ["bluetooth", 31, 1]])
  attempt("opens " + name, () => spawnSync("perl", ["-e", "socket(S, shift, 3, shift) and print 'done' or print $!+0", String(family), String(protocol)]).stdout.toString());
for (const name of ["setsid", "setpgid"])
  attempt("leaves its group by " + name, () => spawnSync("perl", ["-MPOSIX", "-e", "POSIX::" + name + (name === "setpgid" ? "(0, 0)" : "() != -1") + " and print 'done' or print $!+0"]).stdout.toString());
const NOBODYS = 2147483646; // no process has that number: what is not refused finds none
const calls = {
  "has limits of another": [302, 261, NOBODYS, 7, 0, 0],
  "has its own limits": [302, 261, 0, 7, 0, 0],
  "moves another": [203, 122, NOBODYS, 0, 0],
  "gives another turns": [144, 119, NOBODYS, -1, 0],
  "gives another turns by their parameters": [142, 118, NOBODYS, 0],
  "gives another turns by their attributes": [314, 274, NOBODYS, 0, 0],
  "gives another fewer turns": [141, 140, 0, NOBODYS, 19],
  "gives a group fewer turns": [141, 140, 1, NOBODYS, 19],
  "gives all of its user fewer turns": [141, 140, 2, NOBODYS, 19],
  "gives itself fewer turns": [141, 140, 0, 0, 19],
  "gives another fewer turns at the disk": [251, 30, 1, NOBODYS, 0],
  "gives all of its user fewer turns at the disk": [251, 30, 3, NOBODYS, 0],
  "asks for memory that stays": [29, 194, 0, 0, 0],
  "asks for a queue that stays": [68, 186, 31905, 0],
  "asks for semaphores that stay": [64, 190, 31905, 0, 0],
  "asks for a queue by name": [240, 180, 0, 0, 0, 0],
  "changes a file's mode by the newest call": [452, 452, -1, 0, 0, 0],
  "makes its parent a child": [56, 220, 0x8000 | 17, 0, 0, 0, 0],
};
const words = Object.values(calls).map(([x64, arm64, ...rest]) => [process.arch === "arm64" ? arm64 : x64, ...rest].join(","));
const each = "for (@ARGV) { my @a = map { int } split /,/; my $r = syscall(shift(@a), @a); print $r == -1 ? $! + 0 : 'done', ' ' }";
const said = spawnSync("perl", ["-e", each, ...words]).stdout.toString().trim().split(" ");
Object.keys(calls).forEach((name, i) => { found[name] = said[i]; });
attempt("changes a file's mode", () => { fs.chmodSync(own, 0o700); });
attempt("changes an open file's mode", () => { const fd = fs.openSync("/dev/null", "r"); try { fs.fchmodSync(fd, 0o666); } finally { fs.closeSync(fd); } });
attempt("changes a file's owner", () => { fs.chownSync(own, process.getuid(), process.getgid()); });
attempt("changes a link's owner", () => { fs.lchownSync(own, process.getuid(), process.getgid()); });
found.processes = /^Max processes +(\\S+ +\\S+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))[1].split(/ +/).every((most) => Number(most) <= 1024) ? "bounded" : "not bounded";
attempt("becomes another user", () => { process.setgid(12345); });
const listen = (name, at) => new Promise((resolve) => {
  const server = net.createServer();
  server.on("error", (error) => { found[name] = error.code; resolve(); });
  server.listen(at, () => { found[name] = "done"; server.close(resolve); });
});
const connect = (name, at) => new Promise((resolve) => {
  const client = net.connect(at);
  client.on("error", (error) => { found[name] = error.code; resolve(); });
  client.on("connect", () => { found[name] = "done"; client.destroy(); resolve(); });
});
(async () => {
  await listen("listens in its own directory", own + "/pipe.sock");
  await listen("listens beside", beside + "/pipe.sock");
  await connect("connects to a socket", socket);
  await listen("listens on a port", { port: 0, host: "127.0.0.1" });
  const { promises } = require("node:dns");
  found["looks a name up"] = await promises.lookup("localhost").then(() => "done", (error) => error.code);
  process.stdout.write(JSON.stringify(found));
})();
`;

let directory: string;
const at = (name: string): string => path.join(directory, name);
let server: net.Server;
beforeEach(async () => {
  directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-sandbox-"));
  for (const name of ["own", "beside"]) mkdirSync(at(name));
  writeFileSync(at("beside/secret"), "secret");
  writeFileSync(at("beside/program"), "#!/bin/sh\n", { mode: 0o755 });
  server = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => {
    server.listen(at("socket"), resolve);
  });
});
afterEach(async () => {
  await new Promise((resolve) => {
    server.close(resolve);
  });
  rmSync(directory, { recursive: true });
});

interface Outcome {
  readonly found: Readonly<Record<string, string>>;
  /** Whether this kernel has Landlock; the program says where it has not. */
  readonly landlock: boolean;
}

function tried(...options: readonly string[]): Outcome {
  const places = JSON.stringify({ own: at("own"), beside: at("beside"), socket: at("socket") });
  const args = [
    ...options,
    "--read",
    path.dirname(process.execPath),
    "--",
    process.execPath,
    "-e",
    TRIES,
    places,
  ];
  // As another user the kernel's own rules would refuse some of it: here they never do, if the tests run as root.
  const { status, stdout, stderr } = spawnSync(confine, args, { encoding: "utf8" });
  const landlock = !stderr.includes("not confined by Landlock");
  expect([status, stderr.replace(/^<4>not confined by Landlock.*\n/m, "")]).toEqual([0, ""]);
  return { found: JSON.parse(stdout) as Record<string, string>, landlock };
}

const hasLandlock = ((): boolean => {
  const { stderr } = spawnSync(confine, ["--", "/bin/true"], { encoding: "utf8" });
  return !stderr.includes("not confined by Landlock");
})();
if (!hasLandlock)
  test("NOT RUN: what Landlock refuses, as this kernel has none", () => {
    expect(hasLandlock).toBe(false);
  });

/** EAFNOSUPPORT: the filter's answer, and the kernel's where it lacks the family. */
const NO_FAMILIES = {
  "opens vsock": "97",
  "opens packet": "97",
  "opens crypto": "97",
  "opens netlink of audit": "97",
  "opens bluetooth": "97",
};

describe("whatever the kernel is", () => {
  test("no core files, no new privileges, a filter, no namespaces, no other users, no addresses", () => {
    const { found } = tried();
    expect(found).toMatchObject({
      seccomp: "2",
      noNewPrivs: "1",
      cores: "0 0",
      "makes a namespace": "refused",
      "becomes another user": "EPERM",
      "leaves its group by setsid": "1", // EPERM
      "leaves its group by setpgid": "1",
      "listens on a port": "EAFNOSUPPORT",
      ...NO_FAMILIES,
    });
  });

  test("nothing of another process's, nor whose and for whom a file is, though both are the same user's", () => {
    const { found } = tried();
    const refused = Object.entries(found).filter(([name]) => /another|^gives a|mode|owner/.test(name));
    expect(refused).toHaveLength(16);
    for (const [name, answer] of refused)
      expect([name, answer]).toEqual([name, expect.stringMatching(/^(1|EPERM)$/)]);
    expect(found).toMatchObject({ "has its own limits": "done", "gives itself fewer turns": "done" });
  });

  test("nothing that outlives it: no memory or queues that stay, no children of its parent's, a bound on its own", () => {
    expect(tried().found).toMatchObject({
      "asks for memory that stays": "1", // EPERM
      "asks for a queue that stays": "1",
      "asks for semaphores that stay": "1",
      "asks for a queue by name": "1",
      "makes its parent a child": "1",
      processes: "bounded",
    });
  });

  test("what it needs goes on: the system's files and programs, devices, terminals, unix sockets", () => {
    expect(tried("--own", at("own")).found).toMatchObject({
      "reads the system": "done",
      "writes to a device": "done",
      "opens a terminal": "done",
      "runs a program of the system": "0",
      "listens in its own directory": "done",
      "connects to a socket": "done",
    });
  });

  test("--inet: ports and names as well, and nothing else", () => {
    const without = tried().found;
    expect(without).toMatchObject(NO_FAMILIES);
    expect(tried("--inet").found).toEqual({
      ...without,
      "listens on a port": "done",
      "looks a name up": "done",
    });
  });

  test("a program that is not there, one that cannot be run, and what is no option", () => {
    const run = (...args: readonly string[]) => spawnSync(confine, args, { encoding: "utf8" });
    expect(run("--", "/no/such/program").status).toBe(127);
    expect(run("--", "/etc/passwd").status).toBe(126);
    for (const args of [
      [],
      ["--"],
      ["--all", "--", "/bin/true"],
      ["--read", "--", "/bin/true"],
      ["/bin/true"],
    ])
      expect(run(...args)).toMatchObject({ status: 125, stderr: expect.stringMatching(/^usage: /) });
    expect(run("--", "/bin/sh", "-c", "exit 7").status).toBe(7);
  });
});

describe.runIf(hasLandlock)("with Landlock", () => {
  const REFUSED = {
    "reads beside": "EACCES",
    "lists beside": "EACCES",
    "changes beside": "EACCES",
    "makes beside": "EACCES",
    "removes beside": "EACCES",
    "makes in shared memory": "EACCES",
    "makes a file of its own": "EACCES",
    "runs one beside": "EACCES",
    "listens beside": "EACCES",
  } as const;

  test("no file is read but the system's, none is made, changed or removed", () => {
    expect(tried().found).toMatchObject({ ...REFUSED, "listens in its own directory": "EACCES" });
    expect(tried("--own", at("own")).found).toMatchObject(REFUSED);
    expect(readFileSync(at("beside/secret"), "utf8")).toBe("secret");
  });

  test("--read: read and run, not changed", () => {
    expect(tried("--read", at("beside")).found).toMatchObject({
      ...REFUSED,
      "reads beside": "done",
      "lists beside": "done",
      "runs one beside": "done",
    });
  });
});

describe("what sealttyd puts around its front", () => {
  const needs: SandboxNeeds = { pipe: { type: "virtio", name: "sealtty.0" }, inet: false, programs: [] };

  test("reads where its programs really are, and listens where its socket is", () => {
    symlinkSync(at("beside/program"), at("link"));
    const programs = [at("link"), "/usr/bin/env"];
    const sandbox = sandboxFor({
      ...needs,
      programs,
      inet: true,
      pipe: { type: "unix", path: at("own/pipe.sock") },
    });
    expect(sandbox).toEqual([
      confine,
      "--inet",
      ...["--read", at("beside"), "--read", "/usr/bin"],
      ...["--own", at("own")],
      "--",
    ]);
  });

  test("never all of the machine", () => {
    expect(sandboxFor({ ...needs, programs: ["/node"] })).toEqual([confine, "--"]);
  });

  test("says where the program is missing, and so does --check, where anybody wants it", async () => {
    const text =
      '[pipe]\ntype = "virtio"\nname = "x"\n[evidence]\ntype = "tpm"\n[users]\nlogin = ["/bin/sh"]\n';
    const told = expect.stringContaining("sealtty-confine is missing beside sealttyd.js");
    expect(await missingHere(parseServerConfig(text, "made"))).not.toContainEqual(told);
    process.env["SEALTTY_NATIVE"] = directory;
    try {
      expect(sandboxFor(needs)).toBe("the program sealtty-confine is missing beside sealttyd.js");
      expect(await missingHere(parseServerConfig(text, "made"))).toContainEqual(told);
      for (const without of ["sandbox = false", 'user = "root"'])
        expect(
          await missingHere(parseServerConfig(`${text}[daemon]\n${without}\n`, "made")),
        ).not.toContainEqual(told);
    } finally {
      delete process.env["SEALTTY_NATIVE"];
    }
  });
});

if (!isRoot)
  test("NOT RUN: sealttyd is split only where root starts it", () => {
    expect(isRoot).toBe(false);
  });

describe.runIf(isRoot)("a sealttyd in two halves", () => {
  let holder: KeyHolder;
  beforeAll(() => {
    holder = keyHolder();
  });
  afterAll(() => holder.remove());

  async function withGuest(
    more: readonly string[],
    work: (guest: RunningGuest) => Promise<void>,
  ): Promise<void> {
    const guest = await startSealttyd({
      authorizedKeys: holder.publicKey,
      daemonUser: "nobody",
      more,
    });
    try {
      await work(guest);
    } finally {
      await guest.stop();
    }
  }

  const seccompOf = (pid: number | undefined): string | undefined =>
    /^Seccomp:\t(\d)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  const frontOf = ({ child }: RunningGuest): number =>
    Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ")[0]);

  test("the front is confined, the monitor and users' programs are not; forwarding goes on", async () => {
    const echo = net.createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => {
      echo.listen(0, "127.0.0.1", resolve);
    });
    const { port } = echo.address() as net.AddressInfo;
    try {
      await withGuest(["[forward]", "allow = true"], async (guest) => {
        const outside = seccompOf(process.pid);
        expect(seccompOf(frontOf(guest))).toBe("2");
        expect(seccompOf(guest.child.pid)).toBe(outside);
        const exec = holder.cli(guest, "exec", "-n", "--", "grep", "^Seccomp:", "/proc/self/status");
        expect(await exec.ended()).toBe(0);
        expect(exec.stdout()).toBe(`Seccomp:\t${outside}\n`);
        const proxy = holder.cli(guest, "proxy", `localhost:${port}`);
        proxy.child.stdin.end("through the sandbox");
        expect(await proxy.ended()).toBe(0);
        expect(proxy.stdout()).toBe("through the sandbox");
      });
    } finally {
      echo.close();
    }
  });

  test("sandbox = false: its owner does without, and the log says so", async () => {
    await withGuest(["sandbox = false"], async (guest) => {
      expect(seccompOf(frontOf(guest))).toBe(seccompOf(process.pid));
      expect(guest.log()).toContain('gets no sandbox why="the configuration says so"');
    });
  });
});

test("the built program is there", () => {
  expect(existsSync(confine)).toBe(true);
});
