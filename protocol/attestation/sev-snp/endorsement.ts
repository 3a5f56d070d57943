// What AMD says in a VCEK or VLEK certificate: for which product, chip or cloud, and firmware versions. AMD 57230 table 10

import { SealttyError } from "../../errors.ts";
import type { SnpProduct } from "../roots.ts";
import type { Certificate } from "../x509/certificate.ts";
import { DerReader } from "../x509/der.ts";
import { type EndorsementKind, productOfName } from "./product.ts";
import type { Tcb } from "./tcb.ts";

const ARC = "1.3.6.1.4.1.3704.1";
const SPL_ARC = `${ARC}.3.`;
/** Components that no product has yet; they are written out as zero. Turin's fmc has taken the place of the first. */
const UNUSED_SPLS = { Milan: [4, 5, 6, 7], Genoa: [4, 5, 6, 7], Turin: [5, 6, 7] } as const;
const HW_ID_SIZE = { Milan: 64, Genoa: 64, Turin: 8 } as const;
const STRUCT_VERSION = { Milan: 0, Genoa: 0, Turin: 1 } as const;
const MAX_CSP_ID = 128;

export interface Endorsement {
  readonly kind: EndorsementKind;
  readonly product: SnpProduct;
  /** The firmware versions that the key is derived from. */
  readonly tcb: Tcb;
  /** The chip: 64 bytes, Turin 8. VCEK only. */
  readonly hwId: Uint8Array | undefined;
  /** The cloud, printable ASCII. VLEK only. */
  readonly cspId: string | undefined;
}

/** @throws SealttyError `peer-misbehaved` where an extension that a key of this kind has is absent, malformed or one too many. */
export function parseEndorsement(certificate: Certificate, kind: EndorsementKind): Endorsement {
  const { extensions } = certificate;
  const fail = (problem: string): never => {
    throw new SealttyError("peer-misbehaved", `${kind.toUpperCase()} certificate ${problem}`);
  };
  const valueOf = (suffix: string, name: string): Uint8Array =>
    extensions.get(`${ARC}.${suffix}`)?.value ?? fail(`has no ${name} extension`);
  const numberOf = (suffix: string, name: string): number =>
    whole(valueOf(suffix, name), (reader) => reader.number(255));

  const version = numberOf("1", "structVersion");
  const name = whole(valueOf("2", "productName"), (reader) => reader.ia5String(32));
  const product = productOfName(name) ?? fail("is for a product that this version does not know");
  if (version !== STRUCT_VERSION[product]) fail("has an unknown structVersion");

  const turin = product === "Turin";
  const tcb: Tcb = {
    fmc: turin ? numberOf("3.9", "fmcSPL") : undefined,
    bootloader: numberOf("3.1", "blSPL"),
    tee: numberOf("3.2", "teeSPL"),
    snp: numberOf("3.3", "snpSPL"),
    microcode: numberOf("3.8", "ucodeSPL"),
  };
  for (const number of UNUSED_SPLS[product]) {
    if (numberOf(`3.${number}`, `spl${number}`) !== 0) fail("has a firmware version that no TCB version has");
  }
  // A component that nobody here compares must not go unnoticed.
  const spls = [...extensions.keys()].filter((oid) => oid.startsWith(SPL_ARC)).length;
  if (spls !== (turin ? 5 : 4) + UNUSED_SPLS[product].length) fail("has an unknown firmware component");

  const other = kind === "vcek" ? "5" : "4";
  if (extensions.has(`${ARC}.${other}`)) fail("has an extension of the other kind of key");
  if (kind === "vlek") {
    const cspId = whole(valueOf("5", "cspID"), (reader) => reader.ia5String(MAX_CSP_ID));
    if (cspId === "") fail("names no cloud");
    return { kind, product, tcb, hwId: undefined, cspId };
  }
  const hwId = valueOf("4", "hwID"); // raw bytes, no DER inside
  if (hwId.length !== HW_ID_SIZE[product]) fail("has a hwID of another length than its product's");
  return { kind, product, tcb, hwId, cspId: undefined };
}

function whole<T>(value: Uint8Array, read: (reader: DerReader) => T): T {
  const reader = new DerReader(value, "Certificate extension");
  const result = read(reader);
  reader.end();
  return result;
}
