// How a connection to somewhere in the guest ended, and what its program complained of.

import { SealttyError } from "../errors.ts";
import { placeWords, type StreamPlace } from "../forward/target.ts";
import type { Channel, ExitStatus } from "../session/channel-api.ts";

/** As shells have it: the program is not there, or cannot be run. */
const isNotStarted = (status: number): boolean => status === 126 || status === 127;

/** @returns what broke it; undefined where it ended in order. */
export function brokenBy(exit: ExitStatus, place: StreamPlace): SealttyError | undefined {
  if (place.kind !== "service") {
    if (exit.kind === "exited" && exit.status === 0) return undefined;
    return new SealttyError("program-failed", `the guest's connection to ${placeWords(place)} broke`);
  }
  // Its program's status is its own affair.
  if (exit.kind !== "exited" || !isNotStarted(exit.status)) return undefined;
  return new SealttyError(
    "program-failed",
    `the guest could not run its program for ${place.name}; see [forward] ${place.name} in its sealttyd.toml (sealttyd --check, in the guest)`,
  );
}

/** Reads them to their end. Never rejects. */
export async function errorsOf({ stderr }: Channel, take: (bytes: Uint8Array) => void): Promise<void> {
  try {
    for (let chunk = await stderr.read(); chunk !== undefined; chunk = await stderr.read()) {
      take(chunk);
      stderr.consumed(chunk.length);
    }
  } catch {
    // how the connection ended, the stream tells
  }
}
