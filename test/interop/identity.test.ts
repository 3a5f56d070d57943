// The built sealtty with keys that the real ssh-keygen made and a real ssh-agent holds, against the real sealttyd.

import { execFileSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startOnPty } from "../../server/sessions/pty-process.ts";
import { runCli } from "../support/cli.ts";
import { hasOpenssh, makeScratch, sshKeygen, startAgent, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const scratch = makeScratch();
const socket = scratch.path("agent.sock");
const { username } = os.userInfo();
const TYPES = [
  ["ed25519", []],
  ["ecdsa", ["-b", "256"]],
  ["ecdsa", ["-b", "384"]],
  ["ecdsa", ["-b", "521"]],
  ["rsa", ["-b", "2048"]],
] as const;
const fileOf = (type: string, bits: readonly string[]): string => scratch.path(`${type}${bits.join("")}`);
/** No keys of whoever runs the tests. */
const NO_AGENT = { SSH_AUTH_SOCK: "", HOME: scratch.path("home"), DISPLAY: "", WAYLAND_DISPLAY: "" };

let guest: RunningGuest;
let agent: Awaited<ReturnType<typeof startAgent>>;

const shared = (): string[] => ["--simulated", "--policy", guest.policyFile, "-l", username];
const WARNING = "sealtty: warning: SIMULATED evidence: nothing about this guest is proven\n";
/** What every connection of this test says is left out of stderr. */
const exec = async (
  options: readonly string[],
  command: readonly string[],
  env: NodeJS.ProcessEnv = NO_AGENT,
): ReturnType<typeof runCli> => {
  const args = ["exec", `unix:${guest.socket}`, ...shared(), "-q", ...options, "--", ...command];
  const ended = await runCli(args, "", { env });
  return { ...ended, stderr: ended.stderr.replace(WARNING, "") };
};

function certify(key: string, ...options: readonly string[]): void {
  execFileSync("ssh-keygen", ["-q", "-s", scratch.path("ca"), "-I", "id", ...options, `${key}.pub`], {
    stdio: "ignore",
  });
}

tellIfOpensshIsAbsent();

describe.runIf(hasOpenssh)("keys, certificates and options, end to end", () => {
  beforeAll(async () => {
    agent = await startAgent(socket);
    const lines = TYPES.map(([type, bits]) => sshKeygen(fileOf(type, bits), type, ...bits));
    const named = (name: string): string => sshKeygen(scratch.path(name));
    lines.push(
      `cert-authority ${named("ca")}`,
      `command="echo forced: $SSH_ORIGINAL_COMMAND; exit 3",no-pty ${named("forced")}`,
      `no-pty ${named("no-pty")}`,
      `expiry-time="20200101Z" ${named("over")}`,
      `from="*" ${named("from")}`,
      named("locked"),
      named("bound"),
    );
    named("stranger");
    named("user");
    execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "some words", "-f", scratch.path("locked")]);
    guest = await startSealttyd({ authorizedKeys: `${lines.join("\n")}\n`, login: null });
  });
  afterAll(async () => {
    await guest?.stop();
    await agent?.stop();
    scratch.remove();
  });

  test.each(TYPES)("%s %j from its file, and from the agent", async (type, bits) => {
    const file = fileOf(type, bits);
    expect(await exec(["-i", file], ["echo", "in"])).toEqual({ status: 0, stdout: "in\n", stderr: "" });
    agent.run("-D");
    agent.add(file);
    const inAgent = await exec(["-i", `${file}.pub`], ["echo", "in"], { ...NO_AGENT, SSH_AUTH_SOCK: socket });
    expect(inAgent).toEqual({ status: 0, stdout: "in\n", stderr: "" });
    expect(guest.log()).toMatch(/user authenticated by ssh-key SHA256:[A-Za-z0-9+/]{43}/);
  });

  test("a certificate lets its user in, and its options hold", async () => {
    const key = scratch.path("user");
    certify(key, "-n", username, "-z", "42", "-V", "-1h:+1h");
    expect(await exec(["-i", key], ["echo", "certified"])).toMatchObject({
      status: 0,
      stdout: "certified\n",
    });
    expect(guest.log()).toMatch(/certificate 42 of SHA256:/);
    certify(key, "-n", username, "-O", "force-command=echo by force");
    expect(await exec(["-i", key], ["id"])).toMatchObject({ status: 0, stdout: "by force\n" });
    certify(key, "-n", "somebody-else");
    const wrong = await exec(["-i", key], ["id"]);
    expect(wrong.status).toBe(255);
    expect(wrong.stderr).toMatch(/user-refused: .*Of a certificate: .*valid now and for this user/);
    expect(wrong.stderr).toMatch(/It refused each of these: \S+\/user with its certificate, \S+\/user\. /);
    const elsewhere = scratch.path("elsewhere.pub");
    certify(key, "-n", username);
    writeFileSync(elsewhere, readFileSync(`${key}-cert.pub`));
    certify(key, "-n", username, "-V", "20200101:20200102");
    const over = await exec(["-i", key, "--certificate", `${key}-cert.pub`], ["id"]);
    expect(over).toMatchObject({ status: 255, stdout: "" });
    expect(over.stderr).toMatch(/bad-config: .*user-cert.pub: this certificate expired at 2020-01-0/);
    const named = await exec(["-i", key, "--certificate", elsewhere], ["echo", "named"]);
    expect(named).toMatchObject({ status: 0, stdout: "named\n" });
  });

  test("a forced command runs in place of any other, with its own exit status", async () => {
    const forced = await exec(["-i", scratch.path("forced")], ["sh", "-c", "echo mine"]);
    expect(forced).toEqual({ status: 3, stdout: "forced: sh -c 'echo mine'\n", stderr: "" });
    for (const place of [
      ["--cwd", "/"],
      ["--env", "A=b"],
    ]) {
      const refused = await exec(["-i", scratch.path("forced"), ...place], ["id"]);
      expect([refused.status, refused.stderr]).toEqual([
        255,
        expect.stringContaining("With a key that has a forced command it takes no --cwd, and no --env"),
      ]);
    }
    const keep = await runCli(
      ["sessions", `unix:${guest.socket}`, ...shared(), "-q", "-i", scratch.path("forced")],
      "",
      { env: NO_AGENT },
    );
    expect(keep.status).toBe(0);
  });

  test("no-pty, expiry-time= and a line that is refused, each with one clear sentence", async () => {
    expect(await exec(["-i", scratch.path("no-pty")], ["echo", "in"])).toMatchObject({
      status: 0,
      stdout: "in\n",
    });
    const shell = await runCli(
      ["connect", `unix:${guest.socket}`, ...shared(), "-q", "-i", scratch.path("no-pty")],
      "exit\n",
      { env: NO_AGENT },
    );
    expect(shell.status).toBe(255);
    expect(shell.stderr).toMatch(
      /user-refused: .*a key may be restricted \(no-pty, command=, expiry-time=\)/,
    );
    for (const name of ["over", "from", "stranger"]) {
      const { status, stderr } = await exec(["-i", scratch.path(name)], ["id"]);
      expect(status, name).toBe(255);
      expect(stderr, name).toMatch(/^sealtty: user-refused: The guest refused this key for user/);
    }
    expect(guest.log()).toContain("from= cannot be honoured");
  });

  test("of the agent's keys the one that fits is found", async () => {
    agent.run("-D");
    for (const name of ["stranger", "over", "rsa-b2048"]) agent.add(scratch.path(name));
    const env = { ...NO_AGENT, SSH_AUTH_SOCK: socket };
    expect(await exec([], ["echo", "found"], env)).toMatchObject({ status: 0, stdout: "found\n" });
    agent.run("-d", scratch.path("rsa-b2048"));
    const none = await exec([], ["echo", "found"], env);
    expect(none.status).toBe(255);
    expect(none.stderr).toMatch(/user-refused/);
  });

  test("agent gone, agent locked, key bound to hosts: status 255 and one sentence", async () => {
    const gone = await exec(["-i", `${scratch.path("bound")}.pub`], ["id"], {
      ...NO_AGENT,
      SSH_AUTH_SOCK: scratch.path("gone.sock"),
    });
    expect(gone).toMatchObject({ status: 255, stdout: "" });
    expect(gone.stderr).toMatch(
      /^sealtty: device-unavailable: ssh-agent at .*gone\.sock is not running; load the key with ssh-add, or name its private file with -i\n$/,
    );
    agent.run("-D");
    const known = `host.example ${readFileSync(`${scratch.path("bound")}.pub`, "utf8")
      .split(" ")
      .slice(0, 2)
      .join(" ")}\n`;
    writeFileSync(scratch.path("known"), known);
    agent.add(scratch.path("bound"), "-H", scratch.path("known"), "-h", "host.example");
    const bound = await exec([], ["id"], { ...NO_AGENT, SSH_AUTH_SOCK: socket });
    expect(bound).toMatchObject({ status: 255, stdout: "" });
    expect(bound.stderr).toMatch(/^sealtty: device-unavailable: .*bound to hosts \(ssh-add -h\)[^\n]*\n$/);
  });

  test("the passphrase of a key: by SSH_ASKPASS, on the terminal, or from nobody", async () => {
    const options = ["-i", scratch.path("locked")];
    const askpass = scratch.path("askpass");
    writeFileSync(askpass, `#!/bin/sh\nprintf '%s' "$1" > ${scratch.path("asked")}\necho 'some words'\n`);
    chmodSync(askpass, 0o700);
    const forced = { ...NO_AGENT, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force" };
    expect(await exec(options, ["echo", "unlocked"], forced)).toMatchObject({
      status: 0,
      stdout: "unlocked\n",
    });
    expect(readFileSync(scratch.path("asked"), "utf8")).toBe(
      `Passphrase for key '${scratch.path("locked")}': `,
    );
    writeFileSync(askpass, "#!/bin/sh\nexit 1\n");
    const refusedToSay = await exec(options, ["id"], forced);
    expect(refusedToSay.status).toBe(255);
    expect(refusedToSay.stderr).toMatch(/bad-config: .*this key is encrypted; load it into ssh-agent/);

    const program = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");
    const command = [
      process.execPath,
      program,
      "exec",
      `unix:${guest.socket}`,
      ...shared(),
      "-q",
      ...options,
    ];
    const onTerminal = async (answers: readonly string[]): Promise<{ shown: string; exit: unknown }> => {
      const terminal = await startOnPty({
        command: [...command, "--", "echo", "unlocked"],
        environment: { PATH: process.env["PATH"] ?? "", ...NO_AGENT },
        directory: "/",
        columns: 200,
        rows: 24,
      });
      let shown = "";
      let asked = 0;
      for (let part = await terminal.stdout.read(); part !== undefined; part = await terminal.stdout.read()) {
        shown += Buffer.from(part).toString();
        const prompts = shown.split("Passphrase for key").length - 1;
        for (; asked < prompts; asked++) await terminal.write(Buffer.from(answers[asked] ?? "\x04"));
      }
      // Said on a machine that is slow, or busy.
      shown = shown.replaceAll(/The key '[^']*' takes long to unlock; Ctrl-C gives up\.\r*\n/g, "");
      return { shown, exit: await terminal.exit };
    };
    const right = await onTerminal(["some wordsx\x7f\r"]); // a letter too many, taken back
    expect(right.exit).toEqual({ kind: "exited", status: 0 });
    expect(right.shown).toMatch(/^Passphrase for key '.*locked': \r\n.*\r+\nunlocked\r\n$/);
    expect(right.shown).not.toContain("some words");
    const second = await onTerminal(["wrong\r", "forget\x15some words\r"]);
    expect(second.exit).toEqual({ kind: "exited", status: 0 });
    const never = await onTerminal(["a\r", "b\r", "c\r"]);
    expect(never.exit).toEqual({ kind: "exited", status: 255 });
    expect(never.shown).toContain("that is not the key's passphrase");
    expect((await onTerminal(["\x04"])).shown).toContain("this key is encrypted");
    expect((await onTerminal(["some\x03"])).exit).toEqual({ kind: "signalled", signal: "SIGINT" });
  });
});
