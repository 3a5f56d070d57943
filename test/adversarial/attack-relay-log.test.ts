// Whoever reaches the relay writes into its log, and says how long its messages are: neither may steer or cost anything.
import net from "node:net";
import { expect, test } from "vitest";
import { startRelay } from "../../relay/relay.ts";

test("an Origin header with 8-bit controls reaches the log as harmless text", async () => {
  const lines: string[] = [];
  const relay = await startRelay({
    listen: { host: "127.0.0.1", port: 0 },
    guests: new Map([["g", { kind: "unix", path: "/nonexistent/sealtty" }]]),
    allowOrigins: [],
    log: (line) => lines.push(line),
  });
  try {
    const socket = net.connect(relay.port, "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    const head =
      "GET /g HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://a\x9b2J\x9d0;owned\x9c\r\n\r\n";
    socket.write(Buffer.from(head, "latin1"));
    socket.resume();
    await new Promise((resolve) => socket.once("close", resolve));
    const line = lines.find((each) => each.includes("origin"));
    expect(line).toBeDefined();
    expect(line).toMatch(/^[\x20-\x7e]*$/);
  } finally {
    await relay.close();
  }
});

test.each([
  ["4 GiB", Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0])],
  ["8 EiB", Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
])("a web socket message that announces %s is refused by its head alone", async (_name, head) => {
  const relay = await startRelay({
    listen: { host: "127.0.0.1", port: 0 },
    guests: new Map([["g", { kind: "unix", path: "/nonexistent/sealtty" }]]),
    allowOrigins: [],
    log: () => {},
  });
  try {
    const socket = net.connect(relay.port, "127.0.0.1");
    const ask =
      "GET /g HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    const answer: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => answer.push(chunk));
    socket.write(ask);
    while (!Buffer.concat(answer).includes("\r\n\r\n"))
      await new Promise((resolve) => setTimeout(resolve, 2));
    answer.length = 0;
    const ended = new Promise((resolve) => socket.once("end", resolve));
    socket.write(Buffer.concat([head, Buffer.alloc(4 + 1024)]));
    await ended;
    socket.destroy();
    const close = Buffer.concat(answer);
    expect(close[0]).toBe(0x88); // a CLOSE frame, and nothing else
    expect([1002, 1009]).toContain(close.readUInt16BE(2));
  } finally {
    await relay.close();
  }
});
