// A program's output by a socket: nothing is read ahead, one memory for all reads, every byte and the end told.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import { SocketSource } from "../../server/sessions/output-source.ts";

const KIB = 1024;
const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleanUp.splice(0)) clean();
});

/** @returns the source, and the program's end of the socket. */
async function pair(): Promise<{ source: SocketSource; program: net.Socket }> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "output-source-"));
  const server = net.createServer();
  const at = path.join(directory, "socket");
  server.listen(at);
  await once(server, "listening");
  const source = new SocketSource((onread) => net.connect({ path: at, allowHalfOpen: true, onread }));
  const [program] = (await once(server, "connection")) as [net.Socket];
  source.socket.end(); // as the front does: it says nothing to an output
  cleanUp.push(() => {
    source.destroy();
    program.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return { source, program };
}

/** Takes all until the end, as the one reader of an output does. @returns the bytes, and the longest piece. */
async function takeAll(source: SocketSource): Promise<{ bytes: Buffer; longest: number }> {
  let ended = false;
  let wake = (): void => {};
  source.watch(
    () => wake(),
    () => {
      ended = true;
      wake();
    },
  );
  const parts: Buffer[] = [];
  for (;;) {
    const changed = new Promise<void>((resolve) => (wake = resolve));
    const chunk = source.take();
    if (chunk !== null) parts.push(Buffer.from(chunk));
    else if (ended) break;
    else await changed;
  }
  return { bytes: Buffer.concat(parts), longest: Math.max(0, ...parts.map(({ length }) => length)) };
}

const counting = (length: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7919) >> 3));

test("every byte comes, in order, at most 64 KiB at a time, and then the end", async () => {
  const { source, program } = await pair();
  const sent = counting(3 * KIB * KIB + 17);
  program.end(sent);
  const { bytes, longest } = await takeAll(source);
  expect(bytes.equals(sent)).toBe(true);
  expect(longest).toBeLessThanOrEqual(64 * KIB);
});

test("a flood comes in pieces of up to 256 KiB", async () => {
  const { source, program } = await pair();
  source.widen();
  const sent = counting(8 * KIB * KIB + 5);
  program.end(sent);
  const { bytes, longest } = await takeAll(source);
  expect(bytes.equals(sent)).toBe(true);
  expect(longest).toBeGreaterThan(64 * KIB);
  expect(longest).toBeLessThanOrEqual(256 * KIB);
});

test("nothing is read ahead of who takes it: what waits beyond one piece stays in the kernel", async () => {
  const { source, program } = await pair();
  const landed = new Promise<void>((resolve) => source.watch(resolve, () => {}));
  program.write(counting(16 * KIB * KIB));
  await landed;
  const taken = source.socket.bytesRead;
  expect(taken).toBeLessThanOrEqual(64 * KIB);
  // The writer stands still: once it cannot go on, nothing more is read either.
  const written = (): number => program.bytesWritten - program.writableLength;
  for (let last = -1; last !== written(); ) {
    last = written();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(source.socket.bytesRead).toBe(taken);
});

test("what was taken stays as it is until the next is asked for", async () => {
  const { source, program } = await pair();
  const landed = new Promise<void>((resolve) => source.watch(resolve, () => {}));
  program.write("first");
  await landed;
  const first = source.take();
  await new Promise<void>((resolve) => program.write("other", () => resolve()));
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(Buffer.from(first ?? []).toString()).toBe("first");
});

test("a source that is thrown away is closed, whatever still came", async () => {
  const { source, program } = await pair();
  program.on("error", () => {}); // EPIPE
  program.write(counting(KIB * KIB));
  source.destroy();
  await source.closed;
  expect(source.socket.destroyed).toBe(true);
});
