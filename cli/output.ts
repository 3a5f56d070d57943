// A stream of the guest's into one of ours, no faster than it is taken.

import type { Readable, Writable } from "node:stream";
import { PullReader } from "../node/pull-reader.ts";
import { SealttyError } from "../protocol/errors.ts";

/** Nobody reads our output any more: as with SIGPIPE. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/**
 * `from` is not ended, nor destroyed. @param onUnwritten - hears what `to` fails with, and nothing of `from`.
 * @throws OutputClosed, and what either fails with.
 */
export async function pour(
  from: Readable,
  to: Writable,
  onUnwritten: (error: unknown) => void,
): Promise<void> {
  const reader = new PullReader(from);
  for (let chunk = await reader.read(); chunk !== undefined; chunk = await reader.read()) {
    try {
      await writeTo(to, chunk);
    } catch (error) {
      onUnwritten(error);
      throw error;
    }
  }
}

/** Resolves once the stream took it. @throws OutputClosed, SealttyError `device-unavailable`. */
export function writeTo(to: Writable, chunk: Uint8Array | string): Promise<void> {
  return new Promise((resolve, reject) => {
    if (to.destroyed) return reject(new OutputClosed());
    to.write(chunk, (error: NodeJS.ErrnoException | null | undefined) => {
      if (error === null || error === undefined) resolve();
      else reject(failureOfWrite(error, to));
    });
  });
}

/** OutputClosed where nobody reads it any more; else a SealttyError `device-unavailable` in words. */
export function failureOfWrite(error: NodeJS.ErrnoException, to: Writable): Error {
  return error instanceof OutputClosed || isGone(error.code, to) ? new OutputClosed() : cannotWrite(error);
}

/** EIO is what a terminal says that was closed. Of a disk it is an error. */
function isGone(code: string | undefined, to: Writable & { readonly isTTY?: boolean }): boolean {
  return code === "EPIPE" || code === "ERR_STREAM_DESTROYED" || (code === "EIO" && to.isTTY === true);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "no space is left where it goes; make room there",
  EDQUOT: "the quota where it goes is used up; make room there",
  EIO: "the disk that it goes to fails",
};

function cannotWrite(cause: NodeJS.ErrnoException): SealttyError {
  const { code = "unknown error" } = cause;
  const why = Object.hasOwn(REASONS, code) ? `${REASONS[code]} (${code})` : code;
  return new SealttyError("device-unavailable", `Cannot write the output: ${why}`, { cause });
}
