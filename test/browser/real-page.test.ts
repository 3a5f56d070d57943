// The page that ships, its real local server and a real guest endpoint: keys, evidence and appraisal run in Chromium.

import { once } from "node:events";
import { rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import {
  type HostViewFrame,
  type PageGuest,
  type PageServer,
  startPageServer,
} from "../../cli/local-page-server.ts";
import { type PageFile, readPageFiles } from "../../cli/page-files.ts";
import { PageMemory } from "../../cli/page-memory.ts";
import { bridgePipe } from "../../cli/pipe-bridge.ts";
import type { Identity } from "../../cli/services.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import { screenThreadFile, screenThreads } from "../../server/screen/start-thread.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";
import {
  launchBrowser,
  refuseFaults,
  watchFaults,
  type PageFaults,
  type TestBrowser,
} from "../support/browser.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import {
  acceptAnyKey,
  echoProcess,
  SESSION_LIMITS,
  SIMULATED_POLICY_TEXT,
  testGuest,
  type TestGuest,
} from "../support/session.ts";
import { pageGuest } from "./page-guest.ts";
import { buildPage } from "./page-server.ts";

let directory: string;
let files: ReadonlyMap<string, PageFile>;
let browser: TestBrowser;
let page: Page;
let faults: PageFaults;
let server: PageServer | undefined;

beforeAll(async () => {
  directory = await buildPage(path.join(import.meta.dirname, "../../client"));
  files = await readPageFiles(directory);
  browser = await launchBrowser({ colorScheme: "dark" });
});
afterAll(async () => {
  await browser?.close();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
});
afterEach(async () => {
  await page.close({ runBeforeUnload: false });
  await server?.close();
  server = undefined;
  refuseFaults(faults, true);
});

interface Opened {
  readonly guest: TestGuest;
  readonly lines: PipePair[];
}

async function open(
  own: {
    guest?: Partial<PageGuest>;
    services?: Partial<GuestServices>;
    identity?: Identity;
    memory?: PageMemory;
    carry?: Parameters<typeof memoryPipes>[0];
    clock?: Clock;
    /** Awaited before each dial. */
    mayDial?: () => Promise<void>;
    /** The guest's ring is short, and a thread keeps what left it. */
    screens?: StartScreenThread;
  } = {},
): Promise<Opened> {
  const guest = testGuest(
    own.clock ?? fastClock(1),
    own.services,
    echoProcess,
    nodeSuite,
    SESSION_LIMITS,
    own.screens,
  );
  const lines: PipePair[] = [];
  const listeners = new Set<(frame: HostViewFrame) => void>();
  const see = (bytes: Uint8Array, direction: HostViewFrame["direction"]) => {
    for (const listener of listeners) listener({ direction, bytes, at: Date.now() });
  };
  server = await startPageServer({
    port: 0,
    files,
    identity: own.identity,
    ...(own.memory === undefined ? {} : { memory: own.memory }),
    guest: pageGuest(own.guest),
    dial: async () => {
      await own.mayDial?.();
      const line = memoryPipes((chunk, deliver, direction) => {
        see(chunk, direction);
        (own.carry ?? ((same, on) => on(same)))(chunk, deliver, direction);
      });
      void guest.endpoint.servePipe(line.guest).catch(() => undefined);
      lines.push(line);
      return line.client;
    },
    hostView: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });
  faults = watchFaults(page, new URL(server.url).origin);
  await page.goto(server.url);
  return { guest, lines };
}
const inState = (state: string) => page.waitForSelector(`#page[data-state="${state}"]`, { timeout: 30_000 });
const said = (guest: TestGuest) => Buffer.concat(guest.processes[0]?.input ?? []).toString();

test("from the link to a login prompt, typing, and the end with its status", async () => {
  const { guest } = await open();
  await inState("live");
  expect(page.url()).not.toContain("#");
  // Slots are kept in a hidden tab, too, because timers run in a worker; the page may load that one and no other.
  expect(page.workers().map((worker) => new URL(worker.url()).pathname)).toEqual([
    expect.stringMatching(/timer-worker-[\w-]+\.js$/),
  ]);
  for (const script of ["/assets/other.js", "https://example.org/timer-worker-x.js"]) {
    const refused = page.evaluate((address) => void new Worker(address), script);
    await expect(refused).rejects.toThrow(/TrustedScriptURL/);
  }
  await expect.poll(() => faults.violations.length).toBe(2); // which is said, and is all that is
  faults.violations.length = 0;
  expect(await page.locator(".bar.danger").textContent()).toContain("SIMULATED EVIDENCE");
  expect(await page.locator("#trust-panel").textContent()).toContain("This proves nothing");
  guest.processes[0]?.print(utf8("login: "));
  await page.keyboard.type("root");
  await page.keyboard.press("Enter");
  await expect.poll(() => said(guest)).toBe("root\r");
  await page.setViewportSize({ width: 900, height: 600 });
  await expect
    .poll(() => guest.processes[0]?.events.some((event) => event.startsWith("resize")), { timeout: 30_000 })
    .toBe(true);
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.keyboard.press("Control+D"); // ends the echo program
  await inState("ended");
  expect(await page.locator(".strip").textContent()).toContain("exit status 7");
  await page.getByRole("button", { name: "Open a new session" }).click();
  await inState("live");
  expect(guest.processes.length).toBe(2);
});

test("a lot of output arrives whole, and credit keeps it flowing", async () => {
  const { guest } = await open();
  await inState("live");
  const line = utf8(`${"0123456789".repeat(7)}\r\n`);
  const block = new Uint8Array(line.length * 200);
  for (let at = 0; at < block.length; at += line.length) block.set(line, at);
  for (let i = 0; i < 200; i++) guest.processes[0]?.print(block); // 2.9 MB, six windows
  guest.processes[0]?.print(utf8("\x1b]2;the end\x07"));
  await expect.poll(() => page.title(), { timeout: 45_000 }).toMatch(/guest title: the end$/);
});

test("a key of the user signs through the local server, and a refusal says so", async () => {
  let verified = true;
  const signed: unknown[] = [];
  const identity: Identity = {
    publicKey: utf8("a public key"),
    source: "test",
    sign: async (fields) => {
      signed.push(fields);
      return utf8("a signature");
    },
  };
  const services: Partial<GuestServices> = {
    keysAllowed: true,
    verifyUserKey: async (fields, publicKey, sshsig) => {
      const good =
        verified &&
        fields.user === "operator" &&
        Buffer.from(publicKey).equals(utf8("a public key")) &&
        Buffer.from(sshsig).equals(utf8("a signature"));
      return good ? await acceptAnyKey(fields, publicKey, sshsig) : undefined;
    },
  };
  await open({ identity, services });
  await inState("live");
  expect(signed.length).toBe(1);
  await page.goto("about:blank");
  await server?.close();
  verified = false;
  await open({ identity, services });
  await inState("user-refused");
  expect(await page.locator("h1").textContent()).toBe("You were not let in");
});

test("evidence that does not meet the policy: refused, no terminal, no channel", async () => {
  const { guest } = await open({
    guest: { policyText: SIMULATED_POLICY_TEXT.replace('instance = "test"', 'instance = "another"') },
  });
  await inState("refused");
  expect(await page.locator(".comparison").textContent()).toContain("another");
  expect(await page.locator(".xterm").count()).toBe(0);
  expect(guest.processes.length).toBe(0);
});

test("simulated evidence without --simulated is refused", async () => {
  const { guest } = await open({ guest: { simulated: false } });
  await page.waitForSelector('#page[data-state="refused"], #page[data-state="failed"]');
  expect(await page.locator("main").textContent()).toContain("Nothing was sent");
  expect(guest.processes.length).toBe(0);
});

test("the host drops the line: the same session goes on over the next one", async () => {
  const { guest, lines } = await open();
  await inState("live");
  await page.keyboard.type("one ");
  await expect.poll(() => said(guest)).toBe("one ");
  lines[0]?.cut();
  await page.keyboard.type("two");
  await expect.poll(() => said(guest), { timeout: 30_000 }).toBe("one two");
  await inState("live");
  expect(lines.length).toBeGreaterThan(1);
  expect(guest.processes.length).toBe(1);
});

test("the line lost while the user's key signs: said, and the user is let in once it is back", async () => {
  let asked: () => void = () => undefined;
  let touch: () => void = () => undefined;
  let hold: Promise<void> = Promise.resolve();
  let release: () => void = () => undefined;
  const signing = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const touched = new Promise<void>((resolve) => {
    touch = resolve;
  });
  const { guest, lines } = await open({
    identity: {
      publicKey: utf8("a public key"),
      source: "test",
      sign: async () => {
        asked();
        await touched;
        return utf8("a signature");
      },
    },
    services: { keysAllowed: true, verifyUserKey: acceptAnyKey },
    mayDial: () => hold,
  });
  await inState("signing-in");
  await signing;
  hold = new Promise((resolve) => {
    release = resolve;
  });
  lines[0]?.cut();
  await inState("reconnecting");
  expect(await page.locator(".strip").textContent()).toContain("trying to sign you in");
  touch(); // signed while the line is down: it is sent once there is one
  release();
  await inState("live");
  expect(guest.processes.length).toBe(1);
});

test("an answer that comes after the guest closed: connected anew by itself", async () => {
  const values = [{ name: "evidence.type", words: "Kind of evidence", value: "tpm", scope: "lasting" }];
  const seen = { identity: "db-primary", address: "unix:/run/guest.sock", at: 1_700_000_000_000, values };
  const memory = new PageMemory(undefined); // the command's, of an earlier page
  memory.remember("sealtty.seen.v1", JSON.stringify([seen]));
  const { guest, lines } = await open({ clock: fastClock(20), memory }); // the guest's two minutes are 6 s
  await page.waitForSelector("dialog[open]", { timeout: 30_000 });
  const before = lines.length;
  await expect.poll(() => guest.endpoint.connectionCount, { timeout: 40_000 }).toBe(0);
  await page.getByRole("button", { name: "This is expected: go on" }).click();
  await inState("live");
  expect(lines.length).toBeGreaterThan(before);
  expect(await page.locator("dialog").count()).toBe(0);
  expect(await page.locator("#trust-panel").textContent()).toContain("as you expected");
  expect(memory.items["sealtty.seen.v1"]).toContain("simulated"); // what the next page compares with
});

test("what the host sees has nothing of what was typed", async () => {
  const seen: Uint8Array[] = [];
  const { guest } = await open({
    carry: (chunk, deliver) => {
      seen.push(chunk.slice());
      deliver(chunk);
    },
  });
  await inState("live");
  await page.getByRole("button", { name: "What the host sees", exact: true }).click();
  await page.locator(".xterm-screen").click();
  await page.keyboard.type("correct-horse-battery");
  await expect.poll(() => said(guest)).toBe("correct-horse-battery");
  await page.waitForSelector(".wire.to-guest");
  await page.waitForSelector(".wire.to-client");
  const wire = Buffer.concat(seen).toString("latin1");
  for (const secret of ["correct", "horse", "battery", "operator"]) expect(wire).not.toContain(secret);
  await page.screenshot({
    path: path.join(import.meta.dirname, "../../test-results/browser/real-host-view.png"),
  });
});

test("a web socket of the host, spoken to directly", async () => {
  const host = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  const protocols: string[] = [];
  const guest = testGuest(fastClock(1));
  host.on("connection", (socket) => {
    protocols.push(socket.protocol);
    const line = memoryPipes();
    void guest.endpoint.servePipe(line.guest).catch(() => undefined);
    void bridgePipe(socket, async () => line.client);
  });
  await once(host, "listening");
  const { port } = host.address() as AddressInfo;
  try {
    await open({ guest: { address: `ws://127.0.0.1:${port}/`, directUrl: `ws://127.0.0.1:${port}/` } });
    // The one foreign origin that the policy of the page allows.
    faults.foreignRequests.splice(0);
    await inState("live");
    await page.keyboard.type("hello");
    await expect.poll(() => said(guest)).toBe("hello");
    expect(protocols).toEqual(["binary"]);
    faults.foreignRequests.splice(0);
  } finally {
    for (const socket of host.clients) socket.terminate();
    host.close();
  }
});

test("the link works once, and a reload of its own tab comes back to its session", async () => {
  const { guest } = await open(KEYED);
  await inState("live");
  guest.processes[0]?.print(utf8("\x1b]2;from before\x07\x1b[6n")); // the terminal answers where its cursor is
  await expect.poll(() => said(guest)).toBe("\x1b[1;1R");
  const second = await browser.context.newPage();
  await second.goto(server?.url ?? "");
  await second.waitForSelector('#page[data-state="link-used"]');
  expect(await second.locator(".xterm").count()).toBe(0);
  await second.close();
  for (let i = 0; i < 2; i++) {
    await page.reload();
    await inState("live");
    await expect.poll(() => page.title()).toMatch(/guest title: from before$/);
    await page.keyboard.type("x");
    await expect.poll(() => said(guest)).toBe(`\x1b[1;1R${"x".repeat(i + 1)}`); // and no second answer
  }
  expect(guest.processes.length).toBe(1);
  // Another tab has no part in it.
  const third = await browser.context.newPage();
  await third.goto(new URL("/", server?.url ?? "").href);
  await third.waitForSelector('#page[data-state="link-used"]');
  await third.close();
});

const KEYED = {
  identity: { publicKey: utf8("a public key"), source: "test", sign: async () => utf8("a signature") },
  services: { keysAllowed: true, verifyUserKey: acceptAnyKey },
};
/** The terminal's rows as they are drawn, colours and all; each row's text where it is to be compared alone. */
const drawn = () => page.locator(".xterm-rows > div").evaluateAll((rows) => rows.map((row) => row.innerHTML));
const texts = () => page.locator(".xterm-rows > div").allInnerTexts();
/** What a click on the middle of the last line that has something would hit, and what lies over any of that line. */
const aroundPrompt = () =>
  page.evaluate(() => {
    const row = [...document.querySelectorAll(".xterm-rows > div")].findLast(
      (each) => each.textContent.trim() !== "",
    );
    if (row === undefined) throw new Error("No row is drawn");
    const { left, right, top, bottom } = row.getBoundingClientRect();
    const overlaps = [...document.querySelectorAll(".banner, .notice, .strip, .bar, .top-bar, .find")].filter(
      (each) => {
        const box = each.getBoundingClientRect();
        return box.left < right && box.right > left && box.top < bottom && box.bottom > top;
      },
    );
    const hits = [left + 4, (left + right) / 2, right - 20].map((x) =>
      document.elementFromPoint(x, (top + bottom) / 2)?.closest(".xterm"),
    );
    return {
      text: row.textContent.trim(),
      whole: top >= 0 && bottom <= innerHeight && left >= 0,
      covered: overlaps.length > 0 || hits.some((hit) => hit === null || hit === undefined),
    };
  });

test.each([
  { how: "wide", viewport: { width: 1280, height: 800 } },
  { how: "narrow", viewport: { width: 420, height: 800 } },
])(
  "20,000 coloured lines, and the tab is loaded again ($how): screen and scrollback are back, the prompt is free",
  async ({ how, viewport }) => {
    const file = screenThreadFile();
    if (file === undefined) throw new Error("npm run build makes dist/bin/sealttyd-screen.js");
    // Without WebGL xterm.js draws elements, which can be read.
    await page.addInitScript(() => {
      HTMLCanvasElement.prototype.getContext = () => null;
    });
    await page.setViewportSize(viewport);
    const toTerminal = async (): Promise<void> => {
      await inState("live");
      if (how === "narrow") await page.keyboard.press("Escape"); // the trust panel covers the terminal there
      if (how === "narrow") await page.locator("#trust-panel").waitFor({ state: "hidden" });
      await page.locator(".xterm-screen").click();
    };
    const { guest } = await open({ ...KEYED, screens: screenThreads(file) });
    await toTerminal();
    for (let at = 0; at < 20_000; at += 500) {
      const lines = Array.from({ length: 500 }, (_, i) => {
        const number = at + i + 1;
        return `\x1b[${31 + (number % 6)}mline ${String(number).padStart(5, "0")}\x1b[0m end\r\n`;
      });
      guest.processes[0]?.print(utf8(lines.join("")));
    }
    guest.processes[0]?.print(utf8("\x1b[1;32mguest\x1b[0m# "));
    const prompt = async () => (await texts()).findLast((text) => text.trim() !== "")?.trim();
    await expect.poll(prompt, { timeout: 120_000 }).toBe("guest#");
    const before = await drawn();

    await page.reload();
    await toTerminal();
    await expect.poll(prompt, { timeout: 120_000 }).toBe("guest#");
    expect(await page.locator(".banner").textContent()).toContain("with 10000 lines above it");
    expect(await aroundPrompt()).toEqual({ text: "guest#", whole: true, covered: false });
    await page.screenshot({
      path: path.join(import.meta.dirname, `../../test-results/browser/restored-${how}.png`),
    });

    const drawnLate = { timeout: 30_000 }; // a loaded machine may take its time
    await page.keyboard.type("x"); // and the user goes on
    await expect.poll(() => said(guest), drawnLate).toBe("x");
    await expect.poll(prompt, drawnLate).toBe("guest# x");
    await expect.poll(() => page.locator(".banner").count(), drawnLate).toBe(0);
    // As before, colours and all. (The ring is so short that the first page, too, may have had a screen and a banner.)
    await expect
      .poll(async () => (await drawn()).slice(-before.length, -1), drawnLate)
      .toEqual(before.slice(0, -1));
    expect(await aroundPrompt()).toEqual({ text: "guest# x", whole: true, covered: false });
  },
);
