// The guest's streams as a browser's: a reader that asks gives credit, and a writer that waits is held up.

import { requirePiece } from "../../protocol/api/program-end.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Channel, ReceiveStream } from "../../protocol/session/channel-api.ts";

/** What one stream takes from its writer before it says that this is enough. */
export const WRITE_AHEAD = 64 * 1024;

export interface Source {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Throws away what still comes: a stream that nobody reads would wait for credit for ever, and its program's end with it. */
  discard(): void;
  /** For a reader who would wait for ever, where the guest never says that it is over. */
  fail(error: unknown): void;
}

/**
 * Nothing is read before the reader asks, so an error comes behind all that came before it.
 * @param explain - makes the error that the reader sees. @param onLeft - the reader cancelled it before its end.
 * @param atEnd - awaited before the end is told; what it throws is told in its place.
 */
export function readableOf(
  from: ReceiveStream,
  explain: (error: unknown) => Error,
  onLeft: (reason: unknown) => void,
  atEnd?: () => Promise<void>,
): Source {
  let controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  let reading = false;
  let ended = false;
  let discarding = false;
  let gone = false; // nobody is told anything any more
  const take = (chunk: Uint8Array): void => {
    from.consumed(chunk.length);
    // A copy: whoever reads may give its buffer away, and a piece of a packet shares it with others.
    if (!discarding) controller.enqueue(new Uint8Array(chunk));
  };
  const pull = async (): Promise<void> => {
    if (reading || ended) return;
    reading = true;
    try {
      do {
        const chunk = await from.read();
        if (chunk !== undefined) take(chunk);
        ended = chunk === undefined;
      } while (discarding && !ended);
      if (ended) await atEnd?.();
      if (ended && !gone) controller.close();
    } catch (error) {
      ended = true;
      if (!gone) controller.error(explain(error));
    } finally {
      reading = false;
    }
  };
  const discard = (): void => {
    discarding = true;
    void pull();
  };
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      start(own) {
        controller = own;
      },
      pull,
      cancel(reason) {
        gone = true;
        if (!ended) onLeft(reason);
        discard();
      },
    },
    { highWaterMark: 0 },
  );
  return {
    readable,
    discard,
    fail(error) {
      if (!gone) controller.error(error);
      gone = true;
      discard();
    },
  };
}

export interface Sink {
  readonly writable: WritableStream<string | Uint8Array>;
  /** What is written from now on fails with it. */
  fail(error: unknown): void;
}

/** @param on - `end`: of input, in order. `left`: the writer gave up in between. */
export function writableOf(
  channel: Pick<Channel, "write">,
  explain: (error: unknown) => Error,
  on: { end(): void | Promise<void>; left(reason: unknown): void },
): Sink {
  let controller!: WritableStreamDefaultController;
  let aborted = false; // it fails by itself
  let ended = false;
  const sizeOf = (piece: string | Uint8Array): number => {
    try {
      return requirePiece(piece).length;
    } catch (error) {
      if (!ended) on.left(error); // the stream fails now, without a word to anybody else: half of an input is none
      throw error;
    }
  };
  const writable = new WritableStream<string | Uint8Array>(
    {
      start(own) {
        controller = own;
        // At once, and not behind a write that waits for a program which reads no more.
        own.signal.addEventListener("abort", () => {
          aborted = true;
          on.left(own.signal.reason);
        });
      },
      async write(piece) {
        try {
          await channel.write(typeof piece === "string" ? utf8(piece) : piece);
        } catch (error) {
          throw explain(error);
        }
      },
      close() {
        ended = true;
        return on.end();
      },
    },
    { highWaterMark: WRITE_AHEAD, size: sizeOf },
  );
  return {
    writable,
    fail(error) {
      if (!aborted) controller.error(error);
    },
  };
}

/** Also where the browser's streams cannot be iterated themselves. Left before its end, it is cancelled. */
export async function* piecesOf<Piece>(stream: ReadableStream<Piece>): AsyncGenerator<Piece, void, void> {
  const reader = stream.getReader();
  let over = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      over = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!over) reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}

/** All of it. @param take - told the length of each piece; what it throws ends this. */
export async function allOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (length: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of piecesOf(stream)) {
    take(piece.length);
    pieces.push(piece);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}
