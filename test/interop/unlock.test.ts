// `sealtty unlock` as people run it: the real programs, a real sealttyd, and systemd's own systemd-ask-password that asks.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { runCli } from "../support/cli.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const own = os.userInfo().username;
let guest: RunningGuest;
let scratch: string;
beforeAll(async () => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-unlock-"));
  const key = newSshKey(nodeSuite, "unlock");
  fs.writeFileSync(path.join(scratch, "key"), key.privateFile, { mode: 0o600 });
  guest = await startSealttyd({
    authorizedKeys: `${key.publicLine}\n`,
    more: ["[unlock]", `users = ["${own}"]`],
  });
});
afterAll(async () => {
  await guest?.stop();
  fs.rmSync(scratch, { recursive: true });
});

const unlock = (input: string | undefined, ...args: string[]) =>
  runCli(
    [
      ...["unlock", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated", "-l", own],
      ...["-i", path.join(scratch, "key"), ...args],
    ],
    input,
    { env: { HOME: scratch } },
  );

/** Asks until it hears the right one. @param id - a file answers only cryptsetup's questions. */
function asks(right: string, id = "cryptsetup:test") {
  const script = `until [ "$(systemd-ask-password --no-tty --timeout=300 --id="$3" "$1")" = "$2" ]; do :; done`;
  const child = spawn("sh", ["-c", script, "sh", "Question\u0007 of a test", right, id], { stdio: "ignore" });
  const ended = once(child, "close").then(([status]) => status as number | null);
  return { ended, stop: () => child.kill() };
}

test("a wrong answer is asked for again, a right one reaches who asked", async () => {
  const asking = asks("right Passphrase");
  try {
    const wrong = await unlock("wrong\n", "--passphrase-file", "-");
    expect(wrong.stderr).toMatch(
      /the guest asks: Question.* of a test \(cryptsetup:test\)\nsealtty: refused: /,
    );
    expect(wrong.stderr).not.toContain("\u0007");
    expect(wrong.status).toBe(1);
    const file = path.join(scratch, "passphrase");
    fs.writeFileSync(file, "right Passphrase\n");
    const right = await unlock(undefined, "--passphrase-file", file, "--json");
    expect(await asking.ended).toBe(0);
    expect(right.stderr).toMatch(/"event":"prompt","number":1,"origin":"systemd","name":"cryptsetup:test"/);
    // It opens no volume: what became of the answer is who asked's to know.
    expect(right.stderr).toMatch(/"event":"prompt-answered","number":1,"outcome":"unknown"/);
    expect(right.status).toBe(1);
    expect(guest.log()).not.toContain("Passphrase");
  } finally {
    asking.stop();
  }
});

test("a person is asked, by SSH_ASKPASS here", async () => {
  const askpass = path.join(scratch, "askpass");
  fs.writeFileSync(askpass, "#!/bin/sh\necho typed by hand\n", { mode: 0o755 });
  const asking = asks("typed by hand", "test:unlock");
  try {
    const args = ["unlock", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"];
    const { stderr } = await runCli([...args, "-l", own, "-i", path.join(scratch, "key")], undefined, {
      env: { HOME: scratch, SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force" },
    });
    expect(stderr).toMatch(/handed over/);
    expect(await asking.ended).toBe(0);
  } finally {
    asking.stop();
  }
});

test("nothing is asked: said after --wait, and no success", async () => {
  const { status, stderr } = await unlock("x\n", "--passphrase-file", "-", "--wait", "0.5");
  expect(stderr).toMatch(/the guest asks for nothing/);
  expect(status).toBe(1);
});

test.each([
  ["an empty passphrase", "\n", /1 to 512 bytes/],
  ["one that is too long", `${"x".repeat(513)}\n`, /1 to 512 bytes|too long/],
  ["one with a zero byte", "a\0b\n", /no zero byte/],
])("%s is refused before a guest is bothered", async (_what, input, words) => {
  const { status, stderr } = await unlock(input, "--passphrase-file", "-");
  expect(stderr).toMatch(words);
  expect(status).toBe(255);
});

test("--batch without a file, and a file that is not there", async () => {
  expect((await unlock(undefined, "--batch")).stderr).toMatch(/give --passphrase-file/);
  const { stderr } = await unlock(undefined, "--passphrase-file", path.join(scratch, "none"));
  expect(stderr).toMatch(/cannot read the passphrase from .*none: there is no such file; check the path/);
});

test("whom [unlock] does not name is told what is missing", async () => {
  const other = newSshKey(nodeSuite, "other");
  fs.writeFileSync(path.join(scratch, "other"), other.privateFile, { mode: 0o600 });
  const strict = await startSealttyd({ authorizedKeys: `${other.publicLine}\n` });
  try {
    const { status, stderr } = await runCli(
      [
        ...["unlock", `unix:${strict.socket}`, "--policy", strict.policyFile, "--simulated", "-l", own],
        ...["-i", path.join(scratch, "other"), "--passphrase-file", "-"],
      ],
      "x\n",
      { env: { HOME: scratch } },
    );
    expect(stderr).toMatch(/lets this user or key answer no prompts: .*\[unlock\]/);
    expect(status).toBe(255);
    expect(strict.log()).toMatch(/\[unlock\] does not name this user/);
  } finally {
    await strict.stop();
  }
});
