// bin `sealttyd-connect`: started by sealttyd as the user, so that the kernel looks at the user's permissions of a socket's
// path, and the service behind it sees the user. docs/forward.md
//   sealttyd-connect connect PATH             standard input and output to a socket
//   sealttyd-connect listen PATH              says who connects; each is fetched by:
//   sealttyd-connect fetch PRIVATE NUMBER
// Says how it went by its first byte of output: one of STATUS.

import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { listenCodeOf, openCodeOf } from "./codes.ts";

/** Who connected and was neither fetched nor dismissed; above it nobody is let in. */
const MAX_WAITING = 32;
const STATUS_GOOD = 0;

const standardInput = new net.Socket({ fd: 0, readable: true, writable: false });
const standardOutput = new net.Socket({ fd: 1, readable: false, writable: true });
for (const stream of [standardInput, standardOutput]) stream.on("error", () => process.exit(1)); // sealttyd is gone
process.on("SIGHUP", () => process.exit(1));

const say = (status: number): boolean => standardOutput.write(Uint8Array.of(status));
const codeOf = (error: Error): string | undefined => (error as NodeJS.ErrnoException).code;

function connect(to: string, greeting?: Uint8Array): void {
  const socket = net.connect({ path: to, allowHalfOpen: true });
  let connected = false;
  socket.once("connect", () => {
    connected = true;
    if (greeting !== undefined) socket.write(greeting);
    say(STATUS_GOOD);
    standardInput.pipe(socket);
    socket.pipe(standardOutput);
  });
  socket.on("error", (error) => {
    if (!connected) say(openCodeOf(codeOf(error)));
  });
  socket.once("close", (broken) => standardOutput.end(() => process.exit(broken ? 1 : 0)));
}

/** Says `STATUS_GOOD`, the private socket's path with a line's end, then one byte 1 for each who connects: they are counted from 1. */
function listen(at: string): void {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-")); // mode 0700
  const waiting = new Map<number, net.Socket>();
  let count = 0;
  process.once("exit", () => {
    server.close(); // takes the socket's path away
    rmSync(directory, { recursive: true, force: true });
  });
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    if (waiting.size >= MAX_WAITING) {
      socket.destroy();
      return;
    }
    waiting.set(++count, socket);
    standardOutput.write(Uint8Array.of(1));
  });
  const fail = (error: Error): void => {
    say(listenCodeOf(codeOf(error)));
    standardOutput.end(() => process.exit(1));
  };
  const privateServer = net.createServer({ allowHalfOpen: true }, (fetcher) => {
    const numbers = numbersOf((number) => {
      fetcher.off("data", numbers);
      const socket = waiting.get(number);
      waiting.delete(number);
      if (socket === undefined) {
        fetcher.destroy();
        return;
      }
      socket.once("close", (broken) => {
        if (broken) fetcher.destroy();
      });
      fetcher.once("close", (broken) => {
        if (broken) socket.destroy();
      });
      fetcher.pipe(socket);
      socket.pipe(fetcher);
      socket.resume();
    });
    fetcher.on("error", () => fetcher.destroy());
    fetcher.on("data", numbers);
  });
  process.umask(0o177); // nobody else's to connect to, as sshd has it
  server.once("error", fail);
  server.listen(at, () => {
    privateServer.once("error", fail);
    privateServer.listen(path.join(directory, "s"), () => {
      say(STATUS_GOOD);
      standardOutput.write(`${path.join(directory, "s")}\n`);
    });
  });
  // A number: it is dismissed. The end: sealttyd wants no more of this.
  standardInput.on(
    "data",
    numbersOf((number) => {
      waiting.get(number)?.destroy();
      waiting.delete(number);
    }),
  );
  standardInput.once("end", () => process.exit(0));
}

/** Big-endian numbers of 32 bits out of pieces of any length. */
function numbersOf(take: (number: number) => void): (bytes: Buffer) => void {
  let held = Buffer.alloc(0);
  return (bytes) => {
    held = Buffer.concat([held, bytes]);
    while (held.length >= 4) {
      const number = held.readUInt32BE(0);
      held = held.subarray(4);
      take(number);
    }
  };
}

const [what, place = "", number = ""] = process.argv.slice(2);
if (what === "connect") connect(place);
else if (what === "listen") listen(place);
else if (what === "fetch") {
  const greeting = Buffer.alloc(4);
  greeting.writeUInt32BE(Number(number));
  connect(place, greeting);
} else process.exit(2);
