// Claims put together from checked evidence: words, values, and the policy that it would meet.

import type { EvidenceReport } from "./appraised-report.ts";
import type { EvidenceType } from "./evidence.ts";
import { type Policy, renderPolicy } from "./policy.ts";
import { INSTANCE_DEFAULTS, POLICY_DEFAULTS } from "./policy/model.ts";
import type { ProvenInstance } from "./verified-guest.ts";

export function commonClaims(
  type: EvidenceType,
  report: EvidenceReport,
  name: string,
  document: ProvenInstance | undefined,
  instancePcr: number,
) {
  const { assurance, signedBy, notVerified, values } = report;
  return {
    type,
    assurance,
    what: report.what,
    signedBy,
    instanceDocument: document,
    notVerified,
    values:
      document === undefined
        ? values
        : [
            ...values,
            {
              name: "instance.document",
              words: "Instance document (SHA-256)",
              value: document.digest,
              scope: "lasting",
            } as const,
          ],
    policyText: renderPolicy(savedPolicy(report, name, document, instancePcr)),
  };
}

/**
 * A policy that this evidence meets, and that pins as much of it as is the same tomorrow. The PCR that a document was
 * extended into is the document's: pinned twice, a new document would have to be written in two places.
 */
function savedPolicy(
  { pins, assurance }: EvidenceReport,
  name: string,
  document: ProvenInstance | undefined,
  instancePcr: number,
): Policy {
  const common = { ...POLICY_DEFAULTS, name, minimumAssurance: assurance };
  if (document === undefined) return { ...common, instance: INSTANCE_DEFAULTS, ...pins };
  const instance = { ...INSTANCE_DEFAULTS, documents: [document.digest], pcr: instancePcr };
  const { tpm, azure } = pins;
  return {
    ...common,
    instance,
    ...pins,
    tpm: tpm && { ...tpm, pcrs: without(instancePcr, tpm.pcrs) },
    azure: azure && { ...azure, pcrs: without(instancePcr, azure.pcrs) },
  };
}

/** Never leaves nothing: a policy says what runs. */
function without<Value>(index: number, pcrs: ReadonlyMap<number, Value>): ReadonlyMap<number, Value> {
  const others = new Map([...pcrs].filter(([each]) => each !== index));
  return others.size === 0 ? pcrs : others;
}

export function instanceWords(
  report: EvidenceReport,
  policy: Policy,
  document: ProvenInstance | undefined,
): string {
  const which = `${documentWords(document)}${report.which}`;
  return policy.anyInstance ? `Any machine (the policy says so). ${which}` : which;
}

/** A name that nobody pinned is only what whoever started the guest wrote. */
export function documentWords(document: ProvenInstance | undefined): string {
  if (document === undefined) return "";
  return document.pinned
    ? `"${document.name}", by its owner's document. `
    : `Started with a document that calls it "${document.name}", which your policy does not name. `;
}
