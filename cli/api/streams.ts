// The guest's streams as Node's.

import { Readable, Writable } from "node:stream";
import { callbackify } from "node:util";
import type { Channel, ReceiveStream } from "../../protocol/session/channel-api.ts";

/** What one stream holds for its reader, beyond which it takes no more. */
const READ_AHEAD = 64 * 1024;

/**
 * @param explain - makes the error that the reader sees. @param onLeft - the reader destroyed it before its end.
 */
export function readableOf(
  from: ReceiveStream,
  explain: (error: unknown) => Error,
  onLeft: () => void,
): Readable {
  let ended = false;
  const readable = new Readable({
    highWaterMark: READ_AHEAD,
    read() {
      from.read().then(
        (chunk) => {
          ended = chunk === undefined;
          this.push(chunk ?? null);
          if (chunk !== undefined) from.consumed(chunk.length);
        },
        (error: unknown) => {
          ended = true;
          this.destroy(explain(error));
        },
      );
    },
    destroy(error, done) {
      if (!ended) onLeft();
      done(error);
    },
  });
  readable.on("error", told);
  return readable;
}

/** Destroying it is an end of input, too. @param explain - makes the error that the writer sees. */
export function writableOf(
  channel: Pick<Channel, "write" | "end">,
  explain: (error: unknown) => Error,
): Writable {
  const take = callbackify(async (chunk: Buffer): Promise<void> => {
    try {
      await channel.write(chunk);
    } catch (error) {
      throw explain(error);
    }
  });
  const writable = new Writable({
    highWaterMark: READ_AHEAD,
    write: (chunk: Buffer, _encoding, done) => take(chunk, done),
    final(done) {
      channel.end();
      done();
    },
    destroy(error, done) {
      channel.end();
      done(error);
    },
  });
  writable.on("error", told);
  return writable;
}

/** Who does not listen to a stream learns it from the program's `exit`: an error that nobody took must not end the process. */
function told(): void {}
