// The socket pipes of node/ and the guest's unix listener.

import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { once } from "node:events";
import { afterAll, afterEach, expect, test } from "vitest";
import { WebSocketServer, createWebSocketStream } from "ws";
import type { WebSocket } from "ws";
import { nodeClock } from "../../node/clock.ts";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { connectWebSocket } from "../../node/web-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { openServerPipes } from "../../server/pipes/open-pipe.ts";
import { listenUnix } from "../../server/pipes/unix-listener.ts";
import { pipeContract } from "../support/pipe-contract.ts";
import type { PipePair } from "../support/pipe-contract.ts";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-pipes-"));
let count = 0;
const freshPath = () => path.join(directory, `s${count++}`);
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const cleanUps: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function socketPair(
  listenOn: net.ListenOptions,
  connect: (server: net.Server) => Promise<Pipe>,
): Promise<PipePair> {
  const server = net.createServer({ pauseOnConnect: true }).listen(listenOn);
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const pipe = await connect(server);
  const [peer] = await accepted;
  return {
    pipe,
    peer,
    abort: () => void (peer.remoteAddress === undefined ? peer.destroy() : peer.resetAndDestroy()),
    async cleanUp() {
      peer.destroy();
      await pipe.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

pipeContract("unix socket", () => {
  const name = freshPath();
  return socketPair({ path: name }, () => connectUnixSocket(name));
});

pipeContract("tcp", () =>
  socketPair({ port: 0, host: "127.0.0.1" }, (server) =>
    connectTcp("127.0.0.1", (server.address() as net.AddressInfo).port),
  ),
);

pipeContract("unix listener in the guest", async () => {
  const name = freshPath();
  const pipes: Pipe[] = [];
  const listener = await listenUnix(name, (pipe) => pipes.push(pipe));
  const peer = net.connect({ path: name });
  await once(peer, "connect");
  while (pipes.length === 0) await new Promise((resolve) => setImmediate(resolve));
  return {
    pipe: pipes[0] as Pipe,
    peer,
    abort: () => void peer.destroy(),
    async cleanUp() {
      peer.destroy();
      await listener.close();
    },
  };
});

async function webSocketServer(): Promise<{
  url: string;
  connection: Promise<WebSocket>;
  server: WebSocketServer;
}> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  await once(server, "listening");
  const connection = once(server, "connection").then(([socket]) => {
    (socket as WebSocket).pause();
    return socket as WebSocket;
  });
  return { url: `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}/`, connection, server };
}

pipeContract("web socket", async () => {
  const { url, connection, server } = await webSocketServer();
  const pipe = await connectWebSocket(url);
  const socket = await connection;
  const peer = createWebSocketStream(socket);
  return {
    pipe,
    peer,
    abort: () => socket.terminate(),
    async cleanUp() {
      socket.terminate();
      await pipe.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
});

test("a web socket is offered the subprotocol binary, without compression, without a query in errors", async () => {
  const { url, connection, server } = await webSocketServer();
  cleanUps.push(() => new Promise((resolve) => server.close(resolve)));
  const requested = once(server, "connection");
  const pipe = await connectWebSocket(url);
  cleanUps.push(() => pipe.close());
  const [, request] = await requested;
  expect(request.headers["sec-websocket-protocol"]).toBe("binary");
  expect(request.headers["sec-websocket-extensions"]).toBeUndefined();
  (await connection).terminate();
  await expect(connectWebSocket("ws://127.0.0.1:1/?token=hunter2")).rejects.toMatchObject({
    code: "transport-lost",
    message:
      'Cannot connect to "ws://127.0.0.1:1/": nobody listens there. Check the port, and that the machine runs.',
  });
});

test("a text frame closes the web socket with 1003 and ends `incoming` with transport-lost", async () => {
  const { url, connection, server } = await webSocketServer();
  cleanUps.push(() => new Promise((resolve) => server.close(resolve)));
  const pipe = await connectWebSocket(url);
  cleanUps.push(() => pipe.close());
  const socket = await connection;
  socket.resume();
  const closed = once(socket, "close");
  socket.send("text");
  const reading = (async () => {
    for await (const _ of pipe.incoming);
  })();
  await expect(reading).rejects.toMatchObject({
    code: "transport-lost",
    message: expect.stringContaining("the peer sent text"),
  });
  expect((await closed)[0]).toBe(1003);
});

test("a server that takes the connection but never answers is given up on, with the likely reason", async () => {
  const server = net.createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUps.push(() => void server.close());
  const url = `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}/`;
  await expect(connectWebSocket(url, { timeout: 50 })).rejects.toMatchObject({
    code: "transport-lost",
    message: expect.stringContaining("one client at a time"),
  });
});

test.each([
  ["ENOENT", () => connectUnixSocket("/nonexistent/sealtty"), "device-unavailable", "no such file"],
  ["ENOTSOCK", () => connectUnixSocket("/etc/passwd"), "device-unavailable", "Cannot connect to unix socket"],
  ["ECONNREFUSED (tcp)", () => connectTcp("127.0.0.1", 1), "transport-lost", "nobody listens on this port"],
])("connecting says what, why and what next: %s", async (_, connect, code, text) => {
  await expect(connect()).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
});

test("the listener's socket is for its owner only, and goes when it closes", async () => {
  const name = freshPath();
  const listener = await listenUnix(name, () => {});
  expect(fs.statSync(name).mode & 0o777).toBe(0o600);
  await Promise.all([listener.close(), listener.close()]);
  expect(fs.existsSync(name)).toBe(false);
});

test("the listener takes over a stale socket file, but neither a live one nor another kind of file", async () => {
  const live = freshPath();
  const first = await listenUnix(live, () => {});
  cleanUps.push(() => first.close());
  await expect(listenUnix(live, () => {})).rejects.toMatchObject({
    code: "device-unavailable",
    message: expect.stringContaining("another program listens there"),
  });
  const ordinary = freshPath();
  fs.writeFileSync(ordinary, "keep me");
  await expect(listenUnix(ordinary, () => {})).rejects.toMatchObject({ code: "device-unavailable" });
  expect(fs.readFileSync(ordinary, "utf8")).toBe("keep me");

  const stale = freshPath();
  const dying = net.createServer().listen(stale);
  await once(dying, "listening");
  fs.linkSync(stale, `${stale}.kept`); // closing removes the file: keep another name for it
  await new Promise((resolve) => dying.close(resolve));
  fs.renameSync(`${stale}.kept`, stale);
  const second = await listenUnix(stale, () => {});
  await second.close();
});

test("the listener bounds its connections", async () => {
  const name = freshPath();
  const pipes: Pipe[] = [];
  const listener = await listenUnix(name, (pipe) => pipes.push(pipe), 2);
  cleanUps.push(() => listener.close());
  const clients = [1, 2, 3].map(() => net.connect({ path: name }));
  for (const client of clients) client.on("error", () => {});
  cleanUps.push(() => clients.forEach((client) => client.destroy()));
  const third = clients[2] as net.Socket;
  third.resume();
  await once(third, "close");
  expect(pipes.length).toBe(2);
});

test("openServerPipes() opens what the configuration names", async () => {
  const name = freshPath();
  const armour: boolean[] = [];
  const pipes = await openServerPipes({ pipe: { type: "unix", path: name } }, (_, traits) =>
    armour.push(traits.armourOnly),
  );
  const client = net.connect({ path: name });
  client.resume();
  const closed = once(client, "close");
  await once(client, "connect");
  while (armour.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await pipes.close();
  await closed;
  expect(armour).toEqual([false]);
});

test("nodeClock never goes back, cancels, and keeps order", async () => {
  const start = nodeClock.now();
  const calls: string[] = [];
  nodeClock.after(1, () => calls.push("cancelled"))();
  await new Promise<void>((resolve) => {
    nodeClock.soon(() => calls.push("soon"));
    nodeClock.after(5, () => {
      calls.push("after");
      resolve();
    });
  });
  expect(calls).toEqual(["soon", "after"]);
  expect(nodeClock.now()).toBeGreaterThan(start);
});
