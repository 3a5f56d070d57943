// Drives the page with the scripted guest: one browser for a test file, a fresh page for each test, faults refused.

import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import {
  launchBrowser,
  refuseFaults,
  watchFaults,
  type PageFaults,
  type TestBrowser,
} from "../../support/browser.ts";
import { servePage, type PageServer } from "../page-server.ts";
import "./window.ts";

const SHOTS = path.join(import.meta.dirname, "../../../test-results/browser");
export const TOKEN = "#t=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
export const WIDE = { width: 1280, height: 800 };
export const NARROW = { width: 400, height: 800 };

export const SCREEN = [
  "\x1b]0;operator@db-primary: ~\x07",
  "\x1b[1;32moperator@db-primary\x1b[0m:\x1b[1;34m~\x1b[0m$ systemctl status postgresql\r\n",
  "\x1b[32m●\x1b[0m postgresql.service - PostgreSQL database server\r\n",
  "     Loaded: loaded (/usr/lib/systemd/system/postgresql.service; \x1b[32menabled\x1b[0m)\r\n",
  "     Active: \x1b[1;32mactive (running)\x1b[0m since Tue 2026-03-03 08:14:02 UTC; 3h ago\r\n",
  "   Main PID: 812 (postgres)\r\n",
  "┌──────────┬────────┐\r\n│ database │  size  │\r\n├──────────┼────────┤\r\n│ ledger   │ 18 GiB │\r\n└──────────┴────────┘\r\n",
  "\x1b[31mred\x1b[0m \x1b[33myellow\x1b[0m \x1b[35mmagenta\x1b[0m \x1b[36mcyan\x1b[0m \x1b[90mgrey\x1b[0m\r\n",
  "\x1b[1;32moperator@db-primary\x1b[0m:\x1b[1;34m~\x1b[0m$ ",
].join("");

/** Call at the top of a test file. `page` is the current test's. */
export function inNewPages() {
  let server: PageServer;
  let browser: TestBrowser;
  let page: Page;
  let faults: PageFaults;

  beforeAll(async () => {
    await mkdir(SHOTS, { recursive: true });
    [server, browser] = await Promise.all([
      servePage(import.meta.dirname),
      launchBrowser({ colorScheme: "dark" }),
    ]);
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });
  beforeEach(async () => {
    page = await browser.context.newPage();
    page.on("dialog", (dialog) => void dialog.accept()); // leaving a live session asks
    faults = watchFaults(page, server.origin);
  });
  afterEach(async () => {
    await page.evaluate(() => localStorage.clear()); // the next test's guest was never seen
    await page.close();
    refuseFaults(faults);
  });

  const visit = async (query = "", fragment = TOKEN): Promise<void> => {
    await page.goto("about:blank"); // the same address again would be no navigation
    await page.goto(`${server.origin}/${query === "" ? "" : `?${query}`}${fragment}`);
  };
  const inState = (state: string) => page.waitForSelector(`#page[data-state="${state}"]`);
  const shoot = async (name: string): Promise<void> => {
    await page.waitForTimeout(200); // the terminal draws on animation frames
    await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  };

  return {
    get page(): Page {
      return page;
    },
    get origin(): string {
      return server.origin;
    },
    get context(): BrowserContext {
      return browser.context;
    },
    visit,
    inState,
    stateOf: () => page.locator("#page").getAttribute("data-state"),
    shoot,
    shootBoth: async (name: string): Promise<void> => {
      await page.setViewportSize(WIDE);
      await shoot(`${name}-wide`);
      await page.setViewportSize(NARROW);
      await shoot(`${name}-narrow`);
      await page.setViewportSize(WIDE);
    },
    signIn: async (
      query = "",
      assurance: "hardware" | "host-vouched" | "simulated" = "hardware",
    ): Promise<void> => {
      await visit(query);
      await page.evaluate((assurance) => {
        window.fake.state({ phase: "waiting-for-guest" });
        window.fake.attest(assurance);
      }, assurance);
      await inState("signing-in");
      await page.evaluate(() => window.fake.admit());
      await inState("live");
    },
    output: (text: string) => page.evaluate((text) => window.fake.output(text), text),
    typed: () => page.evaluate(() => new TextDecoder().decode(Uint8Array.from(window.fake.input))),
    terminalText: () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".xterm-accessibility-tree > div")]
          .map((row) => row.textContent)
          .join("\n"),
      ),
  };
}
