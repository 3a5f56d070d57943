// The host at its worst, by a seed: loses, doubles, delays, reorders, flips, truncates, injects, replays, splices, cuts.

import type { Carry } from "./memory-pipe.ts";
import type { Seeded } from "./seeded.ts";

export interface Hostility {
  readonly lose?: number;
  readonly double?: number;
  readonly delay?: number; // kept back, so that others overtake it
  readonly flip?: number;
  readonly truncate?: number;
  readonly inject?: number; // a kernel line, zeros, or random bytes
  readonly replay?: number; // something carried earlier, in this session or another
  readonly reflect?: number; // sent back where it came from: needs the other lane, see `hostileCarry`
}

const LINES = [
  "\r\n[   12.345678] virtio_blk virtio0: [vda] 4194304 512-byte logical blocks\r\n",
  "\r\nguest login: ",
  "\x1bc",
  "\0\0\0",
  "\n~sealtty1:AAAAAAAAAAAAAAAA\r\n",
  "\x0f\x0fb",
];

/** @param memory - everything carried so far: share one array between sessions to splice them. */
export function hostileCarry(random: Seeded, hostility: Hostility, memory: Uint8Array[] = []): Carry {
  const heldBack: (() => void)[] = [];
  return (chunk, deliver) => {
    if (memory.length < 500) memory.push(chunk.slice());
    const send = (bytes: Uint8Array): void => {
      if (random.chance(hostility.delay ?? 0)) heldBack.push(() => deliver(bytes));
      else deliver(bytes);
      if (heldBack.length > 0 && random.chance(0.5)) heldBack.splice(random.below(heldBack.length), 1)[0]?.();
    };
    if (random.chance(hostility.inject ?? 0)) {
      const line = LINES[random.below(LINES.length)] as string;
      deliver(random.chance(0.5) ? new TextEncoder().encode(line) : random.bytes(1 + random.below(300)));
    }
    if (random.chance(hostility.replay ?? 0) && memory.length > 0)
      deliver(memory[random.below(memory.length)] as Uint8Array);
    if (random.chance(hostility.lose ?? 0)) return;
    if (random.chance(hostility.flip ?? 0)) {
      const flipped = chunk.slice();
      const at = random.below(flipped.length);
      flipped[at] = (flipped[at] as number) ^ (1 << random.below(8));
      return send(flipped);
    }
    if (random.chance(hostility.truncate ?? 0)) return send(chunk.subarray(0, random.below(chunk.length)));
    send(chunk);
    if (random.chance(hostility.double ?? 0)) send(chunk);
  };
}
