// Whoever reaches the relay writes into its log: nothing of that may steer the operator's terminal.
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
