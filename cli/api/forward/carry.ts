// A socket of this machine and a channel into the guest, joined until both have ended: each end on its own, nothing faster
// than the other side takes it.

import type { Socket } from "node:net";
import type { PullReader } from "../../../node/pull-reader.ts";
import { breakOff } from "../../../node/sockets.ts";
import type { Channel, ReceiveStream } from "../../../protocol/session/channel-api.ts";

/** What is here may still be on its way to a program that has not read it: that is given some time, ms. */
const LINGER = 10_000;

export interface CarriedSocket {
  readonly socket: Socket;
  /** The socket's only reader. */
  readonly reader: PullReader;
}

/**
 * Never rejects. @param first - bytes of either side that somebody else has read already. @param linger - ms, for tests.
 * @returns whether both sides ended in order; else what is left of either was broken off, so that it looks like no end.
 */
export async function carry(
  channel: Channel,
  { socket, reader }: CarriedSocket,
  first: { readonly toGuest?: Uint8Array; readonly toSocket?: Uint8Array } = {},
  linger = LINGER,
): Promise<boolean> {
  // What is cut off at one side must not look like an end at the other.
  const broken = (): void => {
    channel.hangUp();
    breakOff(socket);
  };
  const toGuest = async (): Promise<void> => {
    if (first.toGuest !== undefined) await channel.write(first.toGuest);
    for (let chunk = await reader.read(); chunk !== undefined; chunk = await reader.read())
      await channel.write(chunk);
    channel.end();
  };
  const toSocket = async (): Promise<void> => {
    if (first.toSocket !== undefined) await written(socket, first.toSocket);
    for (let chunk = await channel.stdout.read(); chunk !== undefined; chunk = await channel.stdout.read()) {
      await written(socket, chunk);
      channel.stdout.consumed(chunk.length);
    }
    socket.end();
  };
  toGuest().catch(broken); // not awaited: once the guest's side is over, nobody reads what comes here
  toSocket().catch(broken);
  void discard(channel.stderr);
  try {
    const exit = await channel.exit;
    if (exit.kind === "exited" && exit.status === 0) {
      // Nobody is left at the other side: a program that keeps its own direction open speaks to nobody.
      if (socket.closed) return true;
      const timer = setTimeout(() => socket.destroy(), linger);
      timer.unref(); // the socket keeps a program alive, this must not
      socket.once("close", () => clearTimeout(timer));
      return true;
    }
  } catch {
    // the connection ended before it did
  }
  broken();
  return false;
}

function written(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) return reject(new Error("Nobody is there any more"));
    socket.write(bytes, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

/** @returns once it has ended, or its connection. */
export async function discard(stream: ReceiveStream): Promise<void> {
  try {
    for (let chunk = await stream.read(); chunk !== undefined; chunk = await stream.read())
      stream.consumed(chunk.length);
  } catch {
    // told by the channel's exit
  }
}
