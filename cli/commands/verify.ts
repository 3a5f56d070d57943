// `sealtty verify`: the same checks as for a connection, offline, on evidence kept in a file.

import { appraiseOffline } from "../../protocol/attestation/appraisal.ts";
import { VENDOR_ROOTS } from "../../protocol/attestation/roots.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { describeClaims } from "../claims-words.ts";
import { type KeptEvidence, readEvidenceFile } from "../evidence-file.ts";
import { AT_OPTION, EVIDENCE_OPTION, commitmentOfKept, timeOfJudgement } from "../offline.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { ownerCollateral } from "../owner-collateral.ts";
import { jsonLine } from "../printable.ts";
import { readPolicy } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const TAKEN = ["policy", "collateral", "simulated", "json", "verbose", "quiet"];

export const verifyCommand: Command = {
  name: "verify",
  summary: "check evidence in a file against a policy, offline",
  operands: "--policy FILE --evidence FILE",
  options: [
    ...COMMON_OPTIONS.filter(({ name }) => TAKEN.includes(name)).map((option) =>
      option.name === "collateral"
        ? { ...option, help: "certificates, CRLs and TCB info of your own, beside what the file has" }
        : option,
    ),
    { ...EVIDENCE_OPTION, help: `${EVIDENCE_OPTION.help} (required)` },
    { name: "report-data", value: "HEX", help: "what a bare report must carry: 128 hex digits" },
    AT_OPTION,
  ],
  notes: [
    "What a bare report needs of certificates, CRLs and TCB info is in --collateral DIR, or kept by sealtty collateral fetch.",
    "Without a policy, sealtty inspect --evidence FILE says what a file shows.",
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
    const claims = await verifyKept(file, kept, input, services);
    const report = reporter.json
      ? `${jsonLine({ event: "claims", checkedAgainstPolicy: true, claims })}\n`
      : describeClaims(claims, "policy");
    await print(services.stdout, report);
    return 0;
  },
};

async function verifyKept(
  file: string,
  kept: KeptEvidence,
  input: Input,
  services: Services,
): Promise<AppraisedClaims> {
  const { policy } = await readPolicy(input, `--evidence ${file}`, services);
  const { now, leftOpen } = timeOfJudgement(input, services);
  const { claims } = await appraiseOffline({
    evidence: kept.evidence,
    policy,
    suite: services.suite,
    signatures: services.signatures,
    acceptSimulated: input.has("simulated"),
    now,
    roots: VENDOR_ROOTS,
    collateral: await ownerCollateral(input, services),
    boundTo: commitmentOfKept(kept, reportDataOf(input), services),
  });
  return { ...claims, notVerified: [...leftOpen, ...claims.notVerified] };
}

/** @throws SealttyError `bad-config`. */
function reportDataOf(input: Input): Uint8Array | undefined {
  const text = input.text("report-data");
  if (text === undefined) return undefined;
  if (!/^[0-9a-fA-F]{128}$/.test(text))
    throw new SealttyError("bad-config", "--report-data takes 128 hex digits");
  return new Uint8Array(Buffer.from(text, "hex"));
}
