// The main job: the page in a real browser, straight to QEMU's own websocket, and through the relay; and what the host saw.
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launchBrowser, type TestBrowser, watchFaults } from "../support/browser.ts";
import { type RunningCli, runCli, startCli } from "../support/cli.ts";
import { logIn, paste, shown, visit, waitForText } from "../support/console-page.ts";
import { findSecret, tapWire, type WireTap } from "../support/host-eyes.ts";
import { BOOT_TIMEOUT, bootVm, type Vm } from "../support/vm.ts";

const SHOTS = path.resolve(import.meta.dirname, "../../test-results/vm");
const RELAY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty-relay.js");
const PASSWORD = "canary-password-Wq7vZ2";
const CANARY = "canary-secret-8fKx31Lm";

let browser: TestBrowser;
mkdirSync(SHOTS, { recursive: true });

beforeAll(async () => {
  browser = await launchBrowser({ webgl: true });
}, BOOT_TIMEOUT);
afterAll(async () => {
  await browser?.close();
});

/** `sealtty inspect --save-policy`, then `sealtty open`: as a person would. @returns the page's own address. */
async function openGuest(vm: Vm, address: string): Promise<{ open: RunningCli; url: string }> {
  const policy = path.join(vm.directory, "policy.toml");
  const saved = await runCli(["inspect", address, "--save-policy", policy, "--force", "--timeout", "120"]);
  expect(saved, saved.stderr).toMatchObject({ status: 0 });
  const open = startCli(["open", address, "--policy", policy, "-l", "root", "--no-open", "--port", "0"]);
  const [, url] = await open.waitFor(/Open: (http:\/\/[0-9a-f]+\.localhost:\d+\/#\S+)/);
  return { open, url: url as string };
}

/** Everything the host holds about the guest besides the wire. */
async function hostRecords(vm: Vm, chardevLog: string): Promise<Buffer[]> {
  const monitor = await Promise.all([
    vm.qmp("query-chardev"),
    vm.qmp("human-monitor-command", { "command-line": "info qtree" }),
    vm.qmp("human-monitor-command", { "command-line": "info chardev" }),
    vm.qmp("human-monitor-command", { "command-line": "info network" }),
  ]);
  return [
    readFileSync(chardevLog),
    Buffer.from(vm.serialLog()),
    Buffer.from(vm.swtpmLog()),
    Buffer.from(JSON.stringify(monitor)),
  ];
}

test(
  "browser → QEMU's own websocket: verified TPM quote, login with a password, and the canary is nowhere on the host",
  async () => {
    const log = path.join(SHOTS, "chardev.log");
    const vm = await bootVm({ password: PASSWORD, virtio: { kind: "websocket", logfile: log } });
    let tap: WireTap | undefined;
    let open: RunningCli | undefined;
    try {
      tap = await tapWire({ port: Number(new URL(vm.wsUrl ?? "").port) });
      const guest = await openGuest(vm, `ws://127.0.0.1:${tap.port}/`);
      open = guest.open;
      const page = await visit(browser, guest.url);
      await logIn(page, PASSWORD, "straight");
      expect(await page.locator("body").innerText()).toMatch(/TPM/);
      await page.screenshot({ path: path.join(SHOTS, "live.png") });

      await paste(page, `# ${CANARY}`); // as one input, and echoed by the shell
      await waitForText(page, CANARY);
      await page.keyboard.press("Enter");
      await page.keyboard.type(`# ${CANARY}\n`, { delay: 5 }); // key by key

      // The host drops the pipe: the page says so, comes back by itself, and the session is the same.
      tap.cut();
      await paste(page, "echo back-$((40+2))");
      await page.keyboard.press("Enter");
      await waitForText(page, "back-42");

      await paste(page, "exit");
      await page.keyboard.press("Enter");
      await waitForText(page, "login:").catch(() => {}); // busybox getty-less: login ends, so does the session
      await page.screenshot({ path: path.join(SHOTS, "after-exit.png") });
      await page.close();

      const records = await hostRecords(vm, log);
      const streams = [...tap.captured(), ...records];
      expect(tap.bytes()).toBeGreaterThan(10_000);
      expect((records[0] as Buffer).length).toBeGreaterThan(5000);
      for (const secret of [CANARY, PASSWORD]) expect(findSecret(streams, secret)).toEqual([]);
      // The search itself works: what does cross in the clear is found.
      expect(findSecret([Buffer.from(`x ${CANARY} y`)], CANARY)).not.toEqual([]);
    } catch (error) {
      process.stderr.write(
        `--- serial console\n${vm.serialLog().slice(-4000)}\n--- sealtty open\n${open?.stderr() ?? ""}\n`,
      );
      throw error;
    } finally {
      await open?.stop();
      await tap?.close();
      await vm.stop();
    }
  },
  BOOT_TIMEOUT,
);

test(
  "two browsers at once on one virtio port, through sealtty-relay",
  async () => {
    const vm = await bootVm({ password: PASSWORD, virtio: { kind: "unix" }, firmware: "seabios" });
    const relay = startCli(["--listen", "127.0.0.1:0", "--guest", `vm=unix:${vm.unixPath}`], {
      program: RELAY,
    });
    const opened: RunningCli[] = [];
    try {
      const [, address] = await relay.waitFor(/listening (ws:\/\/\S+)/);
      const pages: Page[] = [];
      for (const name of ["first", "second"]) {
        const guest = await openGuest(vm, address as string);
        opened.push(guest.open);
        const page = await visit(browser, guest.url);
        const faults = watchFaults(page, new URL(guest.url).origin);
        expect(faults.violations).toEqual([]);
        await logIn(page, PASSWORD, name);
        pages.push(page);
      }
      const [first, second] = pages as [Page, Page];
      await Promise.all(
        [first, second].map(async (page, i) => {
          await page.bringToFront();
          await page.locator(".xterm-helper-textarea").focus();
          await paste(page, `echo both-${i}-$((1+1))`);
          await page.keyboard.press("Enter");
          await waitForText(page, `both-${i}-2`);
        }),
      );
      expect(await shown(first)).not.toContain("both-1");
      expect(await shown(second)).not.toContain("both-0");
      for (const page of pages) await page.close();
    } catch (error) {
      process.stderr.write(
        `--- relay\n${relay.stderr()}\n--- serial console\n${vm.serialLog().slice(-4000)}\n`,
      );
      throw error;
    } finally {
      for (const open of opened) await open.stop();
      await relay.stop();
      await vm.stop();
    }
  },
  BOOT_TIMEOUT,
);
