// One contract, every pipe: what protocol/pipe.ts promises, run against a pair of a pipe and whoever is at its other end.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import type { Pipe } from "../../protocol/pipe.ts";

export interface PipePair {
  readonly pipe: Pipe;
  /** The other end; nobody reads it yet. */
  readonly peer: Duplex;
  /** The peer goes without a clean end. */
  abort(): void;
  cleanUp(): Promise<void>;
}

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;

export interface FloodTerms {
  /** Bytes, above what is buffered on the way. */
  readonly flood: number;
  /** What is buffered at most, and less than `flood`. */
  readonly bound: number;
}

/** How a pipe differs from a socket. */
export interface ContractTerms {
  /** Bytes that are carried and compared. */
  readonly carried: number;
  readonly toPeer: FloodTerms;
  readonly fromPeer: FloodTerms;
  /** Either end sees that the other has ended. */
  readonly tellsEnd: boolean;
}

/** Kernel and runtime, together, on any of the pipes. */
const SOCKET_FLOOD: FloodTerms = { flood: 64 * MEBIBYTE, bound: 32 * MEBIBYTE };
const SOCKET: ContractTerms = {
  carried: 3 * MEBIBYTE,
  toPeer: SOCKET_FLOOD,
  fromPeer: SOCKET_FLOOD,
  tellsEnd: true,
};

export function pipeContract(
  name: string,
  makePair: () => Promise<PipePair>,
  { carried, toPeer, fromPeer, tellsEnd }: ContractTerms = SOCKET,
): void {
  describe(`pipe contract: ${name}`, () => {
    const pairs: PipePair[] = [];
    const open = async () => {
      const pair = await makePair();
      pair.peer.on("error", () => {});
      pairs.push(pair);
      return pair;
    };
    afterEach(async () => {
      await Promise.all(pairs.splice(0).map((pair) => pair.cleanUp()));
    });

    test("carries bytes from the peer in order, in non-empty chunks", async () => {
      const { pipe, peer } = await open();
      const sent = randomBytes(carried);
      peer.resume(); // a web socket's peer has to see the answer to its close
      peer.write(sent.subarray(0, 1));
      for (let at = 1; at < sent.length; at += 70_000) peer.write(sent.subarray(at, at + 70_000));
      if (tellsEnd) peer.end();
      const received: Uint8Array[] = [];
      let length = 0;
      for await (const chunk of pipe.incoming) {
        expect(chunk.length).toBeGreaterThan(0);
        received.push(chunk);
        length += chunk.length;
        if (!tellsEnd && length >= sent.length) break;
      }
      expect(digest(Buffer.concat(received))).toBe(digest(sent));
    });

    test("carries bytes to the peer in order, and keeps no hold of a chunk it was given", async () => {
      const { pipe, peer } = await open();
      const sent = randomBytes(carried);
      const received = collect(peer, sent.length);
      const chunk = new Uint8Array(Math.min(16 * KIBIBYTE, carried / 16));
      for (let at = 0; at < sent.length; at += chunk.length) {
        chunk.set(sent.subarray(at, at + chunk.length));
        await pipe.send(chunk);
        chunk.fill(0);
      }
      expect(digest(await received)).toBe(digest(sent));
    });

    if (tellsEnd)
      test("ends `incoming` when the peer ends cleanly", async () => {
        const { pipe, peer } = await open();
        peer.resume();
        peer.end(Buffer.from("bye"));
        expect(Buffer.from(await drain(pipe)).toString()).toBe("bye");
      });

    test("throws transport-lost when the peer is cut off", async () => {
      const pair = await open();
      await pair.pipe.send(new Uint8Array(1000)); // unread by the peer, so that a unix socket tells
      const reading = drain(pair.pipe);
      pair.abort();
      await expect(reading).rejects.toMatchObject({ name: "SealttyError", code: "transport-lost" });
      await expect(sendUntilRefused(pair.pipe)).rejects.toMatchObject({ code: "transport-lost" });
    });

    test("close() ends `incoming`, tells the peer, is idempotent; send() then throws transport-lost", async () => {
      const { pipe, peer } = await open();
      const ended = tellsEnd ? once(peer, "end") : undefined;
      peer.resume();
      const reading = drain(pipe);
      await Promise.all([pipe.close(), pipe.close()]);
      await pipe.close();
      expect((await reading).length).toBe(0);
      await ended;
      await expect(pipe.send(new Uint8Array(1))).rejects.toMatchObject({ code: "transport-lost" });
    });

    test("send() waits while the peer does not read, and goes on when it does", async () => {
      const { pipe, peer } = await open();
      const { flood, bound } = toPeer;
      const chunk = new Uint8Array(pieceOf(flood)).fill(7);
      let sent = 0;
      let finished = false;
      const sending = (async () => {
        while (sent < flood) {
          await pipe.send(chunk);
          sent += chunk.length;
        }
        finished = true;
      })();
      await untilStill(() => sent);
      expect(finished).toBe(false);
      expect(sent).toBeLessThan(bound);
      const received = collect(peer, flood);
      await sending;
      expect((await received).length).toBe(flood);
    });

    test("holds the peer back while nobody reads `incoming`, and loses nothing", async () => {
      const { pipe, peer } = await open();
      const { flood, bound } = fromPeer;
      const chunk = Buffer.alloc(pieceOf(flood), 7);
      peer.resume();
      let sent = 0;
      const sending = (async () => {
        while (sent < flood) {
          sent += chunk.length;
          if (!peer.write(chunk)) await once(peer, "drain");
        }
        if (tellsEnd) peer.end();
      })();
      await untilStill(() => sent);
      expect(sent).toBeLessThan(bound);
      let received = 0;
      for await (const part of pipe.incoming) {
        received += part.length;
        if (!tellsEnd && received >= flood) break;
      }
      await sending;
      expect(received).toBe(flood);
    });

    test("close() comes to an end although the peer does not read", async () => {
      const { pipe } = await open();
      const chunk = new Uint8Array(pieceOf(toPeer.flood));
      let sent = 0;
      const sending = (async () => {
        for (;;) {
          await pipe.send(chunk);
          sent += chunk.length;
        }
      })();
      sending.catch(() => {}); // asserted below, after it may have happened
      await untilStill(() => sent);
      await pipe.close();
      await expect(sending).rejects.toMatchObject({ code: "transport-lost" });
    });
  });
}

/** So large that a flood is not many, so small that one after the other goes out. */
function pieceOf(flood: number): number {
  return Math.min(64 * KIBIBYTE, flood / 128);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function drain(pipe: Pipe): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of pipe.incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function collect(peer: Duplex, length: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let collected = 0;
  for await (const chunk of peer.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    collected += (chunk as Buffer).length;
    if (collected >= length) break;
  }
  return Buffer.concat(chunks);
}

async function sendUntilRefused(pipe: Pipe): Promise<never> {
  for (;;) {
    await pipe.send(new Uint8Array(1));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves once `value` has stopped changing: what is to be shown is that nothing happens any more. */
export async function untilStill(value: () => number, still = 200): Promise<void> {
  for (let last = value() - 1; last !== value(); ) {
    last = value();
    await new Promise((resolve) => setTimeout(resolve, still));
  }
}
