// Azure evidence against the owner's policy: [azure] for what the paravisor says, [snp] or [tdx] for the paravisor itself.

import type { Policy } from "../policy/model.ts";
import { type Checks, refuse } from "../refusal.ts";
import { judgeSnp } from "../sev-snp/judge.ts";
import { judgeParavisorTd } from "../tdx/judge.ts";
import { judgePcrs } from "../tpm/quoted.ts";
import type { AzureFacts } from "./facts.ts";

/** @throws SealttyError `evidence-refused` where the policy has no section for this evidence; else all is in `checks`. */
export function judgeAzure(facts: AzureFacts, policy: Policy, checks: Checks): void {
  const { azure } = policy;
  const { hardware, claims } = facts;
  if (azure === undefined || policy[hardware.kind] === undefined) {
    return refuse(
      "evidence.type",
      `The policy does not accept Azure's paravisor on ${hardware.kind === "snp" ? "SEV-SNP" : "TDX"}`,
      `[azure] and [${hardware.kind}]`,
      azure === undefined ? "no [azure]" : `no [${hardware.kind}]`,
      `Add the sections [azure] and [${hardware.kind}] to the policy if this guest is meant to run on Azure.`,
    );
  }
  requireKnownParavisor(facts, policy, checks);
  if (hardware.kind === "snp" && policy.snp !== undefined) judgeSnp(hardware.facts, policy.snp, checks);
  if (hardware.kind === "tdx" && policy.tdx !== undefined)
    judgeParavisorTd(hardware.facts, policy.tdx, checks);

  if (azure.vmIds.length > 0) {
    checks.compare({
      check: "azure.vm-id",
      met: azure.vmIds.includes(claims.vmId),
      words: "The VM's unique id is one that the policy names",
      problem: "This is another VM: its unique id is not in the policy",
      expected: azure.vmIds.join(" or "),
      found: claims.vmId,
      policyKey: "azure.vmId",
      next: "If you made the VM anew, and know that, put the new id into azure.vmId; otherwise do not connect.",
    });
  }
  checks.compare({
    check: "azure.host-console",
    met: !claims.consoleEnabled || azure.allowHostConsole,
    words: claims.consoleEnabled
      ? "The guest's plain serial console is on, and the policy accepts that"
      : "The guest's plain serial console is off",
    problem:
      "The guest's plain serial console is on: Azure's host can read it and type into it, past this connection",
    expected: azure.allowHostConsole ? "on or off" : "off",
    found: claims.consoleEnabled ? "on" : "off",
    policyKey: "azure.allowHostConsole",
    next: "Take the login from that console inside the guest and set azure.allowHostConsole = true, or turn boot diagnostics and the serial console off.",
  });
  checks.compare({
    check: "azure.secure-boot",
    met: claims.secureBoot || azure.allowNoSecureBoot,
    words: claims.secureBoot ? "Secure Boot is on" : "Secure Boot is off, and the policy accepts that",
    problem: "Secure Boot is off: any boot loader and kernel starts",
    expected: azure.allowNoSecureBoot ? "on or off" : "on",
    found: claims.secureBoot ? "on" : "off",
    policyKey: "azure.allowNoSecureBoot",
    next: "Turn Secure Boot on, or set azure.allowNoSecureBoot = true and pin the PCRs of the boot.",
  });
  judgePcrs(facts, azure, "azure", checks);
}

/**
 * Without this the rest means nothing: any guest on genuine hardware can have a report over runtime data of its own making.
 * Only who knows Microsoft's paravisor by its measurement or its signer can believe what it says.
 */
function requireKnownParavisor(facts: AzureFacts, policy: Policy, checks: Checks): void {
  const { snp, tdx } = policy;
  const isSnp = facts.hardware.kind === "snp";
  const pinned = isSnp
    ? snp !== undefined && snp.measurements.length + snp.idKeys.length + snp.authorKeys.length > 0
    : tdx !== undefined && tdx.mrtd.length > 0;
  const keys = isSnp ? "snp.measurement, snp.idKey or snp.authorKey" : "tdx.mrtd";
  checks.compare({
    check: "azure.paravisor",
    met: pinned,
    words: "The policy says which paravisor it believes",
    problem:
      "The policy does not say which paravisor it believes: any guest on genuine hardware could make up what Azure's would say",
    expected: keys,
    found: pinned ? "pinned" : "none of them",
    policyKey: isSnp ? "snp.measurement" : "tdx.mrtd",
    next: `Pin Microsoft's paravisor with ${keys}; \`sealtty inspect --save-policy\` on a VM that you trust writes it.`,
  });
}
