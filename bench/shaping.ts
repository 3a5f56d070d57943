// What shaping costs: bytes a second, while somebody types and when idle, what it adds to a key's echo, and a flood.
// Client and guest in this process; idleness by a clock that is told, for it begins after a minute and more.

import { setTimeout as sleep } from "node:timers/promises";
import { nodeClock } from "../node/clock.ts";
import type { FrameEncoding } from "../protocol/frames/frame-encoder.ts";
import type { ShapingProfile } from "../protocol/packets/shaping.ts";
import { connect } from "../protocol/session/connect.ts";
import { memoryPipes } from "../test/support/memory-pipe.ts";
import { clientOptions, FakeProcess, testGuest } from "../test/support/session.ts";
import { ShapedSession, type Trace } from "../test/support/shaped-session.ts";
import type { Row } from "./report.ts";

const CHUNK = new Uint8Array(64 * 1024).fill(120);
const PROFILES = [undefined, "off", "adaptive", "strict"] as const;

interface Cost {
  readonly toGuest: number; // bytes a second while typing
  readonly toClient: number;
  readonly echoes: readonly number[]; // ms, ascending
  readonly flood: number | undefined; // MB/s
}

async function costOf(
  shaping: ShapingProfile | undefined,
  encoding: FrameEncoding,
  effort: { keys: number; floodBytes: number },
): Promise<Cost> {
  const carried = { "to-guest": 0, "to-client": 0 };
  const process = new FakeProcess();
  const { endpoint } = testGuest(nodeClock, {}, () => process);
  const pipes = memoryPipes((chunk, deliver, direction) => {
    carried[direction] += chunk.length;
    deliver(chunk);
  });
  void endpoint.servePipe(pipes.guest).catch(() => undefined);
  const options = clientOptions(nodeClock, async () => pipes.client, { encoding });
  const attested = await connect(shaping === undefined ? options : { ...options, shaping });
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const channel = await guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  let received = 0;
  let wake: () => void = () => {};
  const reading = (async () => {
    for (;;) {
      const bytes = await channel.stdout.read();
      if (bytes === undefined) return;
      received += bytes.length;
      channel.stdout.consumed(bytes.length);
      wake();
    }
  })().catch(() => undefined);
  const until = async (length: number): Promise<void> => {
    while (received < length) await new Promise<void>((resolve) => (wake = resolve));
  };
  await sleep(2500); // what the opening raised is over
  carried["to-guest"] = carried["to-client"] = 0;
  const start = performance.now();
  process.onInput = (bytes) => process.print(bytes.slice());
  const echoes: number[] = [];
  for (let key = 0; key < effort.keys; key++) {
    await sleep(20 + ((key * 7) % 31));
    const typed = performance.now();
    const before = received;
    await channel.write(Uint8Array.of(97));
    await until(before + 1);
    echoes.push(performance.now() - typed);
  }
  const seconds = (performance.now() - start) / 1000;
  const { "to-guest": toGuest, "to-client": toClient } = carried;
  let flood: number | undefined;
  if (effort.floodBytes > 0) {
    const before = received;
    const began = performance.now();
    for (let printed = 0; printed < effort.floodBytes; printed += CHUNK.length) process.print(CHUNK);
    await until(before + effort.floodBytes);
    flood = effort.floodBytes / 1e3 / (performance.now() - began);
  }
  await guest.close();
  await reading;
  return {
    toGuest: toGuest / seconds,
    toClient: toClient / seconds,
    echoes: echoes.sort((a, b) => a - b),
    flood,
  };
}

/** @returns bytes a second of a connection where nothing happens any more. */
async function idleCost(shaping: ShapingProfile | undefined, encoding: FrameEncoding): Promise<Trace> {
  const session = await ShapedSession.open(shaping, encoding);
  await session.run(95_000, 10);
  session.restart();
  await session.run(IDLE_SECONDS * 1000, 10);
  const trace = structuredClone(session.trace);
  await session.close();
  return trace;
}

const IDLE_SECONDS = 60;
const perSecond = (trace: Trace, direction: keyof Trace): number =>
  trace[direction].reduce((sum, { length }) => sum + length, 0) / IDLE_SECONDS;
const quantile = (ascending: readonly number[], share: number): number =>
  ascending[Math.floor(ascending.length * share)] ?? Number.NaN;

/** A strict flood is not waited for: its rate is the one while typing, less the frames around it. */
export async function shapingRows(quick: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for (const encoding of ["binary", "armour"] as const) {
    let unshaped: readonly number[] = [];
    for (const profile of PROFILES) {
      const floodBytes = profile === "strict" || encoding === "armour" ? 0 : (quick ? 32 : 256) * 2 ** 20;
      const cost = await costOf(profile, encoding, { keys: quick ? 40 : 200, floodBytes });
      const peer = `${profile ?? "not asked for"}, ${encoding}`;
      const row = (figure: string, value: number): void => {
        rows.push({ figure: `shaping: ${figure}`, peer, rounds: [value], ratios: [] });
      };
      const idle = await idleCost(profile, encoding);
      row("bytes/s to the guest, typing", cost.toGuest);
      row("bytes/s to the client, typing", cost.toClient);
      row("bytes/s to the guest, idle", perSecond(idle, "to-guest"));
      row("bytes/s to the client, idle", perSecond(idle, "to-client"));
      if (profile === undefined) {
        unshaped = cost.echoes;
        row("echo p50, ms", quantile(unshaped, 0.5));
        row("echo p99, ms", quantile(unshaped, 0.99));
      } else {
        row("added to the echo's p50, ms", quantile(cost.echoes, 0.5) - quantile(unshaped, 0.5));
        row("added to the echo's p99, ms", quantile(cost.echoes, 0.99) - quantile(unshaped, 0.99));
      }
      if (cost.flood !== undefined) row("flood, MB/s", cost.flood);
    }
  }
  return rows.sort((a, b) => (a.figure < b.figure ? -1 : a.figure > b.figure ? 1 : 0));
}
