// A checked SEV-SNP report against the owner's policy: every comparison is made, so that a refusal names all that differs.

import { isZero, toHex } from "../../bytes.ts";
import { SNP_DEFAULTS, type SnpPolicy, type SnpTcbMinimum } from "../policy/model.ts";
import type { Checks } from "../refusal.ts";
import { timeWords } from "../validity.ts";
import { type SnpFacts, hasMigrationAgent, isProvisional } from "./facts.ts";
import { firmwareWords } from "./report.ts";
import { meetsTcb, tcbWords } from "./tcb.ts";

const NEXT_OTHER_GUEST =
  "If you changed the guest and know why this differs, put the new value into the policy; otherwise do not connect.";

/** @param policy - all of it is compared: nothing in it is "not checked" but a list that is empty. */
export function judgeSnp(facts: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  judgePins(facts, policy, checks);
  judgeLaunch(facts, policy, checks);
  judgePlatform(facts, policy, checks);
  judgeKey(facts, policy, checks);
}

/** Compares where the owner pinned something. */
function pin(
  checks: Checks,
  check: string,
  key: string,
  what: string,
  accepted: readonly string[],
  found: string | undefined,
): void {
  if (accepted.length === 0) return;
  checks.compare({
    check,
    met: found !== undefined && accepted.includes(found),
    words: `${what} is one that the policy names`,
    problem: `${what} is not one that the policy names`,
    expected: accepted.join(" or "),
    found: found ?? "none",
    policyKey: `snp.${key}`,
    next: NEXT_OTHER_GUEST,
  });
}

/** What runs, whose it is, and where. */
function judgePins({ report, endorsement }: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  // A digest of zeros means that there is no such key, no such data, or a masked chip: it never meets a pin.
  const present = (bytes: Uint8Array) => (isZero(bytes) ? undefined : toHex(bytes));
  const authorKey = report.authorKeyEnabled ? present(report.authorKeyDigest) : undefined;
  pin(
    checks,
    "snp.measurement",
    "measurement",
    "The launch measurement",
    policy.measurements,
    toHex(report.measurement),
  );
  pin(
    checks,
    "snp.id-key",
    "idKey",
    "The key that signed the identity block",
    policy.idKeys,
    present(report.idKeyDigest),
  );
  pin(
    checks,
    "snp.author-key",
    "authorKey",
    "The author key of the identity block",
    policy.authorKeys,
    authorKey,
  );
  pin(checks, "snp.host-data", "hostData", "HOST_DATA", policy.hostData, present(report.hostData));
  pin(checks, "snp.chip-id", "chipId", "The chip (CHIP_ID)", policy.chipIds, present(report.chipId));
  pin(checks, "snp.csp-id", "cspId", "The cloud that AMD lent the key to", policy.cspIds, endorsement.cspId);
  pin(checks, "snp.family-id", "familyId", "FAMILY_ID", policy.familyIds, toHex(report.familyId));
  pin(checks, "snp.image-id", "imageId", "IMAGE_ID", policy.imageIds, toHex(report.imageId));
}

/** How the guest was launched. */
function judgeLaunch(facts: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  const { report } = facts;
  const { policy: asked, vmpl } = report;
  checks.compare({
    check: "snp.debug",
    met: !asked.debug || policy.allowDebug,
    words: asked.debug ? "The policy allows guests that may be debugged" : "The host may not debug the guest",
    problem: "The guest may be debugged: the host can read and change all of its memory",
    expected: policy.allowDebug ? "on or off" : "off",
    found: asked.debug ? "on" : "off",
    policyKey: "snp.allowDebug",
    next: "Launch the guest without the DEBUG bit in its policy; for a test machine only, set snp.allowDebug = true.",
  });
  const movable = hasMigrationAgent(facts);
  checks.compare({
    check: "snp.migration-agent",
    met: !movable || policy.allowMigrationAgent,
    words: movable ? "The policy allows a migration agent" : "No migration agent may move the guest",
    problem: "A migration agent may move the guest's memory to another machine",
    expected: policy.allowMigrationAgent ? "any" : "none",
    found: movable ? "allowed by the guest's launch policy" : "none",
    policyKey: "snp.allowMigrationAgent",
    next: "Launch the guest without the MIGRATE_MA bit, or, if you trust the agent, set snp.allowMigrationAgent = true.",
  });
  checks.compare({
    check: "snp.vmpl",
    met: policy.vmpls.includes(vmpl),
    words: "The report was asked for at an accepted privilege level",
    problem:
      "The report was asked for at another privilege level (VMPL): software at a more privileged one may be the cloud's",
    expected: policy.vmpls.join(" or "),
    found: `${vmpl}`,
    policyKey: "snp.vmpl",
    next: `If the cloud runs its own firmware above your guest and you accept that, set snp.vmpl = [${vmpl}].`,
  });
  // A minimum that everything meets compares nothing: it is not told as a check that holds.
  if (policy.minimumGuestSvn > 0) {
    checks.compare({
      check: "snp.guest-svn",
      met: report.guestSvn >= policy.minimumGuestSvn,
      words: "The guest's security version (GUEST_SVN) is new enough",
      problem: "The guest's security version (GUEST_SVN) is older than the policy accepts",
      expected: `${policy.minimumGuestSvn} or more`,
      found: `${report.guestSvn}`,
      policyKey: "snp.minimumGuestSvn",
      next: "Launch a newer image, or lower snp.minimumGuestSvn.",
    });
  }
  if (policy.minimumAbi !== SNP_DEFAULTS.minimumAbi) {
    checks.compare({
      check: "snp.abi",
      met: abiMeets(asked, policy.minimumAbi),
      words: "The guest's launch policy asks for a new enough firmware interface",
      problem: "The guest's launch policy allows older firmware than the owner's policy accepts",
      expected: `${policy.minimumAbi} or more`,
      found: `${asked.abiMajor}.${asked.abiMinor}`,
      policyKey: "snp.minimumAbi",
      next: "Launch the guest with a higher ABI version in its policy, or lower snp.minimumAbi.",
    });
  }
  if (policy.singleSocket === "required") {
    checks.compare({
      check: "snp.single-socket",
      met: asked.singleSocket,
      words: "The guest stays on one socket",
      problem: "The guest's launch policy does not keep it on one socket",
      expected: "on",
      found: "off",
      policyKey: "snp.singleSocket",
      next: 'Launch the guest with the SINGLE_SOCKET bit, or set snp.singleSocket = "any".',
    });
  }
}

/** How the platform is set up, and how new its firmware is. */
function judgePlatform(facts: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  const { report, tcb } = facts;
  const { platform } = report;
  if (asksForSome(policy.minimumTcb)) {
    checks.compare({
      check: "snp.minimum-tcb",
      met: meetsTcb(tcb.reported, policy.minimumTcb),
      words: "The platform's firmware is new enough (REPORTED_TCB)",
      problem: "The platform's firmware is older than the policy accepts (REPORTED_TCB)",
      expected: `at least ${tcbWords(policy.minimumTcb)}`,
      found: tcbWords(tcb.reported),
      policyKey: "snp.minimumTcb",
      next: "The host's firmware and microcode must be updated; lower snp.minimumTcb only if you know what the old ones lack.",
    });
  }
  if (asksForSome(policy.minimumLaunchTcb)) {
    checks.compare({
      check: "snp.minimum-launch-tcb",
      met: meetsTcb(tcb.launch, policy.minimumLaunchTcb),
      words: "The firmware under which the guest was started is new enough (LAUNCH_TCB)",
      problem: "The guest was started under older firmware than the policy accepts (LAUNCH_TCB)",
      expected: `at least ${tcbWords(policy.minimumLaunchTcb)}`,
      found: tcbWords(tcb.launch),
      policyKey: "snp.minimumLaunchTcb",
      next: "Start the guest again on updated firmware, or lower snp.minimumLaunchTcb.",
    });
  }
  const committed = !isProvisional(facts);
  checks.compare({
    check: "snp.provisional-firmware",
    met: committed || policy.allowProvisionalFirmware,
    words: committed
      ? "The platform's firmware is committed: the host cannot go back to an older one"
      : "The policy allows firmware that is not committed",
    problem: "The platform's firmware is provisional: the host can still go back to an older one",
    expected: `committed, as current: ${firmwareWords(report.currentFirmware)}, ${tcbWords(tcb.current)}`,
    found: `committed: ${firmwareWords(report.committedFirmware)}, ${tcbWords(tcb.committed)}`,
    policyKey: "snp.allowProvisionalFirmware",
    next: "The host must commit its firmware (SNP_COMMIT); many clouds do not: if you accept that, set snp.allowProvisionalFirmware = true.",
  });
  checks.compare({
    check: "snp.alias-check",
    met: platform.aliasCheckComplete || policy.aliasCheck === "any",
    words: platform.aliasCheckComplete
      ? "The firmware has checked the memory for aliases"
      : "The policy allows platforms that did not check their memory for aliases",
    problem:
      "The firmware has not checked the memory for aliases: doctored modules can undo the encryption (BadRAM)",
    expected: policy.aliasCheck === "any" ? "complete or not" : "complete",
    found: platform.aliasCheckComplete ? "complete" : "not complete",
    policyKey: "snp.aliasCheck",
    next: 'The host\'s firmware must be updated; if nobody else touches the machine, set snp.aliasCheck = "any".',
  });
  judgeMitigations(facts, policy, checks);
  if (policy.smt === "off") {
    checks.compare({
      check: "snp.smt",
      met: !platform.smt,
      words: "Simultaneous multithreading is off",
      problem: "Simultaneous multithreading is on",
      expected: "off",
      found: platform.smt ? "on" : "off",
      policyKey: "snp.smt",
      next: 'The host must turn it off; otherwise set snp.smt = "any".',
    });
  }
  if (policy.ciphertextHiding === "required") {
    checks.compare({
      check: "snp.ciphertext-hiding",
      met: platform.ciphertextHiding,
      words: "The host cannot watch the ciphertext of the guest's memory",
      problem: "The host can watch the ciphertext of the guest's memory",
      expected: "on",
      found: platform.ciphertextHiding ? "on" : "off",
      policyKey: "snp.ciphertextHiding",
      next: 'The host must turn ciphertext hiding on (Turin has it); otherwise set snp.ciphertextHiding = "any".',
    });
  }
}

function judgeMitigations({ report }: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  const wanted = BigInt(`0x${policy.minimumMitigation}`);
  if (wanted === 0n) return;
  const found = report.currentMitigation;
  checks.compare({
    check: "snp.mitigation",
    met: found !== undefined && (BigInt(`0x${found}`) & wanted) === wanted,
    words: "The firmware has the mitigations that the policy names",
    problem: "The firmware lacks mitigations that the policy names, or does not tell",
    expected: policy.minimumMitigation,
    found: found ?? `none: a version ${report.version} report`,
    policyKey: "snp.minimumMitigation",
    next: "The host's firmware must be updated; or clear the bits in snp.minimumMitigation.",
  });
}

/** Whose key signed, and how much that is worth. */
function judgeKey(facts: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  const { endorsement, product, crl } = facts;
  checks.compare({
    check: "snp.product",
    met: policy.products.includes(product),
    words: "The processor is of an accepted generation",
    problem: "The processor is of a generation that the policy does not accept",
    expected: policy.products.join(" or "),
    found: product,
    policyKey: "snp.products",
    next: `If your guest may run on such a machine, add "${product}" to snp.products.`,
  });
  checks.compare({
    check: "snp.signing-key",
    met: policy.signingKeys.includes(endorsement.kind),
    words: "An accepted kind of key signed the report",
    problem:
      endorsement.kind === "vlek"
        ? "The report is signed with a key that AMD lent to a cloud (VLEK), not with the chip's own"
        : "The report is signed with the chip's own key (VCEK)",
    expected: policy.signingKeys.join(" or "),
    found: endorsement.kind,
    policyKey: "snp.signingKey",
    next: `If that is how your cloud signs, set snp.signingKey = ["${endorsement.kind}"].`,
  });
  if (product === "Milan") judgeMilan(facts, policy, checks);
  checks.compare({
    check: "snp.crl",
    met: crl !== "absent" || policy.crl === "if-present",
    words:
      crl === "absent"
        ? "There is no revocation list of AMD, which the policy allows"
        : "AMD has not revoked the certificate above the key",
    problem: "There is no revocation list of AMD beside the report",
    expected:
      policy.crl === "required" ? "a revocation list that holds" : "a revocation list that holds, or none",
    found: crl === "absent" ? "none" : `one of ${timeWords(crl.thisUpdate)}`,
    policyKey: "snp.crl",
    next: 'Fetch AMD\'s revocation list (`sealtty collateral fetch --for FILE`), or set snp.crl = "if-present".',
  });
}

/**
 * The root of a Milan chip's keys can be taken out of it with software alone (arXiv 2605.12990), for ever and whatever
 * the firmware says: only a chip that the owner knows counts. A VLEK does not come from that root, so its cloud counts.
 */
function judgeMilan({ report, endorsement }: SnpFacts, policy: SnpPolicy, checks: Checks): void {
  const chip = `CHIP_ID ${isZero(report.chipId) ? "masked" : toHex(report.chipId)}`;
  const cloud = endorsement.kind === "vlek" ? endorsement.cspId : undefined;
  const { chipIds, cspIds, allowMilanWithoutChipId } = policy;
  const compare = (met: boolean, words: string, expected: string, byCloud: boolean) =>
    checks.compare({
      check: "snp.milan",
      met,
      words,
      problem:
        "The processor is a Milan, and the policy does not name it: whoever has any Milan can forge reports of it",
      expected,
      found: byCloud && cloud !== undefined ? cloud : chip,
      policyKey: byCloud ? "snp.cspId" : "snp.chipId",
      next: byCloud
        ? "Put the name of your cloud into snp.cspId (what was found is that in this report's VLEK), or the CHIP_ID of your machine into snp.chipId."
        : "Put the CHIP_ID of your own machine into snp.chipId (what was found is that in this report: take it only from a machine that you know); snp.allowMilanWithoutChipId = true accepts every Milan there is.",
    });
  if (chipIds.length > 0) {
    compare(
      true,
      "The policy names the Milan machines that it accepts",
      `CHIP_ID ${chipIds.join(" or ")}`,
      false,
    );
  } else if (cloud !== undefined && cspIds.length > 0) {
    compare(true, "The policy names the cloud whose Milan machines it accepts", cspIds.join(" or "), true);
  } else if (allowMilanWithoutChipId) {
    compare(true, "The policy allows Milan processors that it does not name", "any", false);
  } else if (cloud !== undefined) {
    compare(false, "", "one of snp.cspId or snp.chipId", true);
  } else {
    compare(false, "", "one of snp.chipId", false);
  }
}

/** Versions begin at 0, which everything meets. */
function asksForSome(minimum: SnpTcbMinimum): boolean {
  return Object.values(minimum).some((version) => version > 0);
}

function abiMeets({ abiMajor, abiMinor }: { abiMajor: number; abiMinor: number }, minimum: string): boolean {
  const [major, minor] = minimum.split(".").map(Number) as [number, number];
  return abiMajor > major || (abiMajor === major && abiMinor >= minor);
}
