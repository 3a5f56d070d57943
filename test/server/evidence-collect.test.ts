// The collector: one at a time, at a bounded rate, with a bounded queue; and the simulated provider.

import { expect, test } from "vitest";
import { appraise } from "../../protocol/attestation/appraisal.ts";
import { commitmentOf } from "../../protocol/attestation/commitment.ts";
import { decodeAux } from "../../protocol/attestation/aux.ts";
import { binderOf } from "../../protocol/attestation/binder.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import type { EvidenceProvider } from "../../server/evidence/provider.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import { EvidenceCollector, StaleAuxError, collectEvidence } from "../../server/evidence/collect.ts";
import { SimulatedEvidenceProvider } from "../../server/evidence/simulated.ts";
import { newContext, signatures, suite } from "../protocol/attestation/support.ts";
import { HandClock } from "./support/hand-clock.ts";

const checkInput = {
  suite,
  signatures,
  acceptSimulated: true,
  now: Date.now(),
  roots: VENDOR_ROOTS,
  collateral: NO_COLLATERAL,
};

const stale = () => new StaleAuxError("evidence-unavailable", "changed");
const request = { makeBinder: () => new Uint8Array(64) };

function fakeProvider(quote: () => Promise<Uint8Array>): EvidenceProvider {
  return {
    type: "simulated",
    prepareAux: async () => ({ simulated: Uint8Array.of(7) }),
    quote,
    probe: async () => void (await quote()),
    close: async () => {},
  };
}

test("collectEvidence() gives up after three stale attempts, and at once on another error", async () => {
  let calls = 0;
  const always = fakeProvider(async () => {
    calls++;
    throw stale();
  });
  await expect(collectEvidence(always, request)).rejects.toBeInstanceOf(StaleAuxError);
  expect(calls).toBe(3);
  const broken = fakeProvider(async () => {
    calls++;
    throw new Error("no");
  });
  await expect(collectEvidence(broken, request)).rejects.toThrow("no");
  expect(calls).toBe(4);
});

test("the collector starts at most N a second, one at a time, and a failure does not stop it", async () => {
  const clock = new HandClock();
  const starts: number[] = [];
  let running = 0;
  const provider = fakeProvider(async () => {
    expect(++running).toBe(1);
    starts.push(clock.now());
    await new Promise((done) => setTimeout(done, 1));
    running--;
    if (starts.length === 2) throw new Error("no");
    return new Uint8Array([starts.length]);
  });
  const collector = new EvidenceCollector({ provider, clock, perSecond: 4 });
  const results = await Promise.allSettled([1, 2, 3, 4].map(() => collector.collect(request)));
  expect(starts).toEqual([0, 250, 500, 750]);
  expect(results.filter(({ status }) => status === "rejected")).toHaveLength(1);
});

test("the newest goes first, and once too many wait the oldest is turned away: a flood that went away costs nobody", async () => {
  const clock = new HandClock();
  const order: number[] = [];
  const provider = fakeProvider(async () => new Uint8Array(1));
  const collector = new EvidenceCollector({ provider, clock, perSecond: 4, maxWaiting: 16 });
  const ask = (name: number) =>
    collector.collect({
      makeBinder: () => {
        order.push(name);
        return new Uint8Array(64);
      },
    });
  const flood = Promise.allSettled(Array.from({ length: 100 }, (_, name) => ask(name)));
  await ask(1000);
  expect(clock.now()).toBeLessThanOrEqual(250);
  const results = await flood;
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(16);
  expect(order).toEqual([0, 1000, ...Array.from({ length: 15 }, (_, i) => 99 - i)]);
});

test("the collector turns callers away once too many wait, and takes them again later", async () => {
  const provider = fakeProvider(async () => new Uint8Array(1));
  const collector = new EvidenceCollector({
    provider,
    clock: new HandClock(),
    perSecond: 1000,
    maxWaiting: 2,
  });
  const results = await Promise.allSettled([1, 2, 3, 4].map(() => collector.collect(request)));
  expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  expect((results[1] as PromiseRejectedResult).reason.code).toBe("limit-exceeded");
  await collector.collect(request);
});

test("newcomers never take the places of connections that ask again, which take every other turn", async () => {
  const provider = fakeProvider(async () => new Uint8Array(1));
  const clock = new HandClock();
  const collector = new EvidenceCollector({ provider, clock, perSecond: 1000, maxWaiting: 2 });
  const flood = [1, 2, 3, 4].map(() => collector.collect(request));
  const again = [1, 2, 3].map(() => collector.collect({ ...request, renewal: true }));
  const results = await Promise.allSettled([...flood, ...again]);
  expect(results.map((result) => result.status)).toEqual([
    "fulfilled",
    "rejected",
    "fulfilled",
    "fulfilled",
    "fulfilled",
    "fulfilled",
    "rejected",
  ]);

  const order: string[] = [];
  const another = new EvidenceCollector({ provider, clock, perSecond: 1000, maxWaiting: 2 });
  const named = (name: string, renewal: boolean) =>
    another.collect({
      makeBinder: () => {
        order.push(name);
        return new Uint8Array(64);
      },
      renewal,
    });
  await Promise.all([
    named("running", false),
    named("new 1", false),
    named("new 2", false),
    named("again 1", true),
    named("again 2", true),
  ]);
  expect(order).toEqual(["running", "new 2", "again 1", "new 1", "again 2"]);
});

test("evidence that nobody waits for any more takes no turn of the hardware", async () => {
  let quotes = 0;
  const provider = fakeProvider(async () => {
    quotes++;
    return new Uint8Array(1);
  });
  const clock = new HandClock();
  const collector = new EvidenceCollector({ provider, clock, perSecond: 4 });
  const gone = { ...request, wanted: () => false };
  const results = await Promise.allSettled([
    collector.collect(request),
    ...[1, 2, 3, 4, 5].map(() => collector.collect(gone)),
    collector.collect({ ...request, wanted: () => true }),
  ]);
  expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(2);
  expect(quotes).toBe(2);
  expect(clock.now()).toBe(250); // those that left cost no time either
});

test("the simulated provider needs its opt-in, and its evidence is accepted as simulated", async () => {
  const wrong = "simulated" as "simulated-for-testing";
  expect(() => new SimulatedEvidenceProvider(wrong, suite, "demo")).toThrow("proves nothing");
  expect(() => new SimulatedEvidenceProvider("simulated-for-testing", suite, "\n")).toThrow(
    "printable ASCII",
  );
  const provider = new SimulatedEvidenceProvider("simulated-for-testing", suite, "demo");
  const context = newContext();
  const evidence = await collectEvidence(provider, {
    makeBinder: (aux) => binderOf(suite, context, "simulated", aux),
  });
  const policy = parsePolicy('version = 1\nminimumAssurance = "simulated"\n[simulated]\ninstance = "demo"');
  const guest = await appraise({ ...checkInput, evidence, commitment: commitmentOf(suite, context), policy });
  expect(guest.claims.assurance).toBe("simulated");
});

test("common parts travel in aux beside the provider's own, under one binder; a probe takes its turn", async () => {
  const provider = fakeProvider(async () => new Uint8Array(1));
  const clock = new HandClock();
  const collector = new EvidenceCollector({ provider, clock, perSecond: 1 });
  let covered: Uint8Array | undefined;
  const evidence = await collector.collect({
    makeBinder: (aux) => {
      covered = aux;
      return new Uint8Array(64);
    },
    commonParts: { instanceDocument: Uint8Array.of(1), sshHostKeys: Uint8Array.of(2) },
  });
  expect(covered).toEqual(evidence.aux);
  expect(decodeAux("simulated", evidence.aux)).toEqual({
    simulated: Uint8Array.of(7),
    instanceDocument: Uint8Array.of(1),
    sshHostKeys: Uint8Array.of(2),
  });
  await collector.probe();
  expect(clock.now()).toBe(1000);
});
