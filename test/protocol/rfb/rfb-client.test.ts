// The RFB client on a pipe in memory: what it asks and when, what a server that stops, floods or lies makes of it.

import { afterEach, describe, expect, test } from "vitest";
import { concat, toHex, u32 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { MAX_RFB_UNSENT } from "../../../protocol/limits.ts";
import type { Pipe } from "../../../protocol/pipe.ts";
import {
  inputMessage,
  POKE,
  type RfbInput,
  setEncodings,
  setPixelFormat,
  updateRequest,
} from "../../../protocol/rfb/client-messages.ts";
import { openRfb, POKE_EVERY, type RfbClient, type RfbUpdate } from "../../../protocol/rfb/rfb-client.ts";
import { ManualClock } from "../../support/clocks.ts";
import { memoryPipes, type PipePair } from "../../support/memory-pipe.ts";
import { desktopSize, opened, raw, update, VERSION } from "../../support/rfb-server.ts";

const HELLO = toHex(concat(setPixelFormat(), setEncodings()));
const OPENED = `${toHex(VERSION)}0101`; // None, shared
const all = (width: number, height: number): string => toHex(updateRequest(false, width, height));
const changes = (width: number, height: number): string => toHex(updateRequest(true, width, height));
const POKED = toHex(inputMessage(POKE, false));
const lost = expect.objectContaining({ name: "SealttyError", code: "transport-lost" });

/** The server's end: what it was told so far, and a wait for more. */
class Server {
  heard = "";
  readonly clock = new ManualClock();
  readonly client: Pipe;
  readonly #pipe: Pipe;
  readonly #pipes: PipePair;
  readonly #reading: Promise<void>;
  #wake: () => void = () => {};

  constructor() {
    const pipes = memoryPipes();
    this.client = pipes.client;
    this.#pipe = pipes.guest;
    this.#pipes = pipes;
    this.#reading = this.#read();
  }

  say(...parts: readonly Uint8Array[]): Promise<void> {
    return this.#pipe.send(concat(...parts));
  }
  async hears(hex: string): Promise<void> {
    while (this.heard.length < hex.length && hex.startsWith(this.heard))
      await new Promise<void>((resolve) => (this.#wake = resolve));
    const heard = this.heard;
    this.heard = "";
    if (heard !== hex) throw new Error(`The server heard ${heard}, not ${hex}`);
  }
  cut(): void {
    this.#pipes.cut();
  }
  async close(): Promise<void> {
    await this.#pipe.close();
    await this.#reading;
  }

  async #read(): Promise<void> {
    try {
      for await (const chunk of this.#pipe.incoming) {
        this.heard += toHex(chunk);
        this.#wake();
      }
    } catch {
      // it was cut
    }
  }
}

/** An open client that runs, after its first words. */
async function running(width = 4, height = 2) {
  const server = new Server();
  servers.push(server);
  const [client] = await Promise.all([
    openRfb(server.client, { clock: server.clock }),
    server.say(opened(width, height)),
  ]);
  const updates: RfbUpdate[] = [];
  let wake = (): void => {};
  const end = client.run((told) => {
    updates.push(told);
    wake();
  });
  end.catch(() => {});
  await server.hears(OPENED + HELLO + all(width, height));
  const updated = async (count: number): Promise<void> => {
    while (updates.length < count) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { server, client, updates, updated, end };
}
const servers: Server[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

const pixel = raw(1, 1, 1, 1, Uint8Array.of(1, 2, 3));

describe("openRfb()", () => {
  async function opening(...said: readonly Uint8Array[]) {
    const server = new Server();
    servers.push(server);
    const client = openRfb(server.client, { clock: server.clock });
    client.catch(() => {});
    for (const bytes of said) await server.say(bytes);
    return { server, client };
  }

  test("a server that stops half-way is given up after 10 s, and the pipe closed", async () => {
    const { server, client } = await opening(VERSION);
    await server.hears(toHex(VERSION));
    server.clock.advance(9999);
    expect(server.clock.timers).toBe(1);
    server.clock.advance(1);
    await expect(client).rejects.toThrow("did not open its screen in time");
    await expect(server.say(VERSION)).rejects.toEqual(lost);
  });

  test("a pipe that cannot be closed is given up all the same, and nothing is left unhandled", async () => {
    const clock = new ManualClock();
    let fail: (error: Error) => void = () => {};
    const pipe: Pipe = {
      incoming: {
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise((_, reject) => (fail = reject)),
        }),
      },
      send: () => Promise.resolve(),
      close: () => Promise.reject(new Error("cannot close")),
    };
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", note);
    try {
      const opening = openRfb(pipe, { clock });
      opening.catch(() => {});
      clock.advance(10_000);
      await new Promise((resolve) => setImmediate(resolve));
      fail(new SealttyError("transport-lost", "cut"));
      await expect(opening).rejects.toThrow("did not open its screen in time");
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", note);
    }
  });

  test("a server that ends, or is cut off, is transport-lost, and leaves no timer", async () => {
    const ended = await opening(VERSION);
    await ended.server.hears(toHex(VERSION));
    await ended.server.close();
    await expect(ended.client).rejects.toThrow("ended the connection before its screen was open");
    const cut = await opening(VERSION);
    await cut.server.hears(toHex(VERSION));
    cut.server.cut();
    await expect(cut.client).rejects.toEqual(lost);
    expect([ended.server.clock.timers, cut.server.clock.timers]).toEqual([0, 0]);
  });

  test("a screen that is too large is refused, and the pipe closed", async () => {
    const { server, client } = await opening(opened(65_535, 65_535));
    await expect(client).rejects.toThrow("65535 × 65535 pixels, which is too large");
    await expect(server.say(VERSION)).rejects.toEqual(lost);
  });

  test("TLS is made by who can, on the pipe as it is then, and the rest goes through it", async () => {
    const outside = new Server();
    const inside = new Server();
    servers.push(outside, inside);
    const asked: string[] = [];
    const opening = openRfb(outside.client, {
      clock: outside.clock,
      async startTls(pipe, kind) {
        await pipe.send(Uint8Array.of(0x16)); // the client speaks first
        for await (const chunk of pipe.incoming) {
          asked.push(kind, toHex(chunk));
          break;
        }
        return inside.client;
      },
    });
    await outside.say(VERSION, Uint8Array.of(1, 19, 0, 2, 0, 1), u32(257), Uint8Array.of(1));
    await outside.hears(`${toHex(VERSION)}1300020000010116`);
    await outside.say(Uint8Array.of(0x17));
    await inside.say(u32(0), opened(4, 2).slice(VERSION.length + 6));
    const client = await opening;
    expect(asked).toEqual(["anonymous", "17"]);
    await inside.hears("01");
    expect([client.framebuffer.width, client.framebuffer.height]).toEqual([4, 2]);
  });

  test("TLS that fails is told as it failed", async () => {
    const server = new Server();
    servers.push(server);
    const opening = openRfb(server.client, {
      clock: server.clock,
      startTls: () => Promise.reject(new SealttyError("transport-lost", "No TLS here")),
    });
    opening.catch(() => {});
    await server.say(VERSION, Uint8Array.of(1, 19, 0, 2, 0, 1), u32(260), Uint8Array.of(1));
    await expect(opening).rejects.toThrow("No TLS here");
    await expect(server.say(VERSION)).rejects.toEqual(lost);
  });
});

describe("RfbClient", () => {
  test("asks for all once, then for changes: one request for each update, and all again for a new size", async () => {
    const { server, updates, client } = await running();
    await server.say(update(pixel));
    await server.hears(changes(4, 2));
    await server.say(update(pixel));
    await server.hears(changes(4, 2));
    await server.say(update(desktopSize(3, 3)));
    await server.hears(all(3, 3));
    await server.say(update(pixel));
    await server.hears(changes(3, 3));
    expect(updates).toEqual([
      { resized: true, rows: [{ from: 1, to: 2 }] },
      { resized: false, rows: [{ from: 1, to: 2 }] },
      { resized: true, rows: [] },
      { resized: false, rows: [{ from: 1, to: 2 }] },
    ]);
    expect([...client.framebuffer.row(1)]).toEqual([0, 0, 0, 1, 2, 3, 0, 0, 0]);
  });

  test("what comes right behind the opening, and before it is asked for, is taken", async () => {
    const server = new Server();
    servers.push(server);
    const [client] = await Promise.all([
      openRfb(server.client, { clock: server.clock }),
      server.say(opened(4, 2), update(pixel)),
    ]);
    const first = new Promise<RfbUpdate>((resolve) => void client.run(resolve).catch(() => {}));
    expect(await first).toEqual({ resized: true, rows: [{ from: 1, to: 2 }] });
    // The update was there before the request: that one is still out, so it is all the same one request.
    await server.hears(OPENED + HELLO + all(4, 2));
    await expect(client.run(() => {})).rejects.toThrow("runs once");
  });

  test("a flood of updates is told once: those without a row not at all, and many chunks as one", async () => {
    const { server, updates, updated } = await running();
    await server.say(update(pixel));
    await server.hears(changes(4, 2));
    await updated(1);
    await server.say(new Uint8Array(64 * 1024)); // 16,384 updates without anything
    await server.hears(changes(4, 2));
    await server.say(...Array.from({ length: 1000 }, () => update(pixel)));
    await server.hears(changes(4, 2));
    await updated(2);
    await server.say(update(desktopSize(4, 2)));
    await server.hears(all(4, 2));
    await updated(3);
    expect(updates).toEqual([
      { resized: true, rows: [{ from: 1, to: 2 }] },
      { resized: false, rows: [{ from: 1, to: 2 }] },
      { resized: true, rows: [] },
    ]);
  });

  test("chunks that came together are read before any of it is told", async () => {
    const clock = new ManualClock();
    const due: (() => void)[] = [];
    clock.soon = (callback) => void due.push(callback);
    const chunks = [
      opened(4, 2),
      ...Array.from({ length: 100 }, () => update(pixel)),
      update(desktopSize(3, 3)),
    ];
    let read = 0;
    const pipe: Pipe = {
      incoming: (async function* () {
        for (const chunk of chunks) {
          read++;
          yield chunk;
        }
        for (const callback of due.splice(0)) callback();
        yield update(pixel); // the pipe ends behind it
      })(),
      send: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
    const client = await openRfb(pipe, { clock });
    const told: [number, RfbUpdate][] = [];
    await client.run((one) => void told.push([read, one]));
    expect(told).toEqual([
      [chunks.length, { resized: true, rows: [] }],
      [chunks.length, { resized: false, rows: [{ from: 1, to: 2 }] }],
    ]);
  });

  test("a chunk of any length leaves others their turn, and ends where the client is closed", async () => {
    const { server, client, end, updated } = await running();
    let turns = 0;
    const soon = server.clock.soon.bind(server.clock);
    server.clock.soon = (callback) => {
      turns++;
      if (turns === 5) void client.close();
      soon(callback);
    };
    await server.say(concat(update(pixel), new Uint8Array(1024 * 1024).fill(2)));
    await updated(1);
    await end;
    expect(turns).toBe(5);
  });

  test("half an update changes nothing that is told", async () => {
    const { server, updates } = await running();
    const bytes = update(pixel);
    for (const byte of bytes.slice(0, -1)) await server.say(Uint8Array.of(byte));
    expect(updates).toEqual([]);
    await server.say(bytes.slice(-1));
    await server.hears(changes(4, 2));
    expect(updates.length).toBe(1);
  });

  test("pokes every 100 ms with a key that nobody pressed, by scancode where the server takes those", async () => {
    const { server, client, updated } = await running();
    expect(client.sendsScancodes).toBe(false);
    server.clock.advance(POKE_EVERY - 1);
    server.clock.advance(1);
    await server.hears(POKED);
    await server.say(update({ x: 0, y: 0, width: 4, height: 2, encoding: -258 }));
    await server.hears(changes(4, 2));
    await updated(1);
    expect(client.sendsScancodes).toBe(true);
    server.clock.advance(POKE_EVERY);
    await server.hears(toHex(inputMessage(POKE, true)));
    client.setPoking(false);
    server.clock.advance(10 * POKE_EVERY);
    expect(server.clock.timers).toBe(0);
    client.setPoking(true);
    client.setPoking(true);
    await server.hears(toHex(inputMessage(POKE, true)));
    expect(server.clock.timers).toBe(1);
    await client.close();
    expect(server.clock.timers).toBe(0);
  });

  test("sends events in order and in one piece, by the server's kind of keys", async () => {
    const { server, client } = await running();
    const inputs: RfbInput[] = [
      { kind: "key", down: true, scancode: 0x1e, keysym: 0x61 },
      { kind: "pointer", buttons: 1, x: 3, y: 1 },
      { kind: "key", down: false, scancode: 0x1e, keysym: 0x61 },
    ];
    const as = (extended: boolean): string =>
      inputs.map((input) => toHex(inputMessage(input, extended))).join("");
    await client.send(inputs);
    await server.hears(as(false));
    await server.say(
      update(
        { x: 1, y: 0, width: 4, height: 2, encoding: -257 },
        { x: 0, y: 0, width: 0, height: 0, encoding: -258 },
      ),
    );
    await server.hears(changes(4, 2));
    expect(client.pointerIsAbsolute).toBe(true);
    await client.send(inputs);
    await server.hears(as(true));
    await expect(client.send([{ kind: "pointer", buttons: 0, x: -1, y: 0 }])).rejects.toThrow("does not fit");
  });

  test("a server that does not read: one request and one poke wait, input up to its bound, and all is sent once it reads", async () => {
    let release = (): void => {};
    const sent: string[] = [];
    const server = new Server();
    servers.push(server);
    let blocked = false;
    const pipe: Pipe = {
      incoming: server.client.incoming,
      async send(chunk) {
        sent.push(toHex(chunk));
        if (blocked) await new Promise<void>((resolve) => (release = resolve));
      },
      close: () => server.client.close(),
    };
    const [client] = await Promise.all([openRfb(pipe, { clock: server.clock }), server.say(opened(4, 2))]);
    blocked = true;
    let wake = (): void => {};
    client.run(() => wake()).catch(() => {});
    expect(sent.pop()).toBe(HELLO + all(4, 2));
    sent.length = 0;
    const told = new Promise<void>((resolve) => (wake = resolve));
    await server.say(...Array.from({ length: 1000 }, () => update(pixel)));
    await told;
    server.clock.advance(1000 * POKE_EVERY);
    expect(sent).toEqual([]);
    const batch = Array.from({ length: MAX_RFB_UNSENT / 64 }, (): RfbInput[] =>
      Array.from({ length: 8 }, () => POKE),
    );
    const sending = batch.map((inputs) => client.send(inputs));
    await expect(client.send([POKE])).rejects.toMatchObject({ code: "limit-exceeded" });
    blocked = false;
    release();
    await Promise.all(sending);
    expect(sent).toEqual([changes(4, 2) + POKED + POKED.repeat(MAX_RFB_UNSENT / 8)]);
    await client.send([POKE]);
    expect(sent.length).toBe(2);
  });

  test.each([
    ["a server that lies", (server: Server) => server.say(Uint8Array.of(77)), "nobody asked for (type 77)"],
    ["a pipe that is cut", async (server: Server) => server.cut(), "dropped the pipe"],
  ] as const)("%s ends run() with transport-lost, and input with it", async (_, act, problem) => {
    const { server, client, end } = await running();
    await act(server);
    await expect(end).rejects.toThrow(problem);
    await expect(end).rejects.toEqual(lost);
    await expect(client.send([POKE])).rejects.toEqual(lost);
    await expect(server.say(VERSION)).rejects.toEqual(lost);
    expect(server.clock.timers).toBe(0);
  });

  test("an end in order, the server's or ours, ends run()", async () => {
    const first = await running();
    await first.server.close();
    await first.end;
    const second = await running();
    await second.client.close();
    await second.client.close();
    await second.end;
    await expect(second.client.send([POKE])).rejects.toEqual(lost);
    expect([first.server.clock.timers, second.server.clock.timers]).toEqual([0, 0]);
  });

  test("a pipe that takes no more ends run(), and those who wait to send", async () => {
    const server = new Server();
    servers.push(server);
    let broken = false;
    const pipe: Pipe = {
      incoming: server.client.incoming,
      send: (chunk) =>
        broken ? Promise.reject(new SealttyError("transport-lost", "broken")) : server.client.send(chunk),
      close: () => server.client.close(),
    };
    const [client] = await Promise.all([openRfb(pipe, { clock: server.clock }), server.say(opened(4, 2))]);
    const end = client.run(() => {});
    end.catch(() => {});
    await server.hears(OPENED + HELLO + all(4, 2));
    broken = true;
    await expect(client.send([POKE])).rejects.toEqual(lost);
    await expect(end).rejects.toThrow("broken");
  });

  test("what onUpdate throws ends it, and is thrown", async () => {
    const server = new Server();
    servers.push(server);
    const [client] = await Promise.all([
      openRfb(server.client, { clock: server.clock }),
      server.say(opened(4, 2)),
    ]);
    const end = runUntilThrown(client);
    await server.say(update(pixel));
    await expect(end).rejects.toThrow("the layer above");
    await expect(server.say(VERSION)).rejects.toEqual(lost);
  });
});

function runUntilThrown(client: RfbClient): Promise<void> {
  const end = client.run(() => {
    throw new Error("the layer above");
  });
  end.catch(() => {});
  return end;
}
