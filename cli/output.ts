// A stream of the guest's into one of ours, no faster than it is taken.

import type { Readable, Writable } from "node:stream";
import { PullReader } from "../node/pull-reader.ts";
import { SealttyError } from "../protocol/errors.ts";

/** Nobody reads our output any more: as with SIGPIPE. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** `from` is not ended, nor destroyed. @throws OutputClosed, and what `from` fails with. */
export async function pour(from: Readable, to: Writable): Promise<void> {
  const reader = new PullReader(from);
  for (let chunk = await reader.read(); chunk !== undefined; chunk = await reader.read())
    await writeTo(to, chunk);
}

/** Resolves once the stream took it. @throws OutputClosed, SealttyError `device-unavailable`. */
export function writeTo(to: Writable, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (to.destroyed) return reject(new OutputClosed());
    to.write(chunk, (error: NodeJS.ErrnoException | null | undefined) => {
      if (error === null || error === undefined) resolve();
      else if (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED" || error.code === "EIO") {
        reject(new OutputClosed());
      } else {
        reject(
          new SealttyError("device-unavailable", `Cannot write the output (${error.code})`, { cause: error }),
        );
      }
    });
  });
}
