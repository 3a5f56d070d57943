// What Intel's data says of a made platform: levels, modules, relaunch, advisories; and what its PCK certificate says.

import { expect, test } from "vitest";
import { toHex } from "../../../protocol/bytes.ts";
import { der } from "../../support/made-pki.ts";
import { MADE_PIID, MADE_TDX_NOW, type MadeTdxOptions } from "../../support/made-tdx.ts";
import { refusedBy } from "./support.ts";
import { check } from "./tdx-support.ts";

const DAY = 86_400_000;
const svn = (...first: readonly number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);

/** What platform, module and quoting enclave give together. */
test.for([
  ["UpToDate", 5, "UpToDate", "UpToDate"],
  ["SWHardeningNeeded", 5, "UpToDate", "SWHardeningNeeded"],
  ["ConfigurationNeeded", 5, "UpToDate", "ConfigurationNeeded"],
  ["ConfigurationAndSWHardeningNeeded", 5, "UpToDate", "ConfigurationAndSWHardeningNeeded"],
  ["OutOfDate", 5, "UpToDate", "OutOfDate"],
  ["OutOfDateConfigurationNeeded", 5, "UpToDate", "OutOfDateConfigurationNeeded"],
  ["UpToDate", 3, "UpToDate", "OutOfDate"],
  ["SWHardeningNeeded", 3, "UpToDate", "OutOfDate"],
  ["ConfigurationNeeded", 3, "UpToDate", "OutOfDateConfigurationNeeded"],
  ["ConfigurationAndSWHardeningNeeded", 3, "UpToDate", "OutOfDateConfigurationNeeded"],
  ["OutOfDateConfigurationNeeded", 3, "UpToDate", "OutOfDateConfigurationNeeded"],
  ["UpToDate", 5, "OutOfDate", "OutOfDate"],
  ["SWHardeningNeeded", 5, "OutOfDate", "OutOfDate"],
  ["ConfigurationNeeded", 5, "OutOfDate", "OutOfDateConfigurationNeeded"],
  ["ConfigurationAndSWHardeningNeeded", 3, "OutOfDate", "OutOfDateConfigurationNeeded"],
] as const)(
  "platform %s, module ISVSVN %i, QE %s: %s",
  async ([platformStatus, isvSvn, qeStatus, status]) => {
    const facts = await check({ platformStatus, qeStatus, body: { teeTcbSvn: svn(isvSvn, 3, 6) } });
    expect(facts.status).toBe(status);
    expect(facts).toMatchObject({
      platformStatus,
      qeStatus,
      moduleStatus: isvSvn === 5 ? "UpToDate" : "OutOfDate",
    });
  },
);

/** TEE_TCB_SVN is what the TD started with, TEE_TCB_SVN_2 what runs now. */
test.for([
  ["current module", {}, svn(3, 3, 6), svn(5, 3, 6), "TDRelaunchAdvised"],
  ["current module 1.0", {}, svn(3, 3, 6), svn(5, 0, 6), "TDRelaunchAdvised"],
  [
    "configuration needed too",
    { platformStatus: "ConfigurationNeeded" },
    svn(3, 3, 6),
    svn(5, 3, 6),
    "TDRelaunchAdvisedConfigurationNeeded",
  ],
  ["loader not current", {}, svn(3, 3, 6), svn(5, 3, 5), "OutOfDate"],
  ["module not current", {}, svn(3, 3, 6), svn(4, 3, 6), "OutOfDate"],
  ["module 1.0 not current", {}, svn(3, 3, 6), svn(4, 0, 6), "OutOfDate"],
  ["module up to date, loader not", {}, svn(5, 3, 5), svn(5, 3, 6), "OutOfDate"],
  ["QE outdated", { qeStatus: "OutOfDate" }, svn(3, 3, 6), svn(5, 3, 6), "OutOfDate"],
  ["processor outdated", { pck: { pceSvn: 12 } }, svn(3, 3, 6), svn(5, 3, 6), "OutOfDate"],
] as const)("TD 1.5, started before an update, %s", async ([, options, teeTcbSvn, teeTcbSvn2, status]) => {
  const facts = await check({ version: 5, ...options, body: { teeTcbSvn, teeTcbSvn2 } });
  expect(facts.status).toBe(status);
});

test("a module that runs now and that Intel does not list is refused", async () => {
  const body = { teeTcbSvn: svn(3, 3, 6), teeTcbSvn2: svn(9, 9, 9) };
  expect(await refusedBy(async () => await check({ version: 5, body }))).toBe("tdx.module");
});

test("a level with the module's own components below is matched only after module 1.0", async () => {
  // Component 0 of the level is 5: a module of another line counts its own numbers.
  const info: MadeTdxOptions = { body: { teeTcbSvn: svn(4, 1, 6) } };
  expect((await check(info)).platformStatus).toBe("UpToDate");
  expect((await check({ body: { teeTcbSvn: svn(4, 0, 6) } })).platformStatus).toBe("OutOfDate");
});

test("advisories are those of every level that matched, each once", async () => {
  const facts = await check({
    platformStatus: "SWHardeningNeeded",
    advisories: ["INTEL-SA-00615", "INTEL-SA-00002"],
    body: { teeTcbSvn: svn(3, 3, 6) },
    qeIdentity: (identity) => ({
      ...identity,
      tcbLevels: [
        {
          tcb: { isvsvn: 4 },
          tcbDate: "2026-01-01T00:00:00Z",
          tcbStatus: "OutOfDate",
          advisoryIDs: ["INTEL-SA-00477"],
        },
      ],
    }),
  });
  expect(facts.advisories).toEqual(["INTEL-SA-00002", "INTEL-SA-00477", "INTEL-SA-00615"]);
});

test("the PCK certificate's facts are read whole", async () => {
  const { pck } = await check({ pck: { smtEnabled: false, dynamicPlatform: false } });
  expect(pck).toMatchObject({
    ca: "Platform",
    piid: MADE_PIID,
    smtEnabled: false,
    dynamicPlatform: false,
    cachedKeys: false,
    pceSvn: 13,
  });
  const processor = await check({ ca: "Processor" });
  expect(processor.pck).toMatchObject({ ca: "Processor", piid: undefined, smtEnabled: undefined });
});

test.for([
  ["a part missing", (parts: Uint8Array[]) => parts.slice(1)],
  ["the TCB missing", (parts: Uint8Array[]) => parts.filter((_, i) => i !== 1)],
  ["the instance missing", (parts: Uint8Array[]) => parts.filter((_, i) => i !== 5)],
  ["the configuration missing", (parts: Uint8Array[]) => parts.slice(0, 6)],
  ["a part twice", (parts: Uint8Array[]) => [...parts, parts[0] as Uint8Array]],
  [
    "an unknown part",
    (parts: Uint8Array[]) => [...parts, der.sequence(der.oid("1.2.840.113741.1.13.1.8"), der.null())],
  ],
  [
    "a part of another tree",
    (parts: Uint8Array[]) => [...parts, der.sequence(der.oid("1.2.840.113741.1.14.1"), der.null())],
  ],
  [
    "something after a value",
    (parts: Uint8Array[]) => [
      ...parts.slice(1),
      der.sequence(der.oid("1.2.840.113741.1.13.1.1"), der.octets(new Uint8Array(16)), der.null()),
    ],
  ],
  [
    "an unknown SGX type",
    (parts: Uint8Array[]) =>
      parts.map((part, i) =>
        i === 4 ? der.sequence(der.oid("1.2.840.113741.1.13.1.5"), der.enumerated(3)) : part,
      ),
  ],
] as const)("SGX extension with %s", async ([, sgxParts]) => {
  expect(await refusedBy(async () => await check({ sgxParts }))).toBe("tdx.pck-extension");
});

test.for([
  ["PPID", { ppid: new Uint8Array(15) }],
  ["PIID", { piid: new Uint8Array(17) }],
  ["FMSPC", { fmspc: new Uint8Array(5) }],
  ["PCEID", { pceId: new Uint8Array(3) }],
  ["component", { components: [256, ...Array.from({ length: 15 }, () => 0)] }],
  ["PCESVN", { pceSvn: 65_536 }],
  ["number of components", { components: [1, 2, 3] }],
] as const)("SGX extension with a %s of another size", async ([, pck]) => {
  expect(await refusedBy(async () => await check({ pck }))).toBe("tdx.pck-extension");
});

test("facts carry what was signed", async () => {
  const reportData = Uint8Array.from({ length: 64 }, (_, i) => i);
  const mrConfigId = new Uint8Array(48).fill(0xcd);
  const { body, lifetimes } = await check({ version: 5, reportData, mrConfigId });
  expect(toHex(body.reportData)).toBe(toHex(reportData));
  expect(toHex(body.mrConfigId)).toBe("cd".repeat(48));
  expect(toHex(body.rtmrs[2] as Uint8Array)).toBe("22".repeat(48));
  expect(lifetimes.tcbInfo).toEqual({ from: MADE_TDX_NOW - 5 * DAY, until: MADE_TDX_NOW + 25 * DAY });
});
