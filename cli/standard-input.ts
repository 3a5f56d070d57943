// Standard input of this program, given to a program or connection in the guest as fast as it takes it.

import type { Writable } from "node:stream";
import { errorCode } from "../node/socket-pipe.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Surroundings } from "./services.ts";

/** Stopping and starting a stream for each chunk costs as much as the chunk. Bytes; the other end holds more itself. */
const MAX_WAITING = 256 * 1024;

/**
 * All of it into the other's, then its end. @param failed - it cannot be read on: what came is not all, and has no end.
 * @returns what stops it.
 */
export function feed(
  to: Writable,
  services: Pick<Surroundings, "stdin">,
  failed: (error: SealttyError) => void,
): () => void {
  const { stdin } = services;
  let stopped = false;
  let waiting = 0; // bytes that the other has not taken
  const onData = (chunk: Uint8Array): void => {
    if (!to.writable) return; // its end is told elsewhere, and may come any time
    waiting += chunk.length;
    if (waiting >= MAX_WAITING) stdin.pause();
    to.write(chunk, (error) => {
      waiting -= chunk.length;
      if (!stopped && waiting < MAX_WAITING && (error === null || error === undefined)) stdin.resume();
    });
  };
  // The end may come while the last bytes still wait for room.
  const onEnd = (): void => {
    if (to.writable) to.end();
  };
  const onError = (cause: Error): void => {
    const failure = inputFailure(cause, stdin);
    if (failure === undefined) onEnd();
    else failed(failure);
  };
  stdin.on("data", onData);
  stdin.once("end", onEnd);
  stdin.once("error", onError);
  return () => {
    stopped = true;
    stdin.off("data", onData);
    stdin.off("end", onEnd);
    stdin.off("error", onError);
    stdin.on("error", () => undefined); // of a read under way, which nobody waits for any more
    stdin.pause();
  };
}

/** @returns undefined where that was all: the terminal is gone; or it was opened to be written to, as nohup does. */
export function inputFailure(
  cause: Error,
  stdin: Pick<Surroundings["stdin"], "isTTY">,
): SealttyError | undefined {
  if (stdin.isTTY === true || errorCode(cause) === "EBADF") return undefined;
  return new SealttyError("device-unavailable", `Cannot read the standard input: ${cause.message}`, {
    cause,
  });
}
