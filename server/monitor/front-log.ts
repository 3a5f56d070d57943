// What the front logs goes through the monitor: every line of it is marked as the front's, so that none passes for the
// monitor's own, and a front that the host took over cannot fill the log without end.

import type { Readable } from "node:stream";
import type { Clock } from "../../protocol/clock.ts";
import { TokenBucket } from "../../protocol/session/token-bucket.ts";
import { type LogLevel, levelOfPriority } from "../log.ts";

const MAX_LINE = 8 * 1024;
const LINES_PER_SECOND = 200;
const LINES_AT_ONCE = 2000;

export interface FrontLogOptions {
  readonly clock: Clock;
  /** @param text - hostile, possibly. */
  readonly write: (level: LogLevel, text: string) => void;
}

/** @returns when all of it was taken: the front has ended. */
export function relayFrontLog(stderr: Readable, { clock, write }: FrontLogOptions): Promise<void> {
  const bucket = new TokenBucket(LINES_PER_SECOND, LINES_AT_ONCE);
  let dropped = 0;
  let held = "";
  let cut = false; // of this line something is gone already
  const line = (text: string): void => {
    if (!bucket.take(clock.now())) {
      dropped++;
      return;
    }
    if (dropped > 0) write("warn", `${dropped} lines were too many, and are gone`);
    dropped = 0;
    const [, priority, rest] = /^<(\d)>(.*)$/su.exec(text) ?? [];
    write(levelOfPriority(Number(priority)) ?? "warn", rest ?? text);
  };
  stderr.setEncoding("utf8");
  stderr.on("data", (chunk: string) => {
    const parts = `${held}${chunk}`.split("\n");
    held = parts.pop() ?? "";
    for (const part of parts) {
      if (!cut) line(part.slice(0, MAX_LINE));
      cut = false;
    }
    if (held.length <= MAX_LINE) return;
    if (!cut) line(held.slice(0, MAX_LINE));
    cut = true;
    held = "";
  });
  return new Promise((resolve) => {
    const end = (): void => {
      if (held !== "" && !cut) line(held);
      held = "";
      resolve();
    };
    stderr.once("end", end);
    stderr.once("close", end);
    stderr.on("error", end);
  });
}
