// A made TDX platform with one thing wrong at a time: each class of the shared samples, and what they do not have.

import { expect, test } from "vitest";
import { type Collateral, NO_COLLATERAL, joinCollateral } from "../../../protocol/attestation/collateral.ts";
import type { TdxPolicy } from "../../../protocol/attestation/policy/model.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { concat, fromHex } from "../../../protocol/bytes.ts";
import { basicConstraints, caExtensions, keyUsage, madeKey } from "../../support/made-pki.ts";
import { MADE_TDX_NOW, type MadeTdx, type MadeTdxOptions, madeTdx } from "../../support/made-tdx.ts";
import { refusedBy } from "./support.ts";
import { check, checkAndJudge } from "./tdx-support.ts";

const DAY = 86_400_000;
const svn = (...first: readonly number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
const bit = (number: number) =>
  Uint8Array.from({ length: 8 }, (_, i) => (i === number >> 3 ? 1 << (number & 7) : 0));
const withBit = (number: number) =>
  bit(number).map((byte, i) => byte | (fromHex("0000001000000000")[i] as number));
const leafOnly = [basicConstraints(false), keyUsage("digitalSignature")];
const named = (CN: string) => ({ CN, O: "Made for a test", L: "Santa Clara", ST: "CA", C: "US" });

const GOOD: Readonly<Record<string, MadeTdxOptions>> = {
  "version 4": {},
  "version 5, TD 1.5": { version: 5 },
  "version 5, TD 1.0": { version: 5, kind: "td-1.0" },
  "zero padding to 8000 bytes": { trailing: new Uint8Array(3000) },
  "a zero byte behind the certificates": { pem: (pem) => `${pem}\0` },
  "a Processor CA's certificate, without instance": { ca: "Processor" },
  "no authentication data": { authData: new Uint8Array() },
  "a TDX module 1.0, whose components the level covers": { body: { teeTcbSvn: svn(5, 0, 6) } },
  "members of TCB info that Intel may add": {
    tcbInfo: (info) => ({ ...info, newMember: { any: [1, "x", null, true] } }),
  },
  "signature first": {
    tcbInfoText: (text) => text.replace(/^\{("tcbInfo":.*),("signature":"\w+")\}$/, "{$2,$1}"),
  },
  "white space around the signed object": {
    tcbInfoText: (text) => `\n ${text.replace(/^\{/, "{ ").replace(/,"signature"/, ' ,\t"signature"')}\n`,
  },
  "a lower-case module identity": {
    tcbInfo: (info) => JSON.parse(JSON.stringify(info).replace('"TDX_03"', '"tdx_03"')),
  },
};

test.for(Object.entries(GOOD))("accepted: %s", async ([, options]) => {
  const facts = await checkAndJudge(options);
  expect(facts.status).toBe("UpToDate");
  expect(facts.advisories).toEqual([]);
});

/** Class, what is made, the check that must refuse, and the policy where it is not the default. */
const BAD: readonly (readonly [string, MadeTdxOptions, string, Partial<TdxPolicy>?])[] = [
  // The quote's bytes.
  ["another version", { version: 6 as 5, bodyType: 2 }, "tdx.quote-version"],
  ["an SGX enclave's quote", { teeType: 0 }, "tdx.tee-type"],
  ["an SGX enclave's body in a version 5 quote", { version: 5, bodyType: 1 }, "tdx.tee-type"],
  ["an unknown body type", { version: 5, bodyType: 4 }, "tdx.quote-format"],
  [
    "a body of type 3 with the size of type 2",
    { version: 5, kind: "td-1.0", bodyType: 3 },
    "tdx.quote-format",
  ],
  ["a body of type 2 with the size of type 3", { version: 5, bodyType: 2 }, "tdx.quote-format"],
  ["a P-384 attestation key", { keyType: 3 }, "tdx.key-type"],
  ["another vendor's quoting enclave", { qeVendor: new Uint8Array(16) }, "tdx.quote-format"],
  ["certification data without a QE report", { outerType: 5 }, "tdx.certification-data"],
  ...[1, 2, 3, 4, 7].map(
    (innerType) =>
      [`PCK certification data of type ${innerType}`, { innerType }, "tdx.certification-data"] as const,
  ),
  ["trailing bytes that are not zero", { trailing: Uint8Array.of(0, 0, 1) }, "tdx.quote-format"],
  ["bytes behind the certificates, inside", { certificationTail: new Uint8Array(1) }, "tdx.quote-format"],
  ["bytes behind the certification data", { signatureTail: new Uint8Array(1) }, "tdx.quote-format"],
  ["more zero bytes than any buffer has", { trailing: new Uint8Array(17_000) }, "tdx.quote-format"],
  ["authentication data above the limit", { authData: new Uint8Array(1025) }, "tdx.quote-format"],
  // Chains.
  ["two certificates", { pem: (pem) => pem.slice(0, pem.lastIndexOf("-----BEGIN")) }, "tdx.pck-chain-format"],
  [
    "four certificates",
    { pem: (pem) => pem + pem.slice(pem.lastIndexOf("-----BEGIN")) },
    "tdx.pck-chain-format",
  ],
  [
    "text between the certificates",
    { pem: (pem) => pem.replace("-----\n-----", "-----\nhello\n-----") },
    "tdx.pck-chain-format",
  ],
  ["white space that nothing signs", { pem: (pem) => pem.replace(/\n$/, " ") }, "tdx.pck-chain-format"],
  [
    "a space between the certificates",
    { pem: (pem) => pem.replace("-----\n-----", "-----\n \n-----") },
    "tdx.pck-chain-format",
  ],
  [
    "a root that may not have a CA below",
    { certificates: { root: { extensions: caExtensions(0) } } },
    "tdx.pck-chain",
  ],
  ["a forged root", { forged: ["root"] }, "tdx.pck-chain"],
  ["a CA that the root did not sign", { forged: ["ca"] }, "tdx.pck-chain"],
  ["a leaf that the CA did not sign", { forged: ["leaf"] }, "tdx.pck-chain"],
  [
    "a CA of another name",
    { certificates: { ca: { subject: named("Intel SGX PCK Other CA") } } },
    "tdx.pck-chain",
  ],
  [
    "a leaf of another name",
    { certificates: { leaf: { subject: named("Intel SGX PCK") } } },
    "tdx.pck-chain",
  ],
  [
    "a CA without the right to sign certificates",
    { certificates: { ca: { extensions: [basicConstraints(true, 0), keyUsage("cRLSign")] } } },
    "tdx.pck-chain",
  ],
  ["a CA that is none", { certificates: { ca: { extensions: leafOnly } } }, "tdx.pck-chain"],
  ["a leaf that is a CA", { certificates: { leaf: { extensions: caExtensions(0) } } }, "tdx.pck-chain"],
  [
    "a leaf without the SGX extension",
    { certificates: { leaf: { extensions: leafOnly } } },
    "tdx.pck-extension",
  ],
  ["an expired leaf", { certificates: { leaf: { notAfter: MADE_TDX_NOW - DAY } } }, "tdx.pck-validity"],
  [
    "a CA that is not valid yet",
    { certificates: { ca: { notBefore: MADE_TDX_NOW + DAY } } },
    "tdx.pck-validity",
  ],
  ["an expired root", { certificates: { root: { notAfter: MADE_TDX_NOW - DAY } } }, "tdx.pck-validity"],
  ["a forged TCB signing certificate", { forged: ["signer"] }, "tdx.tcb-signing-chain"],
  [
    "a TCB signing certificate of another name",
    { certificates: { signer: { subject: named("Intel SGX PCK Certificate") } } },
    "tdx.tcb-signing-chain",
  ],
  [
    "a TCB signing certificate that is a CA",
    { certificates: { signer: { extensions: caExtensions(0) } } },
    "tdx.tcb-signing-chain",
  ],
  [
    "a TCB signing certificate of the PCK CA",
    {
      certificates: {
        signer: { issuer: { name: named("Intel SGX PCK Platform CA"), key: madeKey("ec-p256", "tdx ca") } },
      },
    },
    "tdx.tcb-signing-chain",
  ],
  [
    "an expired TCB signing certificate",
    { certificates: { signer: { notAfter: MADE_TDX_NOW - DAY } } },
    "tdx.tcb-signing-validity",
  ],
  // Revocation.
  ["a revoked PCK certificate", { revoked: ["leaf"] }, "tdx.pck-revoked"],
  ["a revoked PCK CA", { revoked: ["ca"] }, "tdx.ca-revoked"],
  ["a revoked TCB signing certificate", { revoked: ["signer"] }, "tdx.tcb-signing-revoked"],
  ["a forged PCK revocation list", { forged: ["pckCrl"] }, "tdx.pck-crl"],
  ["a forged root revocation list", { forged: ["rootCrl"] }, "tdx.root-crl"],
  ["outdated revocation lists", { crlDays: [-40, -10] }, "tdx.collateral-date"],
  ["revocation lists of the future", { crlDays: [10, 40] }, "tdx.collateral-date"],
  // TCB info and QE identity.
  ["outdated TCB info", { jsonDays: [-40, -10] }, "tdx.collateral-date"],
  ["TCB info of the future", { jsonDays: [10, 40] }, "tdx.collateral-date"],
  ["TCB info signed by the PCK leaf", { tcbInfoSigner: "leaf" }, "tdx.tcb-signing-chain"],
  ["TCB info signed by the root itself", { tcbInfoSigner: "root" }, "tdx.tcb-signing-chain"],
  ["TCB info signed by another key", { tcbInfoSigner: "other" }, "tdx.tcb-info-signature"],
  ["QE identity signed by the PCK leaf", { qeIdentitySigner: "leaf" }, "tdx.tcb-signing-chain"],
  ["QE identity signed by another key", { qeIdentitySigner: "other" }, "tdx.qe-identity-signature"],
  [
    "TCB info changed after signing",
    { tcbInfoText: (text) => text.replace('"svn":4', '"svn":3') },
    "tdx.tcb-info-signature",
  ],
  [
    "TCB info written anew",
    { tcbInfoText: (text) => text.replace('"version":3', '"version": 3') },
    "tdx.tcb-info-signature",
  ],
  [
    "QE identity changed after signing",
    { qeIdentityText: (text) => text.replace('"isvprodid":2', '"isvprodid":1') },
    "tdx.qe-identity-signature",
  ],
  ["TCB info of SGX", { tcbInfo: (info) => ({ ...info, id: "SGX" }) }, "tdx.tcb-info"],
  [
    "TCB info of another platform",
    { tcbInfo: (info) => ({ ...info, fmspc: "00906ed50000" }) },
    "tdx.tcb-info",
  ],
  ["TCB info of another PCE", { tcbInfo: (info) => ({ ...info, pceId: "0001" }) }, "tdx.tcb-info"],
  ["TCB info of another version", { tcbInfo: (info) => ({ ...info, version: 4 }) }, "tdx.tcb-info-format"],
  [
    "QE identity of SGX's quoting enclave",
    { qeIdentity: (identity) => ({ ...identity, id: "QE" }) },
    "tdx.qe-identity",
  ],
  [
    "QE identity of another version",
    { qeIdentity: (identity) => ({ ...identity, version: 3 }) },
    "tdx.qe-identity-format",
  ],
  // TDX module.
  ["a module version that Intel does not list", { body: { teeTcbSvn: svn(5, 9, 6) } }, "tdx.module"],
  [
    "a module of another signer",
    { body: { mrSignerSeam: new Uint8Array(48).fill(0x66) } },
    "tdx.module-signer",
  ],
  [
    "a module 1.0 of another signer",
    { body: { teeTcbSvn: svn(5, 0, 6), mrSignerSeam: new Uint8Array(48).fill(1) } },
    "tdx.module-signer",
  ],
  ["a module with attributes", { body: { seamAttributes: bit(0) } }, "tdx.module-attributes"],
  ["a module below every level", { body: { teeTcbSvn: svn(2, 3, 6) } }, "tdx.tcb-unsupported"],
  ["a revoked module", { moduleStatus: "Revoked" }, "tdx.tcb-revoked"],
  // Quoting enclave and quote.
  [
    "a QE report that the PCK key did not sign",
    { certificates: { leaf: { key: madeKey("ec-p256", "tdx another leaf") } } },
    "tdx.qe-report-signature",
  ],
  [
    "an attestation key that the QE does not name",
    { qeReportData: new Uint8Array(64).fill(7) },
    "tdx.attestation-key",
  ],
  ["a QE report that commits to more", { qeReportTail: new Uint8Array(32).fill(1) }, "tdx.attestation-key"],
  [
    "another MRSIGNER of the QE",
    { qeReport: { mrSigner: new Uint8Array(32).fill(1) } },
    "tdx.qe-identity-match",
  ],
  ["another product id of the QE", { qeReport: { isvProdId: 1 } }, "tdx.qe-identity-match"],
  ["another MISCSELECT of the QE", { qeReport: { miscSelect: 1 } }, "tdx.qe-identity-match"],
  [
    "a debug QE",
    { qeReport: { attributes: fromHex("13000000000000000000000000000000") } },
    "tdx.qe-identity-match",
  ],
  ["a QE below every level", { qeReport: { isvSvn: 3 } }, "tdx.tcb-unsupported"],
  ["a revoked QE", { qeStatus: "Revoked" }, "tdx.tcb-revoked"],
  // Platform levels.
  [
    "an SGX component below every level",
    { pck: { components: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
    "tdx.tcb-unsupported",
  ],
  ["PCESVN below every level", { pck: { pceSvn: 10 } }, "tdx.tcb-unsupported"],
  ["a TDX component below every level", { body: { teeTcbSvn: svn(5, 3, 4) } }, "tdx.tcb-unsupported"],
  ["a module 1.0 below every level", { body: { teeTcbSvn: svn(2, 0, 6) } }, "tdx.tcb-unsupported"],
  ["a revoked platform", { platformStatus: "Revoked" }, "tdx.tcb-revoked"],
  [
    "a revoked level for the processor, another one for TDX",
    { platformStatus: "Revoked", body: { teeTcbSvn: svn(5, 3, 5) } },
    "tdx.tcb-revoked",
    { tcbStatus: ["OutOfDate"], advisories: ["INTEL-SA-00001"] },
  ],
  // Policy.
  ["a lower platform level", { body: { teeTcbSvn: svn(5, 3, 5) } }, "tdx.tcb-status"],
  ["software hardening needed", { platformStatus: "SWHardeningNeeded" }, "tdx.tcb-status"],
  ["configuration needed", { platformStatus: "ConfigurationNeeded" }, "tdx.tcb-status"],
  ["an outdated module", { body: { teeTcbSvn: svn(3, 3, 6) } }, "tdx.tcb-status"],
  ["an outdated QE", { qeStatus: "OutOfDate" }, "tdx.tcb-status"],
  ["an old TCB evaluation", { evaluation: 5 }, "tdx.tcb-evaluation", { minimumTcbEvaluation: 17 }],
  ["a debug TD", { body: { tdAttributes: withBit(0) } }, "tdx.debug"],
  ["SEPT_VE_DISABLE off", { body: { tdAttributes: new Uint8Array(8) } }, "tdx.sept-ve"],
  ["a service TD", { version: 5, body: { mrServiceTd: new Uint8Array(48).fill(0x38) } }, "tdx.mrservicetd"],
];

test.for(BAD.map(([name, options, expected, policy]) => ({ name, options, expected, policy })))(
  "refused: $name ($expected)",
  async ({ options, expected, policy }) => {
    expect(await refusedBy(async () => await checkAndJudge(options, policy))).toBe(expected);
  },
);

test("a quote in a CBOR web token is told apart, whatever its size", async () => {
  const made = madeTdx();
  for (const start of [
    [0xd2, 0x84],
    [0x84, 0x44],
    [0xd8, 0x3d, 0xd2],
    [0xd9, 0x01, 0x8f],
  ]) {
    for (const size of [100, 9000]) {
      const quote = concat(Uint8Array.from(start), new Uint8Array(size).fill(0x58));
      expect(await refusedBy(async () => await check({ ...made, quote }))).toBe("tdx.dice-quote");
    }
  }
});

test("a made root is not Intel's", async () => {
  expect(await refusedBy(async () => await check({}, { roots: VENDOR_ROOTS }))).toBe("tdx.root");
});

test.for(["certificates", "crls", "tcbInfos", "qeIdentities"] as const)(
  "nothing is good without %s",
  async (kind) => {
    const made = madeTdx();
    const checks = {
      certificates: "tdx.tcb-signing-chain",
      crls: "tdx.pck-crl",
      tcbInfos: "tdx.tcb-info",
      qeIdentities: "tdx.qe-identity",
    };
    const collateral = { ...made.collateral, [kind]: [] };
    expect(await refusedBy(async () => await check({ ...made, collateral }))).toBe(checks[kind]);
    // The owner's own collateral makes up for it.
    expect((await check({ ...made, collateral }, { collateral: made.collateral })).status).toBe("UpToDate");
  },
);

test.for(["pck", "root"] as const)("without the %s revocation list nothing is known", async (kind) => {
  const made = madeTdx();
  const crls = made.collateral.crls.filter((_, i) => i === (kind === "pck" ? 1 : 0));
  const attempt = async () => await check({ ...made, collateral: { ...made.collateral, crls } });
  expect(await refusedBy(attempt)).toBe(`tdx.${kind}-crl`);
});

test("a revocation list of another CA with the same key is not the one needed", async () => {
  const made = madeTdx();
  const processor = madeTdx({ ca: "Processor" }).collateral.crls[0] as Uint8Array;
  const crls = [processor, made.collateral.crls[1] as Uint8Array];
  expect(
    await refusedBy(async () => await check({ ...made, collateral: { ...made.collateral, crls } })),
  ).toBe("tdx.pck-crl");
});

test.for(["empty", "garbage", "cut"] as const)(
  "a revocation list that is %s is refused, never ignored",
  async (how) => {
    const made = madeTdx();
    const [pck, root] = made.collateral.crls as [Uint8Array, Uint8Array];
    const bad = {
      empty: new Uint8Array(),
      garbage: new Uint8Array(100).fill(0x41),
      cut: pck.subarray(0, -1),
    }[how];
    // Even beside good ones.
    const collateral = { ...made.collateral, crls: [bad, pck, root] };
    expect(await refusedBy(async () => await check({ ...made, collateral }))).toBe("tdx.collateral-format");
  },
);

test("the newest valid piece wins; outdated ones are passed over; a forged one that is current is refused", async () => {
  const made = madeTdx();
  const outdated = madeTdx({ jsonDays: [-90, -60], crlDays: [-90, -60], evaluation: 12 });
  const revoking = madeTdx({ crlDays: [-1, 29], revoked: ["leaf"] });
  const better = madeTdx({ evaluation: 20, jsonDays: [-10, 20] });
  const passed = await check(made, { collateral: outdated.collateral });
  expect(passed.tcbEvaluationDataNumber).toBe(19);
  expect((await check(made, { collateral: better.collateral })).tcbEvaluationDataNumber).toBe(20);
  expect(await refusedBy(async () => await check(made, { collateral: revoking.collateral }))).toBe(
    "tdx.pck-revoked",
  );
  for (const forged of [
    madeTdx({ tcbInfoSigner: "other" }),
    madeTdx({ qeIdentitySigner: "other" }),
    madeTdx({ forged: ["pckCrl"] }),
    madeTdx({ forged: ["rootCrl"] }),
    madeTdx({ forged: ["signer"] }),
  ]) {
    await expect(check(made, { collateral: forged.collateral })).rejects.toMatchObject({
      code: "evidence-refused",
    });
  }
});

const joined = (...made: readonly MadeTdx[]) => joinCollateral(...made.map(({ collateral }) => collateral));
const ENDED = { jsonDays: [-60, -30] } as const;

test("nobody goes back behind a TCB evaluation that has ended: what the guest sends is older than one that you have", async () => {
  const made = madeTdx({ evaluation: 18 });
  for (const [kind, evaluation] of [
    ["tcbInfos", 19],
    ["qeIdentities", 19],
  ] as const) {
    const floor = { ...NO_COLLATERAL, [kind]: madeTdx({ ...ENDED, evaluation }).collateral[kind] };
    await expect(check(made, { collateral: floor })).rejects.toMatchObject({
      refusal: {
        check: "tdx.tcb-evaluation-rollback",
        expected: "TCB evaluation 19 or newer",
        found: "TCB evaluation 18",
      },
    });
    // Renewed, it is the one that is used.
    const renewed = madeTdx({ evaluation: 19 }).collateral;
    expect((await check(made, { collateral: joinCollateral(floor, renewed) })).tcbEvaluationDataNumber).toBe(
      19,
    );
  }
  for (const evaluation of [1, 17, 18]) {
    const { collateral } = madeTdx({ ...ENDED, evaluation });
    expect((await check(made, { collateral })).tcbEvaluationDataNumber).toBe(18);
  }
});

test("that the signer's certificate has ended as well makes no floor go away", async () => {
  const made = madeTdx({ evaluation: 18 });
  // The same name, another key: Intel's key of before, say.
  const before = { serial: 0x0ff1, key: madeKey("ec-p256", "tdx other"), notAfter: MADE_TDX_NOW - DAY };
  const old = madeTdx({
    ...ENDED,
    evaluation: 19,
    tcbInfoSigner: "other",
    qeIdentitySigner: "other",
    certificates: { signer: before },
  });
  const attempt = async (collateral: Collateral) =>
    await refusedBy(async () => await check(made, { collateral }));
  expect(await attempt(old.collateral)).toBe("tdx.tcb-evaluation-rollback");
  // Without that certificate nobody knows who signed: it is passed over, as it was before.
  const { certificates: _, ...rest } = old.collateral;
  expect((await check(made, { collateral: { ...rest, certificates: [] } })).tcbEvaluationDataNumber).toBe(18);
});

test("a floor that Intel did not sign is none, nor one of another platform, nor one of times to come", async () => {
  const made = madeTdx({ evaluation: 18 });
  const none: readonly MadeTdxOptions[] = [
    { ...ENDED, evaluation: 30, tcbInfoSigner: "other", qeIdentitySigner: "other" },
    { ...ENDED, evaluation: 30, tcbInfoSigner: "leaf", qeIdentitySigner: "leaf" },
    {
      ...ENDED,
      evaluation: 30,
      tcbInfo: (info) => ({ ...info, fmspc: "00906ed50000" }),
      qeIdentity: (identity) => ({ ...identity, id: "QE" }),
    },
    { jsonDays: [30, 60], evaluation: 30 },
  ];
  for (const options of none) {
    const { collateral } = madeTdx(options);
    expect((await check(made, { collateral })).tcbEvaluationDataNumber).toBe(18);
  }
});

test("what an outdated list revokes stays revoked, and so does what one of times to come revokes", async () => {
  const made = madeTdx();
  const revoking = (revoked: "leaf" | "ca" | "signer", crlDays: readonly [number, number]) =>
    madeTdx({ crlDays, revoked: [revoked] });
  for (const crlDays of [
    [-60, -30],
    [30, 60],
  ] as const) {
    for (const [role, name] of [
      ["leaf", "tdx.pck-revoked"],
      ["ca", "tdx.ca-revoked"],
      ["signer", "tdx.tcb-signing-revoked"],
    ] as const) {
      const collateral = joined(made, revoking(role, crlDays));
      expect(await refusedBy(async () => await check({ ...made, collateral })), role).toBe(name);
    }
  }
  // Yet an outdated list alone is none.
  expect(await refusedBy(async () => await check(madeTdx({ crlDays: [-60, -30] })))).toBe(
    "tdx.collateral-date",
  );
});

test.for(["pckCrl", "rootCrl"] as const)(
  "an outdated list that its issuer did not sign is refused: %s",
  async (list) => {
    const made = madeTdx();
    const { collateral } = madeTdx({ crlDays: [-60, -30], forged: [list] });
    expect(
      await refusedBy(async () => await check(made, { collateral: { ...collateral, certificates: [] } })),
    ).toBe(list === "pckCrl" ? "tdx.pck-crl" : "tdx.root-crl");
  },
);

test("an expired TCB signing certificate beside a valid one does no harm", async () => {
  const made = madeTdx();
  const expired = madeTdx({ certificates: { signer: { serial: 9, notAfter: MADE_TDX_NOW - DAY } } });
  const { certificates } = expired.collateral;
  expect((await check(made, { collateral: { ...NO_COLLATERAL, certificates } })).status).toBe("UpToDate");
});

test("a TCB signing certificate of another root, named so, is not asked", async () => {
  const made = madeTdx();
  const issuer = {
    name: { CN: "Intel SGX Root CA", O: "Another root" },
    key: madeKey("ec-p256", "another root"),
  };
  const { certificates } = madeTdx({ certificates: { signer: { issuer } } }).collateral;
  expect((await check(made, { collateral: { ...NO_COLLATERAL, certificates } })).status).toBe("UpToDate");
});

test("the clock skew is tolerated, and not a second more", async () => {
  const until = MADE_TDX_NOW + 25 * DAY;
  const context = (now: number) => ({ now, clockSkew: 300_000 });
  expect((await check({}, context(until + 300_000))).status).toBe("UpToDate");
  expect(await refusedBy(async () => await check({}, context(until + 301_000)))).toBe("tdx.collateral-date");
  const from = MADE_TDX_NOW - 5 * DAY;
  expect((await check({}, context(from - 300_000))).status).toBe("UpToDate");
  expect(await refusedBy(async () => await check({}, context(from - 301_000)))).toBe("tdx.collateral-date");
});
