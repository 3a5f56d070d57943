// The files of a TPM's case, put into the containers that a guest sends: quote, attestation key, PCR values, event log.

import { parseAttest } from "../../protocol/attestation/tpm/attest.ts";
import type { TpmPolicy } from "../../protocol/attestation/policy/model.ts";
import { parsing } from "../../protocol/attestation/refusal.ts";
import {
  BANKS,
  type BankName,
  type PcrSelection,
  type PcrValue,
  parsePcrValues,
} from "../../protocol/attestation/tpm/pcr.ts";
import { ATTRIBUTES, parsePublic, sha256Name, unwrapPublic } from "../../protocol/attestation/tpm/public.ts";
import { encodeTpmQuote } from "../../protocol/attestation/tpm/quote.ts";
import { checkQuote } from "../../protocol/attestation/tpm/quoted.ts";
import { checkTpm, judgeTpm, reportTpm } from "../../protocol/attestation/tpm/verify.ts";
import { readPublicKey } from "../../protocol/attestation/x509/algorithms.ts";
import { DerReader } from "../../protocol/attestation/x509/der.ts";
import { Reader, concat, equalBytes, fromHex, lv16, toHex, u16, u32, u8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { CASE_CRYPTO, type EvidenceCase, type Verdict, requireNonce, settle } from "./evidence-files.ts";

const BANK_NAMES = Object.keys(BANKS) as readonly BankName[];
/** Every baseline wants these: firmware, boot loader or kernel, Secure Boot. */
const BOOT_PCRS = [0, 4, 7];
const AK_ATTRIBUTES =
  ATTRIBUTES.fixedTPM |
  ATTRIBUTES.fixedParent |
  ATTRIBUTES.sensitiveDataOrigin |
  ATTRIBUTES.userWithAuth |
  ATTRIBUTES.restricted |
  ATTRIBUTES.sign;

/** The boot's registers have to be quoted; their values are the case's own, since no case comes with reference values. */
export function bootPcrs(pcrs: readonly PcrValue[]): Pick<TpmPolicy, "bank" | "pcrs"> {
  const valueIn = (bank: BankName, index: number) =>
    pcrs.find((pcr) => pcr.bank === bank && pcr.index === index)?.value;
  const whole = (["sha256", "sha384"] as const).find((bank) =>
    BOOT_PCRS.every((index) => valueIn(bank, index) !== undefined),
  );
  const bank = whole ?? "sha256";
  const values = BOOT_PCRS.map((index): [number, string[]] => [
    index,
    [toHex(valueIn(bank, index) ?? new Uint8Array(BANKS[bank].size))],
  ]);
  return { bank, pcrs: new Map(values) };
}

/**
 * PCR values as a guest sends them: those that the quote selects, in its order. Files: `pcrs.json` (`{bank: {index: hex}}`),
 * `pcrs_<bank>.json` (`{index: hex}`, or a list from PCR 0 on). @throws SealttyError `evidence-refused`.
 */
export function pcrList(each: EvidenceCase, attest: Uint8Array): Uint8Array {
  const listed = parsing("tpm.format", "The list of PCR values", () => listedPcrs(each));
  const encode = (key: string) => {
    const value = listed.get(key);
    const [bank, index] = key.split(":") as [BankName, string];
    return value === undefined ? new Uint8Array() : concat(u16(BANKS[bank].alg), u8(Number(index)), value);
  };
  const selected = selectionsOf(attest)?.flatMap(({ bank, indexes }) =>
    indexes.map((index) => `${bank}:${index}`),
  );
  return concat(...(selected ?? [...listed.keys()]).map(encode));
}

/** By "bank:index". */
function listedPcrs(each: EvidenceCase): ReadonlyMap<string, Uint8Array> {
  const listed = new Map<string, Uint8Array>();
  const add = (bank: string, values: unknown) => {
    if (!Object.hasOwn(BANKS, bank) || typeof values !== "object" || values === null) malformed();
    for (const [index, value] of Object.entries(values)) {
      if (typeof value !== "string" || !/^(?:[0-9a-fA-F]{2})*$/.test(value) || !/^\d{1,2}$/.test(index))
        malformed();
      listed.set(`${bank}:${Number(index)}`, fromHex(value));
    }
  };
  for (const bank of BANK_NAMES) if (each.has(`pcrs_${bank}.json`)) add(bank, each.json(`pcrs_${bank}.json`));
  if (each.has("pcrs.json")) {
    const banks = each.json("pcrs.json");
    if (typeof banks !== "object" || banks === null) malformed();
    for (const [bank, values] of Object.entries(banks)) add(bank, values);
  }
  return listed;
}

function malformed(): never {
  throw new SealttyError("peer-misbehaved", "The list of PCR values has something else in it");
}

/** Undefined where the structure is no quote: its own check says so later. */
function selectionsOf(attest: Uint8Array): readonly PcrSelection[] | undefined {
  try {
    return parseAttest(attest).quote?.selections;
  } catch {
    return undefined;
  }
}

/** TPMT_PUBLIC. A case with the bare key alone says nothing of attributes: it gets those that an AK has. */
function akPublicOf(each: EvidenceCase): Uint8Array {
  if (each.has("ak.tpmt_public")) return each.file("ak.tpmt_public");
  if (each.has("ak.tpm2b_public") || !each.has("ak_spki.der"))
    return unwrapPublic(each.file("ak.tpm2b_public"));
  const { key } = readPublicKey(new DerReader(each.file("ak_spki.der"), "The attestation key"));
  const head = (type: number) => concat(u16(type), u16(0x0b), u32(AK_ATTRIBUTES), u16(0), u16(0x10));
  return key.kind === "rsa"
    ? concat(head(1), u16(0x14), u16(0x0b), u16(2048), u32(0), lv16(key.modulus))
    : concat(head(0x23), u16(0x18), u16(0x0b), u16(3), u16(0x10), lv16(key.x), lv16(key.y));
}

/** Without any of them and without a signature nothing can be verified: a quote is only read. */
const KEY_FILES = ["ak.tpmt_public", "ak.tpm2b_public", "ak_spki.der"];

interface Outcome {
  readonly verdict: Verdict;
  readonly notVerified?: readonly string[];
}

/** Every quote of the case has to hold, for its nonce, over the boot's registers. @throws SealttyError `evidence-refused`. */
export async function checkTpmFiles(each: EvidenceCase): Promise<Outcome> {
  const named = ["", ...BANK_NAMES.map((bank) => `_${bank}`)].filter((suffix) =>
    each.has(`quote${suffix}.msg`),
  );
  if (named.length === 0 && each.has("credential.blob")) return checkCredential(each);
  if (![...KEY_FILES, ...named.map((suffix) => `quote${suffix}.sig`)].some((name) => each.has(name))) {
    for (const suffix of named)
      parsing("tpm.format", "The TPM's attestation structure", () =>
        parseAttest(each.file(`quote${suffix}.msg`)),
      );
    if (named.length > 0) return { verdict: "parse-ok" };
  }
  const akPublic = parsing("tpm.ak-public", "The attestation key's public area", () => akPublicOf(each));
  let notVerified: readonly string[] = [];
  for (const suffix of named.length === 0 ? [""] : named) {
    const attest = each.file(`quote${suffix}.msg`);
    const signature = each.file(`quote${suffix}.sig`);
    const pcrs = pcrList(each, attest);
    const nonce = each.nonce(suffix.slice(1));
    if (suffix === "_sha1" || suffix === "_sha512") {
      // One of several, in a bank that no policy pins: signature, values and nonce.
      const values = parsing("tpm.format", "The PCR values", () => parsePcrValues(pcrs));
      const { key, scheme } = parsing("tpm.ak-public", "The attestation key", () => parsePublic(akPublic));
      const quoteKey = {
        key,
        scheme,
        name: "the AK",
        check: "tpm.signature",
        problem: "Not signed by the AK",
      };
      const { bound } = await checkQuote({ attest, signature }, values, quoteKey, CASE_CRYPTO);
      requireNonce("tpm.binding", bound, nonce);
      continue;
    }
    const eventLog = each.files("eventlog.bin")[0];
    const parts = { akPublic, pcrs, ...(eventLog === undefined ? {} : { eventLog }) };
    const quote = parsing("tpm.format", "The TPM quote", () => encodeTpmQuote({ attest, signature }));
    const facts = await checkTpm(quote, parts, CASE_CRYPTO);
    requireNonce("tpm.binding", facts.bound, nonce);
    const akNames = each.files("ak.name").map((name) => toHex(name));
    settle((checks) => judgeTpm(facts, { akNames, ...bootPcrs(facts.pcrs) }, checks));
    ({ notVerified } = reportTpm(facts));
  }
  return { verdict: "pass", notVerified };
}

/** Only the TPM that has the EK can open a credential: its shape, and that it is for a key of this name. */
function checkCredential(each: EvidenceCase): Outcome {
  return parsing("tpm.ak-public", "The credential, or the key that it is for", () => {
    const akPublic = akPublicOf(each);
    parsePublic(akPublic);
    const name = sha256Name(akPublic, (message) => CASE_CRYPTO.suite.sha256(message));
    const blob: Reader = new Reader(each.file("credential.blob"), "The credential");
    if (each.has("ak.name") && !equalBytes(name, each.file("ak.name")))
      blob.fail("is for a key of another name");
    if (blob.u32() !== 0xbadcc0de || blob.u32() !== 1) blob.fail("has an unknown header");
    const identity: Reader = new Reader(blob.lv16(256), "The credential's identity object");
    if (identity.lv16(32).length !== 32) identity.fail("has no integrity value");
    if (blob.lv16(512).length !== 256) blob.fail("has no seed under an RSA-2048 key");
    blob.end();
    return { verdict: "pass" };
  });
}
