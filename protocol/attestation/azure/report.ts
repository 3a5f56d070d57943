// Azure evidence in words for people, as values to compare later, and as what a saved policy would pin.

import { toHex } from "../../bytes.ts";
import type { EvidenceReport } from "../appraised-report.ts";
import { reportSnp } from "../sev-snp/words.ts";
import { reportTdx } from "../tdx/report.ts";
import {
  bootCounters,
  describeBoot,
  pcrPins,
  pcrValues,
  schemeWords,
  selectionWords,
} from "../tpm/quoted.ts";
import { TPM_ALG } from "../tpm/public.ts";
import type { ClaimedValue } from "../verified-guest.ts";
import type { AzureFacts } from "./facts.ts";

const CONSOLE_ON =
  "The guest's plain serial console is ON: Azure's host can read it and type into it, past this encrypted console";

/** Checked facts in words. */
export function reportAzure(facts: AzureFacts): EvidenceReport {
  const { hardware, claims, bank, akId } = facts;
  const below = hardware.kind === "snp" ? reportSnp(hardware.facts) : reportTdx(hardware.facts);
  const boot = describeBoot(facts, facts.log, "azure");
  const pcrs = pcrPins(facts, bank);
  return {
    assurance: "paravisor",
    bound: facts.bound,
    signedBy: `vTPM key ${akId}, which Azure's paravisor vouches for; the paravisor's report: ${below.signedBy}`,
    what: `What the guest's own software measured at boot (${selectionWords(facts.selections)}), under a paravisor: ${below.what}`,
    which: `The Azure VM ${claims.vmId}; its hardware: ${below.which}`,
    documentDigest: undefined, // HOST_DATA and MRCONFIGID are the paravisor's launch, not the owner's; a PCR holds it
    verified: [
      ...below.verified,
      {
        check: "azure.runtime-data",
        words: "The paravisor's hardware report covers what it says about this VM",
        value: hardware.kind === "snp" ? "SEV-SNP at VMPL 0" : "TDX",
      },
      {
        check: "azure.quote-signature",
        words: "The vTPM's quote is signed by the key that the paravisor vouches for",
        value: schemeWords(TPM_ALG.rsassa),
      },
      {
        check: "tpm.pcr-digest",
        words: "The PCR values shown are the quoted ones",
        value: selectionWords(facts.selections),
      },
      ...(claims.userData === undefined
        ? []
        : [
            {
              check: "azure.user-data",
              words: "The guest had this put into the paravisor's report",
              value: toHex(claims.userData),
            },
          ]),
      ...boot.verified,
    ],
    notVerified: [
      "The paravisor itself: it is Microsoft's, it sees the guest's memory, and it makes what the vTPM says",
      "That the vTPM's key signs only what the vTPM itself says: the paravisor names the key but not its attributes",
      "The VM's unique id: Azure's host gave it to the paravisor, who only passes it on",
      "How old the paravisor's report is, and with it what it says of serial console and Secure Boot: it may be from an earlier time, only the vTPM's quote is fresh",
      ...below.notVerified,
      ...boot.notVerified,
    ],
    warnings: claims.consoleEnabled ? [CONSOLE_ON, ...below.warnings] : below.warnings,
    values: [...below.values, ...valuesOf(facts)],
    pins: {
      ...below.pins,
      azure:
        pcrs.size === 0
          ? undefined
          : {
              vmIds: [claims.vmId],
              bank,
              pcrs,
              allowHostConsole: claims.consoleEnabled,
              allowNoSecureBoot: !claims.secureBoot,
            },
    },
  };
}

function valuesOf(facts: AzureFacts): ClaimedValue[] {
  const { claims } = facts;
  const on = (flag: boolean) => (flag ? "on" : "off");
  return [
    { name: "azure.vm-id", words: "Unique id of the Azure VM", value: claims.vmId, scope: "lasting" },
    {
      name: "azure.vtpm-key",
      words: "Key of the vTPM (SHA-256 of its modulus)",
      value: facts.akId,
      // A paravisor that does not say that it keeps its vTPM makes another key at every boot.
      scope: claims.tpmPersisted === true ? "lasting" : "boot",
    },
    {
      name: "azure.host-console",
      words: "Plain serial console",
      value: on(claims.consoleEnabled),
      scope: "lasting",
    },
    { name: "azure.secure-boot", words: "Secure Boot", value: on(claims.secureBoot), scope: "lasting" },
    ...pcrValues(facts, facts.bank, "azure"),
    ...bootCounters(facts, "azure"),
  ];
}
