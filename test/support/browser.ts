// A fresh Debian Chromium for one test file: own profile, no traffic of its own, software WebGL.

import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { chromium, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";

export const CHROMIUM = "/usr/bin/chromium";

const ARGUMENTS = [
  "--no-sandbox", // the tests run as root
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-sync",
];

export interface TestBrowser {
  readonly context: BrowserContext;
  close(): Promise<void>;
}

export async function launchBrowser(options: BrowserContextOptions = {}): Promise<TestBrowser> {
  const profile = await mkdtemp(path.join(os.tmpdir(), "sealtty-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: ARGUMENTS,
    viewport: { width: 1280, height: 800 },
    ...options,
  });
  return {
    context,
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** What a page did that it must not do: filled while the page runs. */
export interface PageFaults {
  /** Violations of the Content Security Policy, Trusted Types included. */
  readonly violations: string[];
  /** Uncaught exceptions and messages of level error. */
  readonly errors: string[];
  /** URLs asked for outside `origin`; blob: and data: stay in the browser. */
  readonly foreignRequests: string[];
}

/** Call before the first navigation. */
export function watchFaults(page: Page, origin: string): PageFaults {
  const faults: PageFaults = { violations: [], errors: [], foreignRequests: [] };
  page.on("console", (message) => {
    if (/content security policy|trusted ?types|TrustedScript|TrustedHTML/i.test(message.text()))
      faults.violations.push(message.text());
    else if (message.type() === "error") faults.errors.push(message.text());
  });
  page.on("pageerror", (error) => faults.errors.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== "blob:" && url.protocol !== "data:")
      faults.foreignRequests.push(url.href);
  });
  page.on("websocket", (socket) => {
    if (new URL(socket.url()).host !== new URL(origin).host) faults.foreignRequests.push(socket.url());
  });
  return faults;
}

/** For afterEach. @param allowErrors - console errors are part of the test: a socket that is refused, say. */
export function refuseFaults(faults: PageFaults, allowErrors = false): void {
  const found = [...faults.violations, ...faults.foreignRequests, ...(allowErrors ? [] : faults.errors)];
  if (found.length > 0) throw new Error(`The page did what it must not do:\n${found.join("\n")}`);
}
