// The kernel's log for a client: whatever /dev/kmsg gives, record for record. Nothing here looks into a record: devices and
// tables of the host's have written in it, and this program has root's rights.

import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeKernelLog, type KernelLogMessage } from "../../protocol/kernel-log/messages.ts";
import { MAX_KERNEL_RECORD } from "../../protocol/limits.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { readNow } from "../nonblocking-fd.ts";

export const KMSG = "/dev/kmsg";
/** Between two looks when nothing was there: a person reads along. */
const LOOK_AGAIN_MS = 100;

/** One look: a record, "lost" where the kernel wrote over some, undefined where there is none. */
export type ReadRecord = () => Uint8Array | "lost" | undefined;

/** @throws the system's error: EPERM, ENOENT, … */
export function openKernelLog(device = KMSG): ReadRecord {
  const fd = fs.openSync(device, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const buffer = new Uint8Array(MAX_KERNEL_RECORD);
  return () => {
    try {
      const length = readNow(fd, buffer, 0);
      return length === "again" || length === 0 ? undefined : buffer.slice(0, length);
    } catch (error) {
      if (errorCode(error) === "EPIPE") return "lost"; // the next one is the oldest that is left
      throw error;
    }
  };
}

/**
 * From the oldest record on; ends where there is no more, or with `follow` never by itself.
 * @param put - waits until the client can take more. @param now - one moment by both clocks.
 */
export async function sendKernelLog(
  read: ReadRecord,
  put: (bytes: Uint8Array) => Promise<void>,
  {
    follow,
    now,
  }: { readonly follow: boolean; now: () => { readonly uptime: number; readonly wall: number } },
): Promise<void> {
  const say = (message: KernelLogMessage): Promise<void> => put(encodeKernelLog(message));
  await say({ type: "clock", ...now() });
  let caughtUp = false;
  for (;;) {
    const found = read();
    if (found === "lost") await say({ type: "lost" });
    else if (found !== undefined) await say({ type: "record", bytes: found });
    else {
      if (!caughtUp) await say({ type: "caught-up" });
      caughtUp = true;
      if (!follow) return;
      await sleep(LOOK_AGAIN_MS);
    }
  }
}
