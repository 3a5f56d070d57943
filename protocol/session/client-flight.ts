// How much of a client's may be on the pipe to the guest, from the rate that the pipe was found to carry.

import type { FrameEncoding } from "../frames/frame-encoder.ts";
import {
  LONG_BODY_TO_GUEST,
  LONG_FLIGHT_TO_GUEST_BYTES,
  MAX_ARMOUR_BODY,
  MAX_BODY_TO_GUEST,
  MAX_FLIGHT_TO_GUEST_BYTES,
  MAX_FLIGHT_TO_GUEST_FRAMES,
  MAX_QUEUE_TO_GUEST_MS,
} from "../limits.ts";
import type { FlightLimits } from "../packets/recovery.ts";

/** How long one frame may take at the rate found, ms, and the least body all the same. */
const QUICK = 250;
const MIN_QUICK_BODY = 160;

/** @param rate - bytes a second; 0: unknown. */
export function flightToGuest(rate: number): FlightLimits {
  return {
    bytes: MAX_FLIGHT_TO_GUEST_BYTES,
    frames: MAX_FLIGHT_TO_GUEST_FRAMES,
    longBytes: LONG_FLIGHT_TO_GUEST_BYTES,
    queue: MAX_QUEUE_TO_GUEST_MS,
    ...(rate > 0 ? { start: (rate * MAX_QUEUE_TO_GUEST_MS) / 1000 } : {}),
  };
}

/** @returns what a frame holds, bytes of body. */
export function maxBody(encoding: FrameEncoding): number {
  return encoding === "armour" ? MAX_ARMOUR_BODY : MAX_BODY_TO_GUEST;
}

/** On a slow pipe a frame is a long time: no keystroke should wait for one. @returns bytes of body. */
export function quickBody(encoding: FrameEncoding, rate: number): number {
  const most = maxBody(encoding);
  return rate === 0 ? most : Math.min(most, Math.floor(Math.max(MIN_QUICK_BODY, (rate * QUICK) / 1000)));
}

/** @returns the same once the pipe has shown itself quick; a rate that is not known shows nothing. */
export function longBody(encoding: FrameEncoding, rate: number): number {
  if (encoding === "armour") return MAX_ARMOUR_BODY;
  return Math.min(LONG_BODY_TO_GUEST, Math.floor((rate * QUICK) / 1000));
}
