// Keys in the page that ships: passkeys of Chromium's virtual authenticator, and keys of the browser, judged by the guest's own code
// with a file of authorized_keys, and by ssh-keygen.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { CDPSession, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type PageServer, type PageServerOptions, startPageServer } from "../../cli/local-page-server.ts";
import type { PageKind } from "../../cli/loopback-guard.ts";
import { type PageFile, readPageFiles } from "../../cli/page-files.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import { decodeSshsig } from "../../protocol/user-auth/sshsig.ts";
import { WEBAUTHN_ECDSA } from "../../protocol/user-auth/signature.ts";
import { keyTypeOf } from "../../protocol/user-auth/ssh-wire.ts";
import { userKeys } from "../../server/user-keys.ts";
import {
  launchBrowser,
  type PageFaults,
  refuseFaults,
  type TestBrowser,
  watchFaults,
} from "../support/browser.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import {
  blobOf,
  hasOpenssh,
  makeScratch,
  sshKeygenAccepts,
  tellIfOpensshIsAbsent,
} from "../support/openssh.ts";
import { echoProcess, SESSION_LIMITS, testGuest, type TestGuest } from "../support/session.ts";
import { pageGuest } from "./page-guest.ts";
import { buildPage } from "./page-server.ts";

const USER = os.userInfo().username;
const SHOTS = path.join(import.meta.dirname, "../../test-results/browser");
const WAIT = { timeout: 30_000 };

tellIfOpensshIsAbsent();
const scratch = makeScratch();
let directory: string;
let files: ReadonlyMap<string, PageFile>;
let browser: TestBrowser;
let page: Page;
let devtools: CDPSession;
let authenticatorId: string;
let faults: PageFaults;
let server: PageServer | undefined;

beforeAll(async () => {
  await mkdir(SHOTS, { recursive: true });
  directory = await buildPage(path.join(import.meta.dirname, "../../client"));
  files = await readPageFiles(directory);
  browser = await launchBrowser({ colorScheme: "dark", permissions: ["clipboard-read", "clipboard-write"] });
});
afterAll(async () => {
  await browser?.close();
  await rm(directory, { recursive: true, force: true });
  scratch.remove();
});
beforeEach(async () => {
  page = await browser.context.newPage();
  page.on("dialog", (dialog) => void dialog.accept());
  devtools = await browser.context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  ({ authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  }));
});
afterEach(async () => {
  await page.close({ runBeforeUnload: false });
  await server?.close();
  server = undefined;
  refuseFaults(faults);
});

interface Attempt {
  readonly fields: UserAuthFields;
  readonly publicKey: Uint8Array;
  readonly sshsig: Uint8Array;
  readonly granted: boolean;
}

interface Opened {
  readonly guest: TestGuest;
  readonly attempts: Attempt[];
  readonly lines: PipePair[];
  /** What the guest's authorized_keys says from now on. */
  readonly enrol: (text: string) => void;
  /** As its initramfs is followed by its system. */
  readonly handOver: () => Promise<void>;
}

/** Opens a page onto a guest that has nobody's key. */
async function open(
  own: {
    passkeyOrigins?: readonly string[];
    loginAllowed?: boolean;
    startAt?: PageKind;
    identities?: Pick<PageServerOptions, "identity" | "otherIdentities" | "onFreshAsked">;
    host?: string;
  } = {},
): Promise<Opened> {
  const authorizedKeys = scratch.path("authorized_keys");
  const enrol = (text: string): void => writeFileSync(authorizedKeys, text);
  enrol("");
  const attempts: Attempt[] = [];
  const { passkeyOrigins = ["http://localhost:*"] } = own;
  const silent = (): void => undefined;
  const judge = userKeys(
    {
      authorizedKeys,
      login: undefined,
      shell: undefined,
      passkeyOrigins,
      names: "any",
      pam: "off",
      maxPrograms: 512,
    },
    undefined,
    {
      error: silent,
      warn: silent,
      info: silent,
      debug: silent,
    },
  );
  const newGuest = (): TestGuest =>
    testGuest(
      fastClock(1),
      {
        keysAllowed: true,
        loginAllowed: own.loginAllowed ?? true,
        verifyUserKey: async (fields, publicKey, sshsig) => {
          const grant = await judge(fields, publicKey, sshsig);
          attempts.push({ fields, publicKey, sshsig, granted: grant !== undefined });
          return grant;
        },
      },
      echoProcess,
      nodeSuite,
      SESSION_LIMITS,
    );
  const guest = newGuest();
  let serving = guest;
  const lines: PipePair[] = [];
  server = await startPageServer({
    port: 0,
    files,
    identity: undefined,
    startAt: own.startAt ?? "kept",
    ...own.identities,
    guest: pageGuest({ user: USER }),
    dial: async () => {
      const line = memoryPipes();
      void serving.endpoint.servePipe(line.guest).catch(() => undefined);
      lines.push(line);
      return line.client;
    },
  });
  const url = server.url.replace("localhost", own.host ?? "localhost");
  faults = watchFaults(page, new URL(url).origin);
  await page.goto(url);
  const handOver = async (): Promise<void> => {
    serving = newGuest();
    await guest.endpoint.stop("handed-over");
  };
  return { guest, attempts, lines, enrol, handOver };
}

const inState = (state: string) => page.waitForSelector(`#page[data-state="${state}"]`, WAIT);
const named = (name: string | RegExp) => page.getByRole("button", { name, exact: typeof name === "string" });
const dialog = () => page.locator("dialog.sign-in");
const openDialog = () => named("How you sign in").click();
const row = (words: string) => dialog().locator(".ways li", { hasText: words });
const trouble = () => page.locator(".trouble:not([hidden])").textContent();
const shoot = async (name: string): Promise<void> => {
  for (const [size, width] of [
    ["wide", 1280],
    ["narrow", 390],
  ] as const) {
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path: path.join(SHOTS, `keys-${name}-${size}.png`) });
  }
  await page.setViewportSize({ width: 1280, height: 800 });
};
/** Makes a key in the page. @returns its line. */
async function make(kind: "passkey" | "browser key"): Promise<string> {
  await openDialog();
  await named(`Create a ${kind}`).click();
  const line = dialog().locator(".key-line");
  await line.waitFor(WAIT);
  return (await line.textContent()) ?? "";
}
/** Of the page's database: what it keeps of each key, and whether the private half can be read. */
const stored = () =>
  page.evaluate(async () => {
    const wait = <Value>(request: IDBRequest<Value>) =>
      new Promise<Value>((resolve, reject) => {
        request.addEventListener("success", () => resolve(request.result));
        request.addEventListener("error", () => reject(request.error));
      });
    const database = await wait(indexedDB.open("sealtty"));
    const keys = (await wait(database.transaction("keys").objectStore("keys").getAll())) as {
      kind: string;
      privateKey?: CryptoKey;
    }[];
    database.close();
    return await Promise.all(
      keys.map(async ({ kind, privateKey }) => {
        if (privateKey === undefined) return kind;
        const formats = ["pkcs8", "jwk", "raw"] as const;
        const read = await Promise.all(
          formats.map((format) =>
            crypto.subtle.exportKey(format, privateKey).then(
              () => `${format} was read`,
              (error: unknown) => (error as DOMException).name,
            ),
          ),
        );
        return `${kind}: ${privateKey.extractable} ${[...new Set(read)].join(" ")}`;
      }),
    );
  });

/** The line as ssh-keygen reads it. @returns what `ssh-keygen -l` prints. */
function keygenReads(line: string): string {
  const file = scratch.path("line.pub");
  writeFileSync(file, `${line}\n`);
  return execFileSync("ssh-keygen", ["-l", "-f", file]).toString();
}

function keygenVerifies(line: string, { fields, sshsig }: Attempt): boolean {
  return sshKeygenAccepts(scratch.path("check"), line, USER_AUTH_NAMESPACE, userAuthMessage(fields), sshsig);
}

test("after a hand-over a browser's key signs by itself, for the new connection", async () => {
  const { enrol, attempts, handOver } = await open();
  await inState("live");
  enrol(await make("browser key"));
  await named("Sign in with it").click();
  await expect.poll(() => attempts.length, WAIT).toBe(1); // "live" it was before, too
  await inState("live");
  await handOver();
  await named("This is expected: go on").click(WAIT); // the new guest's simulated key is another one
  await expect.poll(() => attempts.length, WAIT).toBe(2);
  await inState("live");
  expect(attempts.map(({ granted }) => granted)).toEqual([true, true]);
  expect(await page.locator(".banner").textContent()).toContain("from its initramfs to its system");
  expect(Buffer.from(attempts[1]?.fields.handshakeHash ?? [])).not.toEqual(
    Buffer.from(attempts[0]?.fields.handshakeHash ?? []),
  );
});

test("after a hand-over a passkey waits for its user", async () => {
  const { enrol, attempts, handOver } = await open();
  await inState("live");
  enrol(await make("passkey"));
  await named("Sign in with it").click();
  await named("Use your passkey").click(WAIT);
  await inState("live");
  await handOver();
  await named("This is expected: go on").click(WAIT);
  await named("Use your passkey").waitFor(WAIT);
  for (const key of ["Enter", "Space"]) await page.keyboard.press(key); // as they are typed without a look
  expect(await named("Use your passkey").isEnabled()).toBe(true);
  await shoot("hand-over-passkey");
  await page.keyboard.press("Tab");
  expect(await named("Use your passkey").evaluate((each) => each === document.activeElement)).toBe(true);
  expect(attempts.length).toBe(1);
  await named("Use your passkey").click();
  await inState("live");
  expect(attempts.map(({ granted }) => granted)).toEqual([true, true]);
});

describe("a passkey", () => {
  test("is made, enrolled and used: by a click each time, and known after a reload", async () => {
    const { guest, attempts, enrol } = await open();
    await inState("live"); // the guest's own prompt, as the command line says
    await openDialog();
    await shoot("ways-none");
    await named("Close").click();
    const line = await make("passkey");
    await shoot("enrol-passkey");
    expect(line).toMatch(
      /^sk-ecdsa-sha2-nistp256@openssh\.com [A-Za-z0-9+/=]+ sealtty-passkey-\d{8}T\d{4}Z$/,
    );
    const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
    expect(credentials.map(({ isResidentCredential }) => isResidentCredential)).toEqual([false]); // it takes no room on a security key
    await named("Copy the line").click();
    await named("Copied").waitFor(WAIT);
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(line);
    const fingerprint = (await dialog().locator(".fingerprint").textContent()) ?? "";
    if (hasOpenssh) expect(keygenReads(line)).toMatch(new RegExp(`^256 ${escaped(fingerprint)} .*ECDSA-SK`));
    enrol(`# the owner's\n${line}\n`);

    await named("Sign in with it").click();
    await named("Use your passkey").waitFor(WAIT);
    await shoot("ask-passkey");
    expect(await page.locator(".line").textContent()).toBe("Waiting for your passkey");
    expect(attempts.length).toBe(0); // nothing was asked of the authenticator
    await named("Use your passkey").click();
    await inState("live");
    expect(await page.locator("#trust-panel").textContent()).toContain("with a passkey");
    const [attempt] = attempts;
    if (attempt === undefined) throw new Error("no attempt to log in");
    expect(attempt.granted).toBe(true);
    expect(Buffer.from(attempt.publicKey)).toEqual(Buffer.from(blobOf(line)));
    expect(keyTypeOf(decodeSshsig(attempt.sshsig).signature)).toBe(WEBAUTHN_ECDSA);
    if (hasOpenssh) {
      expect(keygenVerifies(line, attempt)).toBe(true);
      expect(keygenVerifies(line, { ...attempt, fields: { ...attempt.fields, user: "another" } })).toBe(
        false,
      );
    }

    await page.reload();
    await named("Use your passkey").click();
    await inState("live");
    expect(attempts.length).toBe(2);
    expect(guest.processes.length).toBe(2); // the prompt's, then the kept one, which the reload came back to
    await openDialog();
    await shoot("ways-passkey");
    expect(await row("Passkey").textContent()).toContain(fingerprint);
    expect(await row("Passkey").getAttribute("aria-current")).toBe("true");
  });

  test("that the guest does not know: said in plain words, with the line to enrol, and a way out", async () => {
    const { attempts, enrol } = await open({ loginAllowed: false });
    await inState("user-refused");
    await named("Sign in another way").click();
    await named("Create a passkey").click();
    await named("Sign in with it").click();
    await named("Use your passkey").click();
    await expect.poll(() => attempts.map(({ granted }) => granted), WAIT).toEqual([false]);
    await inState("user-refused");
    const words = await page.locator("main").textContent();
    expect(words).toContain("You were not let in");
    expect(words).toContain(
      "If the guest does not know this key yet, put this line into its authorized_keys",
    );
    await shoot("unknown-key");
    enrol((await page.locator(".key-line").textContent()) ?? "");
    await named("Try again").click();
    await named("Use your passkey").click();
    await inState("live");
  });

  test("from a page whose origin the guest does not allow is refused", async () => {
    const { attempts, enrol } = await open({ passkeyOrigins: ["http://localhost:1"] });
    await inState("live");
    enrol(await make("passkey"));
    await named("Sign in with it").click();
    await named("Use your passkey").click();
    await inState("user-refused");
    expect(attempts.map(({ granted }) => granted)).toEqual([false]);
  });

  test("without its owner verified, or gone from its authenticator: words, and the button again", async () => {
    const { attempts, enrol } = await open();
    await inState("live");
    enrol(await make("passkey"));
    await named("Sign in with it").click();
    await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
    await named("Use your passkey").click();
    await expect.poll(trouble, WAIT).toContain("you were not verified");
    await shoot("not-verified");
    expect(attempts.length).toBe(0);
    await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
    await named("Use your passkey").click();
    await inState("live");
    expect(attempts.map(({ granted }) => granted)).toEqual([true]);
    await devtools.send("WebAuthn.clearCredentials", { authenticatorId });
    await page.reload();
    await named("Use your passkey").click();
    await expect.poll(trouble, WAIT).toContain("The passkey did not sign");
    expect(attempts.length).toBe(1);
  });

  test("an authenticator that verifies nobody, and one that is asked and cancelled: no key is made, and it is said", async () => {
    await open();
    await inState("live");
    await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
    await openDialog();
    await named("Create a passkey").click();
    await expect.poll(trouble, WAIT).toContain("No passkey was made");
    await shoot("not-made");
    await devtools.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId });
    await devtools.send("WebAuthn.addVirtualAuthenticator", {
      options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: false },
    });
    await named("Create a passkey").click();
    await expect.poll(trouble, WAIT).toMatch(/No passkey was made|No authenticator here can do this/);
    expect(await row("Passkey").count()).toBe(0);
    expect(await stored()).toEqual([]);
  });

  test("an assertion whose owner was not verified does not leave the page", async () => {
    // A browser that asks for less than the page says: as an extension or a broken one might.
    await page.addInitScript(() => {
      const get = navigator.credentials.get.bind(navigator.credentials);
      navigator.credentials.get = (options) => {
        if (options?.publicKey !== undefined) options.publicKey.userVerification = "discouraged";
        return get(options);
      };
    });
    const { attempts } = await open();
    await inState("live");
    await make("passkey");
    await named("Sign in with it").click();
    await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
    await named("Use your passkey").click();
    await expect.poll(trouble, WAIT).toContain("did not verify you");
    expect(attempts.length).toBe(0);
  });

  test("the line lost while it is awaited, and the connection made anew: asked by a button again, never by itself", async () => {
    const { attempts, lines, enrol } = await open();
    await inState("live");
    enrol(await make("passkey"));
    await page.evaluate(() => {
      const get = navigator.credentials.get.bind(navigator.credentials);
      const counted = globalThis as { asked?: number };
      counted.asked = 0;
      navigator.credentials.get = (options) => {
        counted.asked = (counted.asked ?? 0) + 1;
        return get(options);
      };
    });
    const asked = () => page.evaluate(() => (globalThis as { asked?: number }).asked);
    await named("Sign in with it").click();
    await named("Use your passkey").waitFor(WAIT);
    for (const line of lines) line.cut();
    await inState("reconnecting");
    await inState("signing-in");
    expect(await asked()).toBe(0);
    await named("Use your passkey").click();
    await inState("live");
    lines.at(-1)?.cut();
    await inState("reconnecting");
    await inState("live"); // the same keys: nobody signs for that
    expect(await asked()).toBe(1);
    expect(attempts.length).toBe(1);
  });

  test("at 127.0.0.1 the page says where passkeys are to be had", async () => {
    await open({ host: "127.0.0.1" });
    await inState("live");
    await openDialog();
    expect(await named("Create a passkey").isDisabled()).toBe(true);
    expect(await dialog().textContent()).toContain(`open this page as http://localhost:${server?.port}`);
    expect(await named("Create a browser key").isEnabled()).toBe(true);
  });
});

describe("a key of the browser", () => {
  test("is made, enrolled and used, signs by itself after a reload, and cannot be read out", async () => {
    const { attempts, enrol } = await open();
    await inState("live");
    const line = await make("browser key");
    await shoot("enrol-browser-key");
    expect(line).toMatch(/^ssh-ed25519 [A-Za-z0-9+/=]+ sealtty-browser-key-\d{8}T\d{4}Z$/);
    const fingerprint = (await dialog().locator(".fingerprint").textContent()) ?? "";
    if (hasOpenssh) expect(keygenReads(line)).toMatch(new RegExp(`^256 ${escaped(fingerprint)} .*ED25519`));
    enrol(line);
    await named("Sign in with it").click();
    await expect.poll(() => attempts.length, WAIT).toBe(1);
    await inState("live");
    await page.reload();
    await expect.poll(() => attempts.length, WAIT).toBe(2);
    await inState("live");
    expect(attempts.map(({ granted }) => granted)).toEqual([true, true]);
    if (hasOpenssh) for (const attempt of attempts) expect(keygenVerifies(line, attempt)).toBe(true);
    expect(await stored()).toEqual(["browser-key: false InvalidAccessError"]);
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(line.split(" ")[1]);
  });

  test("one is forgotten, others stay; the page then signs in as the command line says", async () => {
    const { attempts, enrol } = await open();
    await inState("live");
    const first = await make("browser key");
    await named("Back").click();
    await named("Create a browser key").click();
    const line = dialog().locator(".key-line");
    await expect.poll(() => line.textContent(), WAIT).not.toBe(first);
    const second = (await line.textContent()) ?? "";
    enrol(`${first}\n${second}\n`);
    await named("Sign in with it").click();
    await expect.poll(() => attempts.length, WAIT).toBe(1);
    await inState("live");
    await openDialog();
    await expect.poll(() => row("Key of this browser").count(), WAIT).toBe(2);
    await dialog()
      .locator('li[aria-current="true"]')
      .getByRole("button", { name: /^Forget/ })
      .click();
    await shoot("forget");
    await named("Forget it").click();
    await expect.poll(() => row("Key of this browser").count(), WAIT).toBe(1);
    await named("Close").click();
    await page.reload();
    await inState("live");
    expect(attempts.length).toBe(1); // with the guest's login prompt
    expect((await stored()).length).toBe(1);
  });

  test("a browser without Ed25519 says so", async () => {
    await page.addInitScript(() => {
      crypto.subtle.generateKey = async (): Promise<never> => {
        throw new DOMException("", "NotSupportedError");
      };
    });
    await open();
    await inState("live");
    await openDialog();
    await named("Create a browser key").click();
    await expect.poll(trouble, WAIT).toContain("This browser cannot make Ed25519 keys");
  });

  test("a browser that keeps nothing makes nothing", async () => {
    await page.addInitScript(() => {
      IDBFactory.prototype.open = () => {
        throw new DOMException("", "SecurityError");
      };
    });
    await open();
    await inState("live");
    await openDialog();
    await named("Create a passkey").click();
    await expect.poll(trouble, WAIT).toContain("keeps nothing for this page");
    const { credentials } = await devtools.send("WebAuthn.getCredentials", { authenticatorId });
    expect(credentials).toEqual([]); // no passkey that nobody could use
  });
});

test("keys of the command, too: each with its source, and the chosen one signs from then on", async () => {
  const signed: string[] = [];
  const identity = (name: string) => ({
    publicKey: new TextEncoder().encode(`public half of ${name}`),
    source: name,
    sign: async () => {
      signed.push(name);
      return new Uint8Array(8);
    },
  });
  const { attempts } = await open({
    startAt: "fresh",
    identities: { identity: identity("~/.ssh/work"), otherIdentities: [identity("ssh-agent: \u202ehome")] },
  });
  await inState("user-refused");
  expect(signed).toEqual(["~/.ssh/work"]);
  await named("Sign in another way").click();
  await shoot("ways-command");
  expect(await row("home").textContent()).not.toContain("\u202e");
  await row("home").getByRole("button", { name: /^Use/ }).click();
  await expect.poll(() => attempts.length, WAIT).toBe(2);
  expect(signed).toEqual(["~/.ssh/work", "ssh-agent: \u202ehome"]);
  await inState("user-refused");
  await named("Sign in another way").click();
  await row("login prompt").getByRole("button", { name: /^Use/ }).click();
  await inState("live");
  await page.reload();
  await inState("live"); // remembered
  expect(attempts.length).toBe(2);
  expect(await page.evaluate(() => localStorage.length)).toBe(0); // by the command: nobody comes back to this address
});

test("the fresh page leads to the kept one, where no key of the command is; back only by a link that the command says", async () => {
  const links: string[] = [];
  const key = { publicKey: new TextEncoder().encode("public half"), source: "~/.ssh/work", sign: neverSigns };
  await open({
    startAt: "fresh",
    identities: { identity: undefined, otherIdentities: [key], onFreshAsked: (url) => links.push(url) },
  });
  await inState("live"); // by the guest's prompt
  expect(new URL(page.url()).hostname).toMatch(/^[0-9a-f]{24}\.localhost$/);
  await openDialog();
  await shoot("ways-fresh");
  expect(await named(/^Create/).count()).toBe(0);
  expect(await dialog().textContent()).toContain(`by the page at localhost:${server?.port}`);
  await named("Passkeys, browser keys").click();
  await page.waitForURL(`http://localhost:${server?.port}/`);
  await inState("live");
  await openDialog();
  await expect.poll(() => dialog().locator(".ways li").count(), WAIT).toBe(1); // the prompt
  expect(await dialog().textContent()).not.toContain("~/.ssh/work");
  expect(await named("Create a passkey").isEnabled()).toBe(true);
  await named("Keys of sealtty open").click();
  await expect.poll(() => links.length, WAIT).toBe(1);
  await shoot("ways-kept");
  await page.goBack();
  await page.waitForURL(/^http:\/\/[0-9a-f]{24}\.localhost:\d+\/$/);
  await inState("live");
  const [link] = links;
  if (link === undefined) throw new Error("no link");
  await page.goto(link);
  await inState("live");
  await openDialog();
  await expect.poll(() => row("~/.ssh/work").count(), WAIT).toBe(1);
  const elsewhere = faults.foreignRequests.splice(0).map((url) => new URL(url).host);
  expect([...new Set(elsewhere)]).toEqual([`localhost:${server?.port}`]); // it went to the kept page, and nowhere else
});

function neverSigns(): never {
  throw new Error("asked to sign");
}

function escaped(text: string): string {
  return text.replaceAll(/[+/]/g, "\\$&");
}
