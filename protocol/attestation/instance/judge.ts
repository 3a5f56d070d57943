// Which machine, by what its owner made: the instance document and the instance key, held against checked evidence and the
// policy. What the guest brings along is never silently ignored: it holds, or the evidence is refused.

import { toHex } from "../../bytes.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import { SealttyError } from "../../errors.ts";
import type { EvidenceReport } from "../appraised-report.ts";
import type { InstancePolicy } from "../policy/model.ts";
import type { Checks } from "../refusal.ts";
import type { PcrValue } from "../tpm/pcr.ts";
import type { ProvenInstance } from "../verified-guest.ts";
import { type DigestField, documentDigests, matchesEvidence, parseInstanceDocument } from "./document.ts";
import { verifyInstanceKey } from "./key-proof.ts";

export interface InstanceInput {
  readonly policy: InstancePolicy;
  /** HOST_DATA or MRCONFIGID of checked evidence. */
  readonly documentDigest: EvidenceReport["documentDigest"];
  /** Quoted registers of checked evidence; empty where there is no TPM. */
  readonly pcrs: readonly PcrValue[];
  /** As delivered: hostile until its digest is found in the evidence. */
  readonly document: Uint8Array | undefined;
  readonly keyProof: Uint8Array | undefined;
  /** `keyProofContext()` of this connection. */
  readonly proofContext: Uint8Array;
  readonly suite: Pick<CryptoSuite, "sha256" | "ed25519Verify">;
}

/**
 * @returns the document where its digest is in the evidence; undefined where there is none, or a check failed: `checks`
 * then has it, and its `settle` refuses.
 */
export function judgeInstance(input: InstanceInput, checks: Checks): ProvenInstance | undefined {
  const proven = judgeDocument(input, checks);
  judgeKey(input, checks);
  return proven;
}

function judgeDocument(input: InstanceInput, checks: Checks): ProvenInstance | undefined {
  const { document, policy, suite } = input;
  const pinned = policy.documents.length > 0;
  if (document === undefined) {
    if (!pinned) return undefined;
    checks.compare({
      check: "instance.document",
      met: false,
      words: "",
      problem: "The policy pins an instance document, and the guest sent none",
      expected: anyOf(policy.documents),
      found: "none",
      policyKey: "instance.documents",
      next: "Deliver the document to the guest (docs/instance.md), for example with -fw_cfg, and start it with the document's digest.",
    });
    return undefined;
  }
  const digests = documentDigests(suite, document);
  const digest = toHex(digests.sha256);
  const fields = fieldsOf(input);
  const holder = fields.find((field) => matchesEvidence(digests, field));
  checks.compare({
    check: "instance.document",
    met: holder !== undefined,
    words: `The instance document is the one whose digest ${holder?.name ?? ""} holds`,
    problem:
      "The guest sent an instance document whose digest is not in its evidence: somebody exchanged the document, or the guest was started without it",
    expected:
      fields.length === 0
        ? `no field of this evidence holds a digest (PCR ${policy.pcr} is not quoted)`
        : fields.map(shown).join(", "),
    found:
      fields.length === 0
        ? digest
        : fields.map((field) => shown({ ...field, value: expectedIn(field, digests) })).join(", "),
    ...(pinned ? { policyKey: "instance.documents" } : {}),
    next: `Start the guest with the digest of this document (sealtty instance make prints it), or have PCR ${policy.pcr} quoted and extended; or deliver no document.`,
  });
  if (pinned) {
    checks.compare({
      check: "instance.pinned-document",
      met: policy.documents.includes(digest),
      words: "The instance document is one that the policy pins",
      problem:
        "The guest's instance document is none that the policy pins: this is another guest, or its document was changed",
      expected: anyOf(policy.documents),
      found: digest,
      policyKey: "instance.documents",
      next: "If the document is yours, add its SHA-256 to instance.documents; otherwise this is not your guest.",
    });
  }
  if (holder === undefined) return undefined;
  try {
    const { name, text } = parseInstanceDocument(document);
    return { name, digest, text, pinned: policy.documents.includes(digest) };
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "bad-config") throw cause;
    checks.compare({
      check: "instance.format",
      met: false,
      words: "",
      problem: `The guest's instance document cannot be read. ${cause.message}`,
      expected: "a document that sealtty instance make accepts",
      found: digest,
      next: "Mend the document, and start the guest with the new one's digest.",
    });
    return undefined;
  }
}

function judgeKey({ keyProof, policy, proofContext, suite }: InstanceInput, checks: Checks): void {
  const pinned = policy.keys.length > 0;
  if (keyProof === undefined && !pinned) return;
  const publicKey = keyProof === undefined ? undefined : verifyInstanceKey(suite, keyProof, proofContext);
  const found = publicKey === undefined ? "none" : toHex(publicKey);
  const expected = pinned ? anyOf(policy.keys) : "a signature over this connection";
  if (keyProof !== undefined) {
    checks.compare({
      check: "instance.key-proof",
      met: publicKey !== undefined,
      words: "The guest holds the instance key that it names: it signed for this connection",
      problem: "The guest names an instance key, and its signature is not one over this connection",
      expected: "a signature over this connection",
      found: publicKey === undefined ? "another signature" : found,
      ...(pinned ? { policyKey: "instance.keys" } : {}),
      next: "Connect again; if it stays, somebody shows a proof that was made for another connection.",
    });
  }
  if (!pinned) return;
  checks.compare({
    check: "instance.key",
    met: publicKey !== undefined && policy.keys.includes(found),
    words: "The instance key is one that the policy pins",
    problem:
      keyProof === undefined
        ? "The policy pins an instance key, and the guest proved none"
        : "The guest proved none of the instance keys that the policy pins",
    expected,
    found,
    policyKey: "instance.keys",
    next: "Give the guest's sealttyd its instance key, or add the key found to instance.keys if this machine is yours.",
  });
}

interface NamedField extends DigestField {
  readonly name: string;
}

function fieldsOf({ documentDigest, pcrs, policy }: InstanceInput): NamedField[] {
  const fields: NamedField[] = [];
  if (documentDigest !== undefined) {
    const { hash, value, field } = documentDigest;
    fields.push({ kind: "field", hash, value, name: field });
  }
  for (const { bank, index, value } of pcrs) {
    if (index !== policy.pcr || (bank !== "sha256" && bank !== "sha384")) continue;
    fields.push({ kind: "pcr", hash: bank, value, name: `PCR ${index} (${bank})` });
  }
  return fields;
}

function expectedIn({ kind, hash }: DigestField, digests: ReturnType<typeof documentDigests>): Uint8Array {
  return kind === "pcr" ? digests.pcr[hash] : digests[hash];
}

function shown({ name, value }: NamedField): string {
  return `${name} ${toHex(value)}`;
}

function anyOf(values: readonly string[]): string {
  return values.length === 1 ? (values[0] as string) : `one of ${values.join(", ")}`;
}
