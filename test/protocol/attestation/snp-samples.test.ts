// Every SEV-SNP case of the sample evidence: its verdict, and the reason of a refusal.

import { describe, expect, test } from "vitest";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { SNP_DEFAULTS, type SnpPolicy } from "../../../protocol/attestation/policy/model.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { type SnpProduct, type TrustRoots, VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { parseSnpReport } from "../../../protocol/attestation/sev-snp/report.ts";
import {
  type SnpFacts,
  checkSnp,
  judgeSnp,
  reportSnp,
} from "../../../protocol/attestation/sev-snp/verify.ts";
import { parseCertificate } from "../../../protocol/attestation/x509/certificate.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { hasEvidence, sample, sampleJson, samples, sha256, signatures, suite } from "./support.ts";

/** The expected outcome: "pass", or the name of the check that refuses and what its sentence says. */
type Outcome = "pass" | "parse-ok" | readonly [check: string, sentence: RegExp];

const OUTCOMES: Readonly<Record<string, Outcome>> = {
  "genoa-v3-yaxi": "pass",
  "genoa-v5-live": "pass",
  "milan-v2-azure-raw": "pass",
  "milan-v2-debug-enabled": ["snp.debug", /may be debugged/],
  "milan-v2-virtee": "pass",
  "milan-v3-aci-microsoft": "pass",
  "milan-v3-dstack-reported-below-current": "pass",
  "milan-v3-vlek-aws": "pass",
  "milan-v3-yaxi": "pass",
  "mut-clock-after-vcek": ["snp.validity", /VCEK certificate is not valid at this time/],
  "mut-report-data-flip": ["snp.signature", /signature does not hold/],
  "mut-sig-swapped-rs": ["snp.signature", /signature does not hold/],
  "mut-sig-zero": ["snp.chip-key-masked", /did not sign/],
  "mut-truncated-1183": ["snp.report", /not 1184 bytes/],
  "mut-unsigned-reserved-nonzero": ["snp.report", /reserved place/],
  "mut-vcek-sig-flip": ["snp.vcek-chain", /did not sign the VCEK/],
  "mut-version-1": ["snp.report", /has a version/],
  "mut-wrong-chip-vcek": ["snp.chip-id", /another chip/],
  "syn-genoa-crl-empty": "pass",
  "syn-genoa-crl-forged": ["snp.crl", /was not signed by AMD/],
  "syn-genoa-crl-revokes-ask": ["snp.crl", /has revoked/],
  "syn-genoa-good": "pass",
  "syn-genoa-masked-chip-id": ["snp.chip-id", /masks CHIP_ID/],
  "syn-genoa-masked-chip-key": ["snp.chip-key-masked", /did not sign/],
  "syn-genoa-policy-debug": ["snp.debug", /may be debugged/],
  "syn-genoa-policy-migrate-ma": ["snp.migration-agent", /migration agent/],
  "syn-genoa-policy-reserved17-zero": ["snp.report", /bit 17/],
  "syn-genoa-signing-key-vlek-with-vcek": ["snp.signing-key", /a VLEK signed it, and there is only a VCEK/],
  "syn-genoa-v6-unknown-version": ["snp.report", /has a version/],
  "syn-genoa-vcek-expired": ["snp.validity", /VCEK certificate is not valid at this time/],
  "syn-genoa-vcek-hwid-mismatch": ["snp.chip-id", /another chip/],
  "syn-genoa-vcek-issued-by-asvk": ["snp.vcek-chain", /does not issue VCEKs/],
  "syn-genoa-vcek-missing-hwid": ["snp.vcek-extensions", /no hwID/],
  "syn-genoa-vcek-tcb-mismatch": ["snp.reported-tcb", /other firmware versions/],
  "syn-genoa-vlek-good": "pass",
  "syn-genoa-vmpl3": ["snp.vmpl", /privilege level/],
  "syn-milan-no-alias-check": ["snp.alias-check", /aliases/],
  "syn-turin-chipid-tail-nonzero": ["snp.report", /CHIP_ID that is longer/],
  "syn-turin-fmc-mismatch": ["snp.reported-tcb", /other firmware versions/],
  "syn-turin-good": "pass",
  "turin-v5-yaxi": "pass",
  "v2-vmpl2-parse-only": "parse-ok",
  "vcek-invalid-legacy": ["snp.vcek-chain", /did not sign the VCEK/],
};

const PRODUCTS: Readonly<Record<string, SnpProduct>> = { milan: "Milan", genoa: "Genoa", turin: "Turin" };

interface Case {
  readonly expected: {
    verify_at: string;
    product: string;
    requires_policy?: string[];
    trust_anchor?: string;
  };
  readonly report: Uint8Array;
  readonly certificates: Uint8Array[];
  readonly crls: Uint8Array[];
}

function load(name: string): Case {
  const directory = `snp/${name}`;
  const files = samples(directory);
  const read = (wanted: readonly string[]) =>
    wanted.filter((file) => files.includes(file)).map((file) => sample(`${directory}/${file}`));
  return {
    expected: sampleJson(`${directory}/expected.json`),
    report: sample(`${directory}/report.bin`),
    certificates: read(["vcek.der", "vlek.der", "ask.der", "asvk.der", "ark.der"]),
    crls: read(["crl.der"]),
  };
}

function testRoots({ expected, certificates }: Case): TrustRoots {
  if (expected.trust_anchor === undefined) return VENDOR_ROOTS;
  const ark = parseCertificate(certificates.at(-1) as Uint8Array);
  const product = PRODUCTS[expected.product] as SnpProduct;
  return { ...VENDOR_ROOTS, amd: { ...VENDOR_ROOTS.amd, [product]: [toHex(sha256(ark.spki))] } };
}

/** What every case is judged by: SOURCES.md of the sample evidence, and what the case itself asks for. */
function baseline(name: string, { expected, report }: Case): SnpPolicy {
  const requires = expected.requires_policy ?? [];
  const unknown = requires.filter(
    (key) => !["vmpl=1", "allow_vlek", "permit_provisional_firmware"].includes(key),
  );
  expect(unknown).toEqual([]);
  const vlek = requires.includes("allow_vlek");
  return {
    ...SNP_DEFAULTS,
    vmpls: requires.includes("vmpl=1") ? [1] : [0],
    signingKeys: vlek ? ["vlek"] : ["vcek"],
    allowProvisionalFirmware: requires.includes("permit_provisional_firmware"),
    aliasCheck: name === "syn-milan-no-alias-check" ? "required" : "any",
    crl: "if-present",
    ...(expected.product === "milan" && !vlek ? { chipIds: [toHex(report.slice(0x1a0, 0x1e0))] } : {}),
    ...(expected.product === "milan" && vlek ? { cspIds: ["CN=cc-us-east-2.amazonaws.com"] } : {}),
  };
}

async function check(loaded: Case, roots: TrustRoots): Promise<SnpFacts> {
  const { report, certificates, crls, expected } = loaded;
  return await checkSnp(
    report,
    undefined,
    { ...NO_COLLATERAL, certificates, crls },
    {
      now: Date.parse(expected.verify_at),
      clockSkew: 0,
      roots,
      signatures,
      suite,
      collateral: NO_COLLATERAL,
    },
  );
}

function judge(facts: SnpFacts, policy: SnpPolicy) {
  const checks = new Checks();
  judgeSnp(facts, policy, checks);
  return checks.settle();
}

/** Every check that failed, with its sentence. */
async function failures(attempt: () => unknown): Promise<[string, string][]> {
  try {
    await attempt();
    return [];
  } catch (error) {
    if (!(error instanceof SealttyError) || error.refusal === undefined) throw error;
    const { refusal } = error;
    expect(refusal.next).toMatch(/\S/);
    return [
      [refusal.check, error.message],
      ...(refusal.others ?? []).map(({ check: other, problem }): [string, string] => [other, problem]),
    ];
  }
}

describe.runIf(hasEvidence)("SEV-SNP samples", () => {
  test("every case has an expected outcome here", () => {
    expect(samples("snp").toSorted()).toEqual(Object.keys(OUTCOMES).toSorted());
    for (const [name, outcome] of Object.entries(OUTCOMES)) {
      const { expected } = sampleJson(`snp/${name}/expected.json`);
      expect([name, expected]).toEqual([name, typeof outcome === "string" ? outcome : "fail"]);
    }
  });

  test.each(Object.keys(OUTCOMES))("%s", async (name) => {
    const outcome = OUTCOMES[name] as Outcome;
    const loaded = load(name);
    const run = async () => judge(await check(loaded, testRoots(loaded)), baseline(name, loaded));
    if (outcome === "parse-ok") {
      expect(parseSnpReport(loaded.report).vmpl).toBe(2);
      expect((await failures(run))[0]?.[0]).toBe("snp.certificate");
      return;
    }
    const found = await failures(run);
    if (outcome === "pass") {
      expect(found).toEqual([]);
      return;
    }
    expect(found.map(([failed]) => failed)).toEqual([outcome[0]]);
    expect(found[0]?.[1]).toMatch(outcome[1]);
  });

  test.each(Object.keys(OUTCOMES).filter((name) => name.startsWith("syn-")))(
    "%s is refused under AMD's own roots",
    async (name) => {
      const loaded = load(name);
      expect(loaded.expected.trust_anchor).toMatch(/test-root/);
      expect(await failures(() => check(loaded, VENDOR_ROOTS))).not.toEqual([]);
      if (OUTCOMES[name] === "pass") {
        expect(await failures(() => check(loaded, VENDOR_ROOTS))).toEqual([
          ["snp.root", expect.stringMatching(/is not AMD's/)],
        ]);
      }
    },
  );

  test("the debug case passes where the policy allows it", async () => {
    const name = "milan-v2-debug-enabled";
    const loaded = load(name);
    const facts = await check(loaded, VENDOR_ROOTS);
    judge(facts, { ...baseline(name, loaded), allowDebug: true });
    expect(reportSnp(facts).warnings.join()).toMatch(/may be debugged/);
  });

  test.each(Object.keys(OUTCOMES).filter((name) => OUTCOMES[name] === "pass"))(
    "%s meets the policy that is saved of it, and says the claims that are published of it",
    async (name) => {
      const loaded = load(name);
      const facts = await check(loaded, testRoots(loaded));
      const { pins, values, bound } = reportSnp(facts);
      judge(facts, pins.snp as SnpPolicy);
      const { claims } = sampleJson(`snp/${name}/expected.json`);
      const { report } = facts;
      expect({
        version: report.version,
        guest_svn: report.guestSvn,
        policy: `0x${report.policy.hex.replace(/^0+/, "")}`,
        vmpl: report.vmpl,
        report_data: toHex(bound),
        measurement: values.find((value) => value.name === "snp.measurement")?.value,
        host_data: toHex(report.hostData),
        id_key: toHex(report.idKeyDigest),
        author_key: toHex(report.authorKeyDigest),
        report_id: values.find((value) => value.name === "snp.report-id")?.value,
        report_id_ma: toHex(report.reportIdMa),
        current_tcb: toHex(report.currentTcb),
        reported_tcb: toHex(report.reportedTcb),
        committed_tcb: toHex(report.committedTcb),
        launch_tcb: toHex(report.launchTcb),
        platform_info: `0x${report.platform.hex.replace(/^0+/, "")}`,
        chip_id: toHex(report.chipId),
      }).toEqual(Object.fromEntries(Object.entries(claims).filter(([key]) => PUBLISHED.includes(key))));
    },
  );
});

const PUBLISHED = [
  "version",
  "guest_svn",
  "policy",
  "vmpl",
  "report_data",
  "measurement",
  "host_data",
  "id_key",
  "author_key",
  "report_id",
  "report_id_ma",
  "current_tcb",
  "reported_tcb",
  "committed_tcb",
  "launch_tcb",
  "platform_info",
  "chip_id",
];
