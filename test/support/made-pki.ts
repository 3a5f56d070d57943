// Throw-away certificates, keys and revocation lists in the shapes of the hardware vendors': a DER writer that can also
// write what a strict reader must refuse.

import {
  type KeyObject,
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  sign as nodeSign,
} from "node:crypto";
import { concat, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import type { HardwareKey } from "../../protocol/crypto/signatures.ts";

export function derElement(tag: number, ...contents: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = concat(...contents);
  return concat(Uint8Array.of(tag), derLength(content.length), content);
}

export function derLength(length: number): Uint8Array<ArrayBuffer> {
  if (length < 0x80) return Uint8Array.of(length);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return Uint8Array.of(0x80 | bytes.length, ...bytes);
}

/** DER, one function for each type. */
export const der = {
  element: derElement,
  sequence: (...contents: readonly Uint8Array[]) => derElement(0x30, ...contents),
  set: (...contents: readonly Uint8Array[]) => derElement(0x31, ...contents),
  /** [number], constructed. */
  explicit: (number: number, ...contents: readonly Uint8Array[]) => derElement(0xa0 | number, ...contents),
  /** [number], primitive. */
  implicit: (number: number, content: Uint8Array) => derElement(0x80 | number, content),
  /** Not negative. Bytes are a magnitude. */
  integer(value: number | bigint | Uint8Array) {
    let digits = value instanceof Uint8Array ? toHex(value) : value.toString(16);
    digits = digits.replace(/^(?:00)+/, "");
    if (digits.length % 2 === 1) digits = `0${digits}`;
    const magnitude = digits === "" ? Uint8Array.of(0) : fromHex(digits);
    return derElement(
      0x02,
      (magnitude[0] as number) >= 0x80 ? Uint8Array.of(0) : new Uint8Array(),
      magnitude,
    );
  },
  enumerated: (value: number) => derElement(0x0a, Uint8Array.of(value)),
  boolean: (value: boolean) => derElement(0x01, Uint8Array.of(value ? 0xff : 0)),
  null: () => derElement(0x05),
  octets: (...contents: readonly Uint8Array[]) => derElement(0x04, ...contents),
  bits: (content: Uint8Array, unused = 0) => derElement(0x03, Uint8Array.of(unused), content),
  /** Numbers of the bits that are set, at least one. */
  namedBits(...bits: readonly number[]) {
    const last = Math.max(...bits);
    const content = new Uint8Array((last >> 3) + 1);
    for (const bit of bits) content[bit >> 3] = (content[bit >> 3] as number) | (0x80 >> (bit & 7));
    return der.bits(content, 7 - (last & 7));
  },
  oid(dotted: string) {
    const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
    const bytes: number[] = [];
    for (const arc of [40 * first + second, ...rest]) {
      const groups = [arc % 128];
      for (let more = Math.floor(arc / 128); more > 0; more = Math.floor(more / 128))
        groups.unshift(128 + (more % 128));
      bytes.push(...groups);
    }
    return derElement(0x06, Uint8Array.from(bytes));
  },
  utf8: (text: string) => derElement(0x0c, utf8(text)),
  printable: (text: string) => derElement(0x13, utf8(text)),
  ia5: (text: string) => derElement(0x16, utf8(text)),
  /** UTCTime before 2050, GeneralizedTime from then on. @param at - milliseconds since 1970. */
  time(at: number) {
    const digits = new Date(at).toISOString().replace(/\.\d+Z$|[-:T]/g, "");
    const utc = Number(digits.slice(0, 4)) < 2050;
    return derElement(utc ? 0x17 : 0x18, utf8(`${utc ? digits.slice(2) : digits}Z`));
  },
} as const;

export type MadeKeyKind = "rsa" | "ec-p256" | "ec-p384";

/** A key pair made here, which signs as the vendors' do: RSA-PSS or PKCS#1 v1.5, ECDSA. */
export class MadeKey {
  readonly kind: MadeKeyKind;
  readonly #privateKey: KeyObject;
  /** DER of SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;

  constructor(kind: MadeKeyKind) {
    this.kind = kind;
    const { privateKey } =
      kind === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 2048 })
        : generateKeyPairSync("ec", { namedCurve: kind === "ec-p256" ? "P-256" : "P-384" });
    this.#privateKey = privateKey;
    this.spki = new Uint8Array(createPublicKey(privateKey).export({ type: "spki", format: "der" }));
  }

  get publicKey(): HardwareKey {
    const jwk = createPublicKey(this.#privateKey).export({ format: "jwk" });
    const part = (text: string | undefined) => new Uint8Array(Buffer.from(text ?? "", "base64url"));
    return this.kind === "rsa"
      ? { kind: "rsa", modulus: part(jwk.n), exponent: part(jwk.e) }
      : { kind: "ec", x: part(jwk.x), y: part(jwk.y) };
  }

  /** ECDSA x‖y. */
  get point(): Uint8Array {
    const key = this.publicKey;
    return key.kind === "ec" ? concat(key.x, key.y) : new Uint8Array();
  }

  /** @returns SHA-256 of the SubjectPublicKeyInfo, hex: how TrustRoots pin. */
  get pin(): string {
    return createHash("sha256").update(this.spki).digest("hex");
  }

  /** As an X.509 signature: ECDSA in DER. */
  sign(algorithm: MadeAlgorithm, message: Uint8Array): Uint8Array {
    const { hash, salt } = ALGORITHMS[algorithm];
    const padding =
      salt === undefined
        ? {}
        : salt === 0
          ? { padding: constants.RSA_PKCS1_PADDING }
          : { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt };
    return new Uint8Array(nodeSign(hash, message, { key: this.#privateKey, ...padding }));
  }

  /** ECDSA r‖s. */
  signRaw(message: Uint8Array): Uint8Array {
    const hash = this.kind === "ec-p256" ? "sha256" : "sha384";
    return new Uint8Array(nodeSign(hash, message, { key: this.#privateKey, dsaEncoding: "ieee-p1363" }));
  }
}

const keys = new Map<string, MadeKey>();

/** One key for each name, made when first asked for: RSA keys take their time. */
export function madeKey(kind: MadeKeyKind, name: string): MadeKey {
  const known = keys.get(`${kind} ${name}`);
  if (known !== undefined) return known;
  const key = new MadeKey(kind);
  keys.set(`${kind} ${name}`, key);
  return key;
}

export type MadeAlgorithm =
  | "ecdsa-p256-sha256"
  | "ecdsa-p384-sha384"
  | "rsassa-sha256"
  | "rsassa-sha384"
  | "rsapss-sha384"
  | "rsapss-sha384-salt-32"
  | "rsapss-sha256";

const SHA_OIDS = { sha256: "2.16.840.1.101.3.4.2.1", sha384: "2.16.840.1.101.3.4.2.2" } as const;

/** AlgorithmIdentifier of RSASSA-PSS; `trailer` writes the default out, as AMD does in some certificates. */
export function pssAlgorithm(
  hash: keyof typeof SHA_OIDS,
  salt: number,
  trailer?: number,
  mask: keyof typeof SHA_OIDS = hash,
): Uint8Array {
  const sha = (name: keyof typeof SHA_OIDS) => der.sequence(der.oid(SHA_OIDS[name]), der.null());
  const parameters = [
    der.explicit(0, sha(hash)),
    der.explicit(1, der.sequence(der.oid("1.2.840.113549.1.1.8"), sha(mask))),
    der.explicit(2, der.integer(salt)),
    ...(trailer === undefined ? [] : [der.explicit(3, der.integer(trailer))]),
  ];
  return der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence(...parameters));
}

/** `salt` 0 stands for PKCS#1 v1.5. */
const ALGORITHMS: Readonly<
  Record<MadeAlgorithm, { readonly identifier: Uint8Array; readonly hash: string; readonly salt?: number }>
> = {
  "ecdsa-p256-sha256": { identifier: der.sequence(der.oid("1.2.840.10045.4.3.2")), hash: "sha256" },
  "ecdsa-p384-sha384": { identifier: der.sequence(der.oid("1.2.840.10045.4.3.3")), hash: "sha384" },
  "rsassa-sha256": {
    identifier: der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null()),
    hash: "sha256",
    salt: 0,
  },
  "rsassa-sha384": {
    identifier: der.sequence(der.oid("1.2.840.113549.1.1.12"), der.null()),
    hash: "sha384",
    salt: 0,
  },
  "rsapss-sha384": { identifier: pssAlgorithm("sha384", 48), hash: "sha384", salt: 48 },
  "rsapss-sha384-salt-32": { identifier: pssAlgorithm("sha384", 32), hash: "sha384", salt: 32 },
  "rsapss-sha256": { identifier: pssAlgorithm("sha256", 32), hash: "sha256", salt: 32 },
};
const USUAL: Readonly<Record<MadeKeyKind, MadeAlgorithm>> = {
  rsa: "rsapss-sha384",
  "ec-p256": "ecdsa-p256-sha256",
  "ec-p384": "ecdsa-p384-sha384",
};

const NAME_TYPES = {
  CN: "2.5.4.3",
  C: "2.5.4.6",
  L: "2.5.4.7",
  ST: "2.5.4.8",
  O: "2.5.4.10",
  OU: "2.5.4.11",
} as const;
/** In the order of its keys, e.g. `{ OU: "Engineering", CN: "ARK-Genoa" }`. */
export type MadeName = { readonly [type in keyof typeof NAME_TYPES]?: string };

export function derName(name: MadeName): Uint8Array {
  const parts = Object.entries(name).map(([type, value]) =>
    der.set(der.sequence(der.oid(NAME_TYPES[type as keyof MadeName]), der.utf8(value))),
  );
  return der.sequence(...parts);
}

export interface MadeExtension {
  readonly oid: string;
  readonly critical?: boolean;
  /** Content of extnValue. */
  readonly value: Uint8Array;
}

function derExtension({ oid, critical, value }: MadeExtension): Uint8Array {
  return der.sequence(der.oid(oid), ...(critical === true ? [der.boolean(true)] : []), der.octets(value));
}

/** Bits of keyUsage. */
export const USAGE = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const;

export function basicConstraints(isCa: boolean, pathLength?: number): MadeExtension {
  const parts = [
    ...(isCa ? [der.boolean(true)] : []),
    ...(pathLength === undefined ? [] : [der.integer(pathLength)]),
  ];
  return { oid: "2.5.29.19", critical: true, value: der.sequence(...parts) };
}

export function keyUsage(...usages: readonly (keyof typeof USAGE)[]): MadeExtension {
  return { oid: "2.5.29.15", critical: true, value: der.namedBits(...usages.map((usage) => USAGE[usage])) };
}

/** What a CA certificate has. */
export function caExtensions(pathLength?: number): MadeExtension[] {
  return [basicConstraints(true, pathLength), keyUsage("keyCertSign", "cRLSign")];
}

export interface MadeIssuer {
  readonly name: MadeName;
  readonly key: MadeKey;
}

export interface MadeCertificate {
  readonly subject: MadeName;
  /** Of the subject. */
  readonly key: MadeKey;
  /** Absent: self-signed. */
  readonly issuer?: MadeIssuer;
  readonly serial?: number | bigint | Uint8Array;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly extensions?: readonly MadeExtension[];
  /** The one that goes with the issuer's key unless given. */
  readonly algorithm?: MadeAlgorithm;
  /** AlgorithmIdentifier written instead of the algorithm's own, inside and outside of what is signed. */
  readonly identifier?: Uint8Array;
  /** Another one outside. */
  readonly outerIdentifier?: Uint8Array;
  /** As the INTEGER says it: 2 is version 3. */
  readonly version?: number;
  /** Changes the parts of TBSCertificate before they are signed. */
  readonly change?: (parts: Uint8Array[]) => readonly Uint8Array[];
}

/** @returns DER. */
export function makeCertificate(certificate: MadeCertificate): Uint8Array<ArrayBuffer> {
  const { subject, key, extensions = [] } = certificate;
  const issuer = certificate.issuer ?? { name: subject, key };
  const algorithm = certificate.algorithm ?? USUAL[issuer.key.kind];
  const identifier = certificate.identifier ?? ALGORITHMS[algorithm].identifier;
  const parts: Uint8Array[] = [
    der.explicit(0, der.integer(certificate.version ?? 2)),
    der.integer(certificate.serial ?? 1),
    identifier,
    derName(issuer.name),
    der.sequence(der.time(certificate.notBefore), der.time(certificate.notAfter)),
    derName(subject),
    key.spki,
    ...(extensions.length === 0 ? [] : [der.explicit(3, der.sequence(...extensions.map(derExtension)))]),
  ];
  const tbs = der.sequence(...(certificate.change?.(parts) ?? parts));
  const signature = der.bits(issuer.key.sign(algorithm, tbs));
  return der.sequence(tbs, certificate.outerIdentifier ?? identifier, signature);
}

export interface MadeCrl {
  readonly issuer: MadeIssuer;
  /** Milliseconds since 1970; `nextUpdate` is left out where undefined. */
  readonly thisUpdate: number;
  readonly nextUpdate: number | undefined;
  /** Serial numbers; `reason` is a CRLReason. */
  readonly revoked?: readonly {
    readonly serial: number | bigint | Uint8Array;
    readonly reason?: number;
    readonly extensions?: readonly MadeExtension[];
  }[];
  readonly number?: number;
  readonly extensions?: readonly MadeExtension[];
  readonly algorithm?: MadeAlgorithm;
}

/** @returns DER. */
export function makeCrl(crl: MadeCrl): Uint8Array<ArrayBuffer> {
  const algorithm = crl.algorithm ?? USUAL[crl.issuer.key.kind];
  const { identifier } = ALGORITHMS[algorithm];
  const entries = (crl.revoked ?? []).map(({ serial, reason, extensions = [] }) => {
    const all = [
      ...(reason === undefined ? [] : [{ oid: "2.5.29.21", value: der.enumerated(reason) }]),
      ...extensions,
    ];
    return der.sequence(
      der.integer(serial),
      der.time(crl.thisUpdate),
      ...(all.length === 0 ? [] : [der.sequence(...all.map(derExtension))]),
    );
  });
  const extensions = [{ oid: "2.5.29.20", value: der.integer(crl.number ?? 1) }, ...(crl.extensions ?? [])];
  const tbs = der.sequence(
    der.integer(1),
    identifier,
    derName(crl.issuer.name),
    der.time(crl.thisUpdate),
    ...(crl.nextUpdate === undefined ? [] : [der.time(crl.nextUpdate)]),
    ...(entries.length === 0 ? [] : [der.sequence(...entries)]),
    der.explicit(0, der.sequence(...extensions.map(derExtension))),
  );
  return der.sequence(tbs, identifier, der.bits(crl.issuer.key.sign(algorithm, tbs)));
}

/** CERTIFICATE blocks, one after another. */
export function pemOf(...certificates: readonly Uint8Array[]): string {
  const block = (certificate: Uint8Array) => {
    const lines =
      Buffer.from(certificate)
        .toString("base64")
        .match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
  };
  return certificates.map(block).join("");
}
