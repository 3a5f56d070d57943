// Users' keys of every kind but RSA, each with what it signs for the fields of packets.json's `userAuth`, and a certificate:
// docs/protocol.md §8.2. ECDSA's nonces are those of RFC 6979, so that the same bytes come out each time.

import { p256, p384, p521 } from "@noble/curves/nist.js";
import { concat, toHex, u32, u64, u8, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SERVICE } from "../../protocol/session/messages.ts";
import { encodeBase64Url } from "../../protocol/user-auth/base64.ts";
import { CURVES, encodePublicKey, type SshPublicKey, typeOf } from "../../protocol/user-auth/public-key.ts";
import { encodeEcdsaSignature, WEBAUTHN_ECDSA } from "../../protocol/user-auth/signature.ts";
import { encodeEd25519Key, encodeEd25519Signature, sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { encodeSshsig, sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";

type Seed = (label: string) => Uint8Array;

const NONE = new Uint8Array(0);
const COUNTER = 5;
const ORIGIN = "http://localhost:8743";
const TOUCHED = 0x01;
const VERIFIED = 0x04;

export function userKeyVectors(suite: CryptoSuite, seed: Seed) {
  const message = userAuthMessage({
    handshakeHash: seed("user/h"),
    evidenceDigest: seed("user/evidence"),
    user: "alice",
    service: SERVICE,
  });
  const signed = sshsigToBeSigned(suite, USER_AUTH_NAMESPACE, "sha512", message);
  const vector = (name: string, publicKey: Uint8Array, signature: Uint8Array, own: object = {}) => ({
    name,
    ...own,
    publicKey: toHex(publicKey),
    sshsig: toHex(encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash: "sha512", signature })),
  });
  const ecdsa = (Object.keys(CURVES) as (keyof typeof CURVES)[]).map((curve) => {
    const { key, sign } = onCurve(curve, seed(`user/${curve}`));
    const signature = encodeEcdsaSignature(CURVES[curve].type, sign(signed));
    return vector(CURVES[curve].type, encodePublicKey(key), signature);
  });
  return {
    fields: "those of packets.json, userAuth",
    hash: "sha512",
    keys: [...ecdsa, ...securityKeys(suite, seed, signed, vector), certificate(suite, seed, signed, vector)],
  };
}

function onCurve(curve: keyof typeof CURVES, seed: Uint8Array) {
  const { size } = CURVES[curve];
  const implementation = { nistp256: p256, nistp384: p384, nistp521: p521 }[curve];
  const secret = concat(new Uint8Array(size - seed.length), seed);
  const point = implementation.getPublicKey(secret, false);
  const key: SshPublicKey & { kind: "ecdsa" } = {
    kind: "ecdsa",
    curve,
    x: point.subarray(1, 1 + size),
    y: point.subarray(1 + size),
  };
  return { key, sign: (bytes: Uint8Array): Uint8Array => implementation.sign(bytes, secret) };
}

type MakeVector = (name: string, publicKey: Uint8Array, signature: Uint8Array, own?: object) => object;

function securityKeys(suite: CryptoSuite, seed: Seed, signed: Uint8Array, vector: MakeVector) {
  const [ssh, localhost] = [utf8("ssh:"), utf8("localhost")];
  const covered = (application: Uint8Array, flags: number, bytes: Uint8Array): Uint8Array =>
    concat(suite.sha256(application), u8(flags), u32(COUNTER), suite.sha256(bytes));
  const secret = seed("user/sk-ed25519");
  const edKey: SshPublicKey = {
    kind: "sk-ed25519",
    key: suite.ed25519PublicKey(secret),
    application: ssh,
  };
  const edSignature = suite.ed25519Sign(secret, covered(ssh, TOUCHED, signed));
  const tail = concat(u8(TOUCHED), u32(COUNTER));
  const { key, sign } = onCurve("nistp256", seed("user/sk-ecdsa"));
  const ecKey: SshPublicKey = { kind: "sk-ecdsa", x: key.x, y: key.y, application: ssh };
  const ecSignature = encodeEcdsaSignature(typeOf(ecKey), sign(covered(ssh, TOUCHED, signed)));
  const passkey: SshPublicKey = { ...ecKey, application: localhost };
  const clientData = `{"type":"webauthn.get","challenge":"${encodeBase64Url(signed)}","origin":"${ORIGIN}","crossOrigin":false}`;
  const flags = TOUCHED | VERIFIED;
  const assertion = encodeEcdsaSignature(WEBAUTHN_ECDSA, sign(covered(localhost, flags, utf8(clientData))));
  return [
    vector(
      typeOf(edKey),
      encodePublicKey(edKey),
      concat(sshString(typeOf(edKey)), sshString(edSignature), tail),
    ),
    vector(typeOf(ecKey), encodePublicKey(ecKey), concat(ecSignature, tail)),
    vector(
      WEBAUTHN_ECDSA,
      encodePublicKey(passkey),
      concat(
        assertion,
        u8(flags),
        u32(COUNTER),
        ...[utf8(ORIGIN), utf8(clientData), NONE].map((field) => sshString(field)),
      ),
      { origin: ORIGIN },
    ),
  ];
}

function certificate(suite: CryptoSuite, seed: Seed, signed: Uint8Array, vector: MakeVector) {
  const [secret, authoritySecret] = [seed("user/certified"), seed("user/authority")];
  const authority = encodeEd25519Key(suite.ed25519PublicKey(authoritySecret));
  const empty = sshString(NONE);
  const body = concat(
    sshString("ssh-ed25519-cert-v01@openssh.com"),
    sshString(seed("user/nonce")),
    sshString(suite.ed25519PublicKey(secret)),
    u64(7), // serial
    u32(1), // a user's
    sshString("alice, for a while"),
    sshString(sshString("alice")),
    u64(1_700_000_000),
    u64(2_000_000_000),
    sshString(concat(sshString("force-command"), sshString(sshString("uptime")))),
    sshString(concat(sshString("permit-port-forwarding"), empty, sshString("permit-pty"), empty)),
    empty, // reserved
    sshString(authority),
  );
  const blob = concat(body, sshString(encodeEd25519Signature(suite.ed25519Sign(authoritySecret, body))));
  const signature = encodeEd25519Signature(suite.ed25519Sign(secret, signed));
  return vector("ssh-ed25519-cert-v01@openssh.com", blob, signature, {
    authority: toHex(authority),
    serial: "7",
    validAfter: 1_700_000_000,
    validBefore: 2_000_000_000,
    forceCommand: "uptime",
  });
}
