// The measurements, the same for every peer.

import { Inbox, MARKER, type Peer, type Terminal } from "./peer.ts";
import { percentile } from "./statistics.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const UNIT = 65_536; // floods are multiples of it
const MAX_FLOOD = 4 * 1024 ** 3;
/** Bytes: a character for each cell of 80 by 24. */
const SCREEN = 80 * 24;

async function withTerminal<T>(
  peer: Peer,
  use: (terminal: Terminal, inbox: Inbox) => Promise<T>,
): Promise<T> {
  const inbox = new Inbox();
  try {
    const terminal = await peer.open(inbox);
    try {
      return await use(terminal, inbox);
    } finally {
      await terminal.close();
    }
  } catch (error) {
    throw new Error(`${peer.name}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Prints `length` bytes (a multiple of 64 KiB) on the terminal.
 * @returns MB/s (10^6 bytes) from asking for them to the last one here.
 */
export function flood(peer: Peer, length: number): Promise<number> {
  return withTerminal(peer, async (terminal, inbox) => {
    await terminal.write(bytes(peer.floodLine(length)));
    await inbox.untilMarker(MARKER, peer.patienceMs);
    const start = performance.now();
    await terminal.write(bytes("\n"));
    await inbox.untilLength(length, peer.patienceMs);
    return length / (performance.now() - start) / 1000;
  });
}

/** Grows the flood to about `seconds`: by then both ends are warm, and the rate is that of warm ends. @returns bytes. */
export async function floodLength(peer: Peer, seconds: number): Promise<number> {
  const lengthFor = (bytes: number): number =>
    Math.min(MAX_FLOOD, Math.max(1, Math.round(bytes / UNIT)) * UNIT);
  let length = 4 * UNIT;
  for (let tries = 0; tries < 8; tries++) {
    const rate = (await flood(peer, length)) * 1e6;
    const wanted = lengthFor(rate * seconds);
    if (wanted < 2 * length) return wanted;
    length = Math.min(wanted, 8 * length);
  }
  return length;
}

export interface EchoTimes {
  readonly p50: number; // µs
  readonly p99: number;
}

/** One byte after another there and back; each is sent once the one before is here. */
export function echo(peer: Peer, samples: number, warmUp: number): Promise<EchoTimes> {
  return withTerminal(peer, async (terminal, inbox) => {
    await terminal.write(bytes(peer.echoLine));
    await inbox.untilMarker(MARKER, peer.patienceMs);
    const key = bytes("x");
    const times: number[] = [];
    for (let sent = 1; sent <= warmUp + samples; sent++) {
      const start = performance.now();
      void terminal.write(key);
      await inbox.untilLength(sent, peer.patienceMs);
      if (sent > warmUp) times.push((performance.now() - start) * 1000);
    }
    return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
  });
}

/** A key to a shell, as busybox's and bash are, that fills its screen again for each. @returns ms until all of it is here, each time. */
export function repaint(peer: Peer, times: number): Promise<number[]> {
  return withTerminal(peer, async (terminal, inbox) => {
    const line =
      `p=$(head -c ${SCREEN} /dev/zero | tr '\\0' x); stty raw -echo; ` +
      `printf '${MARKER.slice(0, 3)}%s' '${MARKER.slice(3)}'; while read -r -n 1 k; do printf %s "$p"; done\n`;
    await terminal.write(bytes(line));
    await inbox.untilMarker(MARKER, peer.patienceMs);
    const key = bytes("x");
    const took: number[] = [];
    for (let painted = 1; painted <= times; painted++) {
      const start = performance.now();
      await terminal.write(key);
      await inbox.untilLength(painted * SCREEN, peer.patienceMs);
      took.push(performance.now() - start);
    }
    return took;
  });
}

/** Sends `length` bytes to a program that takes them. @returns kB/s until it says that it has them all. */
export function swallow(peer: Peer, length: number): Promise<number> {
  return withTerminal(peer, async (terminal, inbox) => {
    const line = `stty raw -echo; printf '${MARKER.slice(0, 3)}%s' '${MARKER.slice(3)}'; head -c ${length} >/dev/null; printf x\n`;
    await terminal.write(bytes(line));
    await inbox.untilMarker(MARKER, peer.patienceMs);
    const start = performance.now();
    await terminal.write(new Uint8Array(length).fill(0x61));
    await inbox.untilLength(1, peer.patienceMs);
    return length / (performance.now() - start);
  });
}

/** @returns ms from asking for a terminal to the first byte of its prompt, and to the milestones on the way. */
export async function timeToPrompt(peer: Peer): Promise<{ prompt: number } & Record<string, number>> {
  const start = performance.now();
  return withTerminal(peer, async (terminal, inbox) => {
    await inbox.untilFirstByte(peer.patienceMs);
    const prompt = performance.now() - start;
    const milestones = Object.entries(terminal.milestones ?? {}).map(([name, at]) => [name, at - start]);
    return { ...(Object.fromEntries(milestones) as Record<string, number>), prompt };
  });
}
