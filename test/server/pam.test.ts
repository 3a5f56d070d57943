// Users' sessions by a real PAM: limits, groups, environment, refusals, utmp; and that a program is what it was without.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { missingHere } from "../../server/check.ts";
import { parseServerConfig } from "../../server/config.ts";
import { createLog } from "../../server/log.ts";
import { prepareLaunch } from "../../server/sessions/launch.ts";
import { openPam } from "../../server/sessions/pam.ts";
import { startCli } from "../support/cli.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";
import {
  GID,
  type PamWorld,
  SECOND_GID,
  SESSION_PROGRAM,
  UID,
  canMakePamWorld,
  makePamWorld,
} from "./support/pam-world.ts";

const scratch = makeScratch();
const keyFile = scratch.path("key");
const forcedKeyFile = scratch.path("forced");
beforeAll(() => {
  sshKeygen(keyFile);
  sshKeygen(forcedKeyFile);
});
afterAll(() => scratch.remove());

async function until<T>(what: () => T | undefined | false, words: string): Promise<T> {
  const end = Date.now() + 60_000;
  for (;;) {
    const value = what();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`Still not: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const isAlive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
};

if (!canMakePamWorld)
  test("NOT RUN: sessions by PAM (needs root, unshare, libpam, and sealtty-session built)", () => {
    expect(canMakePamWorld).toBe(false);
  });

/** What a process has open, or what it is called; undefined where it is gone. */
function look<T>(how: () => T): T | undefined {
  try {
    return how();
  } catch {
    return undefined;
  }
}
const openOf = (pid: number): string[] | undefined =>
  look(() => readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)));

/** The keeper that waits for a process to end: it has a pidfd of it as its fourth descriptor or so, and its own name. */
function keeperOf(pid: number | undefined): number | undefined {
  const waitsFor = new RegExp(`^Pid:\\t${pid}$`, "m");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => look(() => readFileSync(`/proc/${name}/comm`, "latin1")) === "sealtty-keeper\n")
    .map(Number)
    .find((process) =>
      look(() =>
        readdirSync(`/proc/${process}/fdinfo`).some((fd) =>
          waitsFor.test(readFileSync(`/proc/${process}/fdinfo/${fd}`, "latin1")),
        ),
      ),
    );
}

/** What a test's service says beside the account's own expiry. */
function serviceText(world: PamWorld): string {
  const record = `pam_exec.so quiet ${world.path("record")}`;
  return [
    "account required pam_unix.so",
    `session required ${record}`, // before the limits, which would be its own, too
    `session required pam_limits.so conf=${world.path("limits")}`,
    `session required pam_env.so conffile=/dev/null envfile=${world.path("environment")}`,
    "",
  ].join("\n");
}

function makeWorld(): PamWorld {
  const world = makePamWorld();
  writeFileSync(world.path("limits"), "mary - nofile 321\nmary hard core 0\nmary soft fsize 1\n");
  writeFileSync(world.path("environment"), "BY_PAM=yes\nBOTH=pam\nLANG=xx_PAM\n");
  writeFileSync(
    world.path("record"),
    `#!/bin/sh\necho "$PAM_TYPE $PAM_SERVICE $PAM_USER \${PAM_TTY:-none} evil=$EVIL" >>'${world.path("recorded")}'\n`,
    { mode: 0o755 },
  );
  writeFileSync(world.path("recorded"), "");
  world.service("sealtty", serviceText(world));
  return world;
}

const recorded = (world: PamWorld): string[] =>
  readFileSync(world.path("recorded"), "utf8").split("\n").filter(Boolean);
const who = (file: string): string => execFileSync("who", [file], { encoding: "utf8" });

/** Says in a file which signals it gets, and ends with its client. */
const STAY =
  "{ exec >/dev/null 2>&1; trap 'echo TERM >>heard' TERM; trap 'echo HUP >>heard; exit' HUP; while :; do sleep 0.05; done; }";

async function startIn(world: PamWorld, daemonUser: string, pam?: string): Promise<RunningGuest> {
  const authorizedKeys = [
    readFileSync(`${keyFile}.pub`, "utf8"),
    `command="id -un; echo forced \${SSH_ORIGINAL_COMMAND}; case $SSH_ORIGINAL_COMMAND in stay) ${STAY};; esac" ${readFileSync(`${forcedKeyFile}.pub`, "utf8")}`,
  ].join("");
  return await startSealttyd({
    authorizedKeys,
    daemonUser,
    through: world.through,
    more: ["[forward]", "allow = true"],
    ...(pam === undefined ? {} : { pam }),
  });
}

describe.runIf(canMakePamWorld).each([
  ["in one process", "root"],
  ["in two halves", "nobody"],
])("a session by PAM, %s", (_, daemonUser) => {
  let world: PamWorld;
  let guest: RunningGuest;
  beforeAll(async () => {
    world = makeWorld();
    guest = await startIn(world, daemonUser);
  });
  afterAll(async () => {
    await guest?.stop();
    world?.remove();
  });

  // A session is closed after its program's end was told.
  beforeEach(() => until(() => recorded(world).length % 2 === 0, "all sessions are closed"));

  function as(user: string, command: string, key: string, args: readonly string[]) {
    const own = ["--policy", guest.policyFile, "--simulated", "-l", user, "-i", key];
    const env = { HOME: world.path("home"), XDG_STATE_HOME: scratch.path("state"), LANG: undefined };
    const address = `unix:${guest.socket}`;
    const where = command === "cp" ? ["--guest", address] : [address];
    return startCli([command, ...where, ...own, ...args], { env });
  }
  const mary = (command: string, ...args: string[]) => as("mary", command, keyFile, args);
  const exec = (...args: string[]) => mary("exec", "-n", ...args);
  const sh = (script: string) => exec("--", "sh", "-c", script);

  test("the log says so", () => {
    expect(guest.log()).toContain("users' programs get a PAM session service=sealtty");
  });

  test("user, all groups, limits, environment, directory; no descriptor and no child beside its own", async () => {
    const script = [
      "id -u; id -g; id -G; ulimit -n; ulimit -H -c; pwd",
      "echo $BY_PAM $BOTH $LANG $HOME $USER $SHELL",
      "env | grep -c SEALTTY_",
      "echo fds /proc/self/fd/*",
      "cat /proc/$$/task/$$/children",
      "grep -E 'Sig(Blk|Ign)' /proc/$$/status",
    ].join("\n");
    const running = exec("--env", "BOTH=mine", "--env", "EVIL=1", "--", "bash", "-c", script);
    expect(await running.ended(), running.stderr()).toBe(0);
    const home = world.path("home");
    expect(running.stdout().split("\n").slice(0, 8)).toEqual([
      `${UID}`,
      `${GID}`,
      `${GID} ${SECOND_GID}`,
      "321",
      "0",
      home,
      `yes mine xx_PAM ${home} mary /bin/bash`,
      "0",
    ]);
    // The fourth of them is the directory that is being read.
    expect(running.stdout()).toContain(
      "fds /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n",
    );
    expect(running.stdout()).toMatch(/SigBlk:\s0+\nSigIgn:\s0+\n/);
    await until(() => recorded(world).length === 2, "PAM closed the session");
    expect(recorded(world)).toEqual([
      "open_session sealtty mary none evil=",
      "close_session sealtty mary none evil=",
    ]);
  });

  test("it ends as the program did: status, signals, one that is not there", async () => {
    expect(await sh("exit 37").ended()).toBe(37);
    expect(await sh("kill -9 $$").ended()).toBe(128 + 9);
    const killed = exec("--json", "--", "sh", "-c", "kill -TERM $$");
    expect(await killed.ended()).toBe(128 + 15);
    expect(`${killed.stdout()}${killed.stderr()}`).toMatch(/"signal":"(?:SIG)?TERM"/);
    const missing = exec("--", "no-such-program");
    expect(await missing.ended()).toBe(127);
    expect(missing.stderr()).toContain("sealttyd: no-such-program: not found");
    const forbidden = exec("--", "/etc/passwd");
    expect(await forbidden.ended()).toBe(126);
    expect(forbidden.stderr()).toContain("sealttyd: /etc/passwd: cannot be started (Permission denied)");
    const nowhere = exec("--cwd", "no-such", "--", "pwd");
    expect(await nowhere.ended()).toBe(126);
    expect(nowhere.stderr()).toContain("no such directory");
  });

  test("a signal of the client's reaches all of the program's processes; the session is closed after it", async () => {
    const before = recorded(world).length;
    const child = "(trap 'echo both; exit' TERM; echo up; while :; do sleep 0.05; done)";
    const told = sh(`trap 'echo told; exit 3' TERM; ${child} & echo pid=$$; wait`);
    await told.waitFor(/up/);
    const pid = Number((await told.waitFor(/pid=(\d+)/))[1]);
    await until(() => recorded(world).length > before, "PAM opened the session");
    expect(isAlive(pid)).toBe(true);
    expect(recorded(world).length).toBe(before + 1); // open for as long as it runs
    told.child.kill("SIGTERM");
    expect(await told.ended()).toBe(3);
    expect(told.stdout()).toContain("told");
    expect(told.stdout()).toContain("both");
    await until(() => recorded(world).length === before + 2, "PAM closed the session");
  });

  test("whoever leaves while PAM is busy, and the program still root's, leaves nothing that starts later", async () => {
    const busy = world.path("busy");
    const ran = world.path("home/ran-late");
    writeFileSync(
      world.path("slow"),
      `#!/bin/sh\n[ $PAM_TYPE = open_session ] || exit 0\necho $PPID >'${busy}'\nwhile [ -e '${busy}' ]; do sleep 0.05; done\n`,
      { mode: 0o755 },
    );
    world.service(
      "sealtty",
      `account required pam_permit.so\nsession required pam_exec.so quiet ${world.path("slow")}\n`,
    );
    try {
      const left = exec("--run-timeout", "5", "--", "touch", ran); // SIGTERM, and then SIGKILL
      const starting = await until(
        () => existsSync(busy) && (Number(readFileSync(busy, "utf8")) || undefined),
        "PAM opens the session",
      );
      expect(readFileSync(`/proc/${starting}/status`, "latin1")).toMatch(/^Uid:\t0\t0\t0\t/m);
      expect(await left.ended()).toBe(255);
      expect(await until(() => !isAlive(starting), "what was to become the program has ended")).toBe(true);
    } finally {
      rmSync(busy, { force: true }); // PAM's own program ends
      world.service("sealtty", serviceText(world));
    }
    expect(existsSync(ran)).toBe(false);
  });

  test("input to its end, 5 MB each way, and whoever closes early", async () => {
    const back = mary("exec", "--", "sha256sum");
    const data = Buffer.alloc(5_000_000, "all of it, in order. ");
    back.child.stdin.end(data);
    expect(await back.ended()).toBe(0);
    expect(back.stdout()).toBe(execFileSync("sha256sum", { input: data, encoding: "utf8" }));
    const out = sh("yes | head -c 5000000");
    expect(await out.ended()).toBe(0);
    expect(out.stdout().length).toBe(5_000_000);
  });

  test("an account that PAM refuses: its words and status 126, no terminal, no forwarding, no files", async () => {
    const refused = (command: string, ...args: string[]) => as("expired", command, keyFile, args);
    const before = recorded(world).length;
    const run = refused("exec", "-n", "--", "touch", world.path("home/was-here"));
    expect(await run.ended()).toBe(126);
    expect(run.stderr()).toContain("Your account has expired");
    expect(run.stderr()).toContain("sealttyd: no session for expired: User account has expired");
    expect(existsSync(world.path("home/was-here"))).toBe(false);
    expect(recorded(world).length).toBe(before);
    expect(guest.log()).toContain("PAM refuses this user user=expired");
    const shell = refused("exec", "-t", "--", "id");
    shell.child.stdin.end();
    expect(await shell.ended()).toBe(255);
    expect(shell.stderr()).toContain("user-refused");
    const forward = refused("proxy", "localhost:1");
    forward.child.stdin.end();
    expect(await forward.ended()).toBe(255);
    expect(forward.stderr()).toContain("does not forward this for this user");
    const copy = refused("cp", ":/etc/hostname", scratch.path("copy"));
    expect(await copy.ended()).not.toBe(0);
    expect(existsSync(scratch.path("copy"))).toBe(false);
  });

  test("files go through the session's user and limits", async () => {
    const file = scratch.path(`small-${daemonUser}`);
    writeFileSync(file, "small\n");
    const up = mary("cp", file, ":from-here");
    expect(await up.ended(), up.stderr()).toBe(0);
    expect(readFileSync(world.path("home/from-here"), "utf8")).toBe("small\n");
    expect(statSync(world.path("home/from-here"))).toMatchObject({ uid: UID, gid: GID });
  });

  test("a unix socket is opened as the user, in a session", async () => {
    const before = recorded(world).length;
    const none = mary("proxy", world.path("home/no-socket"));
    none.child.stdin.end();
    expect(await none.ended()).toBe(255);
    await until(() => recorded(world).length === before + 2, "a session was opened and closed");
  });

  test("a forced command, and what was asked for instead", async () => {
    const forced = as("mary", "exec", forcedKeyFile, ["-n", "--", "other", "a b"]);
    expect(await forced.ended(), forced.stderr()).toBe(0);
    expect(forced.stdout()).toBe("mary\nforced other 'a b'\n");
  });

  test("of a forced command a client may not send any signal but those that end it in order", async () => {
    const forced = as("mary", "exec", forcedKeyFile, ["-n", "--run-timeout", "5", "--", "stay"]);
    // SIGTERM it takes; SIGKILL, 5 s later, does not reach it: it lives until its client has gone, and hears of that.
    expect(await forced.ended()).toBe(255);
    const said = world.path("home/heard");
    await until(() => existsSync(said) && readFileSync(said, "utf8").includes("HUP"), "it is hung up");
    expect(readFileSync(said, "utf8")).toBe("TERM\nHUP\n");
  });

  test("a terminal: who shows it while it lasts, last afterwards; job control, size, and its owner", async () => {
    const before = recorded(world).length;
    const shell = mary("exec", "-t", "--", "bash", "--norc", "-i");
    shell.child.stdin.write(
      "echo at=$(tty) owner=$(stat -c %U:%a $(tty)) ses=$(ps -o sid= -p $$ | tr -d ' ') pid=$$.\n",
    );
    const [, line = "", session, pid] = await shell.waitFor(
      /at=\/dev\/(pts\/\d+) owner=mary:6[02]0 ses=(\d+) pid=(\d+)\./,
    );
    expect(session).toBe(pid);
    expect(who(world.utmp)).toMatch(new RegExp(`^mary\\s+${line}\\s.*\\(sealtty\\)$`, "m"));
    expect(recorded(world)[before]).toBe(`open_session sealtty mary /dev/${line} evil=`);
    // Nobody but the program's own is on the terminal, nor holds it.
    shell.child.stdin.write("echo on=$(ps -t $(tty) -o comm=).\n");
    expect((await shell.waitFor(/on=([a-z, -]+)\./))[1]?.split(" ").sort()).toEqual(["bash", "ps"]);
    shell.child.stdin.write("sleep 1000\n");
    const jobs = () => spawnSync("ps", ["--ppid", pid ?? "", "-o", "stat=,args="], { encoding: "utf8" });
    await until(() => /\+\s+sleep 1000/.test(jobs().stdout), "the job is in front");
    shell.child.stdin.write("\x03");
    shell.child.stdin.write("echo job=$((100+$?))\n");
    await shell.waitFor(/job=230/);
    shell.child.stdin.write("exit 5\n");
    expect(await shell.ended()).toBe(5);
    await until(() => !who(world.utmp).includes("mary"), "utmp is cleared");
    await until(() => recorded(world).length === before + 2, "PAM closed the session");
    // Within the second of its end last calls it "still running".
    const ended = new RegExp(`^mary\\s+${line}\\s+sealtty\\s.* - .*\\(`, "m");
    const last = () => execFileSync("last", ["-f", world.wtmp, "mary"], { encoding: "utf8" });
    await until(() => ended.test(last()), "last shows that it ended");
  });

  test("a terminal whose client goes is hung up, and its session closed", async () => {
    const before = recorded(world).length;
    const shell = mary("exec", "-t", "--", "sh", "-c", "echo pid=$$.; exec sleep 1000");
    const pid = Number((await shell.waitFor(/pid=(\d+)\./))[1]);
    await until(() => recorded(world).length === before + 1, "a session");
    shell.child.stdin.write("\r~.");
    await shell.stop();
    expect(await until(() => !isAlive(pid), "the program was hung up")).toBe(true);
    await until(() => recorded(world).length === before + 2, "PAM closed the session");
    await until(() => !who(world.utmp).includes("mary"), "utmp is cleared");
  });
});

describe.runIf(canMakePamWorld)("sealttyd's end", () => {
  test.each(["root", "nobody"])(
    "is the end of what it started, and of its sessions ([daemon] user %s)",
    async (daemonUser) => {
      const world = makeWorld();
      const guest = await startIn(world, daemonUser);
      try {
        const own = ["--policy", guest.policyFile, "--simulated", "-l", "mary", "-i", keyFile, "-t"];
        const env = { HOME: world.path("home") };
        const shell = startCli(
          ["exec", `unix:${guest.socket}`, ...own, "--", "sh", "-c", "echo pid=$$.; exec sleep 1000"],
          {
            env,
          },
        );
        const pid = Number((await shell.waitFor(/pid=(\d+)\./))[1]);
        guest.child.kill("SIGKILL");
        expect(await until(() => !isAlive(pid), "the program was hung up")).toBe(true);
        await until(() => recorded(world).length === 2, "PAM closed the session");
        await until(() => !who(world.utmp).includes("mary"), "utmp is cleared");
        shell.child.kill("SIGKILL");
      } finally {
        await guest.stop();
        world.remove();
      }
    },
  );
});

describe("whether there is PAM", () => {
  /** A sealtty-session that does as the script says. */
  const withProgram = async <T>(script: string, what: () => Promise<T>): Promise<T> => {
    const directory = mkdtempSync(scratch.path("native-"));
    writeFileSync(path.join(directory, "sealtty-session"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const before = process.env["SEALTTY_NATIVE"];
    process.env["SEALTTY_NATIVE"] = directory;
    try {
      return await what();
    } finally {
      if (before === undefined) delete process.env["SEALTTY_NATIVE"];
      else process.env["SEALTTY_NATIVE"] = before;
    }
  };
  const open = (files: readonly string[], script: string) => {
    const lines: string[] = [];
    const log = createLog({ write: (line) => void lines.push(line) });
    const opened = withProgram(script, () =>
      openPam("auto", log, nodeClock, { files, probeTimeoutMs: 1000 }),
    );
    return { opened, lines };
  };
  const service = scratch.path("service");
  const dangling = scratch.path("dangling");
  const loop = scratch.path("loop");
  const nowhere = scratch.path("nothing-here");
  beforeAll(() => {
    writeFileSync(service, "");
    symlinkSync(nowhere, dangling);
    symlinkSync(loop, loop);
  });

  test.each([
    ["the probe does not end", "exec sleep 1000"],
    ["the probe fails otherwise than by saying what is missing", "echo broken >&2; exit 2"],
    ["the probe ends without a word", "exit 1"],
    ["the probe is killed", "echo there is no libpam >&2; kill -9 $$"],
  ])("by itself sealttyd does not do without where %s", async (_, script) => {
    await expect(open([nowhere, service], script).opened).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringMatching(
        /pam = "auto", but whether there is PAM cannot be told: .+ Put that right/,
      ) as string,
    });
  });

  test("nor where nobody can look whether there is a file of the service", async () => {
    const { opened } = open([path.join(loop, "sealtty"), nowhere], "exit 0");
    await expect(opened).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("cannot be looked at (ELOOP)") as string,
    });
  });

  test("nor where the program cannot be started", async () => {
    const { opened } = open([service], "exit 0");
    await opened; // it is there, and good
    const empty = mkdtempSync(scratch.path("native-"));
    symlinkSync(nowhere, path.join(empty, "sealtty-session"));
    process.env["SEALTTY_NATIVE"] = empty;
    try {
      await expect(
        openPam("auto", createLog({ write: () => {} }), nodeClock, { files: [service] }),
      ).rejects.toMatchObject({ code: "bad-config" });
    } finally {
      delete process.env["SEALTTY_NATIVE"];
    }
  });

  test("what is not there, is not: then it does without, and says why", async () => {
    const noFile = open([nowhere], "exit 2");
    expect(await noFile.opened).toBeUndefined();
    expect(noFile.lines.join("")).toContain(`there is no ${nowhere}`);
    const noLibrary = open([service], "echo there is no libpam.so.0 >&2; exit 1");
    expect(await noLibrary.opened).toBeUndefined();
    expect(noLibrary.lines.join("")).toContain("there is no libpam.so.0");
    // A link that leads nowhere is there: PAM, which cannot read it, refuses.
    expect(await open([dangling], "exit 0").opened).toMatchObject({ file: expect.any(String) as string });
  });
});

describe.runIf(canMakePamWorld)("whether PAM is used", () => {
  test('without a file of the service: not by itself, and required it is "other"', async () => {
    const world = makeWorld();
    world.service("sealtty", "account required pam_deny.so\n");
    const check = (pam: string, env: NodeJS.ProcessEnv = {}) =>
      startSealttyd({ pam, through: world.through, env });
    try {
      const other = await check("required");
      expect(other.log()).toContain("get a PAM session");
      await other.stop();
      const off = await check("off");
      expect(off.log()).toContain('get no PAM session why="the configuration says so"');
      await off.stop();
      execFileSync("rm", [world.path("pam.d/sealtty")]);
      const auto = await check("auto");
      expect(auto.log()).toMatch(/get no PAM session why="there is no \/etc\/pam\.d\/sealtty/);
      await auto.stop();
      world.service("sealtty", serviceText(world));
      const nowhere = { SEALTTY_NATIVE: scratch.path("nowhere") };
      const missing = await check("auto", nowhere);
      expect(missing.log()).toContain('get no PAM session why="the program sealtty-session is missing');
      await missing.stop();
      process.env["SEALTTY_NATIVE"] = nowhere.SEALTTY_NATIVE;
      const config = parseServerConfig(
        '[pipe]\ntype="unix"\npath="/x"\n[evidence]\ntype="simulated"\ninstance="x"\ni_know_this_proves_nothing=true\n' +
          '[users]\nlogin=["/bin/login"]\npam="required"\n',
        "test",
      );
      const told = await missingHere(config);
      delete process.env["SEALTTY_NATIVE"];
      expect(told).toContainEqual(
        expect.stringMatching(/^the program sealtty-session is missing.*would not start/),
      );
      await expect(check("required", nowhere)).rejects.toThrow(
        /pam = \\?"required\\?", but the program sealtty-session is missing.*code=bad-config/,
      );
    } finally {
      world.remove();
    }
  });
});

describe.runIf(canMakePamWorld)("sealtty-session by itself", () => {
  let world: PamWorld;
  beforeAll(() => {
    world = makeWorld();
  });
  afterAll(() => world?.remove());

  const inWorld = (...args: string[]) => {
    const [program = "", ...before] = world.through;
    return spawnSync(program, [...before, SESSION_PROGRAM, ...args], { encoding: "utf8" });
  };

  test("says how it is used, and takes nothing else", () => {
    for (const option of ["--help", "-h"]) {
      const { status, stdout, stderr } = inWorld(option);
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^usage: sealtty-session open SERVICE /);
    }
    for (const args of [[], ["open"], ["open", "s", "mary", "1", "1", "/"], ["probe", "x"], ["account", "s"]])
      expect(inWorld(...args)).toMatchObject({ status: 126, stdout: "" });
    for (const number of ["", "-1", "+1", "1x", "4294967295", "99999999999"]) {
      const { status, stderr } = inWorld("open", "sealtty", "mary", number, `${GID}`, "/", "true");
      expect([status, stderr]).toEqual([
        126,
        "sealttyd: no session for mary: no number of a user or group\n",
      ]);
    }
  });

  test("accounts: let in, refused with PAM's words, unknown", () => {
    expect(inWorld("account", "sealtty", "mary")).toMatchObject({ status: 0, stderr: "" });
    const expired = inWorld("account", "sealtty", "expired");
    expect(expired.status).toBe(126);
    expect(expired.stderr).toContain("Your account has expired");
    expect(inWorld("account", "sealtty", "nobody-here").status).toBe(126);
  });

  test("PAM's modules have an environment of root's own, and the program its user's", () => {
    const noted = world.path("noted");
    const module = world.path("pam_environ.so");
    const source = path.resolve(import.meta.dirname, "support/pam-environ.c");
    execFileSync("cc", ["-shared", "-fPIC", "-o", module, source]);
    const line = (kind: string) => `${kind} required ${module} ${noted}\n`;
    world.service("environ", `${line("account")}${line("session")}`);
    const prepared = prepareLaunch({
      command: ["env"],
      environment: { PATH: "/bin:/usr/bin", HOME: "/h", TERM: "by-client", LANG: "xx", HOSTNAME: "h" },
      wished: { LD_PRELOAD: "", LC_ALL: "C", PATH: "/usr/bin:/bin", KRB5_CONFIG: "/evil" },
      directory: "/",
      account: { name: "mary", uid: UID, gid: GID, home: "/h", shell: "/bin/sh" },
      pam: { file: SESSION_PROGRAM },
    });
    const [program = "", ...before] = world.through;
    const [, mode = "", , ...rest] = prepared.command;
    const run = () =>
      spawnSync(program, [...before, SESSION_PROGRAM, mode, "environ", ...rest], {
        encoding: "utf8",
        env: prepared.options.env,
      });
    const { status, stdout, stderr } = run();
    expect([status, stderr]).toEqual([0, ""]);
    const seen = new Set(readFileSync(noted, "utf8").split("\n").filter(Boolean));
    expect([...seen]).toEqual(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    const own = stdout.split("\n").filter((entry) => entry !== "" && !/^(?:PWD|_|SHLVL)=/.test(entry));
    expect(own.sort()).toEqual([
      "HOME=/h",
      "HOSTNAME=h",
      "KRB5_CONFIG=/evil",
      "LANG=xx",
      "LC_ALL=C",
      "LD_PRELOAD=",
      "PATH=/usr/bin:/bin",
      "TERM=by-client",
    ]);
    // Whoever starts it: what becomes root's environment is not the caller's to say.
    expect(Object.keys(prepared.options.env ?? {}).filter((name) => !name.startsWith("SEALTTY_"))).toEqual([
      "PATH",
    ]);
  });

  test("a session that PAM does not open is none: no program, no record, nothing left running", () => {
    world.service("closed", "account required pam_permit.so\nsession required pam_deny.so\n");
    const { status, stderr, stdout } = inWorld(
      "open",
      "closed",
      "mary",
      `${UID}`,
      `${GID}`,
      "/",
      "echo",
      "in",
    );
    expect([status, stdout]).toEqual([126, ""]);
    expect(stderr).toContain("sealttyd: no session for mary: ");
    expect(who(world.utmp)).toBe("");
  });

  test("a signal while PAM is busy: the session is opened, closed, and the program never runs", async () => {
    const seen = world.path("seen");
    writeFileSync(
      world.path("slow"),
      `#!/bin/sh\necho $PAM_TYPE >>'${seen}'\n[ $PAM_TYPE = close_session ] || while [ ! -e '${world.path("go-on")}' ]; do sleep 0.05; done\n`,
      { mode: 0o755 },
    );
    world.service(
      "slow",
      `account required pam_permit.so\nsession required pam_exec.so quiet ${world.path("slow")}\n`,
    );
    const [program = "", ...before] = world.through;
    const args = ["open", "slow", "mary", `${UID}`, `${GID}`, "/", "touch", world.path("home/ran")];
    const child = spawn(program, [...before, SESSION_PROGRAM, ...args], { stdio: "ignore" });
    const ended = once(child, "exit");
    const said = () => (existsSync(seen) ? readFileSync(seen, "utf8") : "");
    await until(() => said() === "open_session\n", "PAM opens the session");
    child.kill("SIGTERM");
    writeFileSync(world.path("go-on"), "");
    expect(await ended).toEqual([null, "SIGTERM"]);
    await until(() => said() === "open_session\nclose_session\n", "PAM closed the session");
    expect(existsSync(world.path("home/ran"))).toBe(false);
  });

  test("whoever stops sealttyd's processes does not end the keeper before its program", async () => {
    const [program = "", ...before] = world.through;
    const args = ["open", "sealtty", "mary", `${UID}`, `${GID}`, "/", "sleep", "1000"];
    const child = spawn(program, [...before, SESSION_PROGRAM, ...args], { stdio: "ignore" });
    const keeper = await until(() => keeperOf(child.pid), "there is a keeper");
    // What was asked for is nobody's to see in its place.
    expect(readFileSync(`/proc/${keeper}/cmdline`, "latin1")).not.toContain("sleep");
    const wanted = ["/dev/null", "/dev/null", "/dev/null", "anon_inode:[pidfd]"].join();
    expect(await until(() => openOf(keeper)?.join() === wanted, "it holds nothing else open")).toBe(true);
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) process.kill(keeper, signal);
    expect(recorded(world).at(-1)).toMatch(/^open_session/);
    child.kill("SIGTERM");
    await until(() => recorded(world).at(-1)?.startsWith("close_session"), "PAM closed the session");
    expect(await until(() => !isAlive(keeper), "the keeper ends")).toBe(true);
  });

  test("a password that has expired is said, and is no way in", () => {
    writeFileSync(
      world.path("shadow"),
      readFileSync(world.path("shadow"), "utf8").replace(/^mary:.*$/m, "mary:*:0:0:99999:7:::"),
    );
    const { status, stderr } = inWorld("account", "sealtty", "mary");
    expect(status).toBe(126);
    expect(stderr).toContain("the password has expired");
  });

  test("the file that is shipped is one that PAM understands", () => {
    const shipped = path.resolve(import.meta.dirname, "../../packaging/pam.d/sealtty");
    world.service("shipped", readFileSync(shipped, "utf8"));
    for (const name of ["common-account", "common-session"])
      if (existsSync(`/etc/pam.d/${name}`)) world.service(name, readFileSync(`/etc/pam.d/${name}`, "utf8"));
    expect(readdirSync(world.path("pam.d"))).toContain("common-session");
    const root = inWorld("open", "shipped", "root", "0", "0", "/", "sh", "-c", "id -u; exit 9");
    expect([root.status, root.stdout, root.stderr]).toEqual([9, "0\n", ""]);
  });
});
