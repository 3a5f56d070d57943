// The relay between fake guests and real web sockets: whole frames, right clients, bounded memory.

import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { concat, u32 } from "../../protocol/bytes.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { parseRelayArguments, relayOptions } from "../../relay/config.ts";
import { originAllowed } from "../../relay/origin-check.ts";
import { type Relay, startRelay } from "../../relay/relay.ts";
import { type ClientLink, GuestRoute, type Tap } from "../../relay/route.ts";

const running: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop();
});

/** A guest's character device: frames in, frames out. */
class FakeGuest {
  readonly path: string;
  readonly frames: Uint8Array[] = [];
  readonly noise: Uint8Array[] = [];
  connections = 0;
  socket: net.Socket | undefined;
  reads = true;
  readonly #server: net.Server;

  constructor() {
    const directory = mkdtempSync(path.join(tmpdir(), "sealtty-relay-test-"));
    this.path = path.join(directory, "guest.sock");
    this.#server = net.createServer((socket) => {
      this.connections++;
      this.socket = socket;
      const decoder = new FrameDecoder();
      socket.on("error", () => undefined);
      if (!this.reads) socket.pause();
      else
        socket.on("data", (chunk) => {
          const { frames, noise } = decoder.push(chunk);
          this.frames.push(...frames.map(({ body }) => body.slice()));
          if (noise.length > 0) this.noise.push(noise);
        });
    });
    running.push(() => {
      this.stop();
      rmSync(directory, { recursive: true, force: true });
    });
  }
  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }
  send(body: Uint8Array, encoding: "binary" | "armour" = "binary"): void {
    this.socket?.write(encodeFrame(body, encoding));
  }
  stop(): void {
    this.socket?.destroy();
    this.#server.close();
  }
}

async function start(guest: FakeGuest, tap?: Tap, allowOrigins: string[] = []): Promise<Relay> {
  const relay = await startRelay(
    {
      listen: { host: "127.0.0.1", port: 0 },
      guests: new Map([["vm", { kind: "unix" as const, path: guest.path }]]),
      allowOrigins,
    },
    tap === undefined ? {} : { tap },
  );
  running.push(() => relay.close());
  return relay;
}

async function ready(tap?: Tap) {
  const guest = new FakeGuest();
  await guest.listen();
  const relay = await start(guest, tap);
  await vi.waitFor(() => expect(relay.counters()["vm"]?.guestConnected).toBe(true));
  return { guest, relay };
}

class Client {
  readonly frames: Uint8Array[] = [];
  readonly ws: WebSocket;
  readonly opened: Promise<void>;
  readonly closed: Promise<number>;
  readonly refused: Promise<number>;
  constructor(relay: Relay, at = "/vm", headers: Record<string, string> = {}) {
    this.ws = new WebSocket(`ws://127.0.0.1:${relay.port}${at}`, "binary", { headers });
    const decoder = new FrameDecoder();
    this.ws.on("message", (data: Buffer) =>
      this.frames.push(...decoder.push(data).frames.map(({ body }) => body.slice())),
    );
    this.ws.on("error", () => undefined);
    this.opened = new Promise((resolve) => this.ws.on("open", () => resolve()));
    this.closed = new Promise((resolve) => this.ws.on("close", resolve));
    this.refused = new Promise((resolve) =>
      this.ws.on("unexpected-response", (_, response) => resolve(response.statusCode ?? 0)),
    );
    running.push(() => this.ws.terminate());
  }
  send(body: Uint8Array, encoding: "binary" | "armour" = "binary"): void {
    this.ws.send(encodeFrame(body, encoding));
  }
}

async function client(relay: Relay): Promise<Client> {
  const made = new Client(relay);
  await made.opened;
  return made;
}

const body = (id: number, text: string) => concat(Uint8Array.of(0x15), u32(id), Buffer.from(text));
const texts = (frames: readonly Uint8Array[]) =>
  frames.map((frame) => Buffer.from(frame.subarray(5)).toString());
const settle = (milliseconds = 60) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe("routing", () => {
  test("no client's RAW reaches the guest, whatever it says, and a body that it leaves torn costs nobody else a frame", async () => {
    const toGuest: Uint8Array[] = [];
    const { guest, relay } = await ready((direction, bytes) => {
      if (direction === "to-guest") toGuest.push(bytes.slice());
    });
    const [hostile, honest] = [await client(relay), await client(relay)];
    const asItIs = body(1, "as it is, 20 bytes..");
    const raw = (length: number) => concat(Uint8Array.of(0x1b), u32(1), u32(length));
    for (const length of [0, 24, 264_001, 270_000, 0xffff_ffff]) hostile.send(raw(length));
    hostile.send(raw(1000), "armour");
    hostile.send(body(1, "before"));
    // Whole, then torn: the guest must hear of neither header.
    hostile.ws.send(concat(encodeFrame(raw(25), "binary"), asItIs));
    hostile.ws.send(concat(encodeFrame(raw(264_000), "binary"), body(1, "torn")));
    await vi.waitFor(() => expect(texts(guest.frames)).toContain("before"));
    honest.send(body(2, "from another"));
    await vi.waitFor(() => expect(texts(guest.frames)).toContain("from another"));
    const expected = [body(1, "before"), asItIs, body(2, "from another")];
    expect(Buffer.concat(toGuest)).toEqual(
      Buffer.concat(expected.map((each) => encodeFrame(each, "binary"))),
    );
    expect(relay.counters()["vm"]).toMatchObject({ framesToGuest: 3, clientsCut: 0 });
  });

  test("each client gets the frames of its own connection, in both encodings", async () => {
    const { guest, relay } = await ready();
    const [a, b] = [await client(relay), await client(relay)];
    a.send(body(1, "from a"));
    b.send(body(2, "from b"), "armour");
    await vi.waitFor(() => expect(texts(guest.frames).sort()).toEqual(["from a", "from b"]));
    guest.send(body(1, "to a"));
    guest.send(body(2, "to b"), "armour");
    guest.send(body(3, "to nobody"));
    await vi.waitFor(() => expect([texts(a.frames), texts(b.frames)]).toEqual([["to a"], ["to b"]]));
    expect(relay.counters()["vm"]).toMatchObject({
      clients: 2,
      ids: 2,
      unroutable: 1,
      framesToClients: 2,
      framesToGuest: 2,
    });
  });
  test("frames that arrive in pieces reach the guest whole, never mixed with another client's", async () => {
    const { guest, relay } = await ready();
    const [a, b] = [await client(relay), await client(relay)];
    const long = encodeFrame(body(1, "x".repeat(3000)), "binary");
    a.ws.send(long.subarray(0, 1000));
    await settle(20);
    b.send(body(2, "short"));
    b.ws.send(Buffer.from("junk that is no frame\0"));
    await settle(20);
    a.ws.send(long.subarray(1000));
    await vi.waitFor(() => expect(guest.frames.map((frame) => frame.length)).toEqual([10, 3005]));
    expect(guest.noise).toEqual([]);
  });
  test("the guest's noise goes to nobody", async () => {
    const { guest, relay } = await ready();
    const a = await client(relay);
    const received = vi.fn<() => void>();
    a.ws.on("message", received);
    a.send(body(1, "x"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(1));
    guest.socket?.write("login: \x1b[2J kernel panic\0");
    await vi.waitFor(() => expect(relay.counters()["vm"]?.noiseFromGuest).toBeGreaterThan(10));
    expect(received).not.toHaveBeenCalled();
  });
  test("who uses another's id gets ciphertext at worst; the owner goes on", async () => {
    const { guest, relay } = await ready();
    const [owner, thief] = [await client(relay), await client(relay)];
    owner.send(body(1, "mine"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(1));
    for (let i = 0; i < 50; i++) thief.send(body(1, "stolen"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(51));
    guest.send(body(1, "answer"));
    await vi.waitFor(() =>
      expect([texts(owner.frames), texts(thief.frames)]).toEqual([["answer"], ["answer"]]),
    );
    thief.ws.terminate();
    await vi.waitFor(() => expect(relay.counters()["vm"]?.clients).toBe(1));
    guest.send(body(1, "again"));
    await vi.waitFor(() => expect(texts(owner.frames)).toEqual(["answer", "again"]));
  });
  test("a connection that moves to a new web socket is found there", async () => {
    const { guest, relay } = await ready();
    const old = await client(relay);
    old.send(body(1, "old"));
    const moved = await client(relay);
    await vi.waitFor(() => expect(guest.frames).toHaveLength(1));
    moved.send(body(1, "new"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(2));
    old.ws.terminate();
    guest.send(body(1, "hello"));
    await vi.waitFor(() => expect(texts(moved.frames)).toEqual(["hello"]));
  });
  test("the tap sees every frame in both directions", async () => {
    const seen: [string, number, number][] = [];
    const { guest, relay } = await ready((direction, bytes, index) =>
      seen.push([direction, bytes.length, index]),
    );
    const a = await client(relay);
    a.send(body(1, "abc"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(1));
    guest.send(body(1, "d"));
    guest.send(body(9, "e"));
    await vi.waitFor(() => expect(seen).toHaveLength(3));
    expect(seen.map(([direction, , index]) => [direction, index])).toEqual([
      ["to-guest", 0],
      ["to-client", 0],
      ["to-client", -1],
    ]);
  });
});

describe("bounds", () => {
  test("an id flood fills a table of fixed size, and takes nobody else's place", async () => {
    const { guest, relay } = await ready();
    const [quiet, flood] = [await client(relay), await client(relay)];
    quiet.send(body(0xffffffff, "here"));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(1));
    for (let id = 0; id < 5000; id++) flood.send(body(id, ""));
    await vi.waitFor(() => expect(guest.frames).toHaveLength(5001), 5000);
    expect(relay.counters()["vm"]?.ids).toBe(65);
    guest.send(body(0xffffffff, "still"));
    await vi.waitFor(() => expect(texts(quiet.frames)).toEqual(["still"]));
  });
  test("a client that floods does not starve another", async () => {
    const { guest, relay } = await ready();
    const [flood, quiet] = [await client(relay), await client(relay)];
    for (let i = 0; i < 2000; i++) flood.send(body(1, "x".repeat(3900)));
    quiet.send(body(2, "please"));
    await vi.waitFor(() => expect(texts(guest.frames)).toContain("please"), 5000);
    expect(guest.frames.length).toBeLessThan(1500);
  });
  test("a guest that reads nothing stops its clients: their bytes stay with them", async () => {
    const guest = new FakeGuest();
    guest.reads = false;
    await guest.listen();
    const relay = await start(guest);
    await vi.waitFor(() => expect(relay.counters()["vm"]?.guestConnected).toBe(true));
    const flood = await client(relay);
    for (let i = 0; i < 10_000; i++) flood.send(body(1, "x".repeat(3900))); // 39 MB
    await settle(500);
    expect(flood.ws.bufferedAmount).toBeGreaterThan(25_000_000);
  });
  test("a client that reads nothing is cut; the others do not notice", async () => {
    const link = (waiting: number): ClientLink & { sent: number; cuts: string[] } => ({
      waiting,
      sent: 0,
      cuts: [],
      send() {
        this.sent++;
      },
      pause: () => undefined,
      resume: () => undefined,
      cut(reason) {
        this.cuts.push(reason);
      },
    });
    // The guest's side for real, the clients' without a network.
    const real = new FakeGuest();
    await real.listen();
    const live = new GuestRoute({ kind: "unix", path: real.path }, () => undefined);
    running.push(() => live.close());
    await vi.waitFor(() => expect(live.guestConnected).toBe(true));
    const [slow, good] = [link(5 * 1024 * 1024), link(0)];
    live.add(slow)?.receive(encodeFrame(body(1, ""), "binary"));
    live.add(good)?.receive(encodeFrame(body(2, ""), "binary"));
    await vi.waitFor(() => expect(real.frames).toHaveLength(2));
    real.send(body(1, "x"));
    real.send(body(2, "y"));
    await vi.waitFor(() => expect(good.sent).toBe(1));
    expect([slow.cuts, slow.sent, live.clientCount]).toEqual([["reads too slowly"], 0, 1]);
  });
  test("too many clients, noise without end, text, and frames too large", async () => {
    const { guest, relay } = await ready();
    const text = await client(relay);
    text.ws.send("text");
    expect(await text.closed).toBe(1003);
    const noisy = await client(relay);
    const large = await client(relay);
    large.send(body(1, "x".repeat(20_000)));
    large.send(body(1, "ok"));
    await vi.waitFor(() => expect(texts(guest.frames)).toEqual(["ok"]));
    for (let i = 0; i < 300; i++) noisy.ws.send(Buffer.alloc(40_000, 0x41));
    expect([1006, 1008]).toContain(await noisy.closed);
    const many = Array.from({ length: 64 }, () => new Client(relay));
    expect(await many.at(-1)?.closed).toBe(1013);
  });
});

describe("the guest's pipe", () => {
  test("is opened again after it was lost; what came meanwhile is dropped, not kept", async () => {
    const guest = new FakeGuest();
    const relay = await start(guest); // nobody listens yet
    const a = await client(relay);
    a.send(body(1, "too early"));
    await vi.waitFor(() => expect(relay.counters()["vm"]?.dropped).toBe(1));
    await guest.listen();
    await vi.waitFor(() => expect(guest.connections).toBe(1), 5000);
    a.send(body(1, "one"));
    await vi.waitFor(() => expect(texts(guest.frames)).toEqual(["one"]));
    guest.socket?.write(encodeFrame(body(1, "cut in the middle"), "binary").subarray(0, 8));
    guest.socket?.end();
    await vi.waitFor(() => expect(guest.connections).toBe(2), 5000);
    await vi.waitFor(() => {
      a.send(body(1, "two"));
      expect(texts(guest.frames)).toContain("two");
    });
    guest.send(body(1, "back"));
    await vi.waitFor(() => expect(texts(a.frames)).toEqual(["back"]));
  });
});

describe("the network side", () => {
  test.each([
    [undefined, true],
    ["null", true],
    ["http://localhost:8743", true],
    ["http://0a1b2c.localhost:8743", true],
    ["http://localhost.evil.example:8743", false],
    ["http://evillocalhost:8743", false],
    ["http://.localhost:8743", false],
    ["https://127.0.0.1", true],
    ["http://[::1]:1", true],
    ["https://ok.example", true],
    ["http://ok.example", false],
    ["https://evil.example", false],
    ["http://localhost.evil.example", false],
    ["http://localhost:1/path", false],
    ["http://user@localhost:1", false],
    ["file://", false],
    ["nonsense", false],
    ["", false],
  ])("Origin %s → %s", (origin, allowed) =>
    expect(originAllowed(origin, ["https://ok.example"])).toBe(allowed),
  );
  test("a stranger's page is refused, a local one served", async () => {
    const { relay } = await ready();
    expect(await new Client(relay, "/vm", { origin: "https://evil.example" }).refused).toBe(403);
    expect(await new Client(relay, "/other").refused).toBe(404);
    const local = new Client(relay, "/vm", { origin: "http://localhost:8743" });
    await local.opened;
    expect(local.ws.protocol).toBe("binary");
  });
  test("serves two text pages and never a console", async () => {
    const { relay } = await ready();
    const get = async (at: string, method = "GET") => {
      const response = await fetch(`http://127.0.0.1:${relay.port}${at}`, { method });
      return [response.status, response.headers.get("content-type"), await response.text()];
    };
    expect(await get("/")).toEqual([
      200,
      "text/plain; charset=utf-8",
      expect.stringContaining("sealtty open"),
    ]);
    expect(await get("/healthz")).toEqual([200, "text/plain; charset=utf-8", "ok\n"]);
    expect((await get("/vm"))[0]).toBe(404);
    expect((await get("/", "POST"))[0]).toBe(405);
  });
  test("a port that is taken is said", async () => {
    const { guest, relay } = await ready();
    const options = {
      listen: { host: "127.0.0.1", port: relay.port },
      guests: new Map([["vm", { kind: "unix" as const, path: guest.path }]]),
    };
    await expect(startRelay({ ...options, allowOrigins: [] })).rejects.toMatchObject({
      code: "device-unavailable",
    });
  });
});

describe("configuration", () => {
  const read = (args: string[], toml?: string) => relayOptions(parseRelayArguments(args), toml);
  test("the command line, and a file behind it", () => {
    const toml = 'listen = "[::1]:9"\nallow_origins = ["https://a.example"]\n[guests]\nfile = "tcp:h:1"\n';
    expect(read(["--guest", "a.b=unix:/x=y"])).toEqual({
      listen: { host: "127.0.0.1", port: 8744 },
      guests: new Map([["a.b", { kind: "unix", path: "/x=y" }]]),
      allowOrigins: [],
    });
    expect(read(["--guest", "arg=tcp:[::1]:5"], toml)).toEqual({
      listen: { host: "::1", port: 9 },
      guests: new Map([
        ["file", { kind: "tcp", host: "h", port: 1 }],
        ["arg", { kind: "tcp", host: "::1", port: 5 }],
      ]),
      allowOrigins: ["https://a.example"],
    });
  });
  test.each([
    [[], undefined],
    [["--guest", "../x=unix:/a"], undefined],
    [["--guest", "healthz=unix:/a"], undefined],
    [["--guest", "a=http://h"], undefined],
    [["--guest", "a=tcp:h:0"], undefined],
    [["--guest", "a=unix:/a", "--listen", "8744"], undefined],
    [["--guest", "a=unix:/a", "--allow-origin", "*"], undefined],
    [["--guest", "a=unix:/a", "--nope"], undefined],
    [["--guest", "a=unix:/a", "--tap-fd", "x"], undefined],
    [[], "guest = 1"],
    [[], "[guests]\na = 1"],
    [[], "listen = "],
  ])("refuses %j %j", (args, toml) => {
    expect(() => read(args, toml)).toThrow(expect.objectContaining({ code: "bad-config" }));
  });
});
