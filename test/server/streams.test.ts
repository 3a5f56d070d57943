// Forwarding in the guest with real sockets: TCP, unix sockets as another user, half-closes, errors, who may listen where.

import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { breakOff } from "../../node/sockets.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { LISTEN_FAILED, LISTEN_IN_USE, LISTEN_NOT_ALLOWED } from "../../protocol/forward/forward-messages.ts";
import type { ListenPlace } from "../../protocol/forward/target.ts";
import type { AuthenticatedUser, GuestProcess } from "../../protocol/session/guest-process.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import type {
  GuestListener,
  ListenerEvents,
  StreamRefusal,
  WaitingStream,
} from "../../protocol/session/guest-streams.ts";
import {
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_REFUSED,
  OPEN_UNREACHABLE,
} from "../../protocol/session/messages.ts";
import type { ForwardConfig } from "../../server/config/sessions.ts";
import { createLog } from "../../server/log.ts";
import { planHelpers } from "../../server/privileged.ts";
import { startExec } from "../../server/sessions/exec-process.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { connectProgram } from "../../server/streams/as-user.ts";
import { listenCodeOf, openCodeOf } from "../../server/streams/codes.ts";
import { lookupInTurn } from "../../server/streams/lookup.ts";
import { Streams } from "../../server/streams/streams.ts";

const isRoot = process.getuid?.() === 0;
const SELF: AuthenticatedUser = {
  name: os.userInfo().username,
  method: "ssh-key",
  key: Uint8Array.of(1),
  restrictions: UNRESTRICTED,
};
const NOBODY: AuthenticatedUser = {
  name: "nobody",
  method: "ssh-key",
  key: Uint8Array.of(2),
  restrictions: UNRESTRICTED,
};
const log = createLog({ level: "error" });
const streamsWith = (own: Partial<ForwardConfig> = {}): Streams => {
  const config = { allow: true, ssh: undefined, gateway: false, ...own };
  const plan = planHelpers(config, undefined);
  return new Streams({ config, log, startHelper: async (...asked) => startExec(await plan(...asked)) });
};
const streams = streamsWith();

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-streams-"));
  chmodSync(scratch, 0o777);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function opened<T extends object>(result: T | StreamRefusal): T {
  if ("code" in result) throw new Error(`refused with ${String(result.code)}`);
  return result;
}

async function serve(
  at: { port: 0; host: string } | { path: string },
  onSocket: (socket: net.Socket) => void,
): Promise<{ port: number; close(): void }> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const address = server.address();
  return { port: typeof address === "object" ? (address?.port ?? 0) : 0, close: () => server.close() };
}

async function readAll(stream: GuestProcess): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let chunk = await stream.stdout.read(); chunk !== undefined; chunk = await stream.stdout.read())
    parts.push(chunk);
  return concat(...parts);
}

async function readSome(stream: GuestProcess, length: number): Promise<Uint8Array> {
  let bytes: Uint8Array = new Uint8Array(0);
  while (bytes.length < length) {
    const chunk = await stream.stdout.read();
    if (chunk === undefined) break;
    bytes = concat(bytes, chunk);
  }
  return bytes;
}

/** Says hello, takes all until the end, then says how much it was, and ends. */
function greeter(socket: net.Socket): void {
  let length = 0;
  socket.write("hello;");
  socket.on("data", (chunk: Buffer) => {
    length += chunk.length;
  });
  socket.on("end", () => socket.end(`got ${length}`));
}

/** Everything of a greeter's: half-close both ways, megabytes, an end in order. */
async function greetedBy(stream: GuestProcess) {
  const hello = Buffer.from(await readSome(stream, 6)).toString();
  for (let i = 0; i < 12; i++) await stream.write(new Uint8Array(256 * 1024).fill(7));
  stream.endInput();
  const bye = Buffer.from(await readAll(stream)).toString();
  return { hello, bye, exit: await stream.exit };
}
const GREETED = { hello: "hello;", bye: `got ${3 * 1024 * 1024}`, exit: { kind: "exited", status: 0 } };

describe("TCP", () => {
  test("bytes both ways, each direction ended on its own", async () => {
    const server = await serve({ port: 0, host: "127.0.0.1" }, greeter);
    const place = { kind: "tcp", host: "localhost", port: server.port } as const;
    expect(await greetedBy(opened(await streams.open(SELF, place)))).toEqual(GREETED);
    server.close();
  });

  test("a peer that ends first can still be written to", async () => {
    let got = "";
    const server = await serve({ port: 0, host: "127.0.0.1" }, (socket) => {
      socket.end("bye");
      socket.on("data", (chunk: Buffer) => {
        got += chunk.toString();
      });
    });
    const place = { kind: "tcp", host: "127.0.0.1", port: server.port } as const;
    const stream = opened(await streams.open(SELF, place));
    expect(await readAll(stream)).toEqual(utf8("bye"));
    await stream.write(utf8("but wait"));
    stream.endInput();
    expect(await stream.exit).toEqual({ kind: "exited", status: 0 });
    while (got !== "but wait") await new Promise((resolve) => setTimeout(resolve, 5));
    server.close();
  });

  test("a connection that is reset is told by status 1, and one that is hung up is reset", async () => {
    const ended: string[] = [];
    const server = await serve({ port: 0, host: "127.0.0.1" }, (socket) => {
      socket.once("data", (chunk: Buffer) => {
        if (chunk.toString() === "reset me") breakOff(socket);
        else socket.write("taken"); // libuv takes a reset that comes along with bytes for an end
      });
      socket.on("end", () => ended.push("end"));
      socket.on("error", (error) => ended.push((error as NodeJS.ErrnoException).code ?? ""));
    });
    const place = { kind: "tcp", host: "127.0.0.1", port: server.port } as const;
    const reset = opened(await streams.open(SELF, place));
    await reset.write(utf8("reset me"));
    await readAll(reset);
    expect(await reset.exit).toEqual({ kind: "exited", status: 1 });
    await reset.write(utf8("to nobody")); // no error

    const hungUp = opened(await streams.open(SELF, place));
    await hungUp.write(utf8("x"));
    expect(await readSome(hungUp, 5)).toEqual(utf8("taken"));
    hungUp.hangUp();
    await hungUp.exit;
    while (ended.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(ended).toEqual(["ECONNRESET"]); // never like an end
    server.close();
  });

  test("nobody there, no such name, no such user", async () => {
    const server = await serve({ port: 0, host: "127.0.0.1" }, () => {});
    server.close();
    const place = { kind: "tcp", host: "127.0.0.1", port: server.port } as const;
    expect(await streams.open(SELF, place)).toEqual({ code: OPEN_REFUSED });
    expect(await streams.open(SELF, { ...place, host: "nowhere.invalid" })).toEqual({
      code: OPEN_UNREACHABLE,
    });
    expect(await streams.open({ ...SELF, name: "no-such-user-here" }, place)).toEqual({
      code: OPEN_NOT_ALLOWED,
    });
  });

  test("what the system says becomes a fixed code", () => {
    expect(
      ["ECONNREFUSED", "ENOENT", "EACCES", "EHOSTUNREACH", "ETIMEDOUT", "EMFILE", undefined].map(openCodeOf),
    ).toEqual([
      OPEN_REFUSED,
      OPEN_REFUSED,
      OPEN_NOT_ALLOWED,
      OPEN_UNREACHABLE,
      OPEN_UNREACHABLE,
      OPEN_FAILED,
      OPEN_FAILED,
    ]);
    expect(["EADDRINUSE", "EACCES", "ENOENT", undefined].map(listenCodeOf)).toEqual([
      LISTEN_IN_USE,
      LISTEN_NOT_ALLOWED,
      LISTEN_FAILED,
      LISTEN_FAILED,
    ]);
  });
});

test("names are looked up two at a time, localhost without asking, and an error keeps no place", async () => {
  const asked: string[] = [];
  const answers: ((error: NodeJS.ErrnoException | null) => void)[] = [];
  const lookup = lookupInTurn((name, _, done) => {
    asked.push(name);
    answers.push((error) => done(error, "192.0.2.1", 4));
  });
  const ask = (name: string) =>
    new Promise<string>((resolve) =>
      lookup(name, { all: false }, (error, address) => resolve(error?.code ?? JSON.stringify(address))),
    );
  const all = ["a", "b", "c", "d"].map(ask);
  expect(await ask("localhost")).toBe('"127.0.0.1"');
  expect(asked).toEqual(["a", "b"]);
  answers[0]?.(Object.assign(new Error("no"), { code: "ENOTFOUND" }));
  expect(await all[0]).toBe("ENOTFOUND");
  await new Promise((resolve) => setImmediate(resolve));
  expect(asked).toEqual(["a", "b", "c"]);
  answers[1]?.(null);
  answers[2]?.(null);
  await new Promise((resolve) => setImmediate(resolve));
  answers[3]?.(null);
  expect(await Promise.all(all)).toEqual(["ENOTFOUND", ...Array.from({ length: 3 }, () => '"192.0.2.1"')]);
});

describe("the service ssh", () => {
  test("is the configured program, with its stdin, stdout and status", async () => {
    const echo = streamsWith({ ssh: ["/bin/sh", "-c", "cat; exit 5"] });
    const stream = opened(await echo.open(SELF, { kind: "service", name: "ssh" }));
    await stream.write(utf8("SSH-2.0-x"));
    stream.endInput();
    expect(await readAll(stream)).toEqual(utf8("SSH-2.0-x"));
    expect(await stream.exit).toEqual({ kind: "exited", status: 5 });
  });

  test("another name is none", async () => {
    expect(await streams.open(SELF, { kind: "service", name: "telnet" })).toEqual({ code: OPEN_FAILED });
  });
});

describe("unix sockets", () => {
  test("as sealttyd's own user: connected to directly", async () => {
    const at = path.join(scratch, "own.sock");
    const server = await serve({ path: at }, greeter);
    expect(await greetedBy(opened(await streams.open(SELF, { kind: "unix", path: at })))).toEqual(GREETED);
    expect(await streams.open(SELF, { kind: "unix", path: `${at}.not` })).toEqual({ code: OPEN_REFUSED });
    server.close();
  });

  describe.runIf(isRoot)("as another user, by a program of theirs", () => {
    test("the kernel looks at the user's permissions: what only root may open stays shut", async () => {
      expect(connectProgram(), "npm run build makes dist/bin/sealttyd-connect.js").toBeDefined();
      const at = path.join(scratch, "root.sock");
      const server = await serve({ path: at }, greeter);
      chmodSync(at, 0o600);
      expect(await streams.open(NOBODY, { kind: "unix", path: at })).toEqual({ code: OPEN_NOT_ALLOWED });
      chmodSync(at, 0o666);
      expect(await greetedBy(opened(await streams.open(NOBODY, { kind: "unix", path: at })))).toEqual(
        GREETED,
      );
      expect(await streams.open(NOBODY, { kind: "unix", path: `${at}.not` })).toEqual({ code: OPEN_REFUSED });
      server.close();
    });

    test("without that program none are opened", async () => {
      const without = new Streams({
        config: { allow: true, ssh: undefined, gateway: false },
        log,
        startHelper: (user, helper) =>
          Promise.reject(
            new SealttyError(
              "device-unavailable",
              `No ${helper.kind} for ${user.name}: the program is missing`,
            ),
          ),
      });
      expect(await without.open(NOBODY, { kind: "unix", path: "/x" })).toEqual({ code: OPEN_FAILED });
    });
  });
});

/** Takes whoever comes, or not. */
class Events implements ListenerEvents {
  readonly #room: boolean;
  readonly #live: boolean;
  readonly #waiting: WaitingStream[] = [];
  #wake = (): void => {};

  constructor(room: boolean, live: boolean) {
    this.#room = room;
    this.#live = live;
  }
  isLive(): boolean {
    return this.#live;
  }
  incoming(stream: WaitingStream): boolean {
    if (this.#room) this.#waiting.push(stream);
    this.#wake();
    return this.#room;
  }
  async next(): Promise<WaitingStream> {
    while (this.#waiting.length === 0)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    return this.#waiting.shift() as WaitingStream;
  }
}
const events = (room = true, live = true): Events => new Events(room, live);

const listen = async (
  place: ListenPlace,
  own: ListenerEvents = events(),
  user = SELF,
  by = streams,
): Promise<GuestListener | StreamRefusal> => await by.listen(user, place, own);
const tcp = (host: string, port: number): ListenPlace => ({ kind: "tcp", host, port });

/** @returns what it was told until the end; "reset" where there was none. */
function visit(to: net.NetConnectOpts, say = ""): Promise<string> {
  return new Promise((resolve) => {
    let got = "";
    const socket = net.connect({ ...to, allowHalfOpen: true });
    socket.on("data", (chunk: Buffer) => {
      got += chunk.toString();
    });
    socket.on("end", () => {
      socket.end();
      resolve(got);
    });
    socket.on("error", () => resolve("reset"));
    socket.write(say);
  });
}

describe("listening", () => {
  test("on localhost: both families, one port; who comes waits, and then talks", async () => {
    const own = events();
    const next = () => own.next();
    const listener = opened(await listen(tcp("localhost", 0), own));
    const hosts = ["127.0.0.1", ...(hasIpv6() ? ["::1"] : [])];
    for (const host of hosts) {
      const visiting = visit({ host, port: listener.port }, "knock");
      const stream = opened(await (await next()).accept());
      expect(await readSome(stream, 5)).toEqual(utf8("knock"));
      await stream.write(utf8("come in"));
      stream.endInput();
      expect(await visiting).toBe("come in");
      expect(await stream.exit).toEqual({ kind: "exited", status: 0 });
    }
    const visiting = visit({ host: "127.0.0.1", port: listener.port });
    (await next()).dismiss();
    expect(["", "reset"]).toContain(await visiting);
    listener.close();
    listener.close();
    expect(await visit({ host: "127.0.0.1", port: listener.port })).toBe("reset");
  });

  test("who comes where there is no room is turned away; who left meanwhile is not there", async () => {
    const full = opened(await listen(tcp("127.0.0.1", 0), events(false)));
    expect(["", "reset"]).toContain(await visit({ host: "127.0.0.1", port: full.port }));
    full.close();
    const own = events();
    const next = () => own.next();
    const listener = opened(await listen(tcp("127.0.0.1", 0), own));
    const socket = net.connect({ host: "127.0.0.1", port: listener.port });
    socket.on("error", () => {});
    const waiting = await next();
    breakOff(socket);
    const result = await waiting.accept(); // what they have done shows once somebody reads
    if (!("code" in result)) {
      expect(await readAll(result)).toEqual(new Uint8Array(0));
      result.endInput();
      await result.exit;
    }
    listener.close();
  });

  test("other addresses than loopback only where the configuration says so; no names; no ports of root's", async () => {
    const gateway = streamsWith({ gateway: true });
    for (const host of ["*", "0.0.0.0", "::", "192.0.2.1"])
      expect(await listen(tcp(host, 0)), host).toEqual({ code: LISTEN_NOT_ALLOWED });
    for (const host of ["*", "0.0.0.0"]) opened(await listen(tcp(host, 0), events(), SELF, gateway)).close();
    expect(await listen(tcp("example.com", 0), events(), SELF, gateway)).toEqual({ code: LISTEN_FAILED });
    if (isRoot) {
      expect(await listen(tcp("localhost", 22), events(), NOBODY)).toEqual({ code: LISTEN_NOT_ALLOWED });
      opened(await listen(tcp("localhost", 0), events(), NOBODY)).close();
    }
  });

  test("a place in use is told; one of the same user's that nobody hears any more is taken over", async () => {
    const first = opened(await listen(tcp("127.0.0.1", 0)));
    const { port } = first;
    expect(await listen(tcp("127.0.0.1", port))).toEqual({ code: LISTEN_IN_USE });
    first.close();
    const silent = opened(await listen(tcp("127.0.0.1", port), events(true, false)));
    const other: AuthenticatedUser = { ...SELF, key: Uint8Array.of(9) };
    expect(await listen(tcp("127.0.0.1", port), events(), other)).toEqual({ code: LISTEN_IN_USE });
    const own = events();
    const next = () => own.next();
    const successor = opened(await listen(tcp("127.0.0.1", port), own));
    silent.close(); // the connection that is gone ends at last: nothing of its successor's
    const visiting = visit({ host: "127.0.0.1", port });
    const stream = opened(await (await next()).accept());
    stream.endInput();
    expect(await visiting).toBe("");
    successor.close();
  });

  test("on a socket's path, for its user alone; the path goes with it", async () => {
    const at = path.join(scratch, "listen.sock");
    const own = events();
    const next = () => own.next();
    const listener = opened(await listen({ kind: "unix", path: at }, own));
    expect(listener.port).toBe(0);
    expect(statSync(at).mode & 0o777).toBe(0o600);
    expect(await listen({ kind: "unix", path: at })).toEqual({ code: LISTEN_IN_USE });
    const visiting = visit({ path: at }, "knock");
    const stream = opened(await (await next()).accept());
    expect(await readSome(stream, 5)).toEqual(utf8("knock"));
    stream.endInput();
    expect(await visiting).toBe("");
    listener.close();
    while (existsSync(at)) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test.runIf(isRoot)("as another user: their file, their permissions, several at once", async () => {
    const made = mkdtempSync(path.join(scratch, "theirs-"));
    chownSync(made, 65_534, 65_534);
    const at = path.join(made, "s.sock");
    const own = events();
    const next = () => own.next();
    const listener = opened(await listen({ kind: "unix", path: at }, own, NOBODY));
    expect(statSync(at).uid).toBe(65_534);
    expect(statSync(at).mode & 0o777).toBe(0o600);
    const visits = ["one", "two", "three"].map((word) => visit({ path: at }, word));
    const waiting = [await next(), await next(), await next()];
    const words: string[] = [];
    for (const each of [waiting[2], waiting[0]]) {
      const stream = opened(await (each as WaitingStream).accept());
      words.push(
        Buffer.from(await readSome(stream, 3))
          .toString()
          .slice(0, 3),
      );
      await stream.write(utf8("welcome"));
      stream.endInput();
      await stream.exit;
    }
    waiting[1]?.dismiss();
    const answers = await Promise.all(visits);
    expect(answers.filter((answer) => answer === "welcome").length).toBe(2);
    expect(words.every((word) => ["one", "two", "thr"].includes(word))).toBe(true);

    // Where the user may make no file, nobody listens.
    const rootOnly = path.join(scratch, "root-only");
    const shut = mkdtempSync(`${rootOnly}-`);
    expect(await listen({ kind: "unix", path: path.join(shut, "s") }, events(), NOBODY)).toEqual({
      code: LISTEN_NOT_ALLOWED,
    });
    listener.close();
    while (existsSync(at)) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

function hasIpv6(): boolean {
  return Object.values(os.networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === "::1"),
  );
}
