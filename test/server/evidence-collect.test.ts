// The collector: one at a time, at a bounded rate, with a bounded queue; and the simulated provider.

import { expect, test } from "vitest";
import { appraise } from "../../protocol/attestation/appraisal.ts";
import { binderOf } from "../../protocol/attestation/binder.ts";
import type { EvidenceProvider } from "../../protocol/attestation/evidence.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import type { Clock } from "../../protocol/clock.ts";
import { EvidenceCollector, StaleAuxError, collectEvidence } from "../../server/evidence/collect.ts";
import { SimulatedEvidenceProvider } from "../../server/evidence/simulated.ts";
import { newContext, signatures, suite } from "../protocol/attestation/support.ts";

/** Time that passes only when someone waits for it. */
class HandClock implements Clock {
  time = 0;
  now() {
    return this.time;
  }
  after(delay: number, callback: () => void) {
    this.time += delay;
    queueMicrotask(callback);
    return () => {};
  }
  soon(callback: () => void) {
    queueMicrotask(callback);
  }
}

const stale = () => new StaleAuxError("evidence-unavailable", "changed");
const binder = () => new Uint8Array(64);

function fakeProvider(quote: () => Promise<Uint8Array>): EvidenceProvider {
  return { type: "simulated", prepareAux: async () => new Uint8Array(1), quote };
}

test("collectEvidence() gives up after three stale attempts, and at once on another error", async () => {
  let calls = 0;
  const always = fakeProvider(async () => {
    calls++;
    throw stale();
  });
  await expect(collectEvidence(always, binder)).rejects.toBeInstanceOf(StaleAuxError);
  expect(calls).toBe(3);
  const broken = fakeProvider(async () => {
    calls++;
    throw new Error("no");
  });
  await expect(collectEvidence(broken, binder)).rejects.toThrow("no");
  expect(calls).toBe(4);
});

test("the collector starts at most N a second, one at a time, in order, and a failure does not stop it", async () => {
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
  const results = await Promise.allSettled([1, 2, 3, 4].map(() => collector.collect(binder)));
  expect(starts).toEqual([0, 250, 500, 750]);
  expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
});

test("the collector turns callers away once too many wait, and takes them again later", async () => {
  const provider = fakeProvider(async () => new Uint8Array(1));
  const collector = new EvidenceCollector({
    provider,
    clock: new HandClock(),
    perSecond: 1000,
    maxWaiting: 2,
  });
  const results = await Promise.allSettled([1, 2, 3].map(() => collector.collect(binder)));
  expect(results.map((result) => result.status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
  expect((results[2] as PromiseRejectedResult).reason.code).toBe("limit-exceeded");
  await collector.collect(binder);
});

test("the simulated provider needs its opt-in, and its evidence is accepted as simulated", async () => {
  const wrong = "simulated" as "simulated-for-testing";
  expect(() => new SimulatedEvidenceProvider(wrong, suite, "demo")).toThrow("proves nothing");
  expect(() => new SimulatedEvidenceProvider("simulated-for-testing", suite, "\n")).toThrow(
    "printable ASCII",
  );
  const provider = new SimulatedEvidenceProvider("simulated-for-testing", suite, "demo");
  const context = newContext();
  const evidence = await collectEvidence(provider, (aux) => binderOf(suite, context, "simulated", aux));
  const policy = parsePolicy('version = 1\nminimumAssurance = "simulated"\n[simulated]\ninstance = "demo"');
  const guest = await appraise({ evidence, context, policy, suite, signatures, acceptSimulated: true });
  expect(guest.claims.assurance).toBe("simulated");
});
