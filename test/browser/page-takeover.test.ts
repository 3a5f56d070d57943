// Another program served the port of `sealtty open` before, and left a service worker in the browser, which takes over every page of
// that address. It gets no signature of the command's keys and none of their names, whatever it does with what it is given.

import { mkdir, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { startPageServer } from "../../cli/local-page-server.ts";
import { redirectPage } from "../../cli/open-browser.ts";
import { type PageFile, readPageFiles } from "../../cli/page-files.ts";
import type { Identity } from "../../cli/services.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { launchBrowser, type TestBrowser } from "../support/browser.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { acceptAnyKey, echoProcess, SESSION_LIMITS, testGuest } from "../support/session.ts";
import { pageGuest } from "./page-guest.ts";
import { buildPage } from "./page-server.ts";

const SHOTS = path.join(import.meta.dirname, "../../test-results/browser");
const WAIT = { timeout: 60_000 };

/** In place of our page: takes the link's token, and asks for a signature by whatever key there is. */
const PLANTED_PAGE = `<!doctype html><title>planted</title><script>
  const token = new URLSearchParams(location.hash.slice(1)).get("t");
  const heard = (window.heard = []);
  const line = new WebSocket("ws://" + location.host + "/session");
  line.onopen = () => line.send(token);
  line.onclose = ({ code }) => heard.push({ type: "closed", code });
  line.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    heard.push(message);
    if (message.type !== "config") return;
    const hash = btoa("7".repeat(32));
    const ask = { type: "sign", user: message.user, service: "sealtty-session", handshakeHash: hash, evidenceDigest: hash };
    line.send(JSON.stringify({ type: "ask-for-fresh" }));
    line.send(JSON.stringify({ ...ask, id: 1 }));
    for (const key of message.keys) line.send(JSON.stringify({ ...ask, id: 2, publicKey: key.publicKey }));
  };
</script>`;
const PLANTED_WORKER = `
  addEventListener("install", () => skipWaiting());
  addEventListener("activate", (event) => event.waitUntil(clients.claim()));
  addEventListener("fetch", (event) => {
    if (event.request.mode !== "navigate") return;
    const headers = { "content-type": "text/html" };
    event.respondWith(new Response(${JSON.stringify(PLANTED_PAGE)}, { headers }));
  });
`;
const PLANTER = `<!doctype html><title>planter</title><script>navigator.serviceWorker.register("/worker.js")</script>`;

let files: ReadonlyMap<string, PageFile>;
let directory: string;
let browser: TestBrowser;

beforeAll(async () => {
  await mkdir(SHOTS, { recursive: true });
  directory = await buildPage(path.join(import.meta.dirname, "../../client"));
  files = await readPageFiles(directory);
  browser = await launchBrowser({ colorScheme: "dark" });
});
afterAll(async () => {
  await browser?.close();
  await rm(directory, { recursive: true, force: true });
});

/** @returns the port, free again, whose address has the worker in this browser. */
async function plant(): Promise<number> {
  const planter = http.createServer(({ url }, response) => {
    const worker = url === "/worker.js";
    response.writeHead(200, { "content-type": worker ? "text/javascript" : "text/html" });
    response.end(worker ? PLANTED_WORKER : PLANTER);
  });
  await new Promise<void>((resolve) => planter.listen(0, "127.0.0.1", resolve));
  const { port } = planter.address() as AddressInfo;
  const page = await browser.context.newPage();
  await page.goto(`http://localhost:${port}/`);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null, undefined, WAIT);
  await page.close();
  planter.closeAllConnections();
  await new Promise((resolve) => planter.close(resolve));
  return port;
}

/** As a program that is no browser could. @returns how it ends: 1008 for a token that does not let it in. */
function forge(port: number, origin: string, token: string): Promise<number> {
  return new Promise((resolve) => {
    const headers = { Host: new URL(origin).host, Origin: origin };
    const socket = new WebSocket(`ws://127.0.0.1:${port}/session`, { headers });
    socket.on("open", () => socket.send(token)).on("error", () => undefined);
    socket.on("message", () => {
      resolve(0); // it was let in
      socket.terminate();
    });
    socket.on("close", resolve);
  });
}

test("a service worker of an earlier program on the same port gets no signature and no key", async () => {
  const port = await plant();
  const sign = vi.fn<Identity["sign"]>(async () => utf8("a signature"));
  const identity = { publicKey: utf8("a public key"), source: "~/.ssh/work", sign };
  const guest = testGuest(
    fastClock(1),
    { keysAllowed: true, loginAllowed: true, verifyUserKey: acceptAnyKey },
    echoProcess,
    nodeSuite,
    SESSION_LIMITS,
  );
  const links: string[] = [];
  const server = await startPageServer({
    port,
    files,
    identity,
    onFreshAsked: (url) => links.push(url),
    guest: pageGuest(),
    dial: async () => {
      const line = memoryPipes();
      void guest.endpoint.servePipe(line.guest).catch(() => undefined);
      return line.client;
    },
  });
  try {
    const page = await browser.context.newPage();
    page.on("dialog", (dialog) => void dialog.accept());
    const fresh = new URL(server.url).origin;
    expect(fresh).toBe(`http://${new URL(fresh).hostname}:${port}`); // the very port
    const file = path.join(directory, "open.html"); // as the command opens the browser
    await writeFile(file, redirectPage(server.url));
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector('#page[data-state="live"]', WAIT);
    expect(sign).toHaveBeenCalledOnce();
    expect(
      await page.evaluate(async () => [
        navigator.serviceWorker.controller,
        (await navigator.serviceWorker.getRegistrations()).length,
      ]),
    ).toEqual([null, 0]);

    // To the address where the worker waits, with a token that is good there: the worst that can happen.
    await page.getByRole("button", { name: "How you sign in" }).click();
    await page.getByRole("button", { name: "Passkeys, browser keys" }).click();
    await page.waitForFunction(() => document.title === "planted", undefined, WAIT);
    const heard = (): Promise<Record<string, unknown>[]> =>
      page.evaluate(() => (globalThis as unknown as { heard: Record<string, unknown>[] }).heard);
    await expect.poll(async () => (await heard()).at(-1)?.["type"], WAIT).toBe("closed");
    expect((await heard()).map(({ type }) => type)).toEqual(["config", "closed"]);
    const [config] = await heard();
    expect(config).toMatchObject({ auth: "none", publicKey: null, keys: [] });
    expect(JSON.stringify(config)).not.toMatch(/work|\b[0-9a-f]{24}\.localhost/);
    expect(sign).toHaveBeenCalledOnce();
    expect(links.length).toBe(1); // the command said it to its user; the planted page did not hear it

    expect(await forge(port, fresh, String(config?.["nextToken"]))).toBe(1008);
    expect(await forge(port, fresh, String(config?.["pipeToken"]))).toBe(1008);
    expect(sign).toHaveBeenCalledOnce();
  } finally {
    await server.close();
  }
});
