// One whole session over any pipe, the same for every host: evidence, a user, echoes, 256 KiB each way with digests, an exit
// status, and in the middle whatever the host does to its clients. Prints what it measured; asserts no times.

import { createHash } from "node:crypto";
import { nodeClock } from "../../../node/clock.ts";
import type { Clock } from "../../../protocol/clock.ts";
import { concat } from "../../../protocol/bytes.ts";
import type { Pipe } from "../../../protocol/pipe.ts";
import type { Guest } from "../../../protocol/session/api.ts";
import type { Channel } from "../../../protocol/session/channel-api.ts";
import { connect } from "../../../protocol/session/connect.ts";
import {
  acceptAnyKey,
  clientOptions,
  echoProcess,
  FakeProcess,
  testGuest,
  type TestGuest,
} from "../session.ts";
import { seeded } from "../seeded.ts";

export const BULK = 256 * 1024;
const ECHOES = 50;

export const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Reads its input to the end, says its SHA-256 in a line, then prints what it has, and ends with status 7. */
class DigestProcess extends FakeProcess {
  readonly printed: Uint8Array;
  constructor(printed: Uint8Array) {
    super();
    this.printed = printed;
  }
  override endInput(): void {
    this.print(Buffer.from(`${digestOf(concat(...this.input))}\n`));
    for (let at = 0; at < this.printed.length; at += 16 * 1024) {
      this.print(this.printed.subarray(at, at + 16 * 1024));
    }
    this.finish({ kind: "exited", status: 7 });
  }
}

/** A simulated guest that lets any key in; its first program echoes, the others digest. */
export function hostTestGuest(
  clock: Clock = nodeClock,
  bulk = BULK,
): TestGuest & { readonly printed: Uint8Array } {
  const printed = seeded(11).bytes(bulk);
  let programs = 0;
  const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey }, () =>
    programs++ === 0 ? echoProcess() : new DigestProcess(printed),
  );
  return { ...guest, printed };
}

export interface SessionCase {
  /** For the printed figures. */
  readonly name: string;
  readonly guest: ReturnType<typeof hostTestGuest>;
  dial(): Promise<Pipe>;
  readonly clock?: Clock;
  readonly encoding?: "auto" | "binary" | "armour";
  /** Once the session stands and echoes: what the host does. The session has to outlive it. */
  midway?(session: MidSession): Promise<void>;
  /** In a second transfer, with half of the input given and some of it arrived: what the host does then. */
  readonly halfway?: () => Promise<unknown>;
}

export interface MidSession {
  readonly guest: Guest;
  readonly phases: readonly string[];
  /** Types one byte and waits for its echo: the session works. */
  readonly echo: () => Promise<void>;
  /** Resolves when the connection went through `reconnecting` and stands again on another pipe. */
  readonly reconnected: (after: number) => Promise<void>;
}

export interface SessionResult {
  readonly phases: readonly string[];
  readonly noise: Buffer;
  readonly pipes: number;
  readonly transfers: readonly Transfer[];
}

interface Transfer {
  /** SHA-256, as the guest computed it of its input, and of what was sent. */
  readonly guestDigest: string;
  readonly sentDigest: string;
  /** SHA-256 of the output. */
  readonly printedDigest: string;
  readonly status: unknown;
  readonly inMs: number;
  readonly outMs: number;
}

/** @throws what broke. What was sent and what arrived is in the result, for the test to compare. */
export async function wholeSession(session: SessionCase): Promise<SessionResult> {
  const clock = session.clock ?? nodeClock;
  const phases: string[] = [];
  const noise: Uint8Array[] = [];
  let wake: (() => void)[] = [];
  const attested = await connect(
    clientOptions(clock, () => session.dial(), {
      encoding: session.encoding ?? "auto",
      onState: ({ phase }) => {
        phases.push(phase);
        for (const each of wake.splice(0)) each();
      },
      onHostNoise: (bytes) => noise.push(bytes.slice()),
    }),
  );
  try {
    const guest = await attested.authenticate({
      method: "ssh-key",
      user: "root",
      publicKey: new Uint8Array(51),
      sign: async () => new Uint8Array(83),
    });
    const echoChannel = await guest.openChannel({ kind: "exec", command: ["echo"], environment: {} });
    const echo = () => echoOne(echoChannel);
    await echo();
    const times: number[] = [];
    for (let i = 0; i < ECHOES; i++) {
      const start = performance.now();
      await echo();
      times.push(performance.now() - start);
    }
    await session.midway?.({
      guest,
      phases,
      echo,
      async reconnected(after) {
        while (guest.stats.pipes <= after || phases.at(-1) !== "attested") {
          await new Promise<void>((resolve) => wake.push(resolve));
        }
      },
    });
    const first = await transfer(guest, session);
    const { halfway } = session;
    const transfers = halfway === undefined ? [first] : [first, await transfer(guest, session, halfway)];
    if (session.guest.printed.length >= BULK) tell(session.name, times, first);
    return { phases, noise: Buffer.concat(noise), pipes: guest.stats.pipes, transfers };
  } finally {
    await attested.close();
  }
}

/** As many bytes in as out. */
async function transfer(
  guest: Guest,
  session: SessionCase,
  halfway?: () => Promise<unknown>,
): Promise<Transfer> {
  const channel = await guest.openChannel({ kind: "exec", command: ["digest"], environment: {} });
  const sent = seeded(12).bytes(session.guest.printed.length);
  const reading = readAll(channel);
  const start = performance.now();
  const half = Math.floor(sent.length / 2);
  await writeAll(channel, sent.subarray(0, half));
  if (halfway !== undefined) {
    await inputTaken(session.guest, half / 4);
    await halfway();
  }
  await writeAll(channel, sent.subarray(half));
  channel.end();
  const { first, rest, firstAt } = await reading;
  return {
    guestDigest: first,
    sentDigest: digestOf(sent),
    printedDigest: digestOf(rest),
    inMs: firstAt - start,
    outMs: performance.now() - firstAt,
    status: await channel.exit,
  };
}

/** Resolves once the newest program has been given this many bytes. */
async function inputTaken({ processes }: TestGuest, bytes: number): Promise<void> {
  const process = processes.at(-1) as FakeProcess;
  while (process.input.reduce((sum, part) => sum + part.length, 0) < bytes) {
    await new Promise<void>((resolve) => {
      process.onInput = () => resolve();
    });
  }
}

async function writeAll(channel: Channel, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += 8000) await channel.write(bytes.subarray(at, at + 8000));
}

async function echoOne(channel: Channel): Promise<void> {
  await channel.write(Uint8Array.of(0x61));
  const bytes = await channel.stdout.read();
  if (bytes === undefined || bytes.length !== 1 || bytes[0] !== 0x61)
    throw new Error("the echo is not what was typed");
  channel.stdout.consumed(1);
}

async function readAll(channel: Channel): Promise<{ first: string; rest: Buffer; firstAt: number }> {
  const parts: Uint8Array[] = [];
  let firstAt = 0;
  for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
    if (parts.length === 0) firstAt = performance.now();
    parts.push(part.slice());
    channel.stdout.consumed(part.length);
  }
  const all = Buffer.concat(parts);
  const line = all.indexOf(0x0a);
  return { first: all.subarray(0, line).toString(), rest: all.subarray(line + 1), firstAt };
}

/** Figures for docs/hosts.md, on this machine, whatever else it was doing. */
function tell(name: string, echoes: readonly number[], { inMs, outMs }: Transfer): void {
  const median = echoes.toSorted((a, b) => a - b)[Math.floor(echoes.length / 2)] as number;
  const rate = (ms: number) => `${(BULK / 1000 / ms).toFixed(1)} MB/s`;
  process.stdout.write(
    `speed of ${name}: echo ${median.toFixed(1)} ms, in ${rate(inMs)}, out ${rate(outMs)}\n`,
  );
}

/** What every whole session must have come to, in each of its transfers. */
export function soundness(
  { transfers }: SessionResult,
  { printed }: ReturnType<typeof hostTestGuest>,
): Record<string, boolean> {
  const every = (holds: (each: Transfer) => boolean): boolean =>
    transfers.length > 0 && transfers.every(holds);
  return {
    "the guest got what was sent": every((each) => each.guestDigest === each.sentDigest),
    "the client got what was printed": every((each) => each.printedDigest === digestOf(printed)),
    "the exit status came through": every(
      (each) => JSON.stringify(each.status) === '{"kind":"exited","status":7}',
    ),
  };
}

export const SOUND = {
  "the guest got what was sent": true,
  "the client got what was printed": true,
  "the exit status came through": true,
};
