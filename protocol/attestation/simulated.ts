// Simulated evidence: the whole path without hardware, for tests and demonstrations. It proves nothing at all, so it is
// accepted only where the policy AND the user ask for it, and everything that shows it says so.

import { Reader, concat, lv16, toHex, u8, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { Evidence } from "./evidence.ts";
import { type Policy, isInstanceName } from "./policy.ts";
import { parsing, refuse } from "./refusal.ts";

const VERSION = 1;
const LABEL = utf8("sealtty-simulated/1\0");
const MAX_INSTANCE = 64;

export interface SimulatedAux {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly instance: string;
}

/** u8 version, lv16 public key, lv16 instance name. */
export function encodeSimulatedAux(aux: SimulatedAux): Uint8Array {
  if (!isInstanceName(aux.instance)) {
    throw new SealttyError("api-misuse", "A simulated instance's name is 1 to 64 printable ASCII characters");
  }
  return concat(u8(VERSION), lv16(aux.publicKey), lv16(utf8(aux.instance)));
}

/** @throws SealttyError `peer-misbehaved`. */
export function decodeSimulatedAux(bytes: Uint8Array): SimulatedAux {
  const reader = new Reader(bytes, "Data beside the simulated quote");
  if (reader.u8() !== VERSION) reader.fail("has a version that this version does not know");
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
}

/** What needs no policy. @throws SealttyError `evidence-refused`. */
export function checkSimulated(
  evidence: Evidence,
  binder: Uint8Array,
  suite: CryptoSuite,
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
    decodeSimulatedAux(evidence.aux),
  );
  const signature = parsing("simulated.format", "The simulated quote", () => {
    const reader = new Reader(evidence.quote, "Simulated quote");
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
  return { instance: aux.instance, publicKey: toHex(aux.publicKey) };
}

/** @throws SealttyError `evidence-refused` unless the policy has [simulated], the user accepted, and all of it fits. */
export function verifySimulated(
  evidence: Evidence,
  binder: Uint8Array,
  policy: Policy,
  suite: CryptoSuite,
  acceptSimulated: boolean,
): SimulatedFacts {
  if (policy.simulated === undefined) {
    refuse(
      "evidence.type",
      "The policy does not accept simulated evidence",
      "another type of evidence",
      "simulated",
      "This guest, or whoever answers for it, can prove nothing: do not connect. Configure its sealttyd for its real evidence device.",
    );
  }
  const facts = checkSimulated(evidence, binder, suite, acceptSimulated);
  if (facts.instance !== policy.simulated.instance) {
    refuse(
      "simulated.instance",
      "The simulated guest has another name than the policy says",
      `"${policy.simulated.instance}"`,
      "another name",
      "This is another simulated guest than the one you mean: check the address.",
    );
  }
  return facts;
}
