// The guest's streams as Node's.

import { Readable, Writable } from "node:stream";
import { callbackify } from "node:util";
import type { Channel, ReceiveStream } from "../../protocol/session/channel-api.ts";

/** What one stream holds for its reader, beyond which it takes no more. */
export const READ_AHEAD = 64 * 1024;
/** A terminal's: a chunk. What lies here comes before what answers a Ctrl-C, and before a gap that a slow reader makes. */
export const TERMINAL_AHEAD = 1;

/** @param explain - makes the error that the reader sees. @param onLeft - the reader destroyed it before its end. */
export function readableOf(
  from: ReceiveStream,
  explain: (error: unknown) => Error,
  onLeft: () => void,
  ahead = READ_AHEAD,
): { readonly readable: Readable; discard(): void; fail(error: Error): void } {
  let ended = false;
  let pulling = false;
  let discarding = false;
  let failed = false; // in place of a reader that left
  const pull = async (): Promise<void> => {
    if (pulling || ended) return;
    pulling = true;
    try {
      do {
        const chunk = await from.read();
        ended = chunk === undefined;
        if (chunk !== undefined) from.consumed(chunk.length);
        pulling = discarding;
        // Asks for more at once where there is room: that is the next pull.
        if (chunk === undefined || !discarding) readable.push(chunk ?? null);
      } while (discarding && !ended);
    } catch (error) {
      ended = true;
      failBehind(explain(error));
    }
  };
  /** Without this a stream that nobody reads would wait for credit for ever, and its program's end with it. */
  const discard = (): void => {
    discarding = true;
    void pull();
  };
  /** For a reader who would wait for ever, where the guest never says that it is over. */
  const fail = (error: Error): void => {
    failed = true;
    discard();
    readable.destroy(error);
  };
  const readable: Readable = new Readable({
    highWaterMark: ahead,
    read: () => void pull(),
    destroy(error, done) {
      if (!ended) {
        if (!failed) onLeft();
        discard();
      }
      done(error);
    },
  });
  readable.on("error", ignored);
  const failBehind = failingBehind(readable);
  return { readable, discard, fail };
}

/** @returns what destroys the stream with an error, once all that came before it was read. */
export function failingBehind(stream: Readable): (error: Error) => void {
  const read = stream.read.bind(stream);
  let failure: Error | undefined;
  stream.read = (size) => {
    const chunk: unknown = read(size);
    if (failure !== undefined && stream.readableLength === 0) stream.destroy(failure);
    return chunk;
  };
  return (error) => {
    failure = error;
    if (stream.readableLength === 0) stream.destroy(error);
  };
}

/**
 * Destroying it is an end of input, too. @param explain - makes the error that the writer sees. @param broken - whoever writes
 * destroyed it with an error, before its end: what came is not all. Absent: that is an end as well.
 */
export function writableOf(
  channel: Pick<Channel, "write" | "end">,
  explain: (error: unknown) => Error,
  broken?: (error: Error) => void,
): Writable {
  let refused = false;
  const take = callbackify(async (chunk: Buffer): Promise<void> => {
    try {
      await channel.write(chunk);
    } catch (error) {
      refused = true;
      throw explain(error);
    }
  });
  let ended = false;
  const end = (): void => {
    if (!ended) channel.end();
    ended = true;
  };
  const writable = new Writable({
    highWaterMark: READ_AHEAD,
    write: (chunk: Buffer, _encoding, done) => take(chunk, done),
    final(done) {
      end();
      done();
    },
    destroy(error, done) {
      if (error !== null && broken !== undefined && !ended && !refused) broken(error);
      else end();
      done(error);
    },
  });
  writable.on("error", ignored);
  return writable;
}

/** Who does not listen to a stream learns it from the program's `exit`: an error that nobody took must not end the process. */
export function ignored(): void {}
