// The whole way with the programs that ship: sealttyd, `sealtty open` and its two pages; a passkey lets its owner into a shell, and
// again once `sealtty open` was started anew, whose kept page is at the same port.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PagePort } from "../../cli/page-port.ts";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { launchBrowser, refuseFaults, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, startCli } from "../support/cli.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const WAIT = { timeout: 60_000 };
const home = mkdtempSync(path.join(os.tmpdir(), "sealtty-home-"));
let browser: TestBrowser;
let guest: RunningGuest;
let command: RunningCli | undefined;

beforeAll(async () => {
  [browser, guest] = await Promise.all([launchBrowser(), startSealttyd({ authorizedKeys: "", login: null })]);
});
afterAll(async () => {
  await command?.stop();
  await browser?.close();
  await guest?.stop();
  rmSync(home, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const listener = net.createServer();
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as net.AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

test("the user's own key and a passkey made in the page open a shell of sealttyd, today and after the next `sealtty open`", async () => {
  const own = newSshKey(nodeSuite, "own");
  mkdirSync(path.join(home, ".ssh"), { mode: 0o700 });
  writeFileSync(path.join(home, ".ssh", "id_ed25519"), own.privateFile, { mode: 0o600 });
  const authorizedKeys = path.join(guest.directory, "authorized_keys");
  writeFileSync(authorizedKeys, own.publicLine);
  const address = `unix:${guest.socket}`;
  const port = await freePort();
  await new PagePort(address, { environment: { XDG_STATE_HOME: home } }).remember(port);
  const env = { HOME: home, XDG_STATE_HOME: home, SSH_AUTH_SOCK: "" };
  const openCommand = async (...more: readonly string[]): Promise<string> => {
    const args = ["open", address, "--policy", guest.policyFile, "--simulated", "--no-open", ...more];
    command = startCli([...args, "-l", os.userInfo().username], { env });
    const [, url] = await command.waitFor(/Open: (http:\/\/\S*localhost:\d+\/#\S+)/);
    return url as string;
  };

  const url = await openCommand();
  expect(new URL(url).port).toBe(String(port));
  const page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  const faults = watchFaults(page, new URL(url).origin);
  const devtools = await browser.context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  const press = (name: string) => page.getByRole("button", { name, exact: true }).click(WAIT);
  const shown = () =>
    page.evaluate(() => document.querySelector(".xterm-accessibility-tree")?.textContent ?? "");
  /** In a new terminal. */
  const runs = async (what: string, answer: string): Promise<void> => {
    await page.waitForSelector('#page[data-state="live"]', WAIT);
    await page.evaluate(() => {
      const box = document.querySelector<HTMLInputElement>('label.check-label input[type="checkbox"]');
      if (box?.checked === false) box.click();
    });
    await page.locator(".xterm-helper-textarea").focus();
    await page.keyboard.type(`${what}\n`);
    await expect.poll(shown, WAIT).toContain(answer);
  };

  await page.goto(url);
  await page.waitForSelector('#page[data-state="user-refused"]', WAIT); // this guest has no login prompt
  await press("Sign in another way");
  const ownRow = page.locator("dialog .ways li", { hasText: "id_ed25519" });
  await ownRow.getByRole("button", { name: /^Use/ }).click(WAIT);
  await runs("echo sum=$((40+1))", "sum=41");

  expect(new URL(url).hostname).toMatch(/^[0-9a-f]{24}\.localhost$/);
  await press("How you sign in");
  await press("Passkeys, browser keys");
  await page.waitForURL(`http://localhost:${port}/`, WAIT);
  await page.waitForSelector('#page[data-state="user-refused"]', WAIT); // the own key signs there no more
  await press("How you sign in");
  await press("Create a passkey");
  const line = await page.locator("dialog .key-line").textContent(WAIT);
  writeFileSync(authorizedKeys, `${line}\n`);
  await press("Sign in with it");
  await press("Use your passkey");
  await runs("echo sum=$((40+2))", "sum=42");
  expect(guest.log()).toMatch(/user authenticated by ssh-key SHA256:/);

  await page.goto("about:blank");
  await command?.stop();
  const again = await openCommand("--localhost");
  expect(new URL(again).host).toBe(`localhost:${port}`);
  await page.goto(again);
  await press("Use your passkey");
  await runs("echo sum=$((40+3))", "sum=43");
  const elsewhere = faults.foreignRequests.splice(0).map((asked) => new URL(asked).host);
  expect([...new Set(elsewhere)]).toEqual([`localhost:${port}`]); // the kept page
  refuseFaults(faults, true); // the line to the command that was stopped broke
});
