// What shaping costs: bytes a second at a prompt, the echo of a key, and a flood. Client and guest in this process.

import { setTimeout as sleep } from "node:timers/promises";
import { nodeClock } from "../node/clock.ts";
import type { FrameEncoding } from "../protocol/frames/frame-encoder.ts";
import type { ShapingProfile } from "../protocol/packets/shaping.ts";
import { connect } from "../protocol/session/connect.ts";
import { memoryPipes } from "../test/support/memory-pipe.ts";
import { clientOptions, FakeProcess, testGuest } from "../test/support/session.ts";
import type { Row } from "./report.ts";

const CHUNK = new Uint8Array(64 * 1024).fill(120);
const PROFILES = [undefined, "off", "adaptive", "strict"] as const;

interface Cost {
  readonly toGuest: number; // bytes a second at a prompt
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
  await sleep(3000);
  const seconds = (performance.now() - start) / 1000;
  const { "to-guest": toGuest, "to-client": toClient } = carried;
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

/** A strict flood is not waited for: its rate is the one at the prompt. */
export async function shapingRows(quick: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for (const encoding of ["binary", "armour"] as const) {
    for (const profile of PROFILES) {
      const floodBytes = profile === "strict" || encoding === "armour" ? 0 : (quick ? 32 : 256) * 2 ** 20;
      const cost = await costOf(profile, encoding, { keys: quick ? 40 : 200, floodBytes });
      const peer = `${profile ?? "not asked for"}, ${encoding}`;
      const row = (figure: string, value: number): void => {
        rows.push({ figure: `shaping: ${figure}`, peer, rounds: [value], ratios: [] });
      };
      row("bytes/s to the guest at a prompt", cost.toGuest);
      row("bytes/s to the client at a prompt", cost.toClient);
      row("echo p50, ms", cost.echoes[Math.floor(cost.echoes.length / 2)] ?? Number.NaN);
      row("echo p99, ms", cost.echoes[Math.floor(cost.echoes.length * 0.99)] ?? Number.NaN);
      if (cost.flood !== undefined) row("flood, MB/s", cost.flood);
    }
  }
  return rows.sort((a, b) => (a.figure < b.figure ? -1 : a.figure > b.figure ? 1 : 0));
}
