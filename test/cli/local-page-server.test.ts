// The loopback server against everything a browser, a page of somebody else, or another user's program can send it.

import http from "node:http";
import net from "node:net";
import { redirectPage } from "../../cli/open-browser.ts";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import {
  type HostViewFrame,
  type PageServer,
  type PageServerOptions,
  startPageServer,
} from "../../cli/local-page-server.ts";
import type { Identity } from "../../cli/services.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";

const FILES = new Map(
  [
    ["/", "text/html; charset=utf-8", "<p>page"],
    ["/a/app.js", "text/javascript", "1"],
  ].map(([path, type, body]) => [
    path as string,
    { type: type as string, body: Buffer.from(body as string) },
  ]),
);

const running: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0)) await stop();
});

const GUEST = {
  address: "tcp:h:1",
  policyText: "version = 1",
  simulated: false,
  user: "root",
  identity: "db1",
  encoding: "auto",
  obfuscate: "adaptive",
} as const;

async function start(changes: Partial<PageServerOptions> = {}, direct?: string): Promise<PageServer> {
  const server = await startPageServer({
    port: 0,
    files: FILES,
    guest: { ...GUEST, directUrl: direct },
    identity: undefined,
    dial: () => Promise.reject(new SealttyError("transport-lost", "nobody \x1blistens")),
    firstFrameTimeout: 150,
    ...changes,
  });
  running.push(() => server.close());
  return server;
}

const tokenOf = (server: PageServer) => new URL(server.url).hash.slice("#t=".length);

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}
function get(
  server: PageServer,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: "127.0.0.1", port: server.port, path, method, headers, agent: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (text: string) => (body += text));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    request.on("error", reject).end();
  });
}

interface Socket {
  readonly ws: WebSocket;
  /** The next message. */
  next(): Promise<string>;
  /** 101 and then its close code, or the status of a refused upgrade. */
  readonly closed: Promise<{ status: number; code: number; reason: string }>;
}
function socket(
  server: PageServer,
  path: string,
  first?: string | Buffer,
  headers: Record<string, string> = {},
): Socket {
  const { host, origin } = new URL(server.url);
  const ws = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, {
    headers: { Host: host, Origin: origin, ...headers },
  });
  running.push(() => ws.terminate());
  const waiting: ((text: string) => void)[] = [];
  const arrived: string[] = [];
  ws.on("message", (data: Buffer) => {
    const text = data.toString("latin1");
    const wake = waiting.shift();
    if (wake === undefined) arrived.push(text);
    else wake(text);
  });
  ws.on("open", () => first !== undefined && ws.send(first));
  ws.on("error", () => undefined);
  const closed = new Promise<{ status: number; code: number; reason: string }>((resolve) => {
    ws.on("unexpected-response", (_request, response) =>
      resolve({ status: response.statusCode ?? 0, code: 0, reason: "" }),
    );
    ws.on("close", (code, reason) => resolve({ status: 101, code, reason: reason.toString() }));
  });
  return {
    ws,
    closed,
    next: () => {
      const text = arrived.shift();
      return text === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(text);
    },
  };
}

const config = async (server: PageServer) =>
  JSON.parse(await socket(server, "/session", tokenOf(server)).next());

describe("pages", () => {
  test("serves its files with the headers that keep others out", async () => {
    const server = await start({}, "ws://10.0.0.1:5555/");
    const { status, body, headers } = await get(server, "/");
    expect([status, body]).toEqual([200, "<p>page"]);
    const policy = headers["content-security-policy"];
    expect(policy).toContain("default-src 'none'; script-src 'self';");
    expect(policy).toContain(
      `connect-src 'self' ws://localhost:${server.port} ws://127.0.0.1:${server.port} ws://10.0.0.1:5555;`,
    );
    const { host: fresh } = new URL(server.url);
    const own = (await get(server, "/", { host: fresh })).headers["content-security-policy"];
    expect(own).toContain(`connect-src 'self' ws://${fresh} ws://10.0.0.1:5555;`);
    expect(policy).toContain("require-trusted-types-for 'script'; trusted-types default");
    expect(headers).toMatchObject({
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "cross-origin-resource-policy": "same-origin",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    });
    expect((await get(server, "/a/app.js?v=1")).status).toBe(200);
    expect(await get(server, "/", {}, "HEAD")).toMatchObject({ status: 200, body: "" });
  });
  test.each([
    "/../package.json",
    "/%2e%2e/package.json",
    "/a/../../x",
    "//etc/passwd",
    "/a",
    "/__proto__",
    "/a/app.js/",
    "/constructor",
  ])("%s is no file", async (path) => expect((await get(await start(), path)).status).toBe(404));
  test.each([
    "evil.example",
    "evil.example:PORT",
    "localhost",
    "localhost:1",
    "127.0.0.1.nip.io:PORT",
    "localhost:PORT.evil",
    "LOCALHOST:PORT",
    "x.localhost:PORT", // not the name of this run
    "0123456789abcdef01234567.localhost:PORT",
  ])("Host %s (DNS rebinding) → 421", async (host) => {
    const server = await start();
    const answer = await get(server, "/", { host: host.replace("PORT", String(server.port)) });
    expect([answer.status, answer.body.includes("page>")]).toEqual([421, false]);
  });
  test.each([
    [{ origin: "http://evil.example" }],
    [{ origin: "null" }],
    [{ origin: "http://localhost:1" }],
    [{ origin: "https://localhost:PORT" }],
    [{ origin: "http://127.0.0.1:PORT" }], // ours, but not the one that Host names
    [{ origin: "FRESH" }],
    [{ "sec-fetch-site": "cross-site" }],
    [{ "sec-fetch-site": "same-site" }],
  ])("%j → 403", async (headers) => {
    const server = await start();
    const port = String(server.port);
    const sent = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [
        name,
        value.replace("PORT", port).replace("FRESH", new URL(server.url).origin),
      ]),
    );
    expect((await get(server, "/", { host: `localhost:${port}`, ...sent })).status).toBe(403);
  });
  test("a navigation of the user's, and the page's own requests, pass", async () => {
    const server = await start();
    const { host: fresh } = new URL(server.url);
    const names = ["localhost", "127.0.0.1", "[::1]"].map((name) => `${name}:${server.port}`);
    for (const host of [fresh, ...names]) {
      // A link followed from elsewhere, as the file that opens the browser does: the page alone, not its parts.
      const visit = {
        host,
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
      };
      expect((await get(server, "/", visit)).status).toBe(200);
      expect((await get(server, "/", { ...visit, "sec-fetch-dest": "iframe" })).status).toBe(403);
      expect((await get(server, "/index.html", visit)).status).toBe(403);
      expect((await get(server, "/", { host, "sec-fetch-site": "none" })).status).toBe(200);
      expect(
        (await get(server, "/", { host, origin: `http://${host}`, "sec-fetch-site": "same-origin" })).status,
      ).toBe(200);
    }
  });
  test.each(["POST", "PUT", "OPTIONS", "DELETE"])("%s → 405", async (method) =>
    expect((await get(await start(), "/", {}, method)).status).toBe(405),
  );
  test("listens on loopback only, and on both of its addresses", async () => {
    const server = await start();
    const open = (host: string) =>
      new Promise<boolean>((resolve) => {
        const probe = net.connect({ host, port: server.port });
        probe.on("connect", () => resolve(true)).on("error", () => resolve(false));
        running.push(() => probe.destroy());
      });
    expect(await open("127.0.0.1")).toBe(true);
    expect(await open("127.0.0.2")).toBe(false);
  });
  test("a port that is taken is said, on either address", async () => {
    for (const host of ["127.0.0.1", "::1"]) {
      const squatter = net.createServer();
      const bound = await new Promise<boolean>((resolve) => {
        squatter.once("error", () => resolve(false)).listen({ port: 0, host }, () => resolve(true));
      });
      if (!bound) continue; // no IPv6 here
      running.push(() => squatter.close());
      const { port } = squatter.address() as net.AddressInfo;
      await expect(start({ port })).rejects.toMatchObject({
        code: "device-unavailable",
        cause: { code: "EADDRINUSE" },
      });
    }
  });
});

describe("/session", () => {
  test("the link's token opens it once", async () => {
    const onStranger = vi.fn<() => void>();
    const server = await start({ onStranger });
    expect(await config(server)).toMatchObject({
      type: "config",
      address: "tcp:h:1",
      pipe: { kind: "through-server" },
      policyText: "version = 1",
      simulated: false,
      user: "root",
      auth: "none",
      publicKey: null,
      identity: "db1",
      hostView: false,
      hostViewToken: null,
      encoding: "auto",
      obfuscate: "adaptive",
      page: "fresh",
      memory: {},
    });
    expect(await socket(server, "/session", tokenOf(server)).closed).toMatchObject({
      status: 101,
      code: 1008,
    });
    expect(onStranger).toHaveBeenCalledOnce();
  });
  test("a reload has a token of its own, once too; the pipe's opens no session", async () => {
    const server = await start();
    const { nextToken, pipeToken } = await config(server);
    expect((await socket(server, "/session", pipeToken).closed).code).toBe(1008);
    expect(JSON.parse(await socket(server, "/session", nextToken).next())).toMatchObject({ type: "config" });
    expect((await socket(server, "/session", nextToken).closed).code).toBe(1008);
  });
  test.each([["wrong"], [""], ["x".repeat(43)], [Buffer.from("binary")], ["x".repeat(20_000)]])(
    "a first frame that is no token is refused and told nothing",
    async (first) => {
      const server = await start();
      const stranger = socket(server, "/session", first);
      const spoke = vi.fn<() => void>();
      stranger.ws.on("message", spoke);
      expect([1008, 1009]).toContain((await stranger.closed).code);
      expect(spoke).not.toHaveBeenCalled();
      expect(await config(server)).toMatchObject({ type: "config" }); // and the link still works
    },
  );
  test("a first frame that does not come ends it", async () => {
    const server = await start();
    expect((await socket(server, "/session").closed).code).toBe(1006);
  });
  test("sockets that say nothing do not add up", async () => {
    const server = await start({ firstFrameTimeout: 400 });
    const all = await Promise.all(Array.from({ length: 12 }, () => socket(server, "/session").closed));
    expect(all.filter(({ status }) => status === 503)).toHaveLength(4);
    expect(await config(server)).toMatchObject({ type: "config" });
  });
  test.each([
    ["another page's", { Origin: "http://evil.example" }, 403],
    ["a file's", { Origin: "null" }, 403],
    ["a rebound", { Host: "evil.example", Origin: "http://evil.example" }, 421],
    ["a cross-site", { "Sec-Fetch-Site": "cross-site" }, 403],
  ])("%s web socket is refused, right token or not", async (_, headers, status) => {
    const server = await start();
    expect((await socket(server, "/session", tokenOf(server), headers).closed).status).toBe(status);
  });
  test("one without an Origin is refused", async () => {
    const server = await start();
    const ws = new WebSocket(`ws://localhost:${server.port}/session`);
    const status = await new Promise((resolve) => {
      ws.on("unexpected-response", (_request, response) => resolve(response.statusCode)).on(
        "error",
        () => undefined,
      );
    });
    expect(status).toBe(403);
  });
  test.each(["/", "/nothing", "/session/", "/__proto__", "/session?x"])(
    "no web socket at %s",
    async (path) => {
      expect((await socket(await start(), path).closed).status).toBe(404);
    },
  );
});

describe("signing", () => {
  const hash = Buffer.alloc(32, 7).toString("base64");
  const request = {
    type: "sign",
    id: 3,
    handshakeHash: hash,
    evidenceDigest: hash,
    user: "root",
    service: "sealtty-session",
  };
  async function ask(message: unknown) {
    const sign = vi.fn<Identity["sign"]>(() => Promise.resolve(Uint8Array.of(1, 2)));
    const server = await start({ identity: { publicKey: Uint8Array.of(9), source: "file", sign } });
    const page = socket(server, "/session", tokenOf(server));
    expect(JSON.parse(await page.next())).toMatchObject({ auth: "ssh-key", publicKey: "CQ==" });
    page.ws.send(typeof message === "string" ? message : JSON.stringify(message));
    const answer = await Promise.race([page.next().then((text) => JSON.parse(text)), page.closed]);
    return { sign, answer };
  }
  test("signs for the user of the command line", async () => {
    const { sign, answer } = await ask(request);
    expect(answer).toEqual({ type: "signed", id: 3, sshsig: "AQI=" });
    const digest = new Uint8Array(32).fill(7);
    expect(sign).toHaveBeenCalledWith({
      handshakeHash: digest,
      evidenceDigest: digest,
      user: "root",
      service: "sealtty-session",
    });
  });
  test("with the key that the page names, of those that the command has; with no other", async () => {
    const signed: string[] = [];
    const named = (source: string, byte: number): Identity => ({
      publicKey: Uint8Array.of(byte),
      source,
      sign: async () => {
        signed.push(source);
        return Uint8Array.of(byte);
      },
    });
    const server = await start({ otherIdentities: [named("agent: a", 9), named("file", 8)] });
    const page = socket(server, "/session", tokenOf(server));
    expect(JSON.parse(await page.next())).toMatchObject({
      auth: "none",
      publicKey: null,
      keys: [
        { publicKey: "CQ==", source: "agent: a" },
        { publicKey: "CA==", source: "file" },
      ],
    });
    const answerTo = async (change: object): Promise<unknown> => {
      page.ws.send(JSON.stringify({ ...request, ...change }));
      return JSON.parse(await page.next());
    };
    expect(await answerTo({ publicKey: "CA==" })).toEqual({ type: "signed", id: 3, sshsig: "CA==" });
    expect(await answerTo({ publicKey: "Bw==" })).toMatchObject({ type: "sign-failed", id: 3 });
    expect(await answerTo({ publicKey: "" })).toMatchObject({ type: "sign-failed", id: 3 });
    expect(signed).toEqual(["file"]);
    page.ws.send(JSON.stringify({ ...request, publicKey: "no base64" }));
    expect((await page.closed).code).toBe(1008);
  });
  test.each([[{ user: "other" }], [{ service: "git" }]])("signs nothing with %j", async (change) => {
    const { sign, answer } = await ask({ ...request, ...change });
    expect(answer).toMatchObject({ type: "sign-failed", id: 3 });
    expect(sign).not.toHaveBeenCalled();
  });
  test.each([
    ["not JSON"],
    [{ ...request, handshakeHash: "AAAA" }],
    [{ ...request, evidenceDigest: undefined }],
    [{ ...request, id: "3" }],
    [{ ...request, type: "sign-anything" }],
    ["null"],
  ])("ends at %j", async (message) => {
    const { sign, answer } = await ask(message);
    expect(answer).toMatchObject({ code: 1008 });
    expect(sign).not.toHaveBeenCalled();
  });
});

describe("two pages", () => {
  const hash = Buffer.alloc(32, 7).toString("base64");
  const sign = { type: "sign", id: 1, handshakeHash: hash, evidenceDigest: hash, service: "sealtty-session" };
  const key = () => {
    const signs = vi.fn<Identity["sign"]>(() => Promise.resolve(Uint8Array.of(1)));
    return { signs, identity: { publicKey: Uint8Array.of(9), source: "~/.ssh/work", sign: signs } };
  };
  const keptHeaders = (server: PageServer) => ({
    Host: `localhost:${server.port}`,
    Origin: `http://localhost:${server.port}`,
  });
  const freshHeaders = (url: string) => ({ Host: new URL(url).host, Origin: new URL(url).origin });
  const hashOf = (url: string) => new URL(url).hash.slice("#t=".length);

  test("each run has another fresh name, which is no secret and cannot be guessed", async () => {
    const names = await Promise.all(
      Array.from({ length: 8 }, async () => new URL((await start()).url).hostname),
    );
    expect(new Set(names).size).toBe(8);
    for (const name of names) expect(name).toMatch(/^[0-9a-f]{24}\.localhost$/);
  });
  test("the kept page is told of no key, and what it asks to sign ends it", async () => {
    const { signs, identity } = key();
    const server = await start({ startAt: "kept", identity, otherIdentities: [identity] });
    expect(server.url).toMatch(/^http:\/\/localhost:\d+\/#t=/);
    const page = socket(server, "/session", tokenOf(server));
    const told = await page.next();
    expect(JSON.parse(told)).toMatchObject({
      page: "kept",
      auth: "none",
      publicKey: null,
      keys: [],
      memory: null,
    });
    expect(told).not.toMatch(/work|CQ==|[0-9a-f]{24}\.localhost/);
    page.ws.send(JSON.stringify({ ...sign, user: "root" }));
    expect((await page.closed).code).toBe(1008);
    expect(signs).not.toHaveBeenCalled();
  });
  test("a token of the kept page's opens no fresh one, though a program can say any Origin; nor the other way round", async () => {
    const { signs, identity } = key();
    const server = await start({ identity });
    const fresh = socket(server, "/session", tokenOf(server));
    const { keptPage, nextToken } = JSON.parse(await fresh.next());
    const kept = hashOf(keptPage);
    expect((await socket(server, "/session", kept).closed).code).toBe(1008); // said as if from the fresh page
    expect((await socket(server, "/session", nextToken, keptHeaders(server)).closed).code).toBe(1008);
    const page = socket(server, "/session", kept, keptHeaders(server)); // neither was used up
    const { nextToken: nextKept } = JSON.parse(await page.next());
    expect((await socket(server, "/session", nextKept).closed).code).toBe(1008);
    expect(JSON.parse(await socket(server, "/session", nextToken).next())).toMatchObject({ page: "fresh" });
    expect(signs).not.toHaveBeenCalled();
  });
  test("the kept page has the fresh one's link said, a few times, and never learns it", async () => {
    const links: string[] = [];
    const { identity } = key();
    const server = await start({ startAt: "kept", identity, onFreshAsked: (url) => links.push(url) });
    const page = socket(server, "/session", tokenOf(server));
    const heard: string[] = [];
    page.ws.on("message", (data: Buffer) => heard.push(data.toString()));
    await page.next();
    for (let asked = 0; asked < 40; asked++) page.ws.send('{"type":"ask-for-fresh"}');
    page.ws.send("no request");
    expect((await page.closed).code).toBe(1008);
    expect(links.length).toBe(16);
    expect(heard.length).toBe(1);
    const link = links.at(-1) ?? "";
    const config = await socket(server, "/session", hashOf(link), freshHeaders(link)).next();
    expect(JSON.parse(config)).toMatchObject({ page: "fresh", auth: "ssh-key" });
  });
  test("what the fresh page has remembered comes again; the kept page has nothing of it", async () => {
    const server = await start();
    const page = socket(server, "/session", tokenOf(server));
    const { keptPage, nextToken } = JSON.parse(await page.next());
    page.ws.send(JSON.stringify({ type: "remember", name: "seen", value: "x".repeat(100_000) }));
    page.ws.send("no request");
    await page.closed;
    const { memory } = JSON.parse(await socket(server, "/session", nextToken).next());
    expect(memory).toEqual({ seen: "x".repeat(100_000) });
    const kept = socket(server, "/session", hashOf(keptPage), keptHeaders(server));
    expect(JSON.parse(await kept.next())).toMatchObject({ memory: null });
    kept.ws.send(JSON.stringify({ type: "remember", name: "seen", value: "y" }));
    expect((await kept.closed).code).toBe(1008);
  });
});

describe("/pipe", () => {
  class FakePipe implements Pipe {
    readonly sent: Uint8Array[] = [];
    readonly chunks: Uint8Array[] = [];
    closed = false;
    takes: () => Promise<void> = () => Promise.resolve();
    #wake: () => void = () => undefined;
    readonly incoming = this.#read();
    async *#read(): AsyncGenerator<Uint8Array> {
      while (!this.closed) {
        const chunk = this.chunks.shift();
        if (chunk !== undefined) yield chunk;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
    push(chunk: Uint8Array): void {
      this.chunks.push(chunk);
      this.#wake();
    }
    async send(chunk: Uint8Array): Promise<void> {
      await this.takes();
      this.sent.push(chunk.slice());
    }
    async close(): Promise<void> {
      this.closed = true;
      this.#wake();
    }
  }
  async function opened(pipe: Pipe) {
    const server = await start({ dial: () => Promise.resolve(pipe) });
    const { pipeToken } = await config(server);
    return { server, pipeToken: pipeToken as string };
  }
  test("carries bytes both ways, and its token serves again", async () => {
    const pipe = new FakePipe();
    const { server, pipeToken } = await opened(pipe);
    const page = socket(server, "/pipe", pipeToken);
    page.ws.on("open", () => page.ws.send(Buffer.from([1, 0, 255])));
    await vi.waitFor(() => expect(Buffer.concat(pipe.sent)).toEqual(Buffer.from([1, 0, 255])));
    pipe.push(Uint8Array.of(0, 254));
    expect(await page.next()).toBe("\x00\xfe");
    page.ws.close();
    await vi.waitFor(() => expect(pipe.closed).toBe(true));
    const again = socket(server, "/pipe", pipeToken);
    expect((await again.closed).code).toBe(1000); // the fake pipe has ended
  });
  test("the newest takes the place of the one before", async () => {
    const { server, pipeToken } = await opened(new FakePipe());
    const old = socket(server, "/pipe", pipeToken);
    await new Promise((resolve) => old.ws.on("open", resolve));
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket(server, "/pipe", pipeToken);
    expect((await old.closed).code).toBe(1006);
  });
  test("the session's token does not open it; a failed dial says why, without control characters", async () => {
    const server = await start();
    expect((await socket(server, "/pipe", tokenOf(server)).closed).code).toBe(1008);
    const { pipeToken } = await config(server);
    expect(await socket(server, "/pipe", pipeToken).closed).toEqual({
      status: 101,
      code: 1011,
      reason: "transport-lost: nobody \ufffdlistens",
    });
  });
  test("text is refused", async () => {
    const pipe = new FakePipe();
    const { server, pipeToken } = await opened(pipe);
    const page = socket(server, "/pipe", pipeToken);
    page.ws.on("open", () => page.ws.send("text"));
    expect((await page.closed).code).toBe(1003);
    expect(pipe.sent).toEqual([]);
  });
  test("a pipe that takes nothing stops the page: memory stays bounded", async () => {
    const pipe = new FakePipe();
    pipe.takes = () => new Promise(() => undefined);
    const { server, pipeToken } = await opened(pipe);
    const page = socket(server, "/pipe", pipeToken);
    await new Promise((resolve) => page.ws.on("open", resolve));
    await new Promise((resolve) => setTimeout(resolve, 50)); // past its token
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 400; i++) page.ws.send(new Uint8Array(100_000)); // 40 MB
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(page.ws.bufferedAmount).toBeGreaterThan(30_000_000); // still with the sender
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });
  test("there is none where the page can reach the guest by itself", async () => {
    const server = await start({}, "ws://127.0.0.1:1/");
    expect(await config(server)).toMatchObject({
      pipe: { kind: "direct", url: "ws://127.0.0.1:1/" },
      pipeToken: null,
    });
    expect((await socket(server, "/pipe", "x").closed).status).toBe(404);
  });
  test("a VNC server's web socket is told from a pipe's", async () => {
    const url = "ws://127.0.0.1:5700/";
    const guest = { ...GUEST, directUrl: url, directVnc: true };
    expect(await config(await start({ guest }))).toMatchObject({ pipe: { kind: "direct-vnc", url } });
  });
});

test("/host-view shows what the host saw, to its token only", async () => {
  const listeners = new Set<(frame: HostViewFrame) => void>();
  const server = await start({
    hostView: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });
  const { hostView, hostViewToken, pipeToken } = await config(server);
  expect(hostView).toBe(true);
  expect((await socket(server, "/host-view", pipeToken).closed).code).toBe(1008);
  const page = socket(server, "/host-view", hostViewToken);
  await vi.waitFor(() => expect(listeners.size).toBe(1));
  for (const listener of listeners) listener({ direction: "to-guest", bytes: Uint8Array.of(1, 2), at: 5 });
  expect(JSON.parse(await page.next())).toEqual({ direction: "to-guest", bytes: "AQI=", at: 5 });
  page.ws.close();
  await vi.waitFor(() => expect(listeners.size).toBe(0));
  const none = await start();
  expect((await socket(none, "/host-view", "x").closed).status).toBe(404);
});

test("the file that opens the browser holds the link and nothing else can be put into it", () => {
  expect(redirectPage("http://localhost:8743/#t=abc_-9")).toContain(
    'content="0;url=http://localhost:8743/#t=abc_-9"',
  );
  const fresh = redirectPage("http://0a1b.localhost:8743/#t=abc_-9");
  expect(fresh).toContain('location.replace("http://0a1b.localhost:8743/#t=abc_-9")');
  expect(fresh).not.toContain("http-equiv"); // not in Safari, which asks the network for the name
  for (const url of [
    'http://x").localhost:1/#t=a',
    "http://evil.example/.localhost:1/#t=a",
    'http://localhost:1/#t=a"><script>',
    "https://example.org/#t=a",
    "http://localhost:1/x#t=a",
  ]) {
    expect(() => redirectPage(url)).toThrow("not a link");
  }
});
