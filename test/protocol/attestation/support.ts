// Shared by the attestation tests: crypto, a software attestation key, and the sample evidence where it is present.

import {
  type KeyObject,
  createHash,
  generateKeyPairSync,
  randomBytes,
  sign as nodeSign,
  webcrypto,
} from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { type AuxParts, encodeAux } from "../../../protocol/attestation/aux.ts";
import { type BindingContext, binderOf, tpmQualifyingData } from "../../../protocol/attestation/binder.ts";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import type { Evidence } from "../../../protocol/attestation/evidence.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import {
  BANKS,
  type BankName,
  type PcrValue,
  encodePcrSelections,
} from "../../../protocol/attestation/tpm/pcr.ts";
import { ATTRIBUTES, sha256Name } from "../../../protocol/attestation/tpm/public.ts";
import { encodeTpmQuote, tpmParts } from "../../../protocol/attestation/tpm/quote.ts";
import type { VerifyContext } from "../../../protocol/attestation/verify-context.ts";
import { concat, lv16, toHex, u16, u32, u8, utf8 } from "../../../protocol/bytes.ts";
import { nobleSuite } from "../../../protocol/crypto/noble.ts";
import type { SignatureVerifier } from "../../../protocol/crypto/signatures.ts";
import { webCryptoSignatures } from "../../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../../protocol/errors.ts";

export const suite = nobleSuite((length) => new Uint8Array(randomBytes(length)));
export const sha256 = (message: Uint8Array) => suite.sha256(message);
export const signatures = webCryptoSignatures(webcrypto.subtle);

/** Answers from memory what it verified before: where a test changes one byte of a whole chain at a time. */
export function rememberingSignatures(): SignatureVerifier {
  const known = new Map<string, Promise<boolean>>();
  return {
    verify(algorithm, key, message, signature) {
      const parts = key.kind === "ec" ? [key.x, key.y] : [key.modulus, key.exponent];
      const hash = createHash("sha256").update(`${algorithm} ${key.kind}`);
      for (const part of [...parts, message, signature]) hash.update(u32(part.length)).update(part);
      const question = hash.digest("base64");
      const answer = known.get(question) ?? signatures.verify(algorithm, key, message, signature);
      known.set(question, answer);
      return answer;
    },
  };
}

/** Every item in turn, some at a time: checks wait for WebCrypto's threads, one alone leaves them idle. */
export async function forEachOf<T>(items: Iterable<T>, attempt: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items].values();
  const worker = async () => {
    for (const item of queue) await attempt(item);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

/** Sample evidence lies beside the repository in the project's workshop; a plain clone does not have it. */
export const evidenceDirectory = fileURLToPath(new URL("../../../../shared/evidence", import.meta.url));
export const hasEvidence = existsSync(evidenceDirectory);

export function sample(path: string): Uint8Array {
  return new Uint8Array(readFileSync(`${evidenceDirectory}/${path}`));
}
export function sampleJson(path: string) {
  return JSON.parse(readFileSync(`${evidenceDirectory}/${path}`, "utf8"));
}
export function samples(directory: string): string[] {
  return hasEvidence ? readdirSync(`${evidenceDirectory}/${directory}`) : [];
}

/** What a verifier is given: vendor roots, no collateral of the owner's, a clock at `now` (ISO 8601). */
export function verifyAt(now: string, changes: Partial<VerifyContext> = {}): VerifyContext {
  return {
    now: Date.parse(now),
    clockSkew: 0,
    roots: VENDOR_ROOTS,
    signatures,
    suite,
    collateral: NO_COLLATERAL,
    ...changes,
  };
}

/** Judges and settles. @returns the checks that held. @throws SealttyError `evidence-refused`. */
export function settled(judge: (checks: Checks) => void) {
  const checks = new Checks();
  judge(checks);
  return { verified: checks.settle(), warnings: checks.warnings, notVerified: checks.notVerified };
}

export function newContext(): BindingContext {
  const fresh = () => new Uint8Array(randomBytes(32));
  return { handshakeHash: fresh(), guestStatic: fresh(), exporter: fresh(), clientNonce: fresh() };
}

export const GOOD_ATTRIBUTES =
  ATTRIBUTES.fixedTPM |
  ATTRIBUTES.fixedParent |
  ATTRIBUTES.sensitiveDataOrigin |
  ATTRIBUTES.userWithAuth |
  ATTRIBUTES.restricted |
  ATTRIBUTES.sign;

/** A key made here that claims to be in a TPM: lets a test sign any structure at all. */
export class SoftwareAk {
  readonly publicArea: Uint8Array;
  readonly name: string;
  readonly #privateKey: KeyObject;

  constructor(attributes: number = GOOD_ATTRIBUTES) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = publicKey.export({ format: "jwk" });
    const [x, y] = [jwk.x, jwk.y].map((text) => new Uint8Array(Buffer.from(text as string, "base64url")));
    this.publicArea = concat(
      ...[u16(0x23), u16(0x0b), u32(attributes), u16(0), u16(0x10), u16(0x18), u16(0x0b), u16(3), u16(0x10)],
      ...[lv16(x as Uint8Array), lv16(y as Uint8Array)],
    );
    this.name = toHex(sha256Name(this.publicArea, sha256));
    this.#privateKey = privateKey;
  }

  sign(message: Uint8Array): Uint8Array {
    const raw = new Uint8Array(
      nodeSign("sha256", message, { key: this.#privateKey, dsaEncoding: "ieee-p1363" }),
    );
    return concat(u16(0x18), u16(0x0b), lv16(raw.subarray(0, 32)), lv16(raw.subarray(32)));
  }
}

/** TPMT_SIGNATURE around a bare RSASSA signature with SHA-256. */
export function rsassa(signature: Uint8Array): Uint8Array {
  return concat(u16(0x14), u16(0x0b), lv16(signature));
}

export interface AttestFields {
  readonly magic?: number;
  readonly type?: number;
  readonly extraData: Uint8Array;
  readonly selections: Uint8Array;
  readonly pcrDigest: Uint8Array;
  readonly trailing?: Uint8Array;
}

export function encodeAttest(fields: AttestFields): Uint8Array {
  return concat(
    u32(fields.magic ?? 0xff544347),
    u16(fields.type ?? 0x8018),
    lv16(new Uint8Array(34)),
    lv16(fields.extraData),
    new Uint8Array(8), // clock
    u32(2), // resetCount
    u32(1), // restartCount
    u8(1),
    new Uint8Array(8), // firmware
    fields.selections,
    lv16(fields.pcrDigest),
    fields.trailing ?? new Uint8Array(),
  );
}

export function pcrsOf(entries: Record<number, string>, bank: BankName = "sha256"): PcrValue[] {
  return Object.entries(entries).map(([index, text]) => ({
    bank,
    index: Number(index),
    value: new Uint8Array(createHash(bank).update(text).digest()),
  }));
}

/** Whole evidence that a TPM with `ak` would give for `context`; `change` lets a test lie inside what is signed, `more` lies beside. */
export function makeTpmEvidence(
  ak: SoftwareAk,
  context: BindingContext,
  pcrs: readonly PcrValue[],
  eventLog: Uint8Array = new Uint8Array(),
  change: Partial<AttestFields> = {},
  more: AuxParts = {},
): Evidence {
  const aux = encodeAux({ ...tpmParts({ akPublic: ak.publicArea, pcrs, eventLog }), ...more });
  const banks = [...new Set(pcrs.map((pcr) => pcr.bank))];
  const selections = banks.map((bank) => ({
    bank,
    indexes: pcrs.filter((pcr) => pcr.bank === bank).map((pcr) => pcr.index),
  }));
  const attest = encodeAttest({
    extraData: tpmQualifyingData(suite, binderOf(suite, context, "tpm", aux)),
    selections: encodePcrSelections(selections),
    pcrDigest: sha256(concat(...pcrs.map((pcr) => pcr.value))),
    ...change,
  });
  return { type: "tpm", quote: encodeTpmQuote({ attest, signature: ak.sign(attest) }), aux };
}

/** Little-endian. */
export const le = (value: number, size: number) =>
  Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);

export interface MadeEvent {
  readonly index: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** Default: the hash of the data. */
  readonly digest?: Uint8Array;
}

/** A crypto-agile log with one bank. */
export function makeEventLog(
  events: readonly MadeEvent[],
  { bank = "sha256", trailing = new Uint8Array() }: { bank?: BankName; trailing?: Uint8Array } = {},
): Uint8Array {
  const { alg, size } = BANKS[bank];
  const spec = concat(
    utf8("Spec ID Event03\0"),
    ...[le(0, 4), Uint8Array.of(0, 2, 0, 2), le(1, 4), le(alg, 2), le(size, 2), Uint8Array.of(0)],
  );
  const header = concat(le(0, 4), le(3, 4), new Uint8Array(20), le(spec.length, 4), spec);
  const records = events.map(({ index, type, data, digest }) => {
    const own = digest ?? new Uint8Array(createHash(bank).update(data).digest());
    return concat(le(index, 4), le(type, 4), le(1, 4), le(alg, 2), own, le(data.length, 4), data);
  });
  return concat(header, ...records, trailing);
}

/** The check that refused; fails the test where nothing did, or another error came. */
export async function refusedBy(attempt: () => unknown): Promise<string> {
  let error: unknown;
  try {
    await attempt();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SealttyError);
  const { code, refusal, message } = error as SealttyError;
  expect(`${code}: ${message}`).toMatch(/^evidence-refused: /);
  expect(refusal?.next).toMatch(/\S/);
  return refusal?.check ?? "";
}

/** Runs `attempt`; anything but success or a SealttyError fails the test. @returns whether it succeeded. */
export function onlySealttyErrors(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SealttyError);
    return false;
  }
}
