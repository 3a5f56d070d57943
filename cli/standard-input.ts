// Standard input of this program, given to a channel as fast as it takes it.

import type { Channel } from "../protocol/session/channel-api.ts";
import type { Surroundings } from "./services.ts";

/** Stopping and starting a stream for each chunk costs as much as the chunk. Bytes; the channel holds more itself. */
const MAX_WAITING = 256 * 1024;

/** All of it into the channel's, then its end. @returns what stops it. */
export function feed(channel: Channel, services: Pick<Surroundings, "stdin">): () => void {
  const { stdin } = services;
  let stopped = false;
  let sending = Promise.resolve();
  let waiting = 0; // bytes that the channel has not taken
  const onData = (chunk: Uint8Array): void => {
    waiting += chunk.length;
    if (waiting >= MAX_WAITING) stdin.pause();
    sending = sending
      .then(() => channel.write(chunk))
      .then(
        () => {
          waiting -= chunk.length;
          if (!stopped && waiting < MAX_WAITING) stdin.resume();
        },
        () => undefined, // channel.exit tells
      );
  };
  // The end may come while the last bytes still wait for room.
  const onEnd = (): void => {
    void sending.then(() => channel.end());
  };
  stdin.on("data", onData);
  stdin.once("end", onEnd);
  stdin.once("error", onEnd); // a closed or unreadable stdin has nothing more to give
  return () => {
    stopped = true;
    stdin.off("data", onData);
    stdin.off("end", onEnd);
    stdin.off("error", onEnd);
    stdin.pause();
  };
}
