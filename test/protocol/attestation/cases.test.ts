// Every case of the sample evidence, whatever its kind, under the baseline policy: the verdict, and that what refuses belongs to
// the reason that the case gives. The runner is that of scripts/verify-cases.mjs, which takes cases that nobody here has seen.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type CaseResult, runCase } from "../../support/evidence-case.ts";
import { evidenceDirectory, hasEvidence, sampleJson, samples } from "./support.ts";

interface Expected {
  readonly expected: string;
  readonly reason?: string | null;
  readonly notes?: string | null;
  readonly debug?: boolean;
  readonly quote_verification?: {
    readonly result: string;
    readonly reason?: string | null;
    readonly tcb_status?: string | null;
    readonly advisory_ids?: readonly string[] | null;
    /** Azure's case has it under this name. */
    readonly status?: string;
  };
}

const KINDS = ["azure-snp", "azure-tdx", "cca", "eventlog", "nitro", "snp", "tdx", "tpm"];
const cases = KINDS.flatMap((kind) => samples(kind).map((name) => `${kind}/${name}`));
const expectedOf = (name: string): Expected => sampleJson(`${name}/expected.json`);

/** Kind, and the reason in the very words of the case, to the checks that may refuse for it. */
const CHECKS: Readonly<Record<string, readonly string[]>> = {
  "azure-snp: published VCEK belongs to another chip (hwID differs, report signature fails); runtime data binding itself is correct; 583-byte older runtime JSON":
    ["snp.chip-id"],
  "azure-snp: PCR values do not hash to pcrDigest": ["tpm.pcr-digest"],
  "azure-snp: TPM quote not signed by the AK in the HCL report (mix and match)": ["azure.quote-signature"],
  "azure-snp: SHA-256(runtime data) != REPORT_DATA[0:32]": ["azure.runtime-data"],
  "azure-tdx: TCB OutOfDate (everything else valid)": ["tdx.tcb-status"],
  "cca: platform signature": ["cca.platform-signature"],
  "nitro: PCR0..2 all zero = debug enclave": ["nitro.debug"],

  "snp: policy.debug_allowed (signature and chain are valid)": ["snp.debug"],
  "snp: VCEK expired": ["snp.validity"],
  "snp: report signature": ["snp.signature"],
  "snp: zero signature": ["snp.chip-key-masked"],
  "snp: length": ["snp.report"],
  "snp: reserved bytes after r,s are NOT signed: strict parser must require zero (malleability)": [
    "snp.report",
  ],
  "snp: VCEK signature": ["snp.vcek-chain"],
  "snp: unsupported report version (also breaks signature)": ["snp.report"],
  "snp: report signature / HWID mismatch": ["snp.chip-id"],
  "snp: CRL not signed by ARK: reject the CRL (fail closed), never ignore": ["snp.crl"],
  "snp: ASK serial 0x10001 in ARK-signed CRL": ["snp.crl"],
  "snp: CHIP_ID is zero (MASK_CHIP_ID) and a VCEK is used: cannot match hwID": ["snp.chip-id"],
  "snp: MASK_CHIP_KEY=1: signature is all zero": ["snp.chip-key-masked"],
  "snp: policy.debug": ["snp.debug"],
  "snp: policy.migrate_ma (default deny)": ["snp.migration-agent"],
  "snp: policy bit 17 must be 1": ["snp.report"],
  "snp: report says VLEK but a VCEK cert was supplied": ["snp.signing-key"],
  "snp: unknown report version: default deny": ["snp.report"],
  "snp: CHIP_ID != VCEK hwID extension": ["snp.chip-id"],
  "snp: a VCEK must chain to ASK, not ASVK": ["snp.vcek-chain"],
  "snp: VCEK lacks hwID extension": ["snp.vcek-extensions"],
  "snp: REPORTED_TCB.microcode != VCEK ucodeSPL": ["snp.reported-tcb"],
  "snp: VMPL 3 with default policy VMPL==0": ["snp.vmpl"],
  "snp: PLATFORM_INFO bit5 ALIAS_CHECK_COMPLETE=0 while policy requires it (BadRAM mitigation)": [
    "snp.alias-check",
  ],
  "snp: Turin CHIP_ID bytes 8..63 must be zero": ["snp.report"],
  "snp: REPORTED_TCB.fmc != VCEK fmcSPL (3.9)": ["snp.reported-tcb"],
  "snp: VCEK not signed by ASK (published negative)": ["snp.vcek-chain"],

  "tdx: attestation key not bound in QE report data": ["tdx.attestation-key"],
  "tdx: quote signature": ["tdx.signature"],
  "tdx: collateral JSON expired/not yet valid (TDX)": ["tdx.collateral-date"],
  "tdx: CRL parse": ["tdx.collateral-format"],
  "tdx: TCB info id/FMSPC/PCEID mismatch": ["tdx.tcb-info"],
  "tdx: QE report signature": ["tdx.qe-report-signature"],
  "tdx: length field exceeds buffer (bounds check)": ["tdx.quote-format"],
  "tdx: tcbInfo signature": ["tdx.tcb-info-signature"],
  "tdx: not a TDX v4/v5 quote with PCK chain": ["tdx.quote-format"],
  "tdx: parse: error('unpack_from requires a buffer of at least 134 bytes for unpacking 6 bytes at offset 128 (actual buffer size is 0)')":
    ["tdx.quote-format"],
  "tdx: revoked certificate: C=US,ST=CA,L=Santa Clara,O=SYNTHETIC TES": ["tdx.pck-revoked", "tdx.ca-revoked"],
  "tdx: TDX module identity not found": ["tdx.module"],
  "tdx: TDX module mismatch": ["tdx.module-signer"],
  "tdx: PCK chain validity": ["tdx.pck-validity"],
  "tdx: QE identity mismatch": ["tdx.qe-identity-match"],
  "tdx: TCB status Revoked": ["tdx.tcb-revoked"],
  "tdx: TCB signing chain": ["tdx.tcb-signing-chain"],
  "tdx: untrusted root": ["tdx.root"],
  "tdx: body size does not match type": ["tdx.quote-format"],
  "tdx: TCB level not supported (no matching level)": ["tdx.tcb-unsupported"],
  // These quotes verify; the policy refuses them.
  "tdx: status OutOfDate": ["tdx.tcb-status"],
  "tdx: status ConfigurationNeeded": ["tdx.tcb-status"],
  "tdx: status SWHardeningNeeded": ["tdx.tcb-status"],
  "tdx: status TDRelaunchAdvised": ["tdx.tcb-status"],
  "tdx: DEBUG": ["tdx.debug"],
  "tdx: policy min_tcb_evaluation_data_number=17 must reject (5)": ["tdx.tcb-evaluation"],
  "tdx: policy require SEPT_VE_DISABLE (bit 28)": ["tdx.sept-ve"],

  "tpm: TPMS_ATTEST.type=0x8017 (CERTIFY), genuine AK signature: must not be accepted as a quote": [
    "tpm.type",
  ],
  "tpm: signed by a non-restricted key: AK public must have restricted|sign|fixedTPM|fixedParent|sensitiveDataOrigin set, otherwise anything (incl. data starting with TPM_GENERATED) can be signed":
    ["tpm.ak-attributes"],
  'tpm: verifier expects another nonce (SHA256("other")): stale quote replay': ["tpm.binding"],
  "tpm: listed PCR values do not hash to pcrDigest": ["tpm.pcr-digest"],
  "tpm: quote covers only PCR16 (debug PCR): policy requires the boot PCRs to be in the selection": [
    "tpm.pcr-selection",
  ],
  "tpm: signature": ["tpm.signature"],
  "tpm: AK type/key does not match the signature": ["tpm.signature-scheme", "tpm.signature"],
};

/** The reason in the case's words; for a quote that verifies, what the baseline policy has against it. */
function reasonOf({ reason, notes, debug, quote_verification: quote }: Expected): string {
  const stated = reason ?? quote?.reason;
  if (typeof stated === "string") return stated;
  if (quote?.result !== "ok") return "none stated";
  if (quote.tcb_status !== "UpToDate") return `status ${quote.tcb_status}`;
  return debug === true ? "DEBUG" : (notes ?? "");
}

if (!hasEvidence) {
  test("sample evidence is absent: none of its cases was run", () => {
    expect(cases).toEqual([]);
  });
}

describe.runIf(hasEvidence)("cases of the sample evidence", () => {
  test("every kind and case is run", () => {
    const kinds = samples(".").filter((entry) => !entry.includes(".") && entry !== "snp-roots");
    expect(kinds.toSorted()).toEqual(KINDS);
    expect(cases.length).toBeGreaterThanOrEqual(124);
  });

  test.for(cases)("%s: the verdict is the expected one, for the reason that it gives", async (name) => {
    const expected = expectedOf(name);
    const result = await runCase(path.join(evidenceDirectory, name));
    expect({ verdict: result.verdict, why: result.sentence }).toEqual({
      verdict: expected.expected,
      why: expected.expected === "fail" ? expect.stringMatching(/\S/) : undefined,
    });
    if (result.verdict === "fail") {
      const reason = `${result.kind}: ${reasonOf(expected)}`;
      expect(CHECKS[reason], `no check is known for the reason "${reason}"`).toBeDefined();
      expect(CHECKS[reason]).toContain(result.check);
    }
    const { quote_verification: quote } = expected;
    if (quote?.result === "ok") {
      expect(result.tcbStatus).toBe(quote.tcb_status ?? quote.status);
      expect(result.advisories).toEqual([...(quote.advisory_ids ?? [])].sort());
    }
  });

  test("every reason of the table is one of some case", () => {
    const failing = cases.filter((name) => expectedOf(name).expected === "fail");
    const reasons = failing.map((name) => `${name.split("/")[0]}: ${reasonOf(expectedOf(name))}`);
    expect(Object.keys(CHECKS).filter((reason) => !reasons.includes(reason))).toEqual([]);
  });
});

// --- the runner itself: what it reads decides, what the case expects does not -------------------------------------------

const scratch = mkdtempSync(path.join(tmpdir(), "sealtty-cases-"));
afterAll(() => rmSync(scratch, { recursive: true }));

interface Change {
  /** Replaces members of expected.json; undefined takes one out. */
  readonly inputs?: Readonly<Record<string, unknown>>;
  /** File to what becomes of it; undefined takes it away. */
  readonly files?: Readonly<Record<string, (bytes: Buffer) => Uint8Array | undefined>>;
}

let made = 0;
/** A copy of a case, under a name that nobody knows, with changes. */
async function changed(name: string, { inputs = {}, files = {} }: Change): Promise<CaseResult> {
  const directory = path.join(scratch, `${made++}`, name.split("/")[0] as string, "unheard-of");
  cpSync(path.join(evidenceDirectory, name), directory, { recursive: true });
  const at = (file: string) => path.join(directory, file);
  const before = JSON.parse(readFileSync(at("expected.json"), "utf8"));
  writeFileSync(at("expected.json"), JSON.stringify({ ...before, ...inputs }));
  for (const [file, change] of Object.entries(files)) {
    const bytes = change(readFileSync(at(file)));
    if (bytes === undefined) rmSync(at(file));
    else writeFileSync(at(file), bytes);
  }
  return await runCase(directory);
}

const LIES = {
  expected: "pass",
  name: "good",
  reason: null,
  quote_verification: { result: "ok", tcb_status: "UpToDate", reason: null },
  verified_here: {},
  debug: false,
  claims: {},
};
const flip = (at: number) => (bytes: Buffer) => {
  const other = Uint8Array.from(bytes);
  const index = at < 0 ? other.length + at : at;
  other[index] = (other[index] as number) ^ 1;
  return other;
};
const gone = () => undefined;

describe.runIf(hasEvidence)("the runner", () => {
  const failing = cases.filter((name) => expectedOf(name).expected === "fail");

  // The replayed nonce and the foreign root are inputs that those cases state in prose.
  test.for(failing.filter((name) => name !== "tpm/swtpm-nonce-replay"))(
    "%s fails also where it claims to be good",
    async (name) => {
      const honest = await runCase(path.join(evidenceDirectory, name));
      const lying = await changed(name, { inputs: LIES });
      expect([lying.verdict, lying.check]).toEqual(["fail", honest.check]);
    },
  );

  test.each<[string, string, Change, string]>([
    [
      "a report at another time",
      "snp/genoa-v3-yaxi",
      { inputs: { verify_at: "2040-01-01T00:00:00Z" } },
      "snp.validity",
    ],
    [
      "a test root that is not asked for",
      "snp/syn-genoa-good",
      { inputs: { trust_anchor: undefined } },
      "snp.root",
    ],
    [
      "a VLEK that is not asked for",
      "snp/syn-genoa-vlek-good",
      { inputs: { requires_policy: [] } },
      "snp.signing-key",
    ],
    ["no VCEK", "snp/genoa-v3-yaxi", { files: { "vcek.der": gone } }, "snp.certificate"],
    [
      "a VCEK with a byte behind",
      "snp/genoa-v3-yaxi",
      { files: { "vcek.der": (b) => Buffer.concat([b, Buffer.of(0)]) } },
      "snp.collateral",
    ],
    ["a changed list", "snp/syn-genoa-crl-empty", { files: { "crl.der": flip(-1) } }, "snp.crl"],
    [
      "a list that has ended",
      "snp/syn-genoa-crl-empty",
      { inputs: { verify_at: "2029-01-01T00:00:00Z" } },
      "snp.crl",
    ],
    ["no TCB info", "tdx/v4-uptodate-phala", { files: { "tcb_info.json": gone } }, "tdx.tcb-info"],
    ["no root list", "tdx/v4-uptodate-phala", { files: { "root_ca_crl.der": gone } }, "tdx.root-crl"],
    [
      "a TCB info of the future",
      "tdx/v4-uptodate-phala",
      {
        files: {
          "tcb_info.json": (b) =>
            Buffer.from(b.toString("latin1").replace(/"issueDate":"20\d\d/, '"issueDate":"2035'), "latin1"),
        },
      },
      "tdx.collateral-date",
    ],
    [
      "a chain that is no PEM",
      "tdx/v4-uptodate-phala",
      { files: { "tcb_info_issuer_chain.pem": () => Buffer.from("no") } },
      "tdx.collateral-format",
    ],
    [
      "an unpinned service TD",
      "tdx/v5-td15-uptodate-alibaba",
      { inputs: { requires_policy: undefined } },
      "tdx.mrservicetd",
    ],
    [
      "a changed HCL header",
      "azure-snp/genoa-v3",
      { files: { "hcl_report.bin": flip(8) } },
      "azure.hcl-report",
    ],
    [
      "another nonce in the notes",
      "azure-snp/milan-v3-v1",
      { inputs: { notes: 'nonce = ASCII "other"' } },
      "azure.binding",
    ],
    [
      "an empty nonce",
      "tpm/swtpm-ecc-p256-sha256-q32",
      { inputs: { notes: "", tpm_quote: { extra: "" } } },
      "tpm.binding",
    ],
    ["no key", "tpm/swtpm-ecc-p256-sha256-q32", { files: { "ak.tpm2b_public": gone } }, "tpm.ak-public"],
    [
      "nothing but a report, and a time",
      "snp/genoa-v3-yaxi",
      { files: { "vcek.der": gone, "ask.der": gone, "ark.der": gone } },
      "snp.certificate",
    ],
    [
      "no signature",
      "tpm/swtpm-ecc-p256-sha256-q32",
      { files: { "quote.sig": gone } },
      "tpm.signature-scheme",
    ],
    [
      "a signature beyond all bounds",
      "tpm/swtpm-ecc-p256-sha256-q32",
      { files: { "quote.sig": () => Buffer.alloc(70_000) } },
      "tpm.format",
    ],
    ["no quote", "azure-snp/genoa-v3", { files: { "tpm_quote.msg": gone } }, "tpm.format"],
    ["another AK's name", "tpm/swtpm-ecc-p256-sha256-q32", { files: { "ak.name": flip(-1) } }, "tpm.ak-name"],
    [
      "a document of yesterday",
      "nitro/prod-dstack",
      { inputs: { verify_at: "2025-12-26T14:00:00Z" } },
      "nitro.age",
    ],
    [
      "a changed token",
      "cca/veraison-good-es256",
      { files: { "token.cbor": flip(-1) } },
      "cca.realm-signature",
    ],
    [
      "a cut log",
      "eventlog/tpm-arch-linux",
      { files: { "eventlog.bin": (b) => b.subarray(0, -5) } },
      "event-log.format",
    ],
  ])("%s: %s is refused", async (_what, name, change, check) => {
    const result = await changed(name, change);
    expect([result.verdict, result.check]).toEqual(["fail", check]);
  });

  test.each(["snp/genoa-v3-yaxi", "tdx/v4-uptodate-phala", "tpm/swtpm-ecc-p256-sha256-q32"])(
    "%s passes without notes and sources, with a file that nobody knows",
    async (name) => {
      const inputs = {
        notes: undefined,
        sources: undefined,
        files: undefined,
        product: undefined,
        name: "x",
      };
      expect((await changed(name, { inputs })).verdict).toBe("pass");
    },
  );

  test("a case that says what nobody understands has no verdict", async () => {
    const good = "snp/genoa-v3-yaxi";
    await expect(changed(good, { inputs: { requires_policy: ["allow_all"] } })).rejects.toThrow("allow_all");
    await expect(changed(good, { inputs: { verify_at: undefined } })).rejects.toThrow("when to verify");
    await expect(changed(good, { inputs: { kind: "sgx" } })).rejects.toThrow("sgx");
  });
});
