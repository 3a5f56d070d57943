// The owner's policy in a few words: how strong the proof must be, and what says which machine it is.

import type { Policy } from "../protocol/attestation/policy/model.ts";
import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { assuranceWords } from "./assurance-words.ts";
import { fact, section } from "./claims-view.ts";
import { copyButton } from "./copy-button.ts";
import { element } from "./dom.ts";
import { plainText } from "./plain-text.ts";

export function policySection(policy: Policy, claims: AppraisedClaims | undefined): HTMLElement {
  return section(
    "Your policy",
    element(
      "dl",
      { class: "facts" },
      ...fact("Name", plainText(policy.name, 200)),
      ...fact("At least", assuranceWords(policy.minimumAssurance).badge),
      ...fact("Evidence", evidenceWords(policy)),
      element("dt", {}, "Instance"),
      element(
        "dd",
        policy.anyInstance ? { class: "any-instance" } : {},
        policy.anyInstance
          ? "ANY INSTANCE (anyInstance = true): every machine that runs this software is accepted"
          : pinWords(policy),
      ),
    ),
    claims !== undefined && copyButton("Copy a policy that pins what was seen", () => claims.policyText),
  );
}

function evidenceWords({ snp, tdx, azure, tpm, simulated }: Policy): string {
  const kinds = [
    snp !== undefined && (azure === undefined ? "SEV-SNP" : "SEV-SNP on Azure"),
    tdx !== undefined && (azure === undefined ? "TDX" : "TDX on Azure"),
    tpm !== undefined && "TPM",
    simulated !== undefined && "simulated",
  ];
  return kinds.filter((kind) => kind !== false).join(", ") || "none";
}

function pinWords(policy: Policy): string {
  const { instance, snp, tdx, azure, tpm, simulated } = policy;
  const pins: readonly (readonly [number | undefined, string])[] = [
    [instance.documents.length, "instance document"],
    [instance.keys.length, "instance key"],
    [snp?.chipIds.length, "processor (CHIP_ID)"],
    [snp?.hostData.length, "HOST_DATA value"],
    [snp?.authorKeys.length, "author key"],
    [tdx?.piids.length, "platform (PIID)"],
    [tdx?.mrConfigId.length, "MRCONFIGID value"],
    [azure?.vmIds.length, "Azure VM"],
    [tpm?.akNames.length, "TPM attestation key"],
    [simulated === undefined ? 0 : 1, "simulated name"],
  ];
  const pinned = pins.flatMap(([count, words]) =>
    count === undefined || count === 0 ? [] : [count === 1 ? words : `${words}, one of ${count}`],
  );
  return pinned.length === 0 ? "pinned" : `pinned by ${pinned.join("; ")}`;
}
