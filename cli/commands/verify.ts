// `sealtty verify`: the same checks as for a connection, offline, on evidence kept in a file.

import { type Commitment, appraiseOffline, commitmentOfFile } from "../../protocol/attestation/appraisal.ts";
import { VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { describeClaims } from "../claims-words.ts";
import { type KeptEvidence, readEvidenceFile } from "../evidence-file.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { ownerCollateral } from "../owner-collateral.ts";
import { readPolicy } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const TAKEN = ["policy", "collateral", "simulated", "json", "verbose", "quiet"];

export const verifyCommand: Command = {
  name: "verify",
  summary: "check evidence in a file against a policy, offline",
  operands: "--policy FILE --evidence FILE",
  options: [
    ...COMMON_OPTIONS.filter(({ name }) => TAKEN.includes(name)),
    {
      name: "evidence",
      value: "FILE",
      help: "kept by inspect --save-evidence, or a bare SNP report or TDX quote (required)",
    },
    { name: "report-data", value: "HEX", help: "what a bare report must carry: 128 hex digits" },
    {
      name: "at",
      value: "TIME",
      help: "judge validity as of this time, e.g. 2026-06-01T00:00:00Z; default now",
    },
  ],
  notes: [
    "A bare report needs its certificates, CRLs and TCB info in --collateral DIR.",
    "Exit status: 0 good, 1 refused, 2 usage.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    const file = input.text("evidence");
    if (input.operands.length > 0 || input.rest !== undefined)
      throw usage(verifyCommand, "verify takes options only");
    if (file === undefined) throw usage(verifyCommand, "--evidence FILE is missing");
    const reporter = new Reporter(services, input);
    const kept = await readEvidenceFile(file);
    const claims = await verifyKept(kept, input, services);
    const report = reporter.json
      ? `${JSON.stringify({ event: "claims", checkedAgainstPolicy: true, claims })}\n`
      : describeClaims(claims, true);
    await print(services.stdout, report);
    return 0;
  },
};

async function verifyKept(kept: KeptEvidence, input: Input, services: Services): Promise<AppraisedClaims> {
  const { policy } = await readPolicy(input, "GUEST", services);
  const common = {
    evidence: kept.evidence,
    policy,
    suite: services.suite,
    signatures: services.signatures,
    acceptSimulated: input.has("simulated"),
    now: timeOf(input) ?? services.wallTime(),
    roots: VENDOR_ROOTS,
    collateral: await ownerCollateral(input, services),
  };
  const { claims } = await appraiseOffline({ ...common, boundTo: boundTo(kept, input, services) });
  if (input.text("at") === undefined) return claims;
  const judged = `Validity was judged as of ${new Date(common.now).toISOString()}, as you asked, not now`;
  return { ...claims, notVerified: [judged, ...claims.notVerified] };
}

function boundTo(kept: KeptEvidence, input: Input, services: Services): Commitment | Uint8Array | undefined {
  const reportData = reportDataOf(input);
  if (kept.context === undefined) return reportData;
  if (reportData !== undefined) {
    throw new SealttyError(
      "bad-config",
      "--report-data is for bare reports: this file says what it was made for",
    );
  }
  const fetched = kept.at === undefined ? "" : `, fetched ${kept.at} as the file says`;
  return commitmentOfFile(services.suite, kept.context, fetched);
}

/** @throws SealttyError `bad-config`. */
function timeOf(input: Input): number | undefined {
  const text = input.text("at");
  if (text === undefined) return undefined;
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw new SealttyError("bad-config", "--at takes a UTC time such as 2026-06-01T00:00:00Z");
  return time;
}

function reportDataOf(input: Input): Uint8Array | undefined {
  const text = input.text("report-data");
  if (text === undefined) return undefined;
  if (!/^[0-9a-fA-F]{128}$/.test(text))
    throw new SealttyError("bad-config", "--report-data takes 128 hex digits");
  return new Uint8Array(Buffer.from(text, "hex"));
}
