// Claims told to a person: a sentence, then what, who, which and how fresh, then every check.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { printable } from "./printable.ts";
import { checkedWords } from "./report.ts";

/** What the claims were held against. */
const CHECKED = {
  policy: "against your policy: it is met",
  guest: "against NO policy: this says what answered, not who should",
  file: "against NO policy: this says what the file shows, not what it should",
} as const;

export function describeClaims(claims: AppraisedClaims, checked: keyof typeof CHECKED): string {
  const rows: (readonly [string, string])[] = [
    ["verdict", claims.verdict],
    ["checked", CHECKED[checked]],
    ["evidence", claims.type],
    ["assurance", claims.assurance === "simulated" ? "SIMULATED: proves nothing" : claims.assurance],
    ["what runs", claims.what],
    ["signed by", claims.signedBy],
    ["which machine", claims.instance],
    ["how fresh", claims.fresh],
  ];
  if (claims.instanceDocument !== undefined) {
    const { name, digest, pinned } = claims.instanceDocument;
    const whose = pinned
      ? "your policy names it"
      : "whoever started the guest chose it; your policy does not name it";
    rows.push(["instance document", `"${name}", SHA-256 ${digest}: its digest is in the evidence; ${whose}`]);
  }
  for (const line of claims.verified) rows.push(["ok", checkedWords(line)]);
  for (const words of claims.notVerified) rows.push(["not verified", words]);
  for (const words of claims.warnings) rows.push(["warning", words]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows
    .map(([name, words]) => `${printable(name).padEnd(width)}  ${printable(words, 4000)}\n`)
    .join("");
}
