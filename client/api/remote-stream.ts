// A connection to somewhere in the guest as two web streams: each direction ends on its own.

import { exitOf } from "../../protocol/api/exit.ts";
import { callHook } from "../../protocol/api/hooks.ts";
import { onAbort } from "../../protocol/abort.ts";
import type { Owner } from "../../protocol/api/program-end.ts";
import { brokenBy, errorsOf } from "../../protocol/api/stream-end.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { StreamPlace } from "../../protocol/forward/target.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { readableOf, writableOf } from "./streams.ts";
import type { RemoteStream, StreamOptions } from "./types.ts";

/**
 * The direction that ends last waits for how the guest's side ended: who has ended the other one never takes a break for an end.
 */
export function remoteStream(
  channel: Channel,
  place: StreamPlace,
  options: StreamOptions,
  owner: Owner,
): RemoteStream {
  const explain = (error: unknown): Error => owner.explain(error);
  let over = false; // the guest's side is
  let inputEnded = false;
  let outputEnded = false;
  const fail = (error: unknown): void => {
    if (!over) channel.hangUp();
    readable.fail(error);
    writable.fail(error);
  };
  const left = (reason: unknown): void => fail(reason ?? brokenOff());
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
      throw explain(error);
    },
  );
  const ended = exit.then((status) => {
    const error = brokenBy(status, place);
    if (error !== undefined) throw error;
  });
  const readable = readableOf(channel.stdout, explain, left, async () => {
    outputEnded = true;
    if (over || inputEnded) await ended;
  });
  const writable = writableOf(channel, explain, {
    async end() {
      inputEnded = true;
      channel.end();
      if (outputEnded) await ended;
    },
    left,
  });
  ended.catch((error: unknown) => writable.fail(error)); // the reader finds it behind what came
  const offChanged = owner.onChanged(fail);
  const offAbort = onAbort(options.signal, fail);
  const off = (): void => {
    offChanged();
    offAbort();
  };
  exit.then(off, off);
  const own = exit.then(exitOf);
  own.catch(() => undefined); // a caller that never asks is no unhandled rejection
  return { readable: readable.readable, writable: writable.writable, exit: own };
}

function brokenOff(): SealttyError {
  return new SealttyError("transport-lost", "The stream was broken off at this end");
}
