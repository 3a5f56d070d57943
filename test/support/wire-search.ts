// A host's ear on a unix socket, for streams that are too long to keep: looks for secrets in each byte as it passes, as it is and
// with every fourth byte left out, which is how a picture of 32 bits a pixel holds what was drawn.

import net from "node:net";
import { once } from "node:events";
import { needlesOf } from "./host-eyes.ts";

export interface WireSearch {
  readonly path: string;
  /** Bytes that passed, both ways. */
  bytes(): number;
  /** What was found, and where. */
  found(): readonly string[];
  /** Ends every connection that is open now. */
  cut(): void;
  close(): Promise<void>;
}

/** One direction. @returns what is to be called with each chunk. */
export function streamSearch(secrets: readonly string[], onFound: (what: string) => void) {
  const needles = secrets.flatMap(needlesOf);
  const longest = Math.max(...needles.map(({ bytes }) => bytes.length));
  const tails = Array.from({ length: 5 }, () => Buffer.alloc(0));
  let passed = 0;
  return (chunk: Uint8Array): void => {
    tails.forEach((tail, form) => {
      // Rectangles begin anywhere, so the fourth byte may be any.
      const part = form === 4 ? chunk : withoutEachFourth(chunk, (form - (passed % 4) + 4) % 4);
      const text = Buffer.concat([tail, part]);
      for (const { name, bytes } of needles)
        if (text.includes(bytes))
          onFound(`${name}, ${form === 4 ? "all bytes" : `without each fourth (${form})`}`);
      tails[form] = text.subarray(Math.max(0, text.length - longest));
    });
    passed += chunk.length;
  };
}

/** @param first - where the first one is that is left out, 0 to 3. */
function withoutEachFourth(bytes: Uint8Array, first: number): Uint8Array {
  const kept = new Uint8Array(bytes.length);
  let length = 0;
  for (let i = 0; i < bytes.length; i++) if (i % 4 !== first) kept[length++] = bytes[i] as number;
  return kept.subarray(0, length);
}

/** A proxy at `at` to the unix socket `target`. */
export async function searchWire(
  at: string,
  target: string,
  secrets: readonly string[],
): Promise<WireSearch> {
  const found: string[] = [];
  const open = new Set<net.Socket>();
  let bytes = 0;
  const server = net.createServer((client) => {
    const host = net.connect(target);
    for (const [from, to, way] of [
      [client, host, "to the host"],
      [host, client, "from the host"],
    ] as const) {
      const search = streamSearch(secrets, (what) => found.push(`${way}: ${what}`));
      open.add(from);
      from.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        search(chunk);
        if (!to.write(chunk)) from.pause();
      });
      to.on("drain", () => from.resume());
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(at);
  await once(server, "listening");
  return {
    path: at,
    bytes: () => bytes,
    found: () => found,
    cut() {
      for (const socket of open) socket.destroy();
    },
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
