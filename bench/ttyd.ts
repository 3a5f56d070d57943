// ttyd as a peer, where it is on PATH: on loopback, its WebSocket spoken by this process. Its traffic is not encrypted.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { WebSocket } from "ws";
import { freePort, isInstalled, startProgram } from "./children.ts";
import { type Absence, COLUMNS, type Peer, ROWS, shellLines } from "./peer.ts";

const NAME = "ttyd (no encryption)";
const INPUT = "0";
const OUTPUT = 0x30; // "0"

export async function startTtyd(): Promise<Peer | Absence> {
  if (!isInstalled("ttyd")) return { name: NAME, absent: "not installed" };
  try {
    return await start();
  } catch (error) {
    return { name: NAME, absent: (error as Error).message.trim() };
  }
}

async function start(): Promise<Peer> {
  // Read-only by default since 1.7.4; older ones do not know the option.
  const writable = execFileSync("ttyd", ["--help"]).includes("--writable") ? ["--writable"] : [];
  const port = await freePort();
  const ttyd = startProgram("ttyd", [...writable, "-i", "lo", "-p", String(port), "/bin/sh"]);
  await ttyd.waitForLog(/Listening on port/);
  return {
    name: NAME,
    patienceMs: 30_000,
    ...shellLines,
    async open(inbox) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, ["tty"], { perMessageDeflate: false });
      socket.binaryType = "nodebuffer";
      socket.on("message", (message: Buffer) => {
        if (message[0] === OUTPUT) inbox.receive(message.subarray(1));
      });
      socket.on("error", inbox.fail);
      socket.on("close", () => inbox.fail(new Error(`ttyd closed the connection:\n${ttyd.log()}`)));
      await once(socket, "open");
      socket.send(Buffer.from(JSON.stringify({ AuthToken: "", columns: COLUMNS, rows: ROWS })));
      return {
        write: (bytes) => socket.send(Buffer.concat([Buffer.from(INPUT), bytes])),
        async close() {
          const closed = once(socket, "close");
          socket.close();
          await closed;
        },
      };
    },
    stop: () => ttyd.stop(),
  };
}
