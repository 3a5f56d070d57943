// The devices that carry symbols to a guest, and how fast each takes them. docs/vnc-modem.md §3 has where the numbers are from.

/** What one event of a device can say: `protocol/modem/pointer-coding.ts`, `protocol/modem/key-coding.ts`. */
export type CodingKind = "absolute" | "relative" | "toggle" | "tap";

export type Device =
  | "virtio-tablet"
  | "usb-tablet-xhci"
  | "usb-tablet-ehci"
  | "usb-tablet-uhci"
  | "ps2-mouse"
  | "keyboard"
  | "usb-keyboard";

/** So many symbols at once, and the next ones so many ms later. */
export interface Rung {
  readonly batch: number;
  readonly every: number;
}

export interface DeviceHabits {
  /** Byte of the beacon. */
  readonly code: number;
  readonly coding: CodingKind;
  /** Each twice as fast as the one before. A batch is never longer than the burst that the device was seen to hold. */
  readonly rungs: readonly Rung[];
  /** Where to begin. */
  readonly start: number;
  /** Symbols sent and not yet counted by the guest: beyond it a guest that stands still would lose some. */
  readonly uncounted: number;
  /** Somebody else's motion may be put onto an event of ours that waits; it is taken that one with other buttons behind it keeps it off. */
  readonly merges: boolean;
  /** How long an acknowledgement waits for a frame to go with, ms: where an event is dear. */
  readonly ackDelay: number;
}

const UNBOUNDED = Number.POSITIVE_INFINITY;

export const DEVICES: Readonly<Record<Device, DeviceHabits>> = {
  "virtio-tablet": {
    code: 1,
    coding: "absolute",
    rungs: [rung(2, 16), rung(4, 16), rung(8, 16), rung(8, 8)],
    start: 2,
    uncounted: UNBOUNDED,
    merges: false,
    ackDelay: 0,
  },
  "usb-tablet-xhci": {
    code: 2,
    coding: "absolute",
    rungs: [rung(1, 8), rung(2, 8), rung(4, 8)],
    start: 1,
    uncounted: UNBOUNDED,
    merges: true,
    ackDelay: 0,
  },
  "usb-tablet-ehci": {
    code: 3,
    coding: "absolute",
    rungs: [rung(1, 16), rung(1, 8), rung(2, 8)],
    start: 1,
    uncounted: UNBOUNDED,
    merges: true,
    ackDelay: 0,
  },
  // Read every 8 ms, whatever is done: faster than that only fills a queue of 15.
  "usb-tablet-uhci": {
    code: 4,
    coding: "absolute",
    rungs: [rung(1, 18), rung(1, 9)],
    start: 1,
    uncounted: UNBOUNDED,
    merges: true,
    ackDelay: 0,
  },
  "ps2-mouse": {
    code: 5,
    coding: "relative",
    rungs: [rung(1, 8), rung(2, 8), rung(4, 8)],
    start: 1,
    uncounted: UNBOUNDED,
    merges: false,
    ackDelay: 0,
  },
  // QEMU holds each key event for 10 ms, in a queue of about 341 that drops in silence.
  keyboard: {
    code: 6,
    coding: "toggle",
    rungs: [rung(1, 21), rung(1, 10.5)],
    start: 1,
    uncounted: 300,
    merges: false,
    ackDelay: 200,
  },
  // A symbol is two events here.
  "usb-keyboard": {
    code: 7,
    coding: "tap",
    rungs: [rung(1, 42), rung(1, 21)],
    start: 1,
    uncounted: 140,
    merges: false,
    ackDelay: 400,
  },
};

function rung(batch: number, every: number): Rung {
  return { batch, every };
}

const byCode = new Map(
  (Object.keys(DEVICES) as Device[]).map((device) => [DEVICES[device].code, device] as const),
);

export function deviceOfCode(code: number): Device | undefined {
  return byCode.get(code);
}
