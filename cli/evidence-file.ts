// Evidence kept in a file, to be verified again later: as `inspect --save-evidence` writes it, or bare from the hardware.

import type { BindingContext } from "../protocol/attestation/binder.ts";
import { type Evidence, decodeEvidence, encodeEvidence } from "../protocol/attestation/evidence.ts";
import { encodeAux } from "../protocol/attestation/aux.ts";
import { SNP_REPORT_SIZE } from "../protocol/attestation/sev-snp/report.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_CONTROL_MESSAGE } from "../protocol/limits.ts";
import { readOwnerFile } from "./owner-file.ts";

const FORMAT = "sealtty-evidence/1";
/** Base64 of the longest evidence, and the rest around it. */
const MAX_FILE = 2 * MAX_CONTROL_MESSAGE;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const FIELDS = ["handshakeHash", "guestStatic", "exporter", "clientNonce"] as const;

export interface KeptEvidence {
  readonly evidence: Evidence;
  /** What it was made for; undefined for a bare report or quote. */
  readonly context: BindingContext | undefined;
  /** When it was fetched, where the file says so: ISO 8601. */
  readonly at: string | undefined;
}

/** @param at - ms since 1970. JSON; the connection it was made for is over, and its keys are not in here. */
export function evidenceFileText(evidence: Evidence, context: BindingContext, at: number): string {
  const made = {
    format: FORMAT,
    at: new Date(at).toISOString(),
    type: evidence.type,
    madeFor: Object.fromEntries(FIELDS.map((name) => [name, Buffer.from(context[name]).toString("hex")])),
    evidence: Buffer.from(encodeEvidence(evidence)).toString("base64"),
  };
  return `${JSON.stringify(made, undefined, 1)}\n`;
}

/** @throws SealttyError `bad-config`. */
export async function readEvidenceFile(file: string): Promise<KeptEvidence> {
  const bytes = await readOwnerFile(file, "evidence", MAX_FILE);
  return bytes[0] === 0x7b ? parseKept(file, Buffer.from(bytes).toString("utf8")) : bareEvidence(file, bytes);
}

function parseKept(file: string, text: string): KeptEvidence {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong(file, "it begins like JSON and is none");
  }
  const { format, at, madeFor, evidence } = value as Record<string, unknown>;
  if (format !== FORMAT) throw wrong(file, `it is not of the format ${FORMAT}`);
  if (typeof evidence !== "string" || typeof madeFor !== "object" || madeFor === null)
    throw wrong(file, "it is incomplete");
  const fields = madeFor as Record<string, unknown>;
  const field = (name: (typeof FIELDS)[number]): Uint8Array => {
    const hex = fields[name];
    if (typeof hex !== "string" || !/^[0-9a-f]{64}$/.test(hex))
      throw wrong(file, `madeFor.${name} is not 64 hex digits`);
    return new Uint8Array(Buffer.from(hex, "hex"));
  };
  const context = {
    handshakeHash: field("handshakeHash"),
    guestStatic: field("guestStatic"),
    exporter: field("exporter"),
    clientNonce: field("clientNonce"),
  };
  try {
    const decoded = decodeEvidence(new Uint8Array(Buffer.from(evidence, "base64")));
    return { evidence: decoded, context, at: typeof at === "string" && ISO.test(at) ? at : undefined };
  } catch (cause) {
    throw new SealttyError("bad-config", `${file}: the evidence in it is malformed`, { cause });
  }
}

/** What tools of the vendors write: an SNP report has one length, a TDX quote begins with its version and TEE type. */
function bareEvidence(file: string, bytes: Uint8Array): KeptEvidence {
  const none = { context: undefined, at: undefined };
  const aux = encodeAux({});
  const tdx = (bytes[0] === 4 || bytes[0] === 5) && bytes[1] === 0 && bytes[4] === 0x81;
  if (tdx) return { evidence: { type: "tdx", quote: bytes, aux }, ...none };
  // One that was cut or grew is still meant as one: the verifier says what is wrong with it.
  if (Math.abs(bytes.length - SNP_REPORT_SIZE) <= 64)
    return { evidence: { type: "sev-snp", quote: bytes, aux }, ...none };
  throw wrong(file, "it is neither evidence kept by sealtty, nor an SNP report, nor a TDX quote");
}

function wrong(file: string, why: string): SealttyError {
  return new SealttyError(
    "bad-config",
    `${file} is no evidence that can be verified: ${why}; sealtty inspect --save-evidence writes one`,
  );
}
