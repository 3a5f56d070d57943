// Shared by the X.509 tests: a root, a leaf and a list made here, and those of the sample evidence.

import { readdirSync } from "node:fs";
import { expect } from "vitest";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  type MadeCertificate,
  type MadeCrl,
  type MadeName,
  caExtensions,
  madeKey,
  makeCertificate,
  makeCrl,
} from "../../support/made-pki.ts";
import { evidenceDirectory, hasEvidence, sample } from "./support.ts";

/** Sentence of the `peer-misbehaved` that `attempt` ends with. */
export function refusedWith(attempt: () => unknown): string {
  let error: unknown;
  try {
    attempt();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  expect((error as SealttyError).code).toBe("peer-misbehaved");
  return (error as SealttyError).message;
}

export const NOT_BEFORE = Date.UTC(2026, 0, 1);
export const NOT_AFTER = Date.UTC(2036, 0, 1);
export const ROOT: MadeName = { O: "Made for a test", CN: "Root" };
export const LEAF: MadeName = { O: "Made for a test", CN: "Leaf" };
export const rootKey = madeKey("ec-p384", "x509 root");
export const leafKey = madeKey("ec-p256", "x509 leaf");

export function madeRoot(change: Partial<MadeCertificate> = {}): Uint8Array {
  return makeCertificate({
    subject: ROOT,
    key: rootKey,
    notBefore: NOT_BEFORE,
    notAfter: NOT_AFTER,
    extensions: caExtensions(),
    ...change,
  });
}
export function madeLeaf(change: Partial<MadeCertificate> = {}): Uint8Array {
  return makeCertificate({
    subject: LEAF,
    key: leafKey,
    issuer: { name: ROOT, key: rootKey },
    serial: 0xf00dn,
    notBefore: NOT_BEFORE,
    notAfter: NOT_AFTER,
    ...change,
  });
}
export function madeList(change: Partial<MadeCrl> = {}): Uint8Array {
  return makeCrl({
    issuer: { name: ROOT, key: rootKey },
    thisUpdate: Date.UTC(2026, 5, 1),
    nextUpdate: Date.UTC(2026, 6, 1),
    revoked: [{ serial: 0xf00dn, reason: 1 }, { serial: 7 }],
    number: 9,
    ...change,
  });
}

/** Every certificate and CRL file of the samples, each different one once. */
export function collected(): { certificates: Map<string, Uint8Array>; crls: Map<string, Uint8Array> } {
  const certificates = new Map<string, Uint8Array>();
  const crls = new Map<string, Uint8Array>();
  for (const path of hasEvidence ? readdirSync(evidenceDirectory, { recursive: true }).map(String) : []) {
    if (path.endsWith("crl.der") && !path.includes("mut-crl-")) crls.set(toHex(sample(path)), sample(path));
    else if (path.endsWith(".der") && !/spki|crl/.test(path)) {
      certificates.set(toHex(sample(path)), sample(path));
    } else if (path.endsWith(".pem") && !path.endsWith("ak.pem")) {
      for (const certificate of pemCertificates(sample(path))) {
        certificates.set(toHex(certificate), certificate);
      }
    }
  }
  return { certificates, crls };
}
