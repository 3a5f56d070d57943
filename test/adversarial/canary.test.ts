// A secret of its own goes through every way that there is; then all that is written down by guest, relay and client is
// searched for each of them. What is to be found is found by the same search.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Relay, startRelay } from "../../relay/relay.ts";
import { type RunningCli, startCli } from "../support/cli.ts";
import { findSecret } from "../support/host-eyes.ts";
import { hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { readCast } from "../support/read-cast.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

tellIfOpensshIsAbsent();
const isRoot = process.getuid?.() === 0;
const user = os.userInfo().username;

/** A word that stands nowhere else, of each way. */
const SECRETS = {
  password: "canary-password-8fKx31Lm",
  passphrase: "canary-passphrase-Wq7vZ2",
  argument: "canary-argument-Jm4tQ9",
  forcedArgument: "canary-forced-Bn5rX1",
  askedOfForced: "canary-asked-Pz8kD3",
  variable: "canary-variable-Lc2wS6",
  directory: "canary-directory-Yh9fG4",
  input: "canary-input-Rt6bV8",
  output: "canary-output-Ns1qK7",
  content: "canary-content-Ue3xM5",
  fileName: "canary-name-Ow7jC2",
  missingFile: "canary-missing-Gd4pH9",
  forwarded: "canary-forwarded-Xa8zT1",
  socket: "canary-socket-Fi5nE6",
  userName: "canary-user-kq2vb",
  pasted: "canary-pasted-Vs9yR3",
} as const;
type Secret = keyof typeof SECRETS;

/** Asks for a password as login does, and ends. */
const LOGIN =
  "stty -echo; printf 'Password: '; read -r it; stty echo; printf '\\nLogin incorrect\\n'; exit 3";

interface Searched {
  readonly guestLog: string;
  readonly audit: string;
  readonly relayLog: string;
  readonly clients: string;
}

const scratch = makeScratch();
let home: string;
let plainKey: string;
let lockedKey: string;
let forcedKey: string;
beforeAll(() => {
  if (!hasOpenssh) return;
  home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-canary-"));
  [plainKey, lockedKey, forcedKey] = ["plain", "locked", "forced"].map((name) => scratch.path(name)) as [
    string,
    string,
    string,
  ];
  for (const file of [plainKey, lockedKey, forcedKey]) sshKeygen(file);
  execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", SECRETS.passphrase, "-f", lockedKey]);
});
afterAll(() => {
  scratch.remove();
  if (hasOpenssh) fs.rmSync(home, { recursive: true });
});

/** Runs everything against one guest. @param daemonUser - "root": all in one process. */
async function everything(daemonUser: string, recordings: string): Promise<Searched> {
  const audit = path.join(home, `audit-${daemonUser}.jsonl`);
  const [plain, locked, forced] = [plainKey, lockedKey, forcedKey].map((file) =>
    fs.readFileSync(`${file}.pub`, "utf8"),
  );
  const clients: RunningCli[] = [];
  const relayLines: string[] = [];
  let guest: RunningGuest | undefined;
  let relay: Relay | undefined;
  try {
    const running = await startSealttyd({
      authorizedKeys: `${plain}${locked}command="echo ${SECRETS.forcedArgument}" ${forced}`,
      login: ["/bin/sh", "-c", LOGIN],
      daemonUser,
      verbose: true,
      more: [
        "[forward]",
        "allow = true",
        "[audit]",
        `file = ${JSON.stringify(audit)}`,
        "[recording]",
        `directory = ${JSON.stringify(recordings)}`,
      ],
    });
    guest = running;
    relay = await startRelay({
      listen: { host: "127.0.0.1", port: 0 },
      guests: new Map([["g", { kind: "unix", path: running.socket }]]),
      allowOrigins: [],
      log: (line) => relayLines.push(line),
    });
    const address = `ws://127.0.0.1:${relay.port}/g`;
    const askpass = path.join(home, "askpass");
    fs.writeFileSync(askpass, `#!/bin/sh\necho '${SECRETS.passphrase}'\n`, { mode: 0o700 });
    const sealtty = (
      command: string,
      operands: readonly string[],
      ...more: readonly string[]
    ): RunningCli => {
      const own = ["--policy", running.policyFile, "--simulated", "-v", "-v"];
      const cli = startCli([command, ...operands, ...own, ...more], {
        env: { HOME: home, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force" },
      });
      clients.push(cli);
      return cli;
    };
    const as = (key: string, name = user) => ["-l", name, "-i", key];

    const login = sealtty("connect", [address]);
    await login.waitFor(/Password: /);
    login.child.stdin.write(`${SECRETS.password}\n`);
    expect(await login.ended()).toBe(3);

    const within = path.join(home, SECRETS.directory);
    fs.mkdirSync(within, { recursive: true });
    const script = `cat; echo ${SECRETS.output.slice(0, 7)}${SECRETS.output.slice(7)}`;
    for (const key of [plainKey, lockedKey]) {
      const exec = sealtty(
        "exec",
        [address],
        ...as(key),
        ...["--env", `TOKEN=${SECRETS.variable}`, "--cwd", within, "--json"],
        ...["--", "sh", "-c", script, SECRETS.argument],
      );
      exec.child.stdin.end(SECRETS.input);
      expect(await exec.ended(), exec.stderr()).toBe(0);
      expect(exec.stdout()).toBe(`${SECRETS.input}${SECRETS.output}\n`);
    }
    const missing = sealtty("exec", [address], ...as(plainKey), "-n", "--", "no-such-tool", SECRETS.argument);
    expect(await missing.ended()).toBe(127);
    const byForce = sealtty("exec", [address], ...as(forcedKey), "-n", "--", "ls", SECRETS.askedOfForced);
    expect(await byForce.ended()).toBe(0);
    expect(byForce.stdout()).toBe(`${SECRETS.forcedArgument}\n`);
    const nobody = sealtty("exec", [address], ...as(plainKey, SECRETS.userName), "-n", "--", "id");
    expect(await nobody.ended()).toBe(255);

    const terminal = sealtty("connect", [address], ...as(plainKey), "--keep");
    await terminal.waitFor(/session [0-9a-f]{12}/);
    terminal.child.stdin.write(`: ${SECRETS.pasted}; stty -echo; echo type-$((6*7)); read -r it; exit 4\n`);
    await terminal.waitFor(/type-42/); // from here on nothing is echoed
    terminal.child.stdin.write(`${SECRETS.password}\n`);
    expect(await terminal.ended()).toBe(4);

    const source = path.join(home, `${SECRETS.fileName}.txt`);
    fs.writeFileSync(source, SECRETS.content);
    const toGuest = sealtty("cp", [source, `:${within}/`], "--guest", address, ...as(plainKey));
    expect(await toGuest.ended(), toGuest.stderr()).toBe(0);
    const back = sealtty(
      "cp",
      [`:${within}/${SECRETS.fileName}.txt`, `:${within}/${SECRETS.missingFile}`, home],
      ...["--guest", address, ...as(plainKey), "--json"],
    );
    expect(await back.ended()).toBe(1);
    expect(fs.readFileSync(path.join(within, `${SECRETS.fileName}.txt`), "utf8")).toBe(SECRETS.content);

    const socket = path.join(within, SECRETS.socket);
    const echo = net.createServer((peer) => peer.pipe(peer)).listen(socket);
    try {
      const proxy = sealtty("proxy", [address, socket], ...as(plainKey));
      proxy.child.stdin.end(SECRETS.forwarded);
      expect(await proxy.ended(), proxy.stderr()).toBe(0);
      expect(proxy.stdout()).toBe(SECRETS.forwarded);
      const nowhere = sealtty("proxy", [address, `${socket}-not`], ...as(plainKey));
      expect(await nowhere.ended()).toBe(255);
    } finally {
      echo.close();
    }
    await relay.close();
    await running.stop();
    return {
      guestLog: running.log(),
      audit: fs.readFileSync(audit, "utf8"),
      relayLog: relayLines.join("\n"),
      clients: clients.map((cli) => cli.stderr()).join("\n"),
    };
  } finally {
    for (const cli of clients) if (cli.child.exitCode === null) cli.child.kill("SIGKILL");
    await relay?.close().catch(() => undefined);
    await guest?.stop();
  }
}

const found = (text: string): Secret[] =>
  (Object.keys(SECRETS) as Secret[]).filter(
    (name) => findSecret([new TextEncoder().encode(text)], SECRETS[name]).length > 0,
  );

/** Words that a client's own user said, and that it says back to them: names, and what was not there. */
const SAID_TO_ITS_USER: readonly Secret[] = ["userName", "fileName", "missingFile", "socket", "directory"];

describe.runIf(hasOpenssh)("secrets that go through everything", () => {
  test.each(
    isRoot
      ? [
          ["in two halves", "nobody"],
          ["in one process", "root"],
        ]
      : [["in one process", "root"]],
  )("sealttyd %s: none is written down", async (_, daemonUser) => {
    const recordings = fs.mkdtempSync(path.join(home, "recordings-"));
    const { guestLog, audit, relayLog, clients } = await everything(daemonUser, recordings);
    expect({ guestLog: found(guestLog), audit: found(audit), relayLog: found(relayLog) }).toEqual({
      guestLog: [],
      audit: [],
      relayLog: [],
    });
    expect(found(clients).filter((name) => !SAID_TO_ITS_USER.includes(name))).toEqual([]);
    expect(guestLog).toMatch(/audit event=user-in by=(?:monitor|sealttyd) user=/); // it was the right text

    const events = audit
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    const started = events.filter(({ event }) => event === "program-start");
    expect(started.map(({ service, argv0, forced }) => [service, argv0, forced].filter(Boolean))).toEqual([
      ["login", "/bin/sh"],
      ["exec", "sh"],
      ["exec", "sh"],
      ["exec", "no-such-tool"],
      ["exec", expect.any(String), true],
      ["shell", expect.any(String)],
      ["files", expect.any(String)],
      ["files", expect.any(String)],
      ...(daemonUser === "root" || !isRoot
        ? []
        : [
            ["forward-connect", expect.any(String)],
            ["forward-connect", expect.any(String)],
          ]),
    ]);
    expect(events.filter(({ event }) => event === "user-refused")).toMatchObject([
      expect.not.objectContaining({ user: expect.anything() as unknown }),
    ]);
    const trusted = daemonUser === "root" ? "sealttyd" : "monitor";
    for (const { event, by } of events)
      if (/^(?:user|program)-/.test(String(event))) expect([event, by]).toEqual([event, trusted]);
      else if (event === "carried")
        expect(daemonUser === "root" ? ["sealttyd"] : ["front", "keeper"]).toContain(by);

    const casts = fs.readdirSync(recordings).sort();
    expect(casts.map((name) => name.split("-").at(1))).toEqual(["=login", user]);
    const [loggedIn = "", shell = ""] = casts.map((name) =>
      fs.readFileSync(path.join(recordings, name), "utf8"),
    );
    // Output only: what the terminal echoed is in it, and nothing that it did not.
    for (const form of [(text: string) => text, (text: string) => readCast(text).shown])
      expect([found(form(loggedIn)), found(form(shell))]).toEqual([[], ["pasted"]]);
    expect(readCast(loggedIn).shown).toContain("Password: \r\nLogin incorrect\r\n");
    expect(readCast(shell).events.at(-1)).toMatchObject({ code: "x", data: "4" });
  });
});
