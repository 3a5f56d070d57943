// A real desktop the whole way: Debian's Xtigervnc behind a real sealttyd, `sealtty open`, and a person in Chromium who looks, types
// and copies; a cut in between. What the host and this machine's wires had of it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { vncResponse } from "../../protocol/rfb/des.ts";
import { launchBrowser, refuseFaults, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, startCli } from "../support/cli.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const WAIT = { timeout: 60_000 };
const PASSWORD = "canaryPw";
const NAME = "canary-of-the-desktops-name";
const CLIP = "canary-of-the-clipboard";
const TYPED = "typed in the desktop";
const SHOTS = path.join(import.meta.dirname, "../../test-results/browser");
const own = os.userInfo().username;
const home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-desktop-"));
const place = path.join(home, "vnc.sock");
const heard = path.join(home, "heard");

let browser: TestBrowser;
let guest: RunningGuest;
let tap: WireTap;
let command: RunningCli | undefined;
let server: ChildProcess;
let display = "";
const clients: ChildProcess[] = [];

/** What a VNC server's password file has: the password below a key that everybody knows. */
function passwordFile(): string {
  const file = path.join(home, "passwd");
  const known = Uint8Array.of(23, 82, 107, 6, 35, 78, 88, 7);
  fs.writeFileSync(file, vncResponse(known, concat(utf8(PASSWORD), new Uint8Array(8))).subarray(0, 8));
  return file;
}

/** Resolves once it listens. Its ways to sign in are its own: TLS before the password. */
async function startDesktop(): Promise<void> {
  const args = ["-displayfd", "1", "-rfbport", "-1", "-rfbunixpath", place, "-desktop", NAME];
  server = spawn(
    "Xtigervnc",
    [...args, "-PasswordFile", passwordFile(), "-geometry", "900x600", "-depth", "24"],
    { stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, HOME: home } },
  );
  const [number] = (await once(server.stdout as NonNullable<typeof server.stdout>, "data")) as [Buffer];
  display = `:${number.toString().trim()}`;
}

async function runThere(program: string, ...args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: "ignore", env: { ...process.env, DISPLAY: display } });
  const [status] = await once(child, "exit");
  expect(status).toBe(0);
}

beforeAll(async () => {
  const key = newSshKey(nodeSuite, "desktop");
  fs.writeFileSync(path.join(home, "key"), key.privateFile, { mode: 0o600 });
  [browser, guest] = await Promise.all([
    launchBrowser({ colorScheme: "dark", permissions: ["clipboard-read", "clipboard-write"] }),
    startSealttyd({ authorizedKeys: `${key.publicLine}\n`, more: ["[forward]", "allow = true"] }),
    startDesktop(),
  ]);
  tap = await tapWire({ path: guest.socket });
});
afterAll(async () => {
  for (const client of clients) client.kill();
  server?.kill();
  await command?.stop();
  await browser?.close();
  await tap?.close();
  await guest?.stop();
  fs.rmSync(home, { recursive: true, force: true });
});

const text = (file: string): string | undefined =>
  fs.existsSync(file) ? fs.readFileSync(file, "utf8") : undefined;
const pixel = (page: Page, x: number, y: number) =>
  page.evaluate(
    ([x, y]) => {
      const drawn = document.querySelector<HTMLCanvasElement>(".desktop-screen canvas");
      return [...(drawn?.getContext("2d")?.getImageData(x, y, 1, 1).data ?? [])].slice(0, 3).join();
    },
    [x, y] as const,
  );

test("Xtigervnc in the page: seen, typed into, copied from and to, over a cut; the host has none of it", async () => {
  await runThere("xsetroot", "-solid", "#145a3c");
  const script = 'read line; printf %s "$line" > "$0"; read line; printf %s "$line" > "$0.2"; exec sleep 600';
  clients.push(
    spawn("xterm", ["-geometry", "60x12+60+60", "-e", "sh", "-c", script, heard], {
      stdio: "ignore",
      env: { ...process.env, DISPLAY: display },
    }),
  );
  const args = ["open", `tcp:127.0.0.1:${tap.port}`, "--policy", guest.policyFile, "--simulated"];
  command = startCli([...args, "--no-open", "--port", "0", "-l", own, "-i", path.join(home, "key"), "-v"], {
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
  const status = () => page.locator(".desktop-status").textContent();
  await page.goto(url);
  await page.waitForSelector('#page[data-state="live"]', WAIT);
  await page.locator(".badge").click();
  await page.getByRole("tab", { name: "Desktop" }).click();

  await page.getByLabel("VNC server in the guest").fill(place);
  await page.getByLabel("VNC server in the guest").press("Enter");
  const field = page.getByLabel("Password");
  await field.waitFor(WAIT);
  await field.fill(PASSWORD);
  await field.press("Enter");
  await expect.poll(status, WAIT).toContain("900 × 600.");
  expect(await status()).toContain(NAME);
  await expect.poll(() => pixel(page, 880, 580), WAIT).toBe("20,90,60");
  await expect.poll(() => pixel(page, 200, 150), WAIT).not.toBe("20,90,60"); // the terminal there

  await page.getByLabel("Size of the desktop").selectOption("as-is");
  const drawn = page.locator(".desktop-screen canvas");
  await drawn.click({ position: { x: 200, y: 150 } }); // keys go to what the pointer is on
  await page.keyboard.type(`${TYPED}\n`);
  await expect.poll(() => text(heard), WAIT).toBe(TYPED);
  await page.screenshot({ path: path.join(SHOTS, "real-desktop.png") });

  await page.evaluate((text) => navigator.clipboard.writeText(text), `${CLIP}\n`);
  await page.getByRole("button", { name: "Send your clipboard" }).click();
  await expect.poll(status, WAIT).toContain("Your clipboard is the guest's now");
  await drawn.click({ position: { x: 200, y: 150 }, button: "middle" }); // the terminal there pastes
  await expect.poll(() => text(`${heard}.2`), WAIT).toBe(CLIP);
  await drawn.dblclick({ position: { x: 75, y: 70 } }); // the first word there
  const copy = page.getByRole("button", { name: /^Copy its clipboard/ });
  await expect.poll(() => copy.isEnabled(), WAIT).toBe(true);
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${CLIP}\n`); // until it is pressed
  await copy.click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText()), WAIT).toBe("typed");

  const pipes = tap.captured().length;
  tap.cut();
  await runThere("xsetroot", "-solid", "#3c1e78");
  await expect.poll(() => pixel(page, 880, 580), WAIT).toBe("60,30,120");
  expect(tap.captured().length).toBeGreaterThan(pipes);
  expect(await drawn.count()).toBe(1);

  await page.getByLabel("Size of the desktop").selectOption("follows");
  await expect.poll(() => drawn.evaluate(({ width }: HTMLCanvasElement) => width), WAIT).not.toBe(900);

  server.kill();
  await once(server, "exit");
  await expect.poll(status, WAIT).toMatch(/ended it|broke/);
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await expect.poll(status, WAIT).toContain("Nobody listens there in the guest");

  const markup = await page.content();
  expect(await page.title()).not.toContain(NAME);
  await page.goto("about:blank");
  await command.stop();
  const host = [...tap.captured(), Buffer.concat(local)];
  expect(host.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(20_000);
  for (const secret of [NAME, CLIP, PASSWORD, TYPED]) {
    expect(findSecret(host, secret), secret).toEqual([]);
    expect(guest.log() + command.stderr() + command.stdout()).not.toContain(secret);
  }
  expect(markup).not.toContain(PASSWORD);
  refuseFaults(faults, true); // the line to the command that was stopped broke
});
