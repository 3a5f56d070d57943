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
  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => resolve());
  });
  const fail = (error: unknown): void => {
    socket.resume(); // a paused socket would not see its own close
    socket.close(CLOSE_FAILED, reasonOf(error));
  };
  const dialled = dial();
  // Listening from the start: the page's first bytes may have come together with its token.
  let underWay = 0;
  let sending: Promise<unknown> = dialled;
  socket.on("message", (data: RawData, isBinary: boolean) => {
    if (!isBinary) {
      socket.resume();
      return socket.close(CLOSE_UNSUPPORTED, "binary frames only");
    }
    const bytes = data as Buffer; // binaryType nodebuffer
    underWay++;
    socket.pause();
    sending = sending
      .then(async () => (await dialled).send(bytes))
      .then(() => {
        if (--underWay === 0) socket.resume();
      });
    sending.catch(fail);
  });
  let pipe: Pipe;
  try {
    pipe = await dialled;
  } catch (error) {
    return fail(error);
  }
  const receiving = forward(pipe, socket);
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
