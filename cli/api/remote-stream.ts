// A connection to somewhere in the guest as one of Node's streams: each direction ends on its own.

import { Duplex } from "node:stream";
import { callbackify } from "node:util";
import { exitOf } from "../../protocol/api/exit.ts";
import { callHook } from "../../protocol/api/hooks.ts";
import { onAbort } from "../../protocol/abort.ts";
import type { Owner } from "../../protocol/api/program-end.ts";
import { brokenBy, errorsOf } from "../../protocol/api/stream-end.ts";
import type { StreamPlace } from "../../protocol/forward/target.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { failingBehind, ignored, READ_AHEAD } from "./streams.ts";
import type { RemoteStream, StreamOptions } from "./types.ts";

/**
 * READ_AHEAD bytes wait at most for either side, beside what the channel holds itself. The direction that ends last
 * waits for how the guest's side ended: who has ended the other one, or has both in a pipeline, never takes a break for an end.
 */
export function duplexOf(
  channel: Channel,
  place: StreamPlace,
  options: StreamOptions,
  owner: Owner,
): RemoteStream {
  let over = false; // the guest's side is
  let inputEnded = false;
  let outputEnded = false;
  let pulling = false;
  const errors = errorsOf(channel, (bytes) => {
    // A copy: whoever gets it may give its buffer away, which a packet shares with others. Also a promise of the hook's may fail.
    callHook(() => options.onStderr?.(new Uint8Array(bytes)), fail);
  });
  const exit = channel.exit.then(
    async (status) => {
      over = true;
      await errors;
      return status;
    },
    (error: unknown) => {
      over = true;
      throw owner.explain(error);
    },
  );
  const ended = exit.then((status) => {
    const error = brokenBy(status, place);
    if (error !== undefined) throw error;
  });
  const fail = (error: unknown): void => {
    stream.destroy(error instanceof Error ? error : owner.explain(error));
  };
  const pull = async (): Promise<void> => {
    if (pulling || outputEnded) return;
    pulling = true;
    try {
      do {
        const chunk = await channel.stdout.read();
        if (chunk === undefined) {
          outputEnded = true;
          if (over || inputEnded) await ended;
        } else channel.stdout.consumed(chunk.length);
        pulling = stream.destroyed; // then what comes is thrown away: it would keep its place for ever
        if (!stream.destroyed) stream.push(chunk ?? null);
      } while (stream.destroyed && !outputEnded);
    } catch (error) {
      outputEnded = true;
      failBehind(owner.explain(error));
    }
  };
  const take = callbackify(async (chunk: Buffer): Promise<void> => {
    try {
      await channel.write(chunk);
    } catch (error) {
      throw owner.explain(error);
    }
  });
  const waitForEnd = callbackify(() => ended);
  const stream: Duplex = new Duplex({
    highWaterMark: READ_AHEAD,
    read: () => void pull(),
    write(chunk: Buffer, _encoding, done) {
      // After the guest's side ended it goes nowhere, as with a socket whose other end was closed.
      take(chunk, done);
    },
    final(done) {
      inputEnded = true;
      channel.end();
      if (outputEnded) waitForEnd(done);
      else done();
    },
    destroy(error, done) {
      if (!over) channel.hangUp();
      off();
      offAbort();
      void pull();
      done(error);
    },
  });
  stream.on("error", ignored);
  const failBehind = failingBehind(stream);
  ended.then(
    () => {
      // Nobody is left who could read; what came from there is read first.
      if (stream.readableEnded) stream.destroy();
      else stream.once("end", () => stream.destroy());
    },
    (error: unknown) => {
      // Else pull() finds the end behind what came, and what kind of end it is.
      if (outputEnded) failBehind(owner.explain(error));
      else void pull();
    },
  );
  const off = owner.onChanged(fail);
  const offAbort = onAbort(options.signal, fail);
  const own = exit.then(exitOf);
  own.catch(() => undefined); // a caller that never asks is no unhandled rejection
  return Object.assign(stream, { exit: own });
}
