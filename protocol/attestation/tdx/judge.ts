// Checked facts of a TD compared with the owner's policy, every comparison of it: a refusal lists all that does not fit.

import { isZero, toHex } from "../../bytes.ts";
import { NO_SERVICE_TD, type TdxPolicy, pinsKernel } from "../policy/model.ts";
import type { Checks } from "../refusal.ts";
import { timeWords } from "../validity.ts";
import { rtmrMeaning } from "./rtmr.ts";
import type { TdxFacts } from "./verify.ts";

/** Bits of TDATTRIBUTES (Intel TDX module ABI specification, "ATTRIBUTES"). */
export const TD_ATTRIBUTES = {
  debug: 0,
  septVeDisable: 28,
  migratable: 29,
  protectionKeys: 30,
  keyLocker: 31,
  perfmon: 63,
} as const;
const KNOWN_ATTRIBUTES: ReadonlySet<number> = new Set(Object.values(TD_ATTRIBUTES));
/** x87 and SSE; the module never runs a TD without them. */
const XFAM_ALWAYS = [0, 1];
/** Bits of XFAM that a TD can have at all: 0x6DBE7. */
const XFAM_POSSIBLE = 0x6dbe7;

const NEXT_OTHER =
  "If you changed that yourself, add the value; otherwise this is not your guest: do not connect.";

/** A field of the body that a list of the policy may pin. */
interface PinnedField {
  readonly check: string;
  readonly key: string;
  readonly name: string;
  readonly accepted: readonly string[];
  readonly found: string | undefined;
  readonly next: string;
}

/**
 * Each list of the policy pins one field: one of its values must be there; an empty one pins nothing. What the policy does
 * not name has its strict default: no DEBUG, no migration, no performance monitoring, SEPT_VE_DISABLE set, no service TD.
 *
 * TCB: the status must be one that `tdx.tcbStatus` lists. Where it is not UpToDate, every advisory of the levels that
 * matched (platform, TDX module, quoting enclave) must be in `tdx.advisories` as well: to accept "OutOfDate" alone would
 * accept whatever Intel publishes next.
 */
export function judgeTdx(facts: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  judgeParavisorTd(facts, policy, checks);
  if (!pinsKernel(policy)) {
    checks.warn(
      "The policy pins no kernel: whoever starts this firmware chooses the kernel, its command line and the initramfs (tdx.rtmrs 1 and 2)",
    );
  }
}

/** The same for a TD that itself says what it started: beside it PCRs, not RTMRs, say which kernel. */
export function judgeParavisorTd(facts: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  judgeTcbStatus(facts, policy, checks);
  judgeAttributes(facts, policy, checks);
  judgeXfam(facts, checks);
  for (const field of pinnedFields(facts, policy)) {
    if (field.accepted.length === 0) continue;
    const { check, key, name, accepted, found, next } = field;
    checks.compare({
      check,
      met: found !== undefined && accepted.includes(found),
      words: `${name} has a value that the policy accepts`,
      problem: `${name} has no value that the policy accepts`,
      expected: accepted.join(" or "),
      found: found ?? "none",
      policyKey: key,
      next: `${next} The key is ${key}.`,
    });
  }
  judgeServiceTd(facts, policy, checks);
  judgePlatform(facts, policy, checks);
  const open = facts.body.rtmrs.map((_, i) => i).filter((i) => !policy.rtmrs.has(i));
  if (open.length > 0) checks.leaveOpen(`RTMRs quoted but not pinned by the policy: ${open.join(", ")}`);
}

function pinnedFields({ body, pck }: TdxFacts, policy: TdxPolicy): readonly PinnedField[] {
  const field = (
    check: string,
    key: string,
    name: string,
    accepted: readonly string[],
    found: Uint8Array,
  ) => ({
    check: `tdx.${check}`,
    key: `tdx.${key}`,
    name,
    accepted,
    found: toHex(found),
    next: NEXT_OTHER,
  });
  return [
    field("mrtd", "mrtd", "The measurement of the firmware (MRTD)", policy.mrtd, body.mrTd),
    ...body.rtmrs.map((value, i) =>
      field("rtmr", `rtmrs.${i}`, `RTMR${i} (${rtmrMeaning(i)})`, policy.rtmrs.get(i) ?? [], value),
    ),
    field("mrseam", "mrSeam", "The TDX module's measurement (MRSEAM)", policy.mrSeam, body.mrSeam),
    field("mrconfigid", "mrConfigId", "MRCONFIGID", policy.mrConfigId, body.mrConfigId),
    field("mrowner", "mrOwner", "MROWNER", policy.mrOwner, body.mrOwner),
    field("mrownerconfig", "mrOwnerConfig", "MROWNERCONFIG", policy.mrOwnerConfig, body.mrOwnerConfig),
    field("xfam", "xfam", "XFAM (processor features of the guest)", policy.xfam, body.xfam),
    {
      check: "tdx.piid",
      key: "tdx.piid",
      name: "The platform's instance id",
      accepted: policy.piids,
      found: pck.piid,
      next: "This is another machine. If you moved the guest there yourself, add its id; otherwise do not connect.",
    },
  ];
}

function judgeTcbStatus(facts: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  const parts = `platform ${facts.platformStatus}, TDX module ${facts.moduleStatus ?? "1.0"}, quoting enclave ${facts.qeStatus}`;
  checks.compare({
    check: "tdx.tcb-status",
    // Revoked never gets this far; a policy that names it must not help it.
    met: facts.status !== "Revoked" && policy.tcbStatus.includes(facts.status),
    words: `Intel calls this platform ${facts.status}`,
    problem: `Intel calls this platform ${facts.status} (${parts})`,
    expected: policy.tcbStatus.join(" or "),
    found: facts.status,
    policyKey: "tdx.tcbStatus",
    next: `The platform's operator should update it. To accept it as it is, add "${facts.status}" to tdx.tcbStatus, and its advisories to tdx.advisories.`,
  });
  if (facts.status !== "UpToDate") {
    const untolerated = facts.advisories.filter((advisory) => !policy.advisories.includes(advisory));
    checks.compare({
      check: "tdx.advisories",
      met: untolerated.length === 0,
      words: "The policy tolerates every advisory of Intel that concerns this platform",
      problem: `Intel's advisories concern this platform, and the policy does not tolerate them: ${untolerated.join(", ")}`,
      expected: policy.advisories.length === 0 ? "no advisory" : policy.advisories.join(" "),
      found: facts.advisories.join(" ") || "no advisory",
      policyKey: "tdx.advisories",
      next: "Read them at intel.com/security; add those that you can live with to tdx.advisories, beside the status in tdx.tcbStatus.",
    });
  }
  if (policy.minimumTcbEvaluation === 0) return;
  checks.compare({
    check: "tdx.tcb-evaluation",
    met: facts.tcbEvaluationDataNumber >= policy.minimumTcbEvaluation,
    words: `Intel's TCB data is of evaluation ${facts.tcbEvaluationDataNumber}, valid until ${timeWords(facts.lifetimes.tcbInfo.until)}`,
    problem: "Intel's TCB data is of an older evaluation than the policy demands",
    expected: `at least ${policy.minimumTcbEvaluation}`,
    found: `${facts.tcbEvaluationDataNumber}`,
    policyKey: "tdx.minimumTcbEvaluation",
    next: "Fetch the TDX collateral anew; lower tdx.minimumTcbEvaluation only if Intel has published nothing newer.",
  });
}

function judgeAttributes({ body }: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  const set = bitsOf(body.tdAttributes);
  const found = toHex(body.tdAttributes);
  const forbidden = (
    check: string,
    bit: number,
    allowed: boolean,
    key: string,
    words: string,
    problem: string,
  ) => {
    checks.compare({
      check: `tdx.${check}`,
      met: !set.has(bit) || allowed,
      words: set.has(bit) ? `${problem}; the policy allows it` : words,
      problem,
      expected: `bit ${bit} of TDATTRIBUTES is 0`,
      found,
      policyKey: `tdx.${key}`,
      next: `Start the guest without it; only if you mean it, set tdx.${key} = true.`,
    });
  };
  forbidden(
    "debug",
    TD_ATTRIBUTES.debug,
    policy.allowDebug,
    "allowDebug",
    "The guest cannot be debugged from outside",
    "The guest is a debug TD: the host can read and change its memory",
  );
  checks.compare({
    check: "tdx.sept-ve",
    met: set.has(TD_ATTRIBUTES.septVeDisable) || policy.allowSeptVe,
    words: set.has(TD_ATTRIBUTES.septVeDisable)
      ? "The host cannot inject exceptions by taking memory away"
      : "The host can inject exceptions by taking memory away; the policy allows it",
    problem: "The host can inject exceptions by taking memory away: SEPT_VE_DISABLE is not set",
    expected: `bit ${TD_ATTRIBUTES.septVeDisable} of TDATTRIBUTES is 1`,
    found,
    policyKey: "tdx.allowSeptVe",
    next: "Start the guest with sept-ve-disable=on; some clouds do not (older Azure), then set tdx.allowSeptVe = true.",
  });
  forbidden(
    "migratable",
    TD_ATTRIBUTES.migratable,
    policy.allowMigratable,
    "allowMigratable",
    "The guest cannot be migrated",
    "The guest can be migrated: a migration TD can take its memory elsewhere",
  );
  forbidden(
    "perfmon",
    TD_ATTRIBUTES.perfmon,
    policy.allowPerfmon,
    "allowPerfmon",
    "The guest has no performance monitoring",
    "The guest has performance monitoring, which makes side channels easier to use",
  );
  const unknown = [...set].filter((bit) => !KNOWN_ATTRIBUTES.has(bit));
  checks.compare({
    check: "tdx.attributes",
    met: unknown.length === 0,
    words: "No attribute of the guest is unknown",
    problem: `The guest has attributes that this version does not know: TDATTRIBUTES bit ${unknown.join(", ")}`,
    expected: "every reserved bit of TDATTRIBUTES is 0",
    found,
    next: "A newer version of sealtty may know what they mean; until then they may mean anything.",
  });
}

function judgeXfam({ body }: TdxFacts, checks: Checks): void {
  const set = bitsOf(body.xfam);
  const possible = (bit: number) => bit < 32 && ((XFAM_POSSIBLE >>> bit) & 1) === 1;
  checks.compare({
    check: "tdx.xfam-fixed",
    met: XFAM_ALWAYS.every((bit) => set.has(bit)) && [...set].every(possible),
    words: "The guest's processor features are ones that TDX can have",
    problem: "The guest's processor features (XFAM) are ones that TDX cannot have",
    expected: `bits 0 and 1 set, none outside ${XFAM_POSSIBLE.toString(16)}`,
    found: toHex(body.xfam),
    next: "A newer version of sealtty may know what they mean; until then they may mean anything.",
  });
}

function judgeServiceTd({ body }: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  const value = body.td15?.mrServiceTd;
  if (value === undefined) {
    // A TD 1.0 report has no such field: nothing was compared, which `notVerified` says; a pinned service TD it never meets.
    if (policy.mrServiceTd.includes(NO_SERVICE_TD)) return;
    checks.compare({
      check: "tdx.mrservicetd",
      met: false,
      words: "",
      problem:
        "The quote cannot tell whether the service TD that the policy pins is bound to the guest: it is of TD 1.0",
      expected: policy.mrServiceTd.join(" or "),
      found: "not in a TD 1.0 report",
      policyKey: "tdx.mrServiceTd",
      next: "Have the guest send a quote of version 5 with a TD 1.5 body, or take the pin out of tdx.mrServiceTd.",
    });
    return;
  }
  const found = toHex(value);
  const none = isZero(value);
  checks.compare({
    check: "tdx.mrservicetd",
    met: policy.mrServiceTd.includes(found),
    words: none
      ? "No service TD is bound to the guest"
      : "The service TD bound to the guest is one that the policy accepts",
    problem: none
      ? "No service TD is bound to the guest, although the policy pins one"
      : "A service TD is bound to the guest, which may be able to move or read it",
    expected: policy.mrServiceTd.map((each) => (each === NO_SERVICE_TD ? "none" : each)).join(" or "),
    found: none ? "none" : found,
    policyKey: "tdx.mrServiceTd",
    next: "Some clouds bind one to every guest: if you trust it, put its value into tdx.mrServiceTd.",
  });
}

/** What the certificate does not say is not known, and meets no demand. */
function judgePlatform({ pck }: TdxFacts, policy: TdxPolicy, checks: Checks): void {
  if (policy.smt === "off") {
    checks.compare({
      check: "tdx.smt",
      met: pck.smtEnabled === false,
      words: "Simultaneous multithreading is off",
      problem: "Simultaneous multithreading is not known to be off",
      expected: "off",
      found: flagWords(pck.smtEnabled, "on", "off"),
      policyKey: "tdx.smt",
      next: 'The platform\'s operator can turn it off in the firmware; else set tdx.smt = "any".',
    });
  }
  if (policy.dynamicPlatform === "static") {
    checks.compare({
      check: "tdx.dynamic-platform",
      met: pck.dynamicPlatform === false,
      words: "The platform's processors cannot be exchanged at run time",
      problem: "The platform is not known to be static",
      expected: "static",
      found: flagWords(pck.dynamicPlatform, "dynamic", "static"),
      policyKey: "tdx.dynamicPlatform",
      next: 'Use another platform, or set tdx.dynamicPlatform = "any".',
    });
  }
}

function flagWords(flag: boolean | undefined, yes: string, no: string): string {
  return flag === undefined ? "the certificate does not say" : flag ? yes : no;
}

/** Numbers of the bits that are set; the first byte holds bits 0 to 7. */
export function bitsOf(bytes: Uint8Array): ReadonlySet<number> {
  const bits = new Set<number>();
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    if ((((bytes[bit >> 3] as number) >> (bit & 7)) & 1) === 1) bits.add(bit);
  }
  return bits;
}
