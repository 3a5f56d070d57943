// Every shared TDX sample: real quotes of several clouds, mutated ones, and made ones under a test root. Verdict, status
// and reason are those of the sample's expected.json; the name of the check that says so is this project's.

import { expect, test } from "vitest";
import { NO_COLLATERAL, type Collateral } from "../../../protocol/attestation/collateral.ts";
import { TDX_DEFAULTS, type TdxPolicy } from "../../../protocol/attestation/policy/model.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { judgeTdx } from "../../../protocol/attestation/tdx/judge.ts";
import { reportTdx } from "../../../protocol/attestation/tdx/report.ts";
import { type TdxFacts, checkTdx } from "../../../protocol/attestation/tdx/verify.ts";
import type { VerifyContext } from "../../../protocol/attestation/verify-context.ts";
import { parseCertificate } from "../../../protocol/attestation/x509/certificate.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { hasEvidence, refusedBy, sample, sampleJson, samples, sha256, signatures, suite } from "./support.ts";

/** Sample to the check that must refuse it under the baseline policy; "" where it must pass. */
const CHECKS: Readonly<Record<string, string>> = {
  "mut-ak-replaced": "tdx.attestation-key",
  "mut-body-flip": "tdx.signature",
  "mut-clock-after-collateral": "tdx.collateral-date",
  "mut-crl-empty-file": "tdx.collateral-format",
  "mut-crl-garbage": "tdx.collateral-format",
  "mut-fmspc-other-tcbinfo": "tdx.tcb-info",
  "mut-header-flip": "tdx.signature",
  "mut-qe-report-flip": "tdx.qe-report-signature",
  "mut-siglen-huge": "tdx.quote-format",
  "mut-tcbinfo-reserialised": "tdx.tcb-info-signature",
  "mut-truncated": "tdx.quote-format",
  "mut-version-5-header-on-v4": "tdx.quote-format",
  "syn-ak-not-bound": "tdx.attestation-key",
  "syn-debug": "tdx.debug",
  "syn-intermediate-revoked": "tdx.ca-revoked",
  "syn-module-outofdate": "tdx.tcb-status",
  "syn-module-unknown": "tdx.module",
  "syn-mrsignerseam-foreign": "tdx.module-signer",
  "syn-pck-expired": "tdx.pck-validity",
  "syn-pck-revoked": "tdx.pck-revoked",
  "syn-qe-mrsigner-mismatch": "tdx.qe-identity-match",
  "syn-qe-outofdate": "tdx.tcb-status",
  "syn-sept-ve-not-disabled": "tdx.sept-ve",
  "syn-tcb-confneeded": "tdx.tcb-status",
  "syn-tcb-eval-too-low": "tdx.tcb-evaluation",
  "syn-tcb-revoked": "tdx.tcb-revoked",
  "syn-tcb-swhardening": "tdx.tcb-status",
  "syn-tcbinfo-signed-by-other": "tdx.tcb-info-signature",
  "syn-tcbinfo-signed-by-pck": "tdx.tcb-signing-chain",
  "syn-td-relaunch-advised": "tdx.tcb-status",
  "syn-untrusted-root": "tdx.root",
  "syn-v4-uptodate": "",
  "syn-v5-body2-td10": "",
  "syn-v5-td15-uptodate": "",
  "syn-v5-type3-with-584-body": "tdx.quote-format",
  "v4-ccel-live-collateral-expired": "tdx.collateral-date",
  "v4-debug-td-real": "tdx.debug",
  "v4-outofdate-gnr": "tdx.tcb-status",
  "v4-outofdate-zkdcap": "tdx.tcb-status",
  "v4-pck-not-yet-valid": "tdx.pck-validity",
  "v4-uptodate-20a06f": "",
  "v4-uptodate-dstack": "",
  "v4-uptodate-gcp-cos113-with-ccel": "",
  "v4-uptodate-phala": "",
  "v5-no-matching-tcb-level": "tdx.tcb-unsupported",
  "v5-td15-outofdate-alibaba-later": "tdx.tcb-status",
  "v5-td15-uptodate-alibaba": "",
};

interface Expected {
  readonly expected: "pass" | "fail";
  readonly verify_at: string;
  readonly trust_anchor?: string;
  readonly requires_policy?: readonly string[];
  readonly claims: Readonly<Record<string, string | number>>;
  readonly pck: { readonly fmspc: string; readonly ppid: string; readonly piid: string };
  readonly quote_verification: {
    readonly result: "ok" | "fail";
    readonly tcb_status: string | null;
    readonly advisory_ids: readonly string[] | null;
    readonly qe_status: string | null;
    readonly module_status: string | null;
    readonly platform_level_status: string | null;
  };
}

interface Case {
  readonly name: string;
  readonly expected: Expected;
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  readonly context: VerifyContext;
  readonly policy: TdxPolicy;
}

function read(name: string): Case {
  const expected: Expected = sampleJson(`tdx/${name}/expected.json`);
  const file = (each: string) => sample(`tdx/${name}/${each}`);
  const chains = [
    "pck_crl_issuer_chain.pem",
    "tcb_info_issuer_chain.pem",
    "qe_identity_issuer_chain.pem",
  ].map((each) => pemCertificates(file(each)));
  const testRoot = parseCertificate(chains[0]?.at(-1) as Uint8Array);
  // The one case about a foreign root is judged against Intel's.
  const ownRoot = expected.trust_anchor !== undefined && name !== "syn-untrusted-root";
  return {
    name,
    expected,
    quote: file("quote.bin"),
    collateral: {
      certificates: chains.flat(),
      crls: [file("pck_crl.der"), file("root_ca_crl.der")],
      tcbInfos: [file("tcb_info.json")],
      qeIdentities: [file("qe_identity.json")],
    },
    context: {
      now: Date.parse(expected.verify_at),
      clockSkew: 300_000,
      roots: ownRoot ? { ...VENDOR_ROOTS, intel: [toHex(sha256(testRoot.spki))] } : VENDOR_ROOTS,
      signatures,
      suite,
      collateral: NO_COLLATERAL,
    },
    policy: baselinePolicy(name, expected),
  };
}

/** The strict defaults, and what the sample says it needs. */
function baselinePolicy(name: string, expected: Expected): TdxPolicy {
  const policy = { ...TDX_DEFAULTS, minimumTcbEvaluation: name === "syn-tcb-eval-too-low" ? 17 : 0 };
  return (expected.requires_policy ?? []).reduce((changed: TdxPolicy, requirement) => {
    const serviceTd = /^mr_servicetd pinned to ([0-9a-f]{96})$/.exec(requirement)?.[1];
    if (serviceTd === undefined) throw new Error(`Unknown requirement: ${requirement}`);
    return { ...changed, mrServiceTd: [serviceTd] };
  }, policy);
}

const cases = samples("tdx").map(read);

async function wholeCheck({ quote, collateral, context, policy }: Case): Promise<TdxFacts> {
  const facts = await checkTdx(quote, collateral, context);
  const checks = new Checks();
  judgeTdx(facts, policy, checks);
  checks.settle();
  return facts;
}

test.skipIf(!hasEvidence)("the table names every shared TDX sample, and no other", () => {
  expect(cases.map(({ name }) => name).sort()).toEqual(Object.keys(CHECKS).sort());
});

test.for(cases)("$name: verdict and reason under the baseline policy", async (each) => {
  const check = CHECKS[each.name];
  expect(check === "").toBe(each.expected.expected === "pass");
  if (check === "") await wholeCheck(each);
  else expect(await refusedBy(async () => await wholeCheck(each))).toBe(check);
});

test.for(cases)(
  "$name: what Intel's verification says, without a policy",
  async ({ expected, name, ...each }) => {
    const { quote_verification: verification } = expected;
    const attempt = async () => await checkTdx(each.quote, each.collateral, each.context);
    if (verification.result === "fail") {
      expect(await refusedBy(attempt)).toBe(CHECKS[name]);
      return;
    }
    const facts = await attempt();
    expect({
      tcb_status: facts.status,
      advisory_ids: facts.advisories,
      qe_status: facts.qeStatus,
      module_status: facts.moduleStatus ?? null,
      platform_level_status: facts.platformStatus,
    }).toEqual({
      tcb_status: verification.tcb_status,
      advisory_ids: [...(verification.advisory_ids ?? [])].sort(),
      qe_status: verification.qe_status,
      module_status: verification.module_status,
      platform_level_status: verification.platform_level_status,
    });
    const { body, pck } = facts;
    const hex = (bytes: Uint8Array) => toHex(bytes);
    expect({
      version: facts.version,
      tee_tcb_svn: hex(body.teeTcbSvn),
      mr_seam: hex(body.mrSeam),
      mrsigner_seam: hex(body.mrSignerSeam),
      td_attributes: hex(body.tdAttributes),
      xfam: hex(body.xfam),
      mr_td: hex(body.mrTd),
      mr_config_id: hex(body.mrConfigId),
      mr_owner: hex(body.mrOwner),
      mr_owner_config: hex(body.mrOwnerConfig),
      rtmr0: hex(body.rtmrs[0] as Uint8Array),
      rtmr3: hex(body.rtmrs[3] as Uint8Array),
      report_data: hex(body.reportData),
      ...(body.td15 === undefined ? {} : { mr_servicetd: hex(body.td15.mrServiceTd) }),
    }).toMatchObject(
      Object.fromEntries(
        Object.entries(expected.claims).filter(
          ([key]) => !["bodytype", "seam_attr", "rtmr1", "rtmr2", "tee_tcb_svn_2"].includes(key),
        ),
      ),
    );
    expect(pck).toMatchObject({
      fmspc: expected.pck.fmspc,
      ppid: expected.pck.ppid,
      piid: expected.pck.piid,
    });
  },
);

test.for(cases.filter(({ expected }) => expected.trust_anchor !== undefined))(
  "$name: a test root is not Intel's",
  async ({ quote, collateral, context, name }) => {
    const check = await refusedBy(
      async () => await checkTdx(quote, collateral, { ...context, roots: VENDOR_ROOTS }),
    );
    expect(check).toBe(CHECKS[name] === "tdx.quote-format" ? "tdx.quote-format" : "tdx.root");
  },
);

test.for(cases.filter(({ expected }) => expected.quote_verification.result === "ok"))(
  "$name: the policy that its report would save accepts it",
  async (each) => {
    const facts = await checkTdx(each.quote, each.collateral, each.context);
    const report = reportTdx(facts);
    expect(report.pins.tdx).toBeDefined();
    const checks = new Checks();
    judgeTdx(facts, report.pins.tdx as TdxPolicy, checks);
    expect(checks.settle().length).toBeGreaterThan(12);
  },
);

test.skipIf(!hasEvidence)("the CC event log of a real TD reproduces its RTMRs", async () => {
  const name = "v4-uptodate-gcp-cos113-with-ccel";
  const { quote, collateral, context } = read(name);
  const facts = await checkTdx(quote, collateral, context);
  const report = reportTdx(facts, sample(`tdx/${name}/ccel.bin`));
  expect(report.verified.find(({ check }) => check === "tdx.event-log")?.value).toMatch(
    /^RTMR0, RTMR1, RTMR2/,
  );
  expect(report.documentDigest).toBeUndefined();
  expect(reportTdx(facts).notVerified.join("\n")).toMatch(/no event log/);
});

test.skipIf(!hasEvidence)("an instance document's digest is MRCONFIGID where one was set", async () => {
  const { quote, collateral, context, expected } = read("v4-uptodate-20a06f");
  const { documentDigest, bound } = reportTdx(await checkTdx(quote, collateral, context));
  expect(documentDigest?.hash).toBe("sha384");
  expect(toHex(documentDigest?.value as Uint8Array)).toBe(expected.claims["mr_config_id"]);
  expect(toHex(bound)).toBe(expected.claims["report_data"]);
});
