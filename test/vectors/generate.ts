// Makes the project's own vectors. `node scripts/generate-vectors.mjs` writes them; a test checks that they are still
// what the code gives. All inputs are SHA-256 of a label, so that another implementation can follow without our files.

import { concat, toHex, utf8 } from "../../protocol/bytes.ts";
import { nobleSuite } from "../../protocol/crypto/noble.ts";
import { startInitiator } from "../../protocol/handshake/initiator.ts";
import { PROTOCOL_NAME } from "../../protocol/handshake/messages.ts";
import { respond } from "../../protocol/handshake/responder.ts";
import { channelVectors } from "./channels.ts";
import { packetVectors } from "./packets.ts";
import { rawFrameVectors } from "./raw-frames.ts";
import { userKeyVectors } from "./user-keys.ts";

/** Refuses to be random: a vector that needs it is no vector. */
const suite = nobleSuite(() => {
  throw new Error("A vector must not depend on randomness");
});

/** SHA-256("sealtty vector: " ‖ label), 32 bytes. */
const seed = (label: string): Uint8Array => suite.sha256(utf8(`sealtty vector: ${label}`));

export interface NxhfsVector {
  readonly name: string;
  readonly prologue: string;
  readonly initiatorX25519Seed: string;
  readonly initiatorKemSeed: string;
  readonly responderX25519Seed: string;
  readonly responderEncapsulationSeed: string;
  readonly responderStaticSecret: string;
  readonly message1: string;
  readonly message2: string;
  readonly handshakeHash: string;
  readonly guestStatic: string;
  readonly initiatorToResponder: string;
  readonly responderToInitiator: string;
  readonly exporter: string;
}

export interface NxhfsVectors {
  readonly source: string;
  readonly protocol: string;
  readonly cases: readonly NxhfsVector[];
}

function nxhfsCase(name: string, prologue: Uint8Array): NxhfsVector {
  const initiatorSeeds = {
    x25519Seed: seed(`${name}/initiator/x25519`),
    kemSeed: concat(seed(`${name}/initiator/ml-kem d`), seed(`${name}/initiator/ml-kem z`)),
  };
  const responderSeeds = {
    x25519Seed: seed(`${name}/responder/x25519`),
    encapsulationSeed: seed(`${name}/responder/ml-kem m`),
  };
  const staticKeyPair = suite.x25519KeyPair(seed(`${name}/responder/static`));
  const { message1, awaiting } = startInitiator(suite, prologue, initiatorSeeds);
  const { message2, handshaken } = respond(suite, prologue, staticKeyPair, message1, responderSeeds);
  if (awaiting.receive(message2) === undefined) throw new Error("The initiator refuses the vector");
  return {
    name,
    prologue: toHex(prologue),
    initiatorX25519Seed: toHex(initiatorSeeds.x25519Seed),
    initiatorKemSeed: toHex(initiatorSeeds.kemSeed),
    responderX25519Seed: toHex(responderSeeds.x25519Seed),
    responderEncapsulationSeed: toHex(responderSeeds.encapsulationSeed),
    responderStaticSecret: toHex(staticKeyPair.secretKey),
    message1: toHex(message1),
    message2: toHex(message2),
    handshakeHash: toHex(handshaken.handshakeHash),
    guestStatic: toHex(handshaken.guestStatic),
    initiatorToResponder: toHex(handshaken.receiveKey),
    responderToInitiator: toHex(handshaken.sendKey),
    exporter: toHex(handshaken.exporter),
  };
}

function nxhfs(): NxhfsVectors {
  return {
    source: "sealtty; made by test/vectors/generate.ts",
    protocol: PROTOCOL_NAME,
    cases: [
      nxhfsCase("empty prologue", new Uint8Array(0)),
      nxhfsCase("short prologue", utf8("sealtty/1\0prologue")),
      nxhfsCase(
        "long prologue",
        Uint8Array.from({ length: 700 }, (_, i) => i),
      ),
    ],
  };
}

/** File in test/vectors/ → what belongs in it. */
export const vectorFiles: Readonly<Record<string, () => unknown>> = {
  "nxhfs.json": nxhfs,
  "channels.json": channelVectors,
  "packets.json": () => packetVectors(suite, seed),
  "raw-frames.json": rawFrameVectors,
  "user-keys.json": () => userKeyVectors(suite, seed),
};
