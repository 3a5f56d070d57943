// A program in the guest, whoever carries its streams: what it is fed with, and an end that is never taken for another.

import { type AbortLike, onAbort } from "../abort.ts";
import { utf8 } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import type { Channel } from "../session/channel-api.ts";
import { exitOf } from "./exit.ts";
import { misuse } from "./misuse.ts";
import { RunLimit } from "./run-limit.ts";
import type { Exit } from "./types.ts";

/** The connection that a program belongs to. */
export interface Owner {
  readonly clock: Clock;
  /** Calls `fail` once the guest is another one. @returns what takes it off again. */
  onChanged(fail: (error: SealttyError) => void): () => void;
  /** What is behind an error of the connection. */
  explain(error: unknown): Error;
}

export interface Limits {
  readonly signal?: AbortLike;
  /** Ms. */
  readonly timeout?: number;
}

/**
 * @param end - hangs it up where it does not outlive this, and ends its streams with the error.
 * @returns how it ends; and `fail`, for an end that is not the program's.
 */
export function endOf(
  channel: Channel,
  { signal, timeout }: Limits,
  owner: Owner,
  end: (error: Error) => void,
): { exit: Promise<Exit>; fail: (error: unknown) => void } {
  const limit =
    timeout === undefined
      ? undefined
      : new RunLimit({ signal: (name) => channel.signal(name), hangUp: () => {} }, owner.clock, timeout); // fail() hangs up
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = (error) => {
      end(owner.explain(error));
      reject(error);
    };
  });
  const off = onAbort(signal, fail);
  const offChanged = owner.onChanged(fail);
  const ended = channel.exit.then(
    (status) => {
      if (limit?.error !== undefined) throw limit.error;
      return exitOf(status);
    },
    (error: unknown) => {
      throw owner.explain(error);
    },
  );
  limit?.givenUp.catch(fail);
  const ends = [ended, failed, ...(limit === undefined ? [] : [limit.givenUp])];
  const exit = Promise.race(ends).finally(() => {
    limit?.stop();
    offChanged();
    off();
  });
  exit.catch(() => undefined); // a caller that never asks is no unhandled rejection
  return { exit, fail };
}

/** Bytes or text, at once or as they come. */
export type Input = string | Uint8Array | AsyncIterable<string | Uint8Array>;

/** All of it, and then its end. @throws what the input throws; where the connection is over, `exit` says so. */
export async function feed(channel: Channel, stdin: Input | undefined): Promise<void> {
  if (stdin === undefined) return channel.end();
  if (typeof stdin === "string" || stdin instanceof Uint8Array) {
    await write(channel, stdin);
  } else {
    for await (const part of stdin) if (!(await write(channel, requirePiece(part)))) return;
  }
  channel.end();
}

/** From JavaScript anything may come: a list of numbers, say. @throws SealttyError `api-misuse`. */
export function requirePiece(piece: string | Uint8Array): string | Uint8Array {
  if (typeof piece === "string" || piece instanceof Uint8Array) return piece;
  throw misuse("What a program is given to read is text, or bytes in a Uint8Array", piece);
}

/** @returns false where the connection is over. */
async function write(channel: Channel, part: string | Uint8Array): Promise<boolean> {
  try {
    await channel.write(typeof part === "string" ? utf8(part) : part);
    return true;
  } catch {
    return false;
  }
}

export const MAX_COLLECTED = 64 * 1024 * 1024;

/** Counts what is collected of a program's outputs. @param hangUp - above `maxBytes`. */
export function collectLimit(maxBytes: number, hangUp: () => void): (length: number) => void {
  let left = maxBytes;
  return (length) => {
    left -= length;
    if (left >= 0) return;
    hangUp();
    throw new SealttyError("limit-exceeded", `The program printed more than ${maxBytes} bytes`);
  };
}
