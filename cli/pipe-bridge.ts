// A web socket of the page and a pipe that a browser cannot open, tied together: neither side is read faster than the other takes.

import type { RawData, WebSocket } from "ws";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { printable } from "./printable.ts";

const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED = 1003;
const CLOSE_FAILED = 1011;

/** Resolves when both are closed. Never rejects: the page learns why from the close reason. */
export async function bridgePipe(socket: WebSocket, dial: () => Promise<Pipe>): Promise<void> {
  socket.pause(); // nothing to give the page's bytes to yet
  let gone = false;
  socket.once("close", () => {
    gone = true;
  });
  let pipe: Pipe;
  try {
    pipe = await dial();
  } catch (error) {
    socket.resume();
    socket.close(CLOSE_FAILED, reasonOf(error));
    return;
  }
  if (gone) return pipe.close();
  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
  });
  let underWay = 0;
  let sending = Promise.resolve();
  socket.on("message", (data: RawData, isBinary: boolean) => {
    if (!isBinary) return socket.close(CLOSE_UNSUPPORTED, "binary frames only");
    const bytes = data as Buffer; // binaryType nodebuffer
    if (bytes.length === 0) return;
    underWay++;
    socket.pause();
    sending = sending
      .then(() => pipe.send(bytes))
      .then(
        () => {
          if (--underWay === 0) socket.resume();
        },
        (error: unknown) => {
          socket.resume(); // a paused socket would not see its own close
          socket.close(CLOSE_FAILED, reasonOf(error));
        },
      );
  });
  const receiving = forward(pipe, socket);
  socket.resume();
  await closed;
  await pipe.close().catch(() => undefined);
  await receiving;
}

async function forward(pipe: Pipe, socket: WebSocket): Promise<void> {
  try {
    for await (const chunk of pipe.incoming) {
      await new Promise<void>((resolve) => socket.send(chunk, { binary: true }, () => resolve()));
      if (socket.readyState !== socket.OPEN) break;
    }
    socket.resume();
    socket.close(CLOSE_NORMAL, "the guest's pipe was closed");
  } catch (error) {
    socket.resume();
    socket.close(CLOSE_FAILED, reasonOf(error));
  }
}

/** At most 123 bytes, as the protocol of web sockets has it. */
function reasonOf(error: unknown): string {
  const text = error instanceof SealttyError ? `${error.code}: ${error.message}` : "the pipe failed";
  const bytes = Buffer.from(printable(text, 120)).subarray(0, 120);
  return new TextDecoder().decode(bytes).replace(/\ufffd+$/, "");
}
