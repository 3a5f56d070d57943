// The host of the soak: a proxy on a unix socket that loses whole frames, and cuts connections, by a seed.

import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { scratchDirectory } from "../children.ts";

/** 0 ≤ x < 1, the same for the same seed (xorshift32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

export interface Proxy {
  readonly socket: string;
  readonly port: number; // the same on loopback
  /** Connections that were cut, by `cut` and by `cutAt`. */
  readonly cuts: number;
  /** Share of frames lost, each way. */
  loss: number;
  /** Bytes, both ways together, that a connection carries until it is cut; infinite: never. Asked at each one's beginning. */
  cutAt: () => number;
  cut(): void;
  close(): Promise<void>;
}

/** @param guest - sealttyd's unix socket. */
export async function startProxy(guest: string, random: () => number): Promise<Proxy> {
  const open = new Set<net.Socket>();
  let cuts = 0;
  const serve = (client: net.Socket): void => {
    const far = net.connect(guest);
    let left = proxy.cutAt();
    const cut = (): void => {
      if (client.destroyed || far.destroyed) return;
      cuts++;
      client.destroy();
      far.destroy();
    };
    for (const [from, to] of [
      [client, far],
      [far, client],
    ] as const) {
      open.add(from);
      const decoder = new FrameDecoder(nodeSuite.crc32);
      from.setNoDelay(true);
      from.on("data", (chunk: Buffer) => {
        const passed = proxy.loss === 0 ? chunk : thinned(decoder, chunk, () => random() < proxy.loss);
        const part = passed.subarray(0, Math.max(0, Math.min(left, passed.length)));
        left -= passed.length;
        if (part.length > 0 && !to.write(part)) from.pause();
        if (left <= 0) cut(); // in the middle of a frame as well
      });
      to.on("drain", () => from.resume());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  };
  const proxy = {
    socket: path.join(scratchDirectory("proxy"), "pipe.sock"),
    port: 0,
    get cuts() {
      return cuts;
    },
    loss: 0,
    cutAt: () => Number.POSITIVE_INFINITY,
    cut() {
      cuts += open.size / 2;
      for (const socket of open) socket.destroy();
    },
    async close() {
      for (const socket of open) socket.destroy();
      await Promise.all(
        servers.map(async (server) => {
          const closed = once(server, "close");
          server.close();
          await closed;
        }),
      );
    },
  };
  const servers = [net.createServer(serve), net.createServer(serve)] as const;
  servers[0].listen(proxy.socket);
  servers[1].listen(0, "127.0.0.1");
  await Promise.all(servers.map((server) => once(server, "listening")));
  proxy.port = (servers[1].address() as net.AddressInfo).port;
  return proxy;
}

function thinned(decoder: FrameDecoder, chunk: Uint8Array, lose: () => boolean): Uint8Array {
  const frames = decoder.push(chunk).frames.filter(() => !lose());
  return Buffer.concat(frames.map(({ body, encoding }) => encodeFrame(body, encoding, nodeSuite.crc32)));
}
