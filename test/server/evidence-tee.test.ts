// SEV-SNP and TDX evidence as it is sent: what travels beside the report, and when it is made again; health probes.

import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { decodeAux } from "../../protocol/attestation/aux.ts";
import { decodeCollateral } from "../../protocol/attestation/collateral.ts";
import { CollateralSource } from "../../server/evidence/collateral-source.ts";
import { StaleAuxError, collectEvidence } from "../../server/evidence/collect.ts";
import type { HardwareReport } from "../../server/evidence/hardware-report.ts";
import { watchHealth } from "../../server/evidence/health.ts";
import { TeeEvidenceProvider } from "../../server/evidence/tee.ts";
import { suite } from "../protocol/attestation/support.ts";
import { SteppedClock } from "./support/hand-clock.ts";
import { snpReportOf, tdxQuoteOf } from "./support/simulated-configfs.ts";

const directory = mkdtempSync(join(tmpdir(), "sealtty-tee-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const noFiles = new CollateralSource(undefined, () => {});
const binder = new Uint8Array(64).fill(0xb1);
const request = { makeBinder: () => binder };

function provider(
  type: "sev-snp" | "tdx",
  tables: readonly Uint8Array[],
  collateral = noFiles,
  eventLogPath?: string,
) {
  const asked: Uint8Array[] = [];
  let closed = 0;
  const reporter = {
    async report(reportData: Uint8Array): Promise<HardwareReport> {
      const certificateTable = tables[Math.min(asked.length, tables.length - 1)] as Uint8Array;
      asked.push(reportData);
      const hostData = new Uint8Array(32).fill(0xda);
      const report = type === "tdx" ? tdxQuoteOf(reportData, 4) : snpReportOf(reportData, 0, hostData);
      return { report, certificateTable };
    },
    async close() {
      closed++;
    },
  };
  const made = new TeeEvidenceProvider({ type, suite, reporter, collateral, eventLogPath });
  return { made, asked, closed: () => closed };
}

const [one, two, three] = [1, 2, 3].map((fill) => new Uint8Array(60).fill(fill)) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];

test("the host's table is known before the quote is made: the first one costs a report of its own, later ones none", async () => {
  const { made, asked, closed } = provider("sev-snp", [one]);
  const first = await collectEvidence(made, request);
  expect(asked.length).toBe(2);
  expect(asked[1]).toEqual(binder);
  expect(asked[0]).not.toEqual(binder);
  expect(first.quote).toEqual(snpReportOf(binder, 0, new Uint8Array(32).fill(0xda)));
  expect(decodeAux("sev-snp", first.aux)).toEqual({ certificateTable: one });
  await collectEvidence(made, request);
  expect(asked.length).toBe(3);
  expect(await made.hostData()).toEqual(new Uint8Array(32).fill(0xda));
  await made.close();
  expect(closed()).toBe(1);
});

test("a table that the host changes meanwhile makes aux stale, and is then sent; one that never rests is given up", async () => {
  const { made, asked } = provider("sev-snp", [one, two]);
  const evidence = await collectEvidence(made, request);
  expect(decodeAux("sev-snp", evidence.aux)).toEqual({ certificateTable: two });
  expect(asked.length).toBe(3);
  const restless = provider("sev-snp", [one, two, three, one, two, three]);
  await expect(collectEvidence(restless.made, request)).rejects.toBeInstanceOf(StaleAuxError);
});

test("no certificates, no collateral, no log: nothing beside the report", async () => {
  const { made } = provider("sev-snp", [new Uint8Array()]);
  expect(decodeAux("sev-snp", (await collectEvidence(made, request)).aux)).toEqual({});
});

test("TDX: the CC event log without its padding, and collateral; no certificate table whatever the kernel gives", async () => {
  const log = join(directory, "CCEL");
  writeFileSync(log, Buffer.concat([Buffer.from("log\xff.", "latin1"), Buffer.alloc(500, 0xff)]));
  const collateral = join(directory, "tdx");
  mkdirSync(collateral);
  writeFileSync(join(collateral, "tcb.json"), '{"tcbInfo":{},"signature":"00"}');
  const { made } = provider("tdx", [one, two], new CollateralSource(collateral, () => {}), log);
  const parts = decodeAux("tdx", (await collectEvidence(made, request)).aux);
  expect(Object.keys(parts).sort()).toEqual(["collateral", "eventLog"]);
  expect(Buffer.from(parts.eventLog ?? []).toString("latin1")).toBe("log\xff.");
  expect(decodeCollateral(parts.collateral ?? new Uint8Array()).tcbInfos.length).toBe(1);
});

test("collateral files are read again when they change; broken ones are told once, and the last good ones sent", async () => {
  const files = join(directory, "changing");
  mkdirSync(files);
  const file = join(files, "qe.json");
  const write = (text: string, time: number) => {
    writeFileSync(file, text);
    utimesSync(file, time, time);
  };
  const problems: string[] = [];
  const source = new CollateralSource(files, (problem) => problems.push(problem));
  const texts = async () =>
    decodeCollateral(await source.encoded()).qeIdentities.map((bytes) => Buffer.from(bytes).toString());
  expect(await texts()).toEqual([]);
  const [good, better] = [
    '{"enclaveIdentity":{"a":1},"signature":"00"}',
    '{"enclaveIdentity":{"a":2},"signature":"00"}',
  ];
  write(good, 1000);
  expect(await texts()).toEqual([good]);
  write(better, 2000);
  expect(await texts()).toEqual([better]);
  write("{", 3000);
  expect([await texts(), await texts()]).toEqual([[better], [better]]);
  expect(problems).toEqual([expect.stringContaining("qe.json is not valid JSON")]);
  await expect(source.load()).rejects.toThrow("qe.json");
  rmSync(file);
  expect(await texts()).toEqual([]);
  const more = { certificates: [Uint8Array.of(0x30, 0)], crls: [], tcbInfos: [], qeIdentities: [] };
  expect(decodeCollateral(await source.encoded(more)).certificates.length).toBe(1);
});

test("health: probes at the interval, each failure is told with its cause, and the first success after one", async () => {
  const clock = new SteppedClock();
  const told: string[] = [];
  let state = "well";
  const options = {
    clock,
    minutes: 60,
    probe: async () => {
      told.push("probe");
      if (state !== "well") throw new Error(state);
    },
    onSick: (cause: string) => void told.push(cause),
    onWell: () => void told.push("well again"),
  };
  const stop = watchHealth(options, true);
  await clock.pass(59 * 60_000);
  expect(told.splice(0)).toEqual([]);
  await clock.pass(61 * 60_000);
  expect(told.splice(0)).toEqual(["probe", "well again", "probe"]);
  state = "VMPCK gone";
  await clock.pass(120 * 60_000);
  expect(told.splice(0)).toEqual(["probe", "VMPCK gone", "probe", "VMPCK gone"]);
  state = "well";
  await clock.pass(60 * 60_000);
  expect(told.splice(0)).toEqual(["probe", "well again"]);
  stop();
  await clock.pass(600 * 60_000);
  expect(told).toEqual([]);
  watchHealth({ ...options, minutes: 0 }, false)();
  expect(clock.waiting).toBe(0);
});
