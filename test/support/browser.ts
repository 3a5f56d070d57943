// A fresh Debian Chromium for one test file: own profile, no traffic of its own.

import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { chromium, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";

export const CHROMIUM = "/usr/bin/chromium";

const ARGUMENTS = [
  "--no-sandbox", // the tests run as root
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-sync",
];

/** In software, on the tests' own processors: half of what a page costs there. */
const WITH_WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
/** The terminal is drawn as elements then, as in a browser that has no WebGL. */
const WITHOUT_WEBGL = [
  "--disable-gpu",
  "--disable-software-rasterizer",
  "--disable-webgl",
  "--disable-webgl2",
];

export interface TestBrowser {
  readonly context: BrowserContext;
  close(): Promise<void>;
}

/** @param webgl - the terminal is drawn with it, as it is for most users. */
export async function launchBrowser({
  webgl = false,
  ...options
}: BrowserContextOptions & { readonly webgl?: boolean } = {}): Promise<TestBrowser> {
  const profile = await mkdtemp(path.join(os.tmpdir(), "sealtty-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: [...ARGUMENTS, ...(webgl ? WITH_WEBGL : WITHOUT_WEBGL)],
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
