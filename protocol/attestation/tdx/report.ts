// A TD told: words for people, values that tell guests apart, and the policy that would pin what was found.

import { sha384 } from "@noble/hashes/sha2.js";
import { isZero, toHex } from "../../bytes.ts";
import type { EvidenceReport } from "../appraised-report.ts";
import { NO_SERVICE_TD, TDX_DEFAULTS, type TdxPolicy } from "../policy/model.ts";
import { reportCcEventLog } from "../tpm/event-log.ts";
import type { CheckedLine, ClaimedValue } from "../verified-guest.ts";
import { TD_ATTRIBUTES, bitsOf } from "./judge.ts";
import { rtmrMeaning } from "./rtmr.ts";
import { timeWords } from "../validity.ts";
import type { TdxFacts } from "./verify.ts";

/** @param eventLog - the CC event log that came with the evidence; it proves nothing beyond the RTMRs that it reproduces. */
export function reportTdx(facts: TdxFacts, eventLog?: Uint8Array): EvidenceReport {
  const { body, pck } = facts;
  const log = logLines(facts, eventLog);
  return {
    assurance: "hardware",
    bound: body.reportData,
    signedBy: `Intel TDX platform, FMSPC ${pck.fmspc}, ${facts.status}`,
    what: `TD with firmware MRTD ${toHex(body.mrTd)}`,
    which:
      pck.piid === undefined
        ? `a platform whose certificate has no instance id, PPID ${pck.ppid}`
        : `platform instance ${pck.piid}`,
    documentDigest: isZero(body.mrConfigId)
      ? undefined
      : { hash: "sha384", value: body.mrConfigId, field: "MRCONFIGID" },
    verified: [...facts.verified, ...log.verified],
    notVerified: [...notVerifiedOf(facts), ...log.notVerified],
    warnings: warningsOf(facts),
    values: valuesOf(facts),
    pins: { snp: undefined, tdx: pinsOf(facts), azure: undefined, tpm: undefined },
  };
}

function valuesOf({ body, pck, status, tcbEvaluationDataNumber }: TdxFacts): readonly ClaimedValue[] {
  const lasting = (name: string, words: string, value: string): ClaimedValue => ({
    name: `tdx.${name}`,
    words,
    value,
    scope: "lasting",
  });
  return [
    lasting("mrtd", "Firmware measurement (MRTD)", toHex(body.mrTd)),
    ...body.rtmrs.map(
      (value, i): ClaimedValue => ({
        name: `tdx.rtmr${i}`,
        words: `RTMR${i}: ${rtmrMeaning(i)}`,
        value: toHex(value),
        scope: i === 3 ? "boot" : "lasting",
      }),
    ),
    lasting("mrconfigid", "MRCONFIGID, set at launch", toHex(body.mrConfigId)),
    lasting("mrowner", "MROWNER, set at launch", toHex(body.mrOwner)),
    lasting("mrownerconfig", "MROWNERCONFIG, set at launch", toHex(body.mrOwnerConfig)),
    lasting("mrseam", "TDX module (MRSEAM)", toHex(body.mrSeam)),
    lasting(
      "mrservicetd",
      "Service TD (MRSERVICETD)",
      body.td15 === undefined ? "not in this report" : toHex(body.td15.mrServiceTd),
    ),
    lasting("td-attributes", "TD attributes", toHex(body.tdAttributes)),
    lasting("xfam", "Processor features (XFAM)", toHex(body.xfam)),
    lasting("tee-tcb-svn", "Version of TDX module and loader (TEE_TCB_SVN)", toHex(body.teeTcbSvn)),
    lasting("fmspc", "Kind of platform (FMSPC)", pck.fmspc),
    lasting("piid", "Platform instance", pck.piid ?? "not in the certificate"),
    lasting("ppid", "Platform provisioning id", pck.ppid),
    lasting("tcb-status", "What Intel says of the platform", status),
    lasting("tcb-evaluation", "Intel's TCB evaluation", `${tcbEvaluationDataNumber}`),
  ];
}

/** Meets itself: `judgeTdx` with this policy passes on the same facts. RTMR3 changes while a guest runs, so it is left out. */
function pinsOf(facts: TdxFacts): TdxPolicy {
  const { body, pck, status } = facts;
  const set = bitsOf(body.tdAttributes);
  const unlessZero = (value: Uint8Array) => (isZero(value) ? [] : [toHex(value)]);
  return {
    ...TDX_DEFAULTS,
    mrtd: [toHex(body.mrTd)],
    rtmrs: new Map(body.rtmrs.slice(0, 3).map((value, i) => [i, [toHex(value)]])),
    mrConfigId: unlessZero(body.mrConfigId),
    mrOwner: unlessZero(body.mrOwner),
    mrOwnerConfig: unlessZero(body.mrOwnerConfig),
    mrServiceTd: [body.td15 === undefined ? NO_SERVICE_TD : toHex(body.td15.mrServiceTd)],
    piids: pck.piid === undefined || /^0*$/.test(pck.piid) ? [] : [pck.piid],
    tcbStatus: status === "UpToDate" ? ["UpToDate"] : ["UpToDate", status],
    advisories: status === "UpToDate" ? [] : facts.advisories,
    minimumTcbEvaluation: facts.tcbEvaluationDataNumber,
    xfam: [toHex(body.xfam)],
    smt: pck.smtEnabled === false ? "off" : "any",
    dynamicPlatform: pck.dynamicPlatform === false ? "static" : "any",
    allowDebug: set.has(TD_ATTRIBUTES.debug),
    allowSeptVe: !set.has(TD_ATTRIBUTES.septVeDisable),
    allowMigratable: set.has(TD_ATTRIBUTES.migratable),
    allowPerfmon: set.has(TD_ATTRIBUTES.perfmon),
  };
}

function warningsOf(facts: TdxFacts): readonly string[] {
  const set = bitsOf(facts.body.tdAttributes);
  const warnings: string[] = [];
  if (set.has(TD_ATTRIBUTES.debug))
    warnings.push("This is a debug TD: the host can read and change its memory");
  if (set.has(TD_ATTRIBUTES.migratable)) warnings.push("This guest can be migrated");
  if (facts.body.td15 !== undefined && !isZero(facts.body.td15.mrServiceTd))
    warnings.push("A service TD is bound to this guest");
  if (facts.status !== "UpToDate") {
    const advisories = facts.advisories.length === 0 ? "" : `: ${facts.advisories.join(", ")}`;
    warnings.push(`Intel calls this platform ${facts.status}${advisories}`);
  }
  return warnings;
}

function notVerifiedOf({ body, pck, lifetimes }: TdxFacts): readonly string[] {
  const until = Math.min(...Object.values(lifetimes).map((lifetime) => lifetime.until));
  const lines = [
    "Whether somebody holds the machine in his hands: keys of TDX platforms have been extracted by devices on the memory bus",
    `What Intel has found out since its collateral was made; the first part of it is valid until ${timeWords(until)}`,
  ];
  if (body.td15 === undefined) lines.push("Whether a service TD is bound: a TD 1.0 report does not say");
  if (pck.piid === undefined) lines.push("Which platform this is: its certificate has no instance id");
  return lines;
}

function logLines(
  { body }: TdxFacts,
  eventLog: Uint8Array | undefined,
): { readonly verified: readonly CheckedLine[]; readonly notVerified: readonly string[] } {
  if (eventLog === undefined || eventLog.length === 0)
    return { verified: [], notVerified: ["What the RTMRs are made of: the guest sent no event log"] };
  const report = reportCcEventLog(eventLog, body.rtmrs, sha384);
  const names = (numbers: readonly number[]) => numbers.map((number) => `RTMR${number}`).join(", ");
  const verified: CheckedLine[] = [];
  const notVerified: string[] = [];
  if (report.reproduced.length > 0) {
    verified.push({
      check: "tdx.event-log",
      words: "The event log reproduces registers of the quote, so its digests and their order are proven",
      value: names(report.reproduced),
    });
  }
  if (report.problem !== undefined) notVerified.push(`What the RTMRs are made of: ${report.problem}`);
  if (report.differing.length > 0)
    notVerified.push(`The event log does not reproduce ${names(report.differing)}`);
  if (report.uncovered.length > 0)
    notVerified.push(`The event log has nothing for ${names(report.uncovered)}`);
  return { verified, notVerified };
}
