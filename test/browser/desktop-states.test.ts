// The tab with the guest's desktop, with a scripted VNC server: each state, each end in words, and what it must not do.
// Screenshots go to test-results/browser/ for people to look at.

import type { Page } from "playwright-core";
import { beforeEach, expect, test } from "vitest";
import { inNewPages } from "./fake-page/driver.ts";

const driver = inNewPages();
const { inState, shoot, shootBoth, signIn, output, typed } = driver;
const SOON = { timeout: 15_000 };
const XK = { control: 0xffe3, shift: 0xffe1, a: 0x61 };
let page: Page;
beforeEach(() => {
  page = driver.page;
});

const toDesktop = () => page.getByRole("tab", { name: "Desktop" }).click();
const place = () => page.getByLabel("VNC server in the guest");
const connect = () => page.getByRole("button", { name: "Connect", exact: true });
const status = () => page.locator(".desktop-status").textContent();
const canvas = () => page.locator(".desktop-screen canvas");
const hasKeyboard = () => page.evaluate(() => document.activeElement?.closest(".desktop-screen") !== null);
/** Of the last desktop. */
const told = <Name extends "keys" | "cuts" | "encodings" | "hangUps" | "unsent" | "credit" | "sizesWanted">(
  name: Name,
) => page.evaluate((name) => window.fake.desktops.at(-1)?.[name], name);
const pixel = (x: number, y: number) =>
  page.evaluate(
    ([x, y]) => {
      const drawn = document.querySelector<HTMLCanvasElement>(".desktop-screen canvas");
      return [...(drawn?.getContext("2d")?.getImageData(x, y, 1, 1).data ?? [])].slice(0, 3).join();
    },
    [x, y] as const,
  );

/** On a page without the trust panel, which would cover it on a narrow screen. */
async function signedIn(query = ""): Promise<void> {
  await signIn(query);
  await page.locator(".badge").click();
  await toDesktop();
}

async function connected(query = ""): Promise<void> {
  await signedIn(query);
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
}

test("off until the user connects; nothing is opened or loaded for it before", async () => {
  const loaded: string[] = [];
  page.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  await signedIn();
  expect(await place().inputValue()).toBe("127.0.0.1:5900");
  expect(await page.evaluate(() => window.fake.desktopPlaces)).toEqual([]);
  expect(loaded.filter((name) => name.includes("desktop-screen"))).toEqual([]);
  await shootBoth("desktop-off");
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
  expect(loaded.filter((name) => name.includes("desktop-screen"))).toHaveLength(1);
});

test("connected: it is drawn, keys and pointer go there, and nothing else of the page changes", async () => {
  await signedIn();
  await place().fill("/run/user/1000/vnc.sock");
  await place().press("Enter");
  await expect.poll(status, SOON).toBe("“db-primary:1 (operator)”, 800 × 500.");
  expect(await page.evaluate(() => window.fake.desktopPlaces)).toEqual([
    '{"kind":"unix","path":"/run/user/1000/vnc.sock"}',
  ]);
  expect(await page.title()).not.toContain("operator)");
  await expect.poll(() => pixel(10, 10), SOON).toBe("20,90,60");
  await expect.poll(hasKeyboard, SOON).toBe(true);
  await page.keyboard.press("a");
  await expect
    .poll(() => told("keys"), SOON)
    .toEqual([
      [XK.a, true],
      [XK.a, false],
    ]);
  await canvas().click();
  await expect.poll(() => page.evaluate(() => window.fake.desktops[0]?.buttons), SOON).toBe(1);
  const encodings = await told("encodings");
  expect(encodings).toContain(7); // Tight
  for (const unwanted of [50, 21, 0xc0a1e5ce | 0, -309]) expect(encodings).not.toContain(unwanted); // video, JPEG alone, clipboard, power
  await page.evaluate(() => window.fake.desktops[0]?.paint(200, 40, 40));
  await expect.poll(() => pixel(10, 10), SOON).toBe("200,40,40");
  await shootBoth("desktop");
  await page.emulateMedia({ colorScheme: "light" });
  await shoot("desktop-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.getByRole("button", { name: "Disconnect" }).click();
  expect(await canvas().count()).toBe(0);
  expect(await status()).toBe("");
  await expect.poll(() => told("hangUps"), SOON).toBe(1);
});

test("a way out by keyboard: no key stays down there, Tab is the page's again, and the way back", async () => {
  await connected();
  await expect.poll(hasKeyboard, SOON).toBe(true);
  await page.keyboard.press("Tab"); // the guest's
  expect(await hasKeyboard()).toBe(true);
  await page.keyboard.press("Control+Shift+F"); // not the page's search
  expect(await page.locator(".search:visible").count()).toBe(0);
  await page.keyboard.down("Control");
  await page.keyboard.down("Shift");
  await page.keyboard.press("M");
  await expect.poll(hasKeyboard, SOON).toBe(false);
  await page.keyboard.up("Shift");
  await page.keyboard.up("Control");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Disconnect");
  const keys = (await told("keys")) ?? [];
  const downs = new Map<number, boolean>();
  for (const [key, down] of keys) downs.set(key, down);
  expect([...downs.values()]).not.toContain(true);
  expect(downs.has(XK.control) && downs.has(XK.shift)).toBe(true);
  await page.keyboard.press("Shift+Tab");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("desktop-place");
  await page.locator(".desktop-screen").focus();
  await page.keyboard.press("a");
  await expect.poll(async () => (await told("keys"))?.at(-1), SOON).toEqual([XK.a, false]);
});

test("who only looks on sends nothing, and Tab goes on; sizes", async () => {
  await connected();
  const width = () => canvas().evaluate((drawn) => Math.round(drawn.getBoundingClientRect().width));
  const scaled = await width();
  expect(scaled).not.toBe(800);
  await page.getByLabel("Size of the desktop").selectOption("as-is");
  await expect.poll(width, SOON).toBe(800);
  await page.getByLabel("Only look on").check();
  expect(await page.getByRole("button", { name: "Ctrl+Alt+Del" }).isDisabled()).toBe(true);
  await canvas().click();
  await page.keyboard.press("a");
  await page.keyboard.press("Shift+Tab");
  expect(await hasKeyboard()).toBe(false);
  expect(await told("keys")).toEqual([]);
  await page.getByLabel("Only look on").uncheck();
  await page.getByRole("button", { name: "Ctrl+Alt+Del" }).click();
  await expect.poll(async () => (await told("keys"))?.length, SOON).toBe(6);
});

test("clipboards go nowhere unasked", async () => {
  await driver.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("about:blank");
  await connected();
  await page.evaluate(() => navigator.clipboard.writeText("of the user"));
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  const copy = page.getByRole("button", { name: /^Copy its clipboard/ });
  expect(await copy.isDisabled()).toBe(true);
  await page.evaluate(() => window.fake.desktops[0]?.cut("of the\u001b guest"));
  await expect.poll(() => copy.isEnabled(), SOON).toBe(true);
  await canvas().click();
  await page.keyboard.press("a");
  expect(await clipboard()).toBe("of the user");
  expect(await told("cuts")).toEqual([]);
  await page.getByRole("button", { name: "Send your clipboard" }).click();
  await expect.poll(() => told("cuts"), SOON).toEqual(["of the user"]);
  await copy.click();
  await expect.poll(clipboard, SOON).toBe("of the guest");
  await page.evaluate(() => navigator.clipboard.writeText("名"));
  await page.getByRole("button", { name: "Send your clipboard" }).click();
  await expect.poll(status, SOON).toContain("characters that VNC's has not");
  await page.evaluate(() => window.fake.desktops[0]?.cut("x".repeat(200_000)));
  await expect.poll(() => copy.isDisabled(), SOON).toBe(true);
  expect((await told("cuts"))?.length).toBe(1);
});

test("a password is asked for, goes out once, and a refusal is said", async () => {
  await signedIn("desktop=password");
  await connect().click();
  const field = page.getByLabel("Password");
  await field.waitFor(SOON);
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("desktop-password");
  await field.fill("swordfish");
  await shootBoth("desktop-password");
  await field.press("Enter");
  await expect.poll(status, SOON).toBe("The VNC server did not let you in. It says: Authentication failure.");
  expect(await field.inputValue()).toBe("");
  expect(await page.content()).not.toContain("swordfish");
  await shoot("desktop-not-let-in");
});

test.each([
  ["nothing", "Nobody listens there in the guest. Check the port or path"],
  ["denied", "The guest does not forward this for this user. Its owner allows it by [forward] allow = true"],
  ["ssh", "What listens at 127.0.0.1:5900 is no VNC server. Is the port right?"],
  ["tls", "wants TLS, or another way to sign in that this page has not"],
  ["huge", "A desktop of 60000 × 60000 is more than is shown here"],
])("what cannot be (%s) is said in words, and the page stays as it was", async (mode, words) => {
  await signedIn(`desktop=${mode}`);
  await connect().click();
  await expect.poll(status, SOON).toContain(words);
  expect(await canvas().count()).toBe(0);
  await shoot(`desktop-${mode}`);
  await page.evaluate(() => (window.fake.desktopMode = ""));
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
});

/** A server's messages, of numbers: the last `bytes` of each. */
const say = (...fields: readonly (readonly [bytes: number, value: number])[]) =>
  page.evaluate(
    (bytes) => window.fake.desktops.at(-1)?.bytes(Uint8Array.from(bytes)),
    fields.flatMap(([bytes, value]) =>
      Array.from({ length: bytes }, (_, i) => (value >> (8 * (bytes - 1 - i))) & 0xff),
    ),
  );
type Fields = readonly (readonly [number, number])[];
const update = (count: number): Fields => [
  [2, 0],
  [2, count],
];
const rectangle = (x: number, y: number, width: number, height: number, encoding: number): Fields => [
  ...[x, y, width, height].map((value) => [2, value] as const),
  [4, encoding] as const,
];
const [SIZE, COPY, RRE, JPEG, RAW] = [-223, 1, 2, 21, 0];
const TOO_MUCH = "127.0.0.1:5900: It draws more at a time than can be shown here";
const UNREADABLE = "What came from 127.0.0.1:5900 cannot be read as a desktop.";

test.each<[string, string, Fields]>([
  [
    "changes its size again and again",
    TOO_MUCH,
    [
      ...update(12),
      ...Array.from({ length: 12 }, (_, i) => rectangle(0, 0, 7680 - (i % 2), 4320, SIZE)).flat(),
    ],
  ],
  [
    "moves a large screen again and again",
    TOO_MUCH,
    [
      ...update(13),
      ...rectangle(0, 0, 7680, 4320, SIZE),
      ...Array.from({ length: 12 }, () => [...rectangle(0, 0, 7680, 4319, COPY), [4, 1] as const]).flat(),
    ],
  ],
  [
    "fills it by a few bytes each",
    UNREADABLE,
    [...update(1), ...rectangle(0, 0, 800, 500, RRE), [4, 1 << 30]],
  ],
  ["sends what nobody asked for", UNREADABLE, [...update(1), ...rectangle(0, 0, 8, 8, JPEG), [2, 0xffd8]]],
  ["draws elsewhere", UNREADABLE, [...update(1), ...rectangle(799, 0, 2, 1, RAW), [4, 0], [4, 0]]],
  [
    "has a clipboard to be unpacked",
    UNREADABLE,
    [
      [4, 3 << 24],
      [4, -4],
      [4, 1 << 24],
    ],
  ],
])("a server that %s is cut off, and the page goes on", async (_what, words, message) => {
  await connected();
  const began = performance.now();
  await say(...message);
  await expect.poll(status, SOON).toContain(words);
  expect(performance.now() - began).toBeLessThan(SOON.timeout); // a page that is blocked answers no poll
  await page.evaluate(() => (window.fake.desktopMode = ""));
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
});

test("what is no place, and who has no key", async () => {
  await signedIn();
  await place().fill("no place");
  await connect().click();
  expect(await status()).toContain("That is no place in the guest");
  expect(await page.evaluate(() => window.fake.desktopPlaces)).toEqual([]);
  await signedIn("auth=none");
  await connect().click();
  expect(await status()).toContain("only for users who sign in with a key");
  expect(await page.evaluate(() => window.fake.desktopPlaces)).toEqual([]);
});

test("what cannot be read ends it; the server's end is said", async () => {
  await connected();
  await page.evaluate(() =>
    window.fake.desktops[0]?.bytes(Uint8Array.of(0, 0, 0, 1, ...Array(8).fill(0), 0, 0, 0, 99)),
  );
  await expect.poll(status, SOON).toBe("What came from 127.0.0.1:5900 cannot be read as a desktop.");
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
  await page.evaluate(() => window.fake.desktops.at(-1)?.end());
  await expect.poll(status, SOON).toBe("The VNC server at 127.0.0.1:5900 ended it.");
  await output("the terminal goes on");
  await page.getByRole("tab", { name: "Terminal" }).click();
  await page.locator(".xterm-screen").click();
  await page.keyboard.type("ls");
  await expect.poll(typed, SOON).toBe("ls");
});

test("behind another tab it takes nothing of the way: its server waits", async () => {
  await connected();
  await expect.poll(() => pixel(10, 10), SOON).toBe("20,90,60");
  await page.getByRole("tab", { name: "Terminal" }).click();
  await page.evaluate(() => window.fake.desktops[0]?.paint(1, 2, 3));
  await expect.poll(() => pixel(10, 10), SOON).toBe("1,2,3"); // one piece is ahead
  const credit = await told("credit");
  await page.evaluate(() => window.fake.desktops[0]?.paint(4, 5, 6));
  await output("in between");
  expect(await told("credit")).toBe(credit);
  expect(await pixel(10, 10)).toBe("1,2,3");
  await toDesktop();
  await expect.poll(() => pixel(10, 10), SOON).toBe("4,5,6");
  await expect.poll(() => told("credit"), SOON).toBeGreaterThan(credit ?? Infinity);
});

test("after a hand-over it comes back by itself, where it is looked at", async () => {
  await connected();
  await page.evaluate(() => window.fake.handOver());
  await inState("connecting");
  await page.evaluate(() => window.fake.attest("hardware"));
  await inState("signing-in");
  await page.evaluate(() => window.fake.admit());
  await inState("live");
  await expect.poll(() => page.evaluate(() => window.fake.desktops.length), SOON).toBe(2);
  await expect.poll(status, SOON).toContain("800 × 500");
  expect(await hasKeyboard()).toBe(false); // when it is back, the host chooses
  await page.evaluate(() => window.fake.lose());
  await inState("lost");
  expect(await status()).toContain("The connection to the guest has ended.");
  expect(await canvas().count()).toBe(0);
});

test("a desktop that was not there before the hand-over does not come by itself", async () => {
  await signedIn("desktop=silent");
  await connect().click();
  await expect.poll(() => page.evaluate(() => window.fake.desktops.length), SOON).toBe(1);
  await page.evaluate(() => window.fake.handOver());
  await inState("connecting");
  await page.evaluate(() => {
    window.fake.desktopMode = "";
    window.fake.attest("hardware");
  });
  await inState("signing-in");
  await page.evaluate(() => window.fake.admit());
  await inState("live");
  expect(await status()).toBe("The connection to the guest has ended before the desktop was there.");
  await connect().click();
  await expect.poll(status, SOON).toContain("800 × 500");
  expect(await page.evaluate(() => window.fake.desktops.length)).toBe(2);
});

test.each([
  ["a desktop", "silent", () => expect.poll(status, SOON).toContain("800 × 500")],
  ["a question for a password", "silent-password", () => page.getByLabel("Password").waitFor(SOON)],
])("%s that comes while something is typed elsewhere leaves the keyboard there", async (_, mode, hasCome) => {
  await signedIn(`prompts=1&desktop=${mode}`);
  await connect().click();
  await expect.poll(() => page.evaluate(() => window.fake.desktops.length), SOON).toBe(1);
  await page.evaluate(() =>
    window.fake.ask([{ number: 1, origin: "initramfs", echo: false, name: "", message: "Disk" }]),
  );
  const field = page.locator(".prompt-field");
  await field.click();
  await page.keyboard.type("half a pass");
  await page.evaluate(() => window.fake.desktops[0]?.begin());
  await hasCome();
  await page.keyboard.type("phrase");
  expect(await field.inputValue()).toBe("half a passphrase");
  expect(await told("keys")).toEqual([]);
});

test("a desktop that comes in the middle of typing takes no key of it, wherever the keyboard is", async () => {
  await signedIn("desktop=silent");
  await place().fill("localhost:5900");
  await place().press("Enter");
  await expect.poll(() => page.evaluate(() => window.fake.desktops.length), SOON).toBe(1);
  await page.evaluate(() => {
    const type = () =>
      document
        .querySelector("#desktop-place")
        ?.dispatchEvent(new KeyboardEvent("keydown", { key: "x", bubbles: true }));
    type();
    setInterval(type, 20); // somebody who goes on, however slow the machine is
    window.fake.desktops[0]?.begin();
  });
  await expect.poll(status, SOON).toContain("800 × 500");
  expect(await hasKeyboard()).toBe(false);
  await page.locator(".desktop-screen").focus();
  expect(await hasKeyboard()).toBe(true);
});

test("a guest that changed: the desktop is cut off, unsent, and does not come back by itself", async () => {
  await connected();
  await page.evaluate(() => window.fake.change({ reason: "other values", changes: [], refusal: undefined }));
  await page.waitForSelector("dialog[open]");
  expect(await told("unsent")).toBe(1);
  expect(await canvas().count()).toBe(0);
  expect(await status()).toContain("The guest changed, or may have");
  expect(await page.evaluate(() => window.fake.desktops.length)).toBe(1);
});
