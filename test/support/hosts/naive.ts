// A naive client for controls: a web socket used as if it were a byte pipe, with nothing of ours in it.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";

export interface NaiveClient {
  readonly socket: WebSocket;
  /** All binary data so far. */
  received(): Buffer;
  /** Resolves once what was received holds `text`. */
  until(text: string): Promise<void>;
  readonly closed: Promise<number>;
}

export async function naiveWebSocket(
  url: string,
  options: { protocols?: string[]; headers?: Record<string, string>; ca?: string } = {},
): Promise<NaiveClient> {
  const socket = new WebSocket(url, options.protocols ?? [], {
    perMessageDeflate: false,
    ...(options.headers === undefined ? {} : { headers: options.headers }),
    ...(options.ca === undefined ? {} : { ca: readFileSync(options.ca) }),
  });
  const parts: Buffer[] = [];
  const waiting: (() => void)[] = [];
  socket.on("message", (data) => {
    parts.push(data as Buffer);
    for (const wake of waiting.splice(0)) wake();
  });
  const closed = once(socket, "close").then(([code]) => code as number);
  await once(socket, "open");
  socket.on("error", () => undefined);
  const received = (): Buffer => Buffer.concat(parts);
  return {
    socket,
    received,
    closed,
    async until(text) {
      while (!received().includes(text, 0, "latin1"))
        await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}
