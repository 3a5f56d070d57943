// The whole way with the programs that ship: sealttyd as an initramfs has it, systemd-ask-password that asks, `sealtty open`, and a
// person in Chromium who answers. Then sealttyd hands over, and the page goes on. What the host and this machine's wires had of it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { launchBrowser, refuseFaults, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, startCli } from "../support/cli.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const WAIT = { timeout: 60_000 };
const WRONG = "canary-of-a-wrong-Passphrase";
const RIGHT = "canary-of-the-right-Passphrase";
const own = os.userInfo().username;
const home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-home-"));
/** In place of the machine's own, where other tests ask, too. */
const questions = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-questions-"));
const PLACE = "/run/systemd/ask-password";
const inOwnPlace = [
  ...["unshare", "-m", "sh", "-c"],
  `mkdir -p ${PLACE} && mount --bind "$0" ${PLACE} && exec "$@"`,
  questions,
];

let browser: TestBrowser;
let guest: RunningGuest;
let tap: WireTap;
let command: RunningCli | undefined;
let asking: ChildProcess | undefined;

beforeAll(async () => {
  const key = newSshKey(nodeSuite, "unlock");
  fs.writeFileSync(path.join(home, "key"), key.privateFile, { mode: 0o600 });
  [browser, guest] = await Promise.all([
    launchBrowser({ colorScheme: "dark" }),
    startSealttyd({
      authorizedKeys: `${key.publicLine}\n`,
      shell: ["/bin/sh", "-c", 'echo "pid=$$."; exec cat'],
      through: [...inOwnPlace, "sh", "-c", 'exec "$@" --hand-over', "sh"],
      more: ["[unlock]", `users = ["${own}"]`],
    }),
  ]);
  tap = await tapWire({ path: guest.socket });
});
afterAll(async () => {
  asking?.kill();
  await command?.stop();
  await browser?.close();
  await tap?.close();
  await guest?.stop();
  for (const directory of [home, questions]) fs.rmSync(directory, { recursive: true, force: true });
});

/** Asks until it hears the right one, as cryptsetup does. */
function asks(right: string): Promise<number | null> {
  const script = `until [ "$(systemd-ask-password --no-tty --timeout=300 --id="cryptsetup:test" "$1")" = "$2" ]; do :; done`;
  const args = [...inOwnPlace.slice(1), "sh", "-c", script, "sh", "Unlock \u001b[31mthe disk", right];
  asking = spawn("unshare", args, { stdio: "ignore" });
  return once(asking, "close").then(([status]) => status as number | null);
}

const shown = (page: Page) =>
  page.evaluate(() => document.querySelector(".xterm-accessibility-tree")?.textContent ?? "");

test("a passphrase typed in the page reaches who asks, and nobody on the way; then the page follows the hand-over", async () => {
  const args = [
    "open",
    `tcp:127.0.0.1:${tap.port}`,
    "--policy",
    guest.policyFile,
    "--simulated",
    "--no-open",
  ];
  command = startCli([...args, "--port", "0", "-l", own, "-i", path.join(home, "key"), "-v"], {
    env: { HOME: home, XDG_STATE_HOME: home, SSH_AUTH_SOCK: "" },
  });
  const [, url = ""] = await command.waitFor(/Open: (http:\/\/\S*localhost:\d+\/#\S+)/);
  const page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  const faults = watchFaults(page, new URL(url).origin);
  const local: Buffer[] = [];
  page.on("websocket", (socket) => {
    for (const event of ["framesent", "framereceived"] as const)
      socket.on(event as "framesent", ({ payload }) => void local.push(Buffer.from(payload)));
  });
  const panel = page.locator(".prompts");
  await page.goto(url);
  await page.waitForSelector('#page[data-state="live"]', WAIT);
  await page.evaluate(() => {
    const box = document.querySelector<HTMLInputElement>('label.check-label input[type="checkbox"]');
    if (box?.checked === false) box.click();
  });
  await expect.poll(() => shown(page), WAIT).toMatch(/pid=\d+\./);
  const [before = ""] = /pid=\d+\./.exec(await shown(page)) ?? [];
  expect(await panel.isVisible()).toBe(false);

  const asked = asks(RIGHT);
  const field = page.locator(".prompt-field");
  await field.waitFor(WAIT);
  const words = await page.locator(".prompt-words").textContent();
  expect(words).toMatch(/^Unlock .*the disk \(cryptsetup:test\)$/);
  expect(words).not.toContain("\u001b");
  const first = await field.getAttribute("id");
  await field.fill(WRONG);
  await field.press("Enter");
  await expect.poll(() => panel.textContent(), WAIT).toContain("Refused: the guest asks for it again.");
  expect(await page.locator(`[id="${first}"]`).count()).toBe(0); // another question
  await field.fill(RIGHT);
  await page.screenshot({
    path: path.join(import.meta.dirname, "../../test-results/browser/real-prompt.png"),
  });
  await page.getByRole("button", { name: "Answer" }).click();
  expect(await asked).toBe(0);
  expect(await panel.textContent()).not.toContain("Accepted"); // no volume opens (the guest looks for a minute), and silence confirms nothing

  await guest.restart();
  // The key that simulated evidence is signed with is new: somebody has to say that this is the machine's own.
  await page.waitForSelector("dialog[open]", WAIT);
  expect(await page.locator("dialog").textContent()).toContain("Something is different since the initramfs");
  await page.getByRole("button", { name: "This is expected: go on" }).click();
  await page.waitForSelector('#page[data-state="live"]', WAIT);
  const banner = await page.locator(".banner").textContent();
  expect(banner).toContain("went on from its initramfs to its system");
  expect(banner).toContain("What became of your last answer was not told");
  await expect.poll(() => shown(page), WAIT).toMatch(/pid=\d+\./);
  expect(await shown(page)).not.toContain(before);
  await page.getByRole("button", { name: "Click here to type in the new system's terminal" }).click();
  await page.keyboard.type("still here\n");
  await expect.poll(() => shown(page), WAIT).toContain("still here");

  const markup = await page.content();
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
  await page.goto("about:blank");
  await command.stop();
  const host = [...tap.captured(), Buffer.concat(local)];
  expect(host.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(10_000);
  for (const secret of [WRONG, RIGHT, "right-Passphrase"]) {
    expect(findSecret(host, secret), secret).toEqual([]);
    expect(guest.log() + command.stderr() + command.stdout() + markup + kept).not.toContain(secret);
  }
  expect(findSecret([Buffer.concat(local)], "db-primary")).toEqual([]);
  refuseFaults(faults, true); // the line to the command that was stopped broke
});
