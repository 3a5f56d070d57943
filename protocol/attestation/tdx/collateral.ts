// Finds in a bag of collateral what belongs to one platform: its two CRLs, TCB info, QE identity. Newest valid ones win; a
// piece that claims to be the one needed and does not hold is a refusal, never ignored. Outdated ones decide nothing, yet
// nobody can go back behind them: what they revoke stays revoked, and their TCB evaluation is the least that counts.

import { equalBytes, textOf, toHex } from "../../bytes.ts";
import type { Collateral } from "../collateral.ts";
import { parsing, refuse } from "../refusal.ts";
import { isWithin, timeWords } from "../validity.ts";
import type { VerifyContext } from "../verify-context.ts";
import type { Certificate } from "../x509/certificate.ts";
import { type RevocationList, isCrlSignedBy, parseCrl } from "../x509/crl.ts";
import type { PckChain, TcbSigners } from "./chain.ts";
import { JsonObject } from "./json-fields.ts";
import type { PckFacts } from "./pck.ts";
import { type QeIdentity, readQeIdentity } from "./qe-identity.ts";
import { type SignedJson, parseSignedJson } from "./signed-json.ts";
import { type TcbInfo, readTcbInfo } from "./tcb-info.ts";

/** When a piece is good, milliseconds since 1970. */
export interface Lifetime {
  readonly from: number;
  readonly until: number;
}

/** Parsed, and by its own words what is needed and current; nothing of it is believed yet. */
interface Candidate<T> extends Lifetime {
  readonly piece: T;
}

interface JsonPiece {
  readonly signed: SignedJson;
  readonly value: unknown;
}

interface Dated<T> {
  readonly all: readonly Candidate<T>[];
  /** Those of `all` that are valid now; never empty. */
  readonly current: readonly Candidate<T>[];
}

export interface Candidates {
  readonly pckCrls: Dated<RevocationList>;
  readonly rootCrls: Dated<RevocationList>;
  readonly tcbInfos: Dated<JsonPiece>;
  readonly qeIdentities: Dated<JsonPiece>;
}

const NEXT_FETCH =
  "Fetch the TDX collateral for this platform (`sealtty collateral fetch --for FILE` on a machine with a network) and give it with `--collateral DIR`, or let the guest's image carry it.";
const NEXT_FORGED =
  "Fetch the collateral anew; if it stays, something between you and the guest changes it: do not connect.";

/**
 * @throws SealttyError `evidence-refused`: tdx.collateral-format; tdx.pck-crl, tdx.root-crl, tdx.tcb-info or
 * tdx.qe-identity where a piece is missing; tdx.collateral-date where none of a kind is current.
 */
export function requireCandidates(
  bag: Collateral,
  chain: PckChain,
  pck: PckFacts,
  context: VerifyContext,
): Candidates {
  const crls = parsing("tdx.collateral-format", "A revocation list in the collateral", () =>
    bag.crls.map(parseCrl),
  );
  const listsOf = (issuer: Certificate) =>
    crls
      .filter((crl) => equalBytes(crl.issuer, issuer.subject))
      .map((crl) => ({ piece: crl, from: crl.thisUpdate, until: crl.nextUpdate }));
  const tcbInfos = parsing("tdx.collateral-format", "A TCB info in the collateral", () =>
    bag.tcbInfos.map((bytes) => peek(bytes, "tcbInfo", "TCB info")),
  );
  const qeIdentities = parsing("tdx.collateral-format", "A QE identity in the collateral", () =>
    bag.qeIdentities.map((bytes) => peek(bytes, "enclaveIdentity", "QE identity")),
  );
  const found: Found = {
    pckCrls: listsOf(chain.ca),
    rootCrls: listsOf(chain.root),
    tcbInfos: tcbInfos.filter(({ names }) => names === `TDX ${pck.fmspc} ${pck.pceId}`),
    qeIdentities: qeIdentities.filter(({ names }) => names === "TD_QE"),
  };
  requireSome(found.pckCrls, "tdx.pck-crl", `revocation list of the PCK ${pck.ca} CA`);
  requireSome(found.rootCrls, "tdx.root-crl", "revocation list of Intel's root CA");
  requireSome(
    found.tcbInfos,
    "tdx.tcb-info",
    `TDX TCB info for FMSPC ${pck.fmspc} and PCEID ${pck.pceId}`,
    tcbInfos.map(({ shown }) => shown).join(", "),
  );
  requireSome(
    found.qeIdentities,
    "tdx.qe-identity",
    "identity of the TD quoting enclave",
    qeIdentities.length === 0 ? "" : "of another enclave",
  );
  return requireCurrent(found, context);
}

function requireSome(found: readonly unknown[], check: string, words: string, others = ""): void {
  if (found.length > 0) return;
  refuse(
    check,
    `The collateral has no ${words}`,
    `the ${words}`,
    others === "" ? "none" : others,
    NEXT_FETCH,
  );
}

/** What the piece says it is, before anything of it is believed. */
function peek(
  bytes: Uint8Array,
  member: "tcbInfo" | "enclaveIdentity",
  what: string,
): Candidate<JsonPiece> & { readonly names: string; readonly shown: string } {
  const signed = parseSignedJson(bytes, member, what);
  const value: unknown = JSON.parse(textOf(signed.body));
  const object = new JsonObject(value, what);
  const platform =
    member === "tcbInfo" ? ` ${toHex(object.hex("fmspc", 6))} ${toHex(object.hex("pceId", 2))}` : "";
  const id = object.text("id", 16);
  return {
    piece: { signed, value },
    from: object.date("issueDate"),
    until: object.date("nextUpdate"),
    names: `${id}${platform}`,
    shown: `${id === "TDX" || id === "SGX" ? id : "another kind"}${platform}`,
  };
}

type Found = { readonly [kind in keyof Candidates]: Candidates[kind]["all"] };

/** All kinds are looked at, so that the owner renews once and not four times. */
function requireCurrent(found: Found, context: VerifyContext): Candidates {
  const stale: string[] = [];
  const current = <T>(words: string, all: readonly Candidate<T>[]): Dated<T> => {
    const good = all.filter(({ from, until }) => isWithin(from, until, context.now, context.clockSkew));
    if (good.length === 0)
      stale.push(
        `${words} ${all.map(({ from, until }) => `${timeWords(from)} to ${timeWords(until)}`).join(", ")}`,
      );
    return { all, current: good };
  };
  const all: Candidates = {
    tcbInfos: current("TCB info", found.tcbInfos),
    qeIdentities: current("QE identity", found.qeIdentities),
    pckCrls: current("PCK revocation list", found.pckCrls),
    rootCrls: current("root revocation list", found.rootCrls),
  };
  if (stale.length > 0) {
    refuse(
      "tdx.collateral-date",
      "Collateral is outdated, or not valid yet",
      `valid at ${timeWords(context.now)}`,
      stale.join("; "),
      `See that this machine's clock is right. ${NEXT_FETCH}`,
    );
  }
  return all;
}

/**
 * The newest, once every candidate's signature holds; outdated ones, too, must be signed, since what they revoke counts.
 * @returns it, with all that any of them revokes. @throws SealttyError `evidence-refused`: `check`.
 */
export async function requireCrl(
  { all, current }: Dated<RevocationList>,
  issuer: Certificate,
  check: "tdx.pck-crl" | "tdx.root-crl",
  context: VerifyContext,
): Promise<RevocationList> {
  for (const { piece } of all) {
    if (await isCrlSignedBy(piece, issuer, context.signatures)) continue;
    refuse(
      check,
      check === "tdx.pck-crl"
        ? "The PCK revocation list is not signed by the CA that it names"
        : "The root revocation list is not signed by Intel's root",
      "a signature of its issuer",
      "another signature",
      NEXT_FORGED,
    );
  }
  const [newest] = current.map(({ piece }) => piece).sort((a, b) => b.thisUpdate - a.thisUpdate);
  const revoked = new Set(all.flatMap(({ piece }) => [...piece.revoked]));
  return { ...(newest as RevocationList), revoked };
}

export interface SignedBy<T> {
  readonly content: T;
  readonly signer: Certificate;
}

/**
 * @throws SealttyError `evidence-refused`: tdx.tcb-signing-chain, tdx.tcb-info-signature, tdx.tcb-info-format,
 * tdx.tcb-evaluation-rollback.
 */
export async function requireTcbInfo(
  candidates: Candidates["tcbInfos"],
  signers: TcbSigners,
  context: VerifyContext,
): Promise<SignedBy<TcbInfo>> {
  return await newest("tdx.tcb-info", "TCB info", candidates, signers, context, readTcbInfo);
}

/** @throws SealttyError `evidence-refused`: tdx.qe-identity-signature, tdx.qe-identity-format, tdx.tcb-evaluation-rollback. */
export async function requireQeIdentity(
  candidates: Candidates["qeIdentities"],
  signers: TcbSigners,
  context: VerifyContext,
): Promise<SignedBy<QeIdentity>> {
  return await newest("tdx.qe-identity", "QE identity", candidates, signers, context, readQeIdentity);
}

/** Every current candidate must be signed and whole; the one of the highest TCB evaluation wins, then the newest. */
async function newest<T extends { readonly evaluationNumber: number; readonly issueDate: number }>(
  check: string,
  words: string,
  candidates: Dated<JsonPiece>,
  { signers, certified, others }: TcbSigners,
  context: VerifyContext,
  read: (value: unknown) => T,
): Promise<SignedBy<T>> {
  const all: SignedBy<T>[] = [];
  for (const { piece } of candidates.current) {
    const signer = await signerOf(piece.signed, signers, context);
    if (signer === undefined) {
      if ((await signerOf(piece.signed, others, context)) !== undefined) {
        // As a leaked PCK key would do it: one broken platform must not write what all others are judged by.
        refuse(
          "tdx.tcb-signing-chain",
          `The ${words} is signed by a key that may not sign it`,
          "a signature of Intel SGX TCB Signing, issued by the root itself",
          "a signature of another certificate's key",
          NEXT_FORGED,
        );
      }
      return refuse(
        `${check}-signature`,
        `The ${words} is not signed by Intel's TCB signing key`,
        "a signature of Intel SGX TCB Signing over these exact bytes",
        "another signature",
        NEXT_FORGED,
      );
    }
    // `value` was parsed from the bytes that the signature covers, and from no others.
    const content = parsing(`${check}-format`, `The ${words}`, () => read(piece.value));
    all.push({ content, signer });
  }
  all.sort(
    ({ content: a }, { content: b }) => b.evaluationNumber - a.evaluationNumber || b.issueDate - a.issueDate,
  );
  const best = all[0] as SignedBy<T>;
  const ended = candidates.all.filter(({ until }) => until < context.now - context.clockSkew);
  for (const { piece } of ended) {
    const evaluation = parsing(`${check}-format`, `The ${words}`, () => evaluationOf(piece, words));
    if (evaluation <= best.content.evaluationNumber) continue;
    if ((await signerOf(piece.signed, certified, context)) === undefined) continue;
    refuse(
      "tdx.tcb-evaluation-rollback",
      `The ${words} is older than one that you have: Intel had evaluated anew before, and that one has ended`,
      `TCB evaluation ${evaluation} or newer`,
      `TCB evaluation ${best.content.evaluationNumber}`,
      NEXT_FETCH,
    );
  }
  return best;
}

/**
 * Of a piece that has ended. Whether its signer's certificate has ended as well, or was revoked since, plays no part: who
 * makes such a piece up can have evidence refused, and nothing accepted. One that nobody known signed is passed over, as
 * the certificate may be gone by now. Pieces that are not valid yet don't count: at the time that is asked about, which an
 * owner may set back on purpose, they were not there.
 */
function evaluationOf({ value }: JsonPiece, words: string): number {
  return new JsonObject(value, words).number("tcbEvaluationDataNumber", 0xffff);
}

async function signerOf(
  { body, signature }: SignedJson,
  signers: readonly Certificate[],
  context: VerifyContext,
): Promise<Certificate | undefined> {
  for (const signer of signers) {
    if (await context.signatures.verify("ecdsa-p256-sha256", signer.key, body, signature)) return signer;
  }
  return undefined;
}
