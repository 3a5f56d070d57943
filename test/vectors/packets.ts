// Vectors of everything above the handshake: sealed packets, frames, binder, what a user signs, session messages.

import { binderOf, tpmQualifyingData } from "../../protocol/attestation/binder.ts";
import { EVIDENCE_TYPES, type EvidenceType } from "../../protocol/attestation/evidence.ts";
import { concat, lv16, toHex, u8, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import {
  helloBody,
  initBodies,
  paceBody,
  probeBody,
  probedBody,
  receiptBody,
  replyBodies,
  welcomeBody,
} from "../../protocol/frames/frame-body.ts";
import { encodeClientHello, encodeInitMessage, prologueOf } from "../../protocol/handshake/client-hello.ts";
import { PACKETS_PER_GENERATION } from "../../protocol/limits.ts";
import { PacketSealer } from "../../protocol/packets/packet-cipher.ts";
import { PacketWriter } from "../../protocol/packets/packet-frames.ts";
import { encodeMessage, SERVICE, type SessionMessage } from "../../protocol/session/messages.ts";
import { encodeSshsig, sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { encodeEd25519Key, encodeEd25519Signature } from "../../protocol/user-auth/ssh-wire.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";

type Seed = (label: string) => Uint8Array;

const ID = Uint8Array.of(0xa1, 0x00, 0xc3, 0x7e);

/** Bytes 0, 1, 2, …, 255, 0, … */
const counting = (length: number, first = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => first + i);

export function packetVectors(suite: CryptoSuite, seed: Seed) {
  return {
    source: "sealtty; made by test/vectors/packets.ts",
    packets: packets(suite, seed),
    plaintexts: plaintexts(),
    frames: frames(),
    handshakeBodies: handshakeBodies(seed),
    binders: (["tpm", "simulated", "sev-snp"] as const).map((type) => binder(suite, seed, type)),
    userAuth: userAuth(suite, seed),
    sessionMessages: sessionMessages(),
  };
}

/** docs/protocol.md §5.1 to §5.3 */
function packets(suite: CryptoSuite, seed: Seed) {
  const key = seed("packets/key");
  const sealed = (
    name: string,
    first: number,
    plaintexts: readonly Uint8Array[],
    prepare?: (sealer: PacketSealer) => void,
  ) => {
    const sealer = new PacketSealer(suite, ID, key.slice(), first);
    prepare?.(sealer);
    return {
      name,
      packets: plaintexts.map((plaintext) => {
        const { number, body } = sealer.seal(plaintext);
        return { number, plaintext: toHex(plaintext), body: toHex(body) };
      }),
    };
  };
  const ping = Uint8Array.of(5);
  return {
    connectionId: toHex(ID),
    generation0Key: toHex(key),
    cases: [
      sealed("first packets: empty, one PING, 300 bytes", 0, [new Uint8Array(0), ping, counting(300)]),
      sealed("around the end of generation 0", PACKETS_PER_GENERATION - 2, [ping, ping, ping, ping]),
      sealed(
        "early change of the key: skips to the first number of generation 1",
        7,
        [ping, ping],
        (sealer) => sealer.advanceGeneration(),
      ),
      sealed("generation 3", 3 * PACKETS_PER_GENERATION + 5, [ping]),
      sealed("a number of more than 32 bits", 2 ** 32 + 9, [ping]),
    ],
  };
}

/** docs/protocol.md §5.4 */
function plaintexts() {
  const written = (name: string, write: (writer: PacketWriter) => void) => {
    const writer = new PacketWriter(1024);
    write(writer);
    return { name, plaintext: toHex(writer.written) };
  };
  return [
    written("ACK of packet 0", (writer) => writer.ack([{ first: 0, last: 0 }])),
    written("ACK of 100 to 90, 70, 50 to 3", (writer) =>
      writer.ack([
        { first: 90, last: 100 },
        { first: 70, last: 70 },
        { first: 3, last: 50 },
      ]),
    ),
    written("ACK of 2^40 to 2^40 - 20000", (writer) =>
      writer.ack([{ first: 2 ** 40 - 20_000, last: 2 ** 40 }]),
    ),
    written("STREAM 0 at 0: 010203", (writer) => writer.stream(0, 0, Uint8Array.of(1, 2, 3), false)),
    written("STREAM_END 2 at 2^32: 04", (writer) => writer.stream(2, 2 ** 32, Uint8Array.of(4), true)),
    written("STREAM_END 3 at 0: empty", (writer) => writer.stream(3, 0, new Uint8Array(0), true)),
    written("WINDOW 2 to 589824", (writer) => writer.window(2, 589_824)),
    written("PING, then CLOSE done", (writer) => {
      writer.ping();
      writer.close(0);
    }),
  ];
}

/** docs/protocol.md §2 */
function frames() {
  const bodies: Readonly<Record<string, Uint8Array>> = {
    "one byte": Uint8Array.of(0x11),
    "one zero": Uint8Array.of(0),
    HELLO: helloBody(ID),
    "zeros and ones": Uint8Array.of(0, 0, 1, 0, 1, 1, 0),
    "250 bytes without a zero: with the checksum one full group": counting(250, 1).map((byte) => byte || 1),
    "254 bytes without a zero": new Uint8Array(254).fill(0xff),
    "600 bytes, counting": counting(600),
    "the longest in armour": counting(752),
  };
  return Object.entries(bodies).map(([name, body]) => ({
    name,
    body: toHex(body),
    binary: toHex(encodeFrame(body, "binary")),
    armour: toHex(encodeFrame(body, "armour")),
  }));
}

/** docs/protocol.md §3, §4.1, §4.2 */
function handshakeBodies(seed: Seed) {
  const clientHello = encodeClientHello({
    nonce: seed("hello/nonce"),
    address: "ws://127.0.0.1:8744/db1",
    identity: "db1",
    evidenceTypes: ["tpm", "simulated"],
    pipe: { encoding: "armour", burst: 16, rate: 9600 },
  });
  const cookie = seed("hello/cookie").slice(0, 16);
  const message1 = counting(1216);
  const message2 = counting(1200, 7);
  return {
    connectionId: toHex(ID),
    cookie: toHex(cookie),
    clientHello: toHex(clientHello),
    prologue: toHex(prologueOf(ID, clientHello)),
    hello: toHex(helloBody(ID)),
    welcome: toHex(welcomeBody(ID, cookie)),
    probe: toHex(probeBody(ID, 1, counting(256))),
    probed: toHex(probedBody(probeBody(ID, 1, counting(256))) ?? new Uint8Array(0)),
    pace: toHex(paceBody(ID, 3)),
    receipt: toHex(receiptBody(ID, { mark: 3, count: 70_000, sum: 0x12345678 })),
    message1: toHex(message1),
    init: initBodies(ID, cookie, encodeInitMessage(clientHello, message1), 752).map(toHex),
    message2: toHex(message2),
    reply: replyBodies(ID, message2, 752).map(toHex),
  };
}

/** docs/protocol.md §6.2 */
function binder(suite: CryptoSuite, seed: Seed, type: EvidenceType) {
  const context = {
    handshakeHash: seed("binder/h"),
    guestStatic: seed("binder/static"),
    exporter: seed("binder/exporter"),
    clientNonce: seed("binder/nonce"),
  };
  const aux = utf8("what travels beside the quote");
  const bound = binderOf(suite, context, type, aux);
  return {
    evidenceType: EVIDENCE_TYPES[type],
    handshakeHash: toHex(context.handshakeHash),
    guestStatic: toHex(context.guestStatic),
    exporter: toHex(context.exporter),
    clientNonce: toHex(context.clientNonce),
    aux: toHex(aux),
    binder: toHex(bound),
    tpmQualifyingData: toHex(tpmQualifyingData(suite, bound)),
  };
}

/** docs/protocol.md §8.2; Ed25519 signatures are deterministic. */
function userAuth(suite: CryptoSuite, seed: Seed) {
  const secretKey = seed("user/ed25519");
  const fields = {
    handshakeHash: seed("user/h"),
    evidenceDigest: seed("user/evidence"),
    user: "alice",
    service: SERVICE,
  };
  const message = userAuthMessage(fields);
  const publicKey = encodeEd25519Key(suite.ed25519PublicKey(secretKey));
  return {
    ed25519Seed: toHex(secretKey),
    publicKey: toHex(publicKey),
    handshakeHash: toHex(fields.handshakeHash),
    evidenceDigest: toHex(fields.evidenceDigest),
    user: fields.user,
    service: fields.service,
    namespace: USER_AUTH_NAMESPACE,
    message: toHex(message),
    signatures: (["sha512", "sha256"] as const).map((hash) => {
      const toBeSigned = sshsigToBeSigned(suite, USER_AUTH_NAMESPACE, hash, message);
      const signature = encodeEd25519Signature(suite.ed25519Sign(secretKey, toBeSigned));
      const sshsig = encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash, signature });
      return { hash, toBeSigned: toHex(toBeSigned), sshsig: toHex(sshsig) };
    }),
  };
}

/** docs/protocol.md §8.1, §8.3, §8.10 */
function sessionMessages() {
  const screen = { term: "xterm-256color", columns: 120, rows: 40 };
  const quote = concat(u8(1), lv16(Uint8Array.of(1, 2, 3)));
  const messages: readonly SessionMessage[] = [
    { type: "evidence", evidence: { type: "tpm", quote, aux: Uint8Array.of(9) }, encoded: new Uint8Array(0) },
    { type: "no-evidence" },
    { type: "authenticate", user: "root", service: SERVICE },
    {
      type: "authenticate",
      user: "alice",
      service: SERVICE,
      key: { publicKey: counting(51), sshsig: counting(170) },
    },
    { type: "authenticated", code: 0 },
    { type: "open", channel: 1, request: { kind: "login", ...screen } },
    {
      type: "open",
      channel: 2,
      request: { kind: "shell", ...screen, command: [], environment: { LANG: "C.UTF-8" } },
    },
    {
      type: "open",
      channel: 0x00ffffff,
      request: { kind: "exec", command: ["printf", "%s", "ä b"], environment: { LANG: "C", TZ: "UTC" } },
    },
    {
      type: "open",
      channel: 3,
      request: { kind: "stream", target: { kind: "tcp", host: "db.internal", port: 5432 } },
    },
    {
      type: "open",
      channel: 4,
      request: { kind: "stream", target: { kind: "unix", path: "/run/app.sock" } },
    },
    { type: "open", channel: 5, request: { kind: "stream", target: { kind: "service", name: "ssh" } } },
    { type: "open", channel: 6, request: { kind: "stream", target: { kind: "incoming", incoming: 9 } } },
    { type: "open", channel: 7, request: { kind: "files" } },
    { type: "open", channel: 8, request: { kind: "prompts" } },
    { type: "open", channel: 9, request: { kind: "service", service: { name: "sysrq", key: "s" } } },
    { type: "opened", channel: 1, code: 0 },
    { type: "resize", channel: 1, columns: 80, rows: 24 },
    { type: "signal", channel: 2, signal: "SIGINT" },
    { type: "hang-up", channel: 2 },
    { type: "exit", channel: 1, status: { kind: "exited", status: 255 } },
    { type: "exit", channel: 2, status: { kind: "signalled", signal: "SIGKILL" } },
    { type: "listen", listener: 1, place: { kind: "tcp", host: "localhost", port: 8080 } },
    { type: "listen", listener: 2, place: { kind: "unix", path: "/run/app.sock" } },
    { type: "listening", listener: 1, code: 0, port: 8080 },
    { type: "listening", listener: 2, code: 1 },
    { type: "unlisten", listener: 1 },
    { type: "incoming", listener: 1, incoming: 9 },
    { type: "dismiss", incoming: 9 },
  ];
  return messages.map((message) => ({ type: message.type, bytes: toHex(encodeMessage(message)) }));
}
