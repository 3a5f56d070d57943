// Test only: an interpreter for Noise patterns over the product's SymmetricState, so that published vectors of many
// patterns exercise the code that the one pattern of the product uses. Noise rev 34 §5.3, §7, §9; noise_hfs_spec rev 1.

import { concat } from "../../protocol/bytes.ts";
import type { CryptoSuite, KeyPair } from "../../protocol/crypto/suite.ts";
import { CipherState, type SplitKeys, SymmetricState } from "../../protocol/handshake/symmetric-state.ts";

/** Pre-messages left of the colon (I, R: that side's static key is known), then one message after another. */
const PATTERNS: Readonly<Record<string, string>> = {
  N: "R: e es",
  K: "IR: e es ss",
  X: "R: e es s ss",
  NN: ": e / e ee",
  NK: "R: e es / e ee",
  NX: ": e / e ee s es",
  KN: "I: e / e ee se",
  KK: "IR: e es ss / e ee se",
  KX: "I: e / e ee se s es",
  XN: ": e / e ee / s se",
  XK: "R: e es / e ee / s se",
  XX: ": e / e ee s es / s se",
  IN: ": e s / e ee se",
  IK: "R: e es s ss / e ee se",
  IX: ": e s / e ee se s es",
  NK1: "R: e / e ee es",
  NX1: ": e / e ee s / es",
  X1N: ": e / e ee / s / se",
  X1K: "R: e es / e ee / s / se",
  XK1: "R: e / e ee es / s se",
  X1K1: "R: e / e ee es / s / se",
  X1X: ": e / e ee s es / s / se",
  XX1: ": e / e ee s / es s se",
  X1X1: ": e / e ee s / es s / se",
  K1N: "I: e / e ee / se",
  K1K: "IR: e es / e ee / se",
  KK1: "IR: e / e ee se es",
  K1K1: "IR: e / e ee es / se",
  K1X: "I: e / e ee s es / se",
  KX1: "I: e / e ee se s / es",
  K1X1: "I: e / e ee s / se es",
  I1N: ": e s / e ee / se",
  I1K: "R: e es s / e ee / se",
  IK1: "R: e s / e ee se es",
  I1K1: "R: e s / e ee es / se",
  I1X: ": e s / e ee s es / se",
  IX1: ": e s / e ee se s / es",
  I1X1: ": e s / e ee s / se es",
};

export interface NoiseSetup {
  readonly protocolName: string;
  readonly initiator: boolean;
  readonly prologue: Uint8Array;
  readonly staticSecret?: Uint8Array | undefined;
  readonly remoteStatic?: Uint8Array | undefined;
  readonly ephemeralSecret?: Uint8Array | undefined;
  readonly kemSeed?: Uint8Array | undefined;
  readonly encapsulationSeed?: Uint8Array | undefined;
  readonly psks?: readonly Uint8Array[];
}

interface Pattern {
  readonly known: string;
  readonly messages: string[][];
  readonly psk: boolean;
}

/** @param full - pattern and modifiers as in a protocol name: `XXpsk3`, `NXhfs`, `NNpsk0+psk2`. */
function parsePattern(full: string): Pattern {
  const match = /^([A-Z0-9]+)(.*)$/.exec(full);
  const text = PATTERNS[match?.[1] ?? ""];
  if (match === null || text === undefined) throw new Error(`Unknown pattern ${full}`);
  const [known = "", body = ""] = text.split(":");
  const messages = body.split("/").map((message) => message.trim().split(" "));
  const modifiers = (match[2] ?? "").split("+").filter((modifier) => modifier !== "");
  for (const modifier of modifiers) {
    const psk = /^psk(\d)$/.exec(modifier);
    if (modifier === "hfs") addHfs(messages);
    else if (psk === null) throw new Error(`Unknown modifier ${modifier}`);
    else if (psk[1] === "0") messages[0]?.unshift("psk");
    else messages[Number(psk[1]) - 1]?.push("psk");
  }
  return { known, messages, psk: modifiers.some((modifier) => modifier.startsWith("psk")) };
}

/** noise_hfs_spec rev 1: e1 after the first e, or after a DH that follows it at once; ekem1 after the first ee. */
function addHfs(messages: string[][]): void {
  const first = messages[0] ?? [];
  const at = first.indexOf("e") + 1;
  first.splice(/^(ee|es|se|ss)$/.test(first[at] ?? "") ? at + 1 : at, 0, "e1");
  const reply = messages.find((message) => message.includes("ee")) ?? [];
  reply.splice(reply.indexOf("ee") + 1, 0, "ekem1");
}

export class NoiseParty {
  readonly #suite: CryptoSuite;
  readonly #setup: NoiseSetup;
  readonly #pattern: Pattern;
  readonly #state: SymmetricState;
  readonly #psks: Uint8Array[];
  readonly #static: KeyPair | undefined;
  #remoteStatic: Uint8Array | undefined;
  #ephemeral: KeyPair | undefined;
  #remoteEphemeral: Uint8Array | undefined;
  #kem: KeyPair | undefined;
  #remoteKem: Uint8Array | undefined;
  #turn = 0;

  constructor(suite: CryptoSuite, setup: NoiseSetup) {
    this.#suite = suite;
    this.#setup = setup;
    this.#pattern = parsePattern(setup.protocolName.split("_")[1] ?? "");
    this.#psks = [...(setup.psks ?? [])];
    this.#static = setup.staticSecret && suite.x25519KeyPair(setup.staticSecret);
    this.#remoteStatic = setup.remoteStatic;
    this.#state = SymmetricState.initialize(suite, setup.protocolName);
    this.#state.mixHash(setup.prologue);
    for (const side of this.#pattern.known) {
      const own = (side === "I") === setup.initiator;
      this.#state.mixHash(need(own ? this.#static?.publicKey : this.#remoteStatic));
    }
  }

  get handshakeMessages(): number {
    return this.#pattern.messages.length;
  }
  get oneWay(): boolean {
    return this.#pattern.messages.length === 1;
  }

  write(payload: Uint8Array): Uint8Array {
    const parts: Uint8Array[] = [];
    for (const token of this.#pattern.messages[this.#turn++] ?? []) {
      if (token === "e") {
        this.#ephemeral = this.#suite.x25519KeyPair(this.#setup.ephemeralSecret);
        parts.push(this.#mixEphemeral(this.#ephemeral.publicKey));
      } else if (token === "s") {
        parts.push(this.#state.encryptAndHash(need(this.#static).publicKey));
      } else if (token === "e1") {
        this.#kem = this.#suite.mlKemKeyPair(this.#setup.kemSeed);
        parts.push(this.#state.encryptAndHash(this.#kem.publicKey));
      } else if (token === "ekem1") {
        const kem = this.#suite.mlKemEncapsulate(need(this.#remoteKem), this.#setup.encapsulationSeed);
        parts.push(this.#state.encryptAndHash(kem.ciphertext));
        this.#state.mixKey(kem.secret);
      } else {
        this.#mixShared(token);
      }
    }
    return concat(...parts, this.#state.encryptAndHash(payload));
  }

  /** @throws Error on a message that does not verify; this test engine does not recover. */
  read(message: Uint8Array): Uint8Array {
    let at = 0;
    const take = (length: number): Uint8Array => message.subarray(at, (at += length));
    const takeSealed = (length: number): Uint8Array =>
      need(this.#state.decryptAndHash(take(length + (this.#state.hasKey ? 16 : 0))));
    for (const token of this.#pattern.messages[this.#turn++] ?? []) {
      if (token === "e") this.#remoteEphemeral = this.#mixEphemeral(take(32));
      else if (token === "s") this.#remoteStatic = takeSealed(32);
      else if (token === "e1") this.#remoteKem = takeSealed(1184);
      else if (token === "ekem1")
        this.#state.mixKey(this.#suite.mlKemDecapsulate(need(this.#kem).secretKey, takeSealed(1088)));
      else this.#mixShared(token);
    }
    return takeSealed(message.length - at - (this.#state.hasKey ? 16 : 0));
  }

  handshakeHash(): Uint8Array {
    return this.#state.handshakeHash();
  }

  /** @returns the split keys, and ciphers over copies of them. */
  split(): { keys: SplitKeys; send: CipherState; receive: CipherState } {
    const keys = this.#state.split3();
    const i = new CipherState(this.#suite, keys.initiatorToResponder.slice());
    const r = new CipherState(this.#suite, keys.responderToInitiator.slice());
    return this.#setup.initiator ? { keys, send: i, receive: r } : { keys, send: r, receive: i };
  }

  #mixEphemeral(publicKey: Uint8Array): Uint8Array {
    this.#state.mixHash(publicKey);
    if (this.#pattern.psk) this.#state.mixKey(publicKey); // §9.2
    return publicKey;
  }

  /** ee, es, se, ss (first letter: the initiator's key), or psk. */
  #mixShared(token: string): void {
    if (token === "psk") {
      this.#state.mixKeyAndHash(need(this.#psks.shift()));
      return;
    }
    const [own, remote] = this.#setup.initiator ? [token[0], token[1]] : [token[1], token[0]];
    const pair = own === "e" ? this.#ephemeral : this.#static;
    const theirs = remote === "e" ? this.#remoteEphemeral : this.#remoteStatic;
    this.#state.mixKey(this.#suite.x25519(need(pair).secretKey, need(theirs)));
  }
}

function need<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("Noise test engine: a value is missing or a tag does not hold");
  return value;
}
