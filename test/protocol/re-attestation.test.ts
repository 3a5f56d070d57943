// Evidence again during a connection: renewed, changed, refused, missing, replayed; and what a frozen connection lets through.

import { expect, test } from "vitest";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import type { Evidence } from "../../protocol/attestation/evidence.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { INPUT_STREAM_WINDOW, OUTPUT_STREAM_WINDOW } from "../../protocol/limits.ts";
import type { AttestationEvent, ConnectOptions } from "../../protocol/session/api.ts";
import { ClientChannel } from "../../protocol/session/client-channel.ts";
import { ClientSession } from "../../protocol/session/client-session.ts";
import { ClientRenewals } from "../../protocol/session/client-renewals.ts";
import { connect } from "../../protocol/session/connect.ts";
import { Gate } from "../../protocol/session/gate.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { EvidenceRequest } from "../../protocol/session/guest-evidence.ts";
import type { MessageStream } from "../../protocol/session/message-stream.ts";
import { ReAttestation } from "../../protocol/session/re-attestation.ts";
import { ATTACH_TOO_MANY } from "../../protocol/session/session-messages.ts";
import { dataRecord, gapRecord } from "../../protocol/session/session-records.ts";
import { Stream } from "../../protocol/streams/stream.ts";
import type { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { clientOptions, echoProcess, type FakeProcess, testGuest } from "../support/session.ts";

const LOGIN = { kind: "login", term: "xterm-256color", columns: 80, rows: 24 } as const;

/** A simulated machine: another secret key is another machine, or the same one after a reboot. */
class Machine {
  secretKey = nodeSuite.randomBytes(32);
  instance = "test";
  sick: SealttyError | undefined;
  /** What it gave, in order. */
  readonly given: Evidence[] = [];
  /** Gives this instead, whatever was asked. */
  replay: Evidence | undefined;
  /** Awaited first. */
  before: () => Promise<void> = async () => {};

  readonly collect: GuestServices["collectEvidence"] = async ({ makeBinder }: EvidenceRequest) => {
    await this.before();
    if (this.sick !== undefined) throw this.sick;
    const { secretKey, instance } = this;
    const aux = encodeAux(simulatedParts({ publicKey: nodeSuite.ed25519PublicKey(secretKey), instance }));
    const quote = signSimulatedQuote(nodeSuite, secretKey, makeBinder("simulated", aux));
    const evidence: Evidence = this.replay ?? { type: "simulated", quote, aux };
    this.given.push(evidence);
    return evidence;
  };
}

async function open(own: Partial<ConnectOptions> = {}, services: Partial<GuestServices> = {}) {
  const clock = fastClock(10);
  const machine = new Machine();
  const guest = testGuest(clock, { collectEvidence: machine.collect, ...services });
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const events: AttestationEvent[] = [];
  const attested = await connect(
    clientOptions(clock, async () => pipes.client, { onAttestation: (event) => events.push(event), ...own }),
  );
  const session = await attested.authenticate({ method: "none", user: "root" });
  return { machine, guest, events, attested, session };
}

test("the same guest is renewed, with evidence of its own each time", async () => {
  const { machine, events, session } = await open();
  await session.reattest();
  await session.reattest();
  expect(events.map((event) => event.kind)).toEqual(["renewed", "renewed"]);
  const [first, second, third] = machine.given.map((evidence) => Buffer.from(evidence.quote).toString("hex"));
  expect(new Set([first, second, third]).size).toBe(3); // the binder differs: a count and a nonce
  const renewed = events[0];
  expect(renewed?.kind === "renewed" && renewed.verified.claims.fresh).toMatch(/asked for again \(1\)/);
  await session.close();
});

test("asking twice at once is one question", async () => {
  const { machine, events, session } = await open();
  await Promise.all([session.reattest(), session.reattest()]);
  expect(events).toHaveLength(1);
  expect(machine.given).toHaveLength(2);
  await session.close();
});

test("a changed guest freezes the session both ways until the user goes on", async () => {
  const { machine, guest, events, session } = await open();
  const channel = await session.openChannel(LOGIN);
  await channel.write(utf8("before"));
  expect(await channel.stdout.read()).toEqual(utf8("before"));
  const process = guest.processes[0];

  machine.secretKey = nodeSuite.randomBytes(32); // rebooted, or another machine
  await session.reattest();
  expect(session.frozen).toBe(true);
  const [event] = events;
  expect(event?.kind).toBe("changed");
  expect(event?.kind === "changed" && event.changes.map(({ name, scope }) => ({ name, scope }))).toEqual([
    { name: "simulated.key", scope: "boot" },
  ]);

  process?.print(utf8("secret prompt: "));
  let written = false;
  let shown: Uint8Array | undefined;
  const writing = channel.write(utf8("password")).then(() => {
    written = true;
  });
  const reading = channel.stdout.read().then((bytes) => {
    shown = bytes;
  });
  channel.signal("SIGINT");
  channel.resize(132, 43);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(written).toBe(false);
  expect(shown).toBeUndefined();
  expect(process?.input).toHaveLength(1);
  expect(process?.events).toEqual([]);
  await session.reattest(); // asking changes nothing while frozen
  expect(events).toHaveLength(1);

  session.goOn();
  await Promise.all([writing, reading]);
  expect(shown).toEqual(utf8("secret prompt: "));
  expect(await channel.stdout.read()).toEqual(utf8("password"));
  expect(process?.events).toEqual(["SIGINT", "resize 132x43"]);
  await session.reattest(); // what was accepted counts from now on
  expect(events.map(({ kind }) => kind)).toEqual(["changed", "renewed"]);
  await session.close();
});

test("an input that is given up while frozen: the guest is told at once, and what had not arrived never leaves", async () => {
  const { machine, guest, session } = await open();
  const channel = await session.openChannel(LOGIN);
  const process = guest.processes[0];
  if (process === undefined) throw new Error("no process");
  process.reads = () => new Promise(() => {}); // so that no credit comes
  const secret = new Uint8Array(INPUT_STREAM_WINDOW + 4096).fill(7);
  await channel.write(secret);
  machine.secretKey = nodeSuite.randomBytes(32);
  await session.reattest();
  expect(session.frozen).toBe(true);
  const late = channel.write(utf8("more"));
  channel.hangUpUnsent();
  await expect.poll(() => process.events).toContain("hang up");
  expect(session.frozen).toBe(true);
  session.goOn();
  await late; // went nowhere, and waits for nothing
  await expect(channel.exit).resolves.toEqual({ kind: "signalled", signal: "SIGHUP" });
  await session.close();
});

test("bytes written before the freeze and still unsent do not leave either", async () => {
  const { machine, guest, session } = await open();
  const channel = await session.openChannel(LOGIN);
  await channel.write(utf8("a"));
  await channel.stdout.read();
  machine.secretKey = nodeSuite.randomBytes(32);
  const asking = session.reattest();
  while (!session.frozen) await new Promise((resolve) => setTimeout(resolve, 1));
  await asking;
  channel.write(utf8("typed too late")).catch(() => {}); // the connection is closed before it may leave
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(guest.processes[0]?.input.map((bytes) => Buffer.from(bytes).toString())).toEqual(["a"]);
  await session.close();
});

/** A program that is being started until told: the request goes out before the freeze, the answer comes in it. */
function lateProcess() {
  let start: () => void = () => {};
  const startProcess = (): Promise<FakeProcess> =>
    new Promise((resolve) => {
      start = () => resolve(echoProcess());
    });
  return { startProcess, start: () => start() };
}

test.each(["channel", "session"])(
  "frozen: a %s that the guest opens meanwhile is the user's once they went on, and never where they closed",
  async (kind) => {
    for (const choice of ["goes on", "closes"]) {
      const { startProcess, start } = lateProcess();
      const { machine, guest, session } = await open({}, { startProcess });
      const opening =
        kind === "channel" ? session.openChannel(LOGIN) : session.openSession({ request: LOGIN });
      let settled = false;
      opening.finally(() => (settled = true)).catch(() => {});
      machine.secretKey = nodeSuite.randomBytes(32);
      await session.reattest();
      expect(session.frozen).toBe(true);
      const heard = session.stats.packetsReceived;
      start();
      while (session.stats.packetsReceived === heard) await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(settled).toBe(false);
      if (choice === "goes on") {
        session.goOn();
        const channel = await opening;
        await channel.write(utf8("on"));
        expect(await channel.stdout.read()).toEqual(utf8("on"));
      }
      await session.close();
      if (choice === "closes") await expect(opening).rejects.toThrow("closed");
      guest.sessions.stop();
    }
  },
);

test("frozen: a refusal that comes meanwhile is not told before the user chose", async () => {
  const { machine, guest, session } = await open();
  let refuse: () => void = () => {};
  guest.sessions.open = () =>
    new Promise((resolve) => {
      refuse = () => resolve({ code: ATTACH_TOO_MANY });
    });
  const opening = session.openSession({ request: LOGIN });
  let settled = false;
  opening.finally(() => (settled = true)).catch(() => {});
  machine.secretKey = nodeSuite.randomBytes(32);
  await session.reattest();
  const heard = session.stats.packetsReceived;
  refuse();
  while (session.stats.packetsReceived === heard) await new Promise((resolve) => setTimeout(resolve, 1));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(settled).toBe(false);
  session.goOn();
  await expect(opening).rejects.toMatchObject({ code: "limit-exceeded" });
  await session.close();
});

test("a listener of viewers that throws, at once or after a freeze, fails its own session and nothing else", async () => {
  for (const frozen of [false, true]) {
    const { machine, guest, session } = await open();
    const one = await session.openSession({ request: LOGIN });
    while (one.viewers === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    one.onViewers = () => {
      throw new Error("broken");
    };
    if (frozen) {
      machine.secretKey = nodeSuite.randomBytes(32);
      await session.reattest();
      expect(session.frozen).toBe(true);
    }
    const request = {
      client: new Uint8Array(16),
      mode: "read-only",
      offset: 0,
      columns: 9,
      rows: 9,
    } as const;
    const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
    guest.sessions.attach({ name: "root", method: "none" }, one.session, request, events);
    if (frozen) {
      const heard = session.stats.packetsReceived;
      while (session.stats.packetsReceived === heard) await new Promise((resolve) => setTimeout(resolve, 1));
      session.goOn();
    }
    await expect(one.exit).rejects.toMatchObject({ code: "api-misuse", cause: { message: "broken" } });
    const other = await session.openChannel(LOGIN); // the connection lives
    await other.write(utf8("on"));
    expect(await other.stdout.read()).toEqual(utf8("on"));
    await session.close();
  }
});

test("frozen: no session is listed or killed", async () => {
  const { machine, guest, session } = await open();
  const channel = await session.openSession({ request: LOGIN });
  machine.secretKey = nodeSuite.randomBytes(32);
  await session.reattest();
  const passed: string[] = [];
  const listing = session.listSessions([channel.session]).then(() => passed.push("list"));
  const killing = session.killSession(channel.session).then(() => passed.push("kill"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(passed).toEqual([]);
  expect(guest.processes[0]?.events).toEqual([]); // nor was it asked
  session.goOn();
  await Promise.all([listing, killing]);
  expect(guest.processes[0]?.events).toEqual(["hang up"]);
  await session.close();
});

test("frozen: who is attached is told once, as it is when the user goes on; never where the connection ended", async () => {
  const { machine, guest, session } = await open();
  const one = await session.openSession({ request: LOGIN });
  while (one.viewers === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  const told: number[] = [];
  one.onViewers = ({ columns }) => told.push(columns);
  const request = { client: new Uint8Array(16), mode: "read-write", offset: 0, rows: 24 } as const;
  const look = (columns: number): void => {
    const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
    guest.sessions.attach({ name: "root", method: "none" }, one.session, { ...request, columns }, events);
  };
  const freeze = async (): Promise<void> => {
    machine.secretKey = nodeSuite.randomBytes(32);
    await session.reattest();
    expect(session.frozen).toBe(true);
  };
  await freeze();
  look(60);
  look(50);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(told).toEqual([]);
  expect(one.viewers?.columns).toBe(80);
  session.goOn();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(told).toEqual([50]);
  expect(one.viewers?.columns).toBe(50);
  await freeze();
  look(40);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await session.close();
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(told).toEqual([50]);
});

/** A session's channel without a guest: its stream is fed by hand. */
function bareSession(gate = new Gate()) {
  const windows = { receive: OUTPUT_STREAM_WINDOW, send: INPUT_STREAM_WINDOW };
  const streams = { inOut: new Stream(2, windows), error: new Stream(3, windows) };
  const connection = { onWork: () => {} } as unknown as StreamConnection;
  const channel = new ClientChannel(
    1,
    streams,
    {} as MessageStream,
    connection,
    gate,
    () => {},
    () => false,
  );
  const name = { id: new Uint8Array(16), secret: undefined };
  const session = new ClientSession(channel, {
    session: name,
    client: new Uint8Array(16),
    mode: "read-write",
    place: { session: name, epoch: 1, input: 0, from: 0, lost: 0, end: 0 },
    send: streams.inOut.send,
    gate,
    sendDetach: () => {},
    after: undefined,
  });
  return { channel, session, output: streams.inOut };
}

test("session output that ends in the middle of a record is no end", async () => {
  const { session, output } = bareSession();
  const record = dataRecord(utf8("whole"));
  output.receive.push(0, concat(record, record.subarray(0, 5)), true);
  output.onChange();
  expect(await session.stdout.read()).toEqual(utf8("whole"));
  expect(await session.stdout.read()).toEqual(utf8("wh"));
  await expect(session.stdout.read()).rejects.toMatchObject({ code: "peer-misbehaved" });
});

test("output and gaps in one piece come in their order, and the piece behind them after them", async () => {
  const { session, output } = bareSession();
  const told: string[] = [];
  session.onGap = (lost) => told.push(`gap ${lost}`);
  const pieces = Array.from({ length: 2000 }, (_, n) => concat(dataRecord(utf8("x")), gapRecord(n + 1)));
  const first = concat(...pieces);
  output.receive.push(0, first, false);
  output.receive.push(first.length, dataRecord(utf8("y")), true);
  output.onChange();
  for (let n = 0; n < 2000; n++) {
    expect(await session.stdout.read()).toEqual(utf8("x"));
    expect(told).toHaveLength(n);
  }
  expect(await session.stdout.read()).toEqual(utf8("y"));
  expect(told).toEqual(Array.from({ length: 2000 }, (_, n) => `gap ${n + 1}`));
  expect(await session.stdout.read()).toBeUndefined();
});

test("frozen: session output that was taken apart before waits, and is not shown where the connection ends", async () => {
  for (const fails of [false, true]) {
    const gate = new Gate();
    const { channel, session, output } = bareSession(gate);
    output.receive.push(0, concat(dataRecord(utf8("one")), dataRecord(utf8("two"))), false);
    expect(await session.stdout.read()).toEqual(utf8("one"));
    gate.close();
    let shown = false;
    const reading = session.stdout.read().finally(() => {
      shown = true;
    });
    reading.catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    expect(shown).toBe(false);
    if (fails) channel.fail(new SealttyError("transport-lost", "closed by its user"));
    gate.open();
    if (fails) await expect(reading).rejects.toThrow("closed by its user");
    else expect(await reading).toEqual(utf8("two"));
  }
});

test("a frozen session that is closed shows nothing of what came meanwhile, and no exit", async () => {
  const { machine, guest, session } = await open();
  const channel = await session.openChannel(LOGIN);
  machine.secretKey = nodeSuite.randomBytes(32);
  await session.reattest();
  const reading = channel.stdout.read().then(
    (bytes) => bytes,
    (error: Error) => error.message,
  );
  guest.processes[0]?.print(utf8("forged"));
  guest.processes[0]?.finish({ kind: "exited", status: 0 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  await session.close();
  expect(await reading).toMatch(/closed/);
  await expect(channel.exit).rejects.toThrow("closed");
});

test("evidence that the policy no longer accepts freezes, with the refusal", async () => {
  const { machine, events, session } = await open();
  machine.instance = "other";
  await session.reattest();
  const [event] = events;
  expect(event?.kind === "changed" && event.refusal?.check).toBe("simulated.instance");
  expect(session.frozen).toBe(true);
  await session.close();
});

test("the evidence of the beginning, and that of an earlier renewal, are refused when they come again", async () => {
  for (const which of [0, 1]) {
    const { machine, events, session } = await open();
    await session.reattest();
    machine.replay = machine.given[which] as Evidence;
    await session.reattest();
    expect(events.map(({ kind }) => kind)).toEqual(["renewed", "changed"]);
    const last = events[1];
    expect(last?.kind === "changed" && last.refusal?.check).toBe("simulated.binding");
    await session.close();
  }
});

test("a guest that can collect none is told, counted, and asked again; nothing freezes", async () => {
  const { machine, events, session } = await open();
  machine.sick = new SealttyError("evidence-unavailable", "throttled");
  await session.reattest();
  await session.reattest();
  machine.sick = undefined;
  await session.reattest();
  machine.sick = new SealttyError("evidence-unavailable", "throttled");
  await session.reattest();
  expect(events.map((event) => (event.kind === "unavailable" ? event.inARow : event.kind))).toEqual([
    1,
    2,
    "renewed",
    1,
  ]);
  expect(session.frozen).toBe(false);
  await session.close();
});

test("it is asked for by itself, every so often", async () => {
  const { POLICY_DEFAULTS } = await import("../../protocol/attestation/policy/model.ts");
  const clock = new ManualClock();
  const { attested, session } = await open();
  let asked = 0;
  const again = new ReAttestation(
    {
      clock,
      every: POLICY_DEFAULTS.reattestEvery * 1000,
      missesAllowed: POLICY_DEFAULTS.reattestMisses,
      renew: async () => {
        asked++;
        return attested.verified;
      },
      freeze: () => {},
      thaw: () => {},
      tell: () => {},
    },
    attested.verified,
  );
  const settle = async () => {
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  clock.advance(599_000);
  await settle();
  expect(asked).toBe(0);
  clock.advance(1000);
  await settle();
  expect(asked).toBe(1);
  clock.advance(600_000);
  await settle();
  expect(asked).toBe(2);
  again.stop();
  clock.advance(6_000_000);
  expect(asked).toBe(2);
  await session.close();
});

test("a guest that is silent when asked again: told in time, asked again, and frozen after three times", async () => {
  const { machine, events, session } = await open();
  const channel = await session.openChannel(LOGIN);
  const answers: (() => void)[] = [];
  const stall = () => new Promise<void>((resolve) => answers.push(resolve));
  machine.before = stall;
  for (let i = 0; i < 3; i++) await session.reattest(); // 2 minutes each, ten times as fast
  expect(events.map((event) => (event.kind === "unavailable" ? event.inARow : event.kind))).toEqual([
    1,
    2,
    3,
    "changed",
  ]);
  expect(session.frozen).toBe(true);
  session.goOn();
  // The answers that come at last are for questions that nobody asks any more.
  machine.before = async () => {};
  for (const answer of answers) answer();
  await new Promise((resolve) => setTimeout(resolve, 800));
  await session.reattest();
  expect(events.at(-1)?.kind).toBe("renewed");
  await channel.write(utf8("on"));
  expect(await channel.stdout.read()).toEqual(utf8("on"));
  await session.close();
}, 120_000);

test("an answer that comes in pieces is waited for as long as it comes at a rate, and no longer", async () => {
  const clock = new ManualClock();
  const renewals = new ClientRenewals(clock);
  const settle = async () => {
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  const ask = () => {
    const state = { outcome: "waits" };
    renewals
      .ask(new Uint8Array(32), () => {})
      .then(
        () => (state.outcome = "answered"),
        (error: unknown) => (state.outcome = error instanceof SealttyError ? error.code : "?"),
      );
    return state;
  };
  const slow = ask();
  for (let bytes = 0; bytes < 300_000; bytes += 100) {
    renewals.arriving(bytes);
    clock.advance(100);
    await settle();
    expect(slow.outcome).toBe("waits");
  }
  renewals.answer(1, undefined);
  await settle();
  expect(slow.outcome).toBe("answered");

  const trickle = ask();
  for (let bytes = 1; bytes <= 2; bytes++) {
    clock.advance(59_000);
    renewals.arriving(bytes);
    await settle();
    expect(trickle.outcome).toBe("waits");
  }
  clock.advance(3000);
  await settle();
  expect(trickle.outcome).toBe("timeout");
});

test("an error that nobody foresaw, while evidence is checked again, freezes as well", async () => {
  const { attested, session } = await open();
  const events: AttestationEvent[] = [];
  const again = new ReAttestation(
    {
      clock: new ManualClock(),
      every: 1000,
      missesAllowed: 3,
      renew: () => Promise.reject(new TypeError("a bug")),
      freeze: () => {},
      thaw: () => {},
      tell: (event) => events.push(event),
    },
    attested.verified,
  );
  await again.now();
  expect(events.map(({ kind }) => kind)).toEqual(["changed"]);
  expect(again.frozen).toBe(true);
  await session.close();
});

test("a listener that fails keeps no silent guest from being frozen", async () => {
  const { attested, session } = await open();
  const told: string[] = [];
  let isFrozen = false;
  const again = new ReAttestation(
    {
      clock: new ManualClock(),
      every: 1000,
      missesAllowed: 1,
      renew: () => Promise.resolve(undefined),
      freeze: () => {
        isFrozen = true;
      },
      thaw: () => {},
      tell(event) {
        told.push(`${event.kind} ${isFrozen}`);
        if (event.kind === "unavailable") throw new Error("broken");
      },
    },
    attested.verified,
  );
  await expect(again.now()).rejects.toThrow("broken");
  expect(told).toEqual(["unavailable true", "changed true"]);
  expect(again.frozen).toBe(true);
  again.stop();
  await session.close();
});

test("one connection cannot hurry the hardware: its questions are worked on 5 s apart", async () => {
  const { machine, session } = await open();
  const times: number[] = [];
  machine.before = async () => void times.push(performance.now());
  await session.reattest();
  await session.reattest();
  await session.reattest();
  const [first, second, third] = times as [number, number, number];
  expect(second - first).toBeGreaterThan(400); // 5 s of a clock that runs ten times as fast
  expect(third - second).toBeGreaterThan(400);
  await session.close();
});
