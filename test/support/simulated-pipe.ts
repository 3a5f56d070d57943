// Pipes with the habits of real hosts, on a clock of the test's: what each does to bytes, towards the guest or both ways.

import { nodeSuite } from "../../node/crypto-suite.ts";
import type { Clock } from "../../protocol/clock.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import type { Carry } from "./memory-pipe.ts";
import type { Seeded } from "./seeded.ts";

export type Habit = (clock: Clock, random: Seeded) => Carry;

const each =
  (change: (chunk: Uint8Array) => Uint8Array): Habit =>
  () =>
  (chunk, deliver) =>
    deliver(change(chunk));

export const clean: Habit = each((chunk) => chunk);
/** QEMU's telnet=on: 0xff begins a command of three bytes, unless another follows at once. Towards the guest only. */
export const telnet: Habit = () => {
  let command = 0; // bytes of it so far
  return (chunk, deliver, direction) => {
    if (direction === "to-client") return deliver(chunk);
    deliver(
      chunk.filter((byte) => {
        const escaped = byte === 0xff && command === 1;
        if (escaped) command = 0;
        else if (command > 0 || byte === 0xff) command = (command + 1) % 3;
        else return true;
        return escaped;
      }),
    );
  };
};
export const sevenBits: Habit = each((chunk) => chunk.map((byte) => byte & 0x7f));
/** Cloud Hypervisor does it to a lone one, some terminals to each. */
export const lineFeedToReturn: Habit = each((chunk) => chunk.map((byte) => (byte === 0x0a ? 0x0d : byte)));

/** QEMU's mux=on: Ctrl-A and the byte behind it are commands, also across writes. Towards the guest only. */
export const swallowsCtrlA: Habit = () => {
  let escaped = false;
  return (chunk, deliver, direction) => {
    if (direction === "to-client") return deliver(chunk);
    deliver(
      chunk.filter((byte) => {
        if (escaped) {
          escaped = false;
          return false;
        }
        escaped = byte === 0x01;
        return !escaped;
      }),
    );
  };
};

/**
 * QEMU 7.2's mux=on behind websocket=on, which does not ask the device before each byte: what does not fit is put into a
 * ring of 32 bytes, over what waits there, and the ring is read as often as its count says.
 * @param room - bytes that the device and the ring take at once; they are read a millisecond later.
 */
export const mux = (room: number): Habit => {
  const ring = 32;
  return both(swallowsCtrlA, (clock) => {
    let device: number[] = [];
    let put: number[] = []; // into the ring since it was read
    return (chunk, deliver, direction) => {
      if (direction === "to-client") return deliver(chunk);
      if (device.length === 0)
        clock.after(1, () => {
          const newestAt = (slot: number): number => slot + ring * Math.floor((put.length - 1 - slot) / ring);
          const again = put.map((_, i) => put[newestAt(i % ring)] as number);
          const read = Uint8Array.of(...device, ...again);
          device = [];
          put = [];
          deliver(read);
        });
      const fits = Math.max(0, room - ring - device.length);
      device.push(...chunk.subarray(0, fits));
      put.push(...chunk.subarray(fits));
    };
  });
};

/** @param length - a FIFO of so many bytes, emptied `drain` ms after the first; the rest of a write is lost. */
export const fifo =
  (length: () => number, drain = 1): Habit =>
  (clock) => {
    let held: Uint8Array[] = [];
    let level = 0;
    return (chunk, deliver, direction) => {
      if (direction === "to-client") return deliver(chunk);
      const fits = chunk.subarray(0, Math.max(0, length() - level));
      if (fits.length === 0) return;
      if (level === 0) {
        clock.after(drain, () => {
          const whole = held;
          held = [];
          level = 0;
          for (const part of whole) deliver(part);
        });
      }
      held.push(fits.slice());
      level += fits.length;
    };
  };

/** Loses a whole write with this probability, either way. */
export const loses =
  (probability: number): Habit =>
  (_clock, random) =>
  (chunk, deliver) => {
    if (!random.chance(probability)) deliver(chunk);
  };

/** A relay: what it passes on are whole frames; of each it loses one with this probability, either way. */
export const wholeFrames =
  (probability: number): Habit =>
  (_clock, random) => {
    const decoders = {
      "to-guest": new FrameDecoder(nodeSuite.crc32),
      "to-client": new FrameDecoder(nodeSuite.crc32),
    };
    return (chunk, deliver, direction) => {
      for (const { body, encoding } of decoders[direction].push(chunk).frames) {
        if (!random.chance(probability)) deliver(encodeFrame(body, encoding, nodeSuite.crc32));
      }
    };
  };

/** Bytes a second towards the guest, in a queue without an end: a socket's buffer before a slow device. */
export const slow =
  (rate: number): Habit =>
  (clock) => {
    let freeAt = 0;
    return (chunk, deliver, direction) => {
      if (direction === "to-client") return deliver(chunk);
      const at = Math.max(clock.now(), freeAt) + (chunk.length * 1000) / rate;
      freeAt = at;
      const copy = chunk.slice();
      clock.after(at - clock.now(), () => deliver(copy));
    };
  };

/**
 * The same, byte by byte: QEMU's mux before a virtserialport.
 * @param room - bytes that wait at most, in a ring of so many buffers; what comes then is lost.
 */
export const crumbs =
  (rate: number, room = Number.POSITIVE_INFINITY): Habit =>
  (clock) => {
    let freeAt = 0;
    return (chunk, deliver, direction) => {
      if (direction === "to-client") return deliver(chunk);
      for (const byte of chunk) {
        if (((freeAt - clock.now()) * rate) / 1000 >= room) continue;
        freeAt = Math.max(clock.now(), freeAt) + 1000 / rate;
        clock.after(freeAt - clock.now(), () => deliver(Uint8Array.of(byte)));
      }
    };
  };

/** Each way takes so long, ms. */
export const far =
  (oneWay: number): Habit =>
  (clock) =>
  (chunk, deliver) => {
    const copy = chunk.slice();
    clock.after(oneWay, () => deliver(copy));
  };

/** First one's habit, then the other's. */
export const both =
  (first: Habit, second: Habit): Habit =>
  (clock, random) => {
    const one = first(clock, random);
    const two = second(clock, random);
    return (chunk, deliver, direction) =>
      one(chunk, (rest) => rest.length > 0 && two(rest, deliver, direction), direction);
  };
