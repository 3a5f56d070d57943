// Simulated evidence: the whole path without hardware, for tests and demonstrations. It proves nothing at all, so it is
// accepted only where the policy AND the user ask for it, and everything that shows it says so.

import { Reader, concat, lv16, toHex, u8, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { EvidenceReport } from "./appraised-report.ts";
import type { AuxParts } from "./aux.ts";
import type { Policy } from "./policy/model.ts";
import { isInstanceName } from "./policy/names.ts";
import { type Checks, parsing, refuse } from "./refusal.ts";

const VERSION = 1;
const LABEL = utf8("sealtty-simulated/1\0");
const MAX_INSTANCE = 64;

export interface SimulatedAux {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 1 to 64 printable ASCII characters. */
  readonly instance: string;
}

/** The part that simulated evidence carries: lv16 public key, lv16 instance name. @throws SealttyError `api-misuse`. */
export function simulatedParts(aux: SimulatedAux): AuxParts {
  if (!isInstanceName(aux.instance)) {
    throw new SealttyError("api-misuse", "A simulated instance's name is 1 to 64 printable ASCII characters");
  }
  return { simulated: concat(lv16(aux.publicKey), lv16(utf8(aux.instance))) };
}

/** @throws SealttyError `peer-misbehaved`. */
export function readSimulatedParts(parts: AuxParts): SimulatedAux {
  const reader = new Reader(parts.simulated ?? new Uint8Array(), "Data beside the simulated quote");
  const publicKey = reader.lv16(32);
  if (publicKey.length !== 32) reader.fail("has a public key of another length than 32 bytes");
  const instance = reader.text16(MAX_INSTANCE);
  if (!isInstanceName(instance)) reader.fail("has an instance name that is not printable ASCII");
  reader.end();
  return { publicKey, instance };
}

/** @param secretKey - 32 bytes. @returns the quote: u8 version, Ed25519 signature over label and binder. */
export function signSimulatedQuote(
  suite: CryptoSuite,
  secretKey: Uint8Array,
  binder: Uint8Array,
): Uint8Array {
  return concat(u8(VERSION), suite.ed25519Sign(secretKey, concat(LABEL, binder)));
}

export interface SimulatedFacts {
  readonly instance: string;
  /** Hex. */
  readonly publicKey: string;
  /** The binder that the quote signs. */
  readonly bound: Uint8Array;
}

/**
 * What needs no policy.
 * @param binder - the quote signs it and does not repeat it, so that the signature cannot be checked without.
 * @throws SealttyError `evidence-refused`.
 */
export function checkSimulated(
  quote: Uint8Array,
  parts: AuxParts,
  binder: Uint8Array,
  suite: Pick<CryptoSuite, "ed25519Verify">,
  acceptSimulated: boolean,
): SimulatedFacts {
  if (!acceptSimulated) {
    refuse(
      "simulated.accepted",
      "The guest's evidence is simulated: it proves nothing",
      "evidence from hardware or a TPM",
      "simulated evidence",
      "Do not connect, unless this is a test of your own: then say --simulated. Else configure the guest's sealttyd for its real evidence device.",
    );
  }
  const aux = parsing("simulated.format", "The data beside the simulated quote", () =>
    readSimulatedParts(parts),
  );
  const signature = parsing("simulated.format", "The simulated quote", () => {
    const reader = new Reader(quote, "Simulated quote");
    if (reader.u8() !== VERSION) reader.fail("has a version that this version does not know");
    const bytes = reader.bytes(64);
    reader.end();
    return bytes;
  });
  if (!suite.ed25519Verify(aux.publicKey, concat(LABEL, binder), signature)) {
    refuse(
      "simulated.binding",
      "The simulated quote was not made for this connection",
      "a signature over this connection's binder",
      "another signature",
      "Connect again.",
    );
  }
  return { instance: aux.instance, publicKey: toHex(aux.publicKey), bound: binder };
}

/** Compares with the policy's `[simulated]`. */
export function judgeSimulated(
  facts: SimulatedFacts,
  policy: NonNullable<Policy["simulated"]>,
  checks: Checks,
): void {
  const met = facts.instance === policy.instance;
  checks.compare({
    check: "simulated.instance",
    met,
    words: "The simulated guest has the name that the policy says",
    problem: "The simulated guest has another name than the policy says",
    expected: `"${policy.instance}"`,
    found: met ? `"${policy.instance}"` : "another name", // the guest's own text stays out
    policyKey: "simulated.instance",
    next: "This is another simulated guest than the one you mean: check the address.",
  });
}

/** Checked facts in words. The instance's name is printable ASCII, and the guest's own word. */
export function reportSimulated(facts: SimulatedFacts): EvidenceReport {
  return {
    assurance: "simulated",
    bound: facts.bound,
    signedBy: "a simulated key, made by software for tests",
    what: "Nothing is known about what runs there",
    which: `Simulated instance "${facts.instance}"`,
    documentDigest: undefined,
    verified: [
      {
        check: "simulated.signature",
        words: "The simulated quote was made for this connection",
        value: facts.publicKey,
      },
    ],
    notVerified: ["Everything: which machine this is, what it runs, who can read its memory"],
    warnings: ["SIMULATED evidence: nothing about this guest is proven"],
    values: [
      {
        name: "simulated.instance",
        words: "Name of the simulated instance",
        value: facts.instance,
        scope: "lasting",
      },
      { name: "simulated.key", words: "Simulated key", value: facts.publicKey, scope: "boot" },
    ],
    pins: {
      snp: undefined,
      tdx: undefined,
      azure: undefined,
      tpm: undefined,
      simulated: { instance: facts.instance },
    },
  };
}
