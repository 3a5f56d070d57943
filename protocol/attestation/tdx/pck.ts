// The SGX extension of a PCK certificate: which platform, at which security version. Intel SGX PCK Certificate and
// Certificate Revocation List Profile Specification, §1.3.5

import { DerReader, TAG } from "../x509/der.ts";
import type { Certificate } from "../x509/certificate.ts";
import { toHex } from "../../bytes.ts";

const SGX_EXTENSION = "1.2.840.113741.1.13.1";
const WHAT = "SGX extension of the PCK certificate";
const COMPONENTS = 16;

export interface PckFacts {
  /** "Platform": multi-package server; "Processor": one package, has no PIID. */
  readonly ca: "Platform" | "Processor";
  /** Lower-case hex, 32 digits. */
  readonly ppid: string;
  /** Platform instance id, lower-case hex, 32 digits; a Processor CA's certificate has none. */
  readonly piid: string | undefined;
  /** 12 and 4 digits. */
  readonly fmspc: string;
  readonly pceId: string;
  /** 16 component SVNs. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  readonly sgxType: "standard" | "scalable" | "scalable-with-integrity";
  /** Undefined where the certificate does not say, as a Processor CA's does not. */
  readonly dynamicPlatform: boolean | undefined;
  readonly cachedKeys: boolean | undefined;
  readonly smtEnabled: boolean | undefined;
}

const SGX_TYPES = ["standard", "scalable", "scalable-with-integrity"] as const;

/** @throws SealttyError `peer-misbehaved` where the extension is missing, or anything in it is missing, doubled or new. */
export function readPckFacts(leaf: Certificate, ca: PckFacts["ca"]): PckFacts {
  const extension = leaf.extensions.get(SGX_EXTENSION);
  const outer = new DerReader(extension?.value ?? new Uint8Array(), WHAT);
  if (extension === undefined) outer.fail("is missing");
  const entries = readEntries(outer, SGX_EXTENSION, 7);
  outer.end();
  const entry = (number: number) => entries.get(number) ?? outer.fail(`lacks its part ${number}`);
  const octets = (number: number, length: number) => {
    const reader = entry(number);
    const value = reader.octetString();
    reader.end();
    if (value.length !== length) reader.fail(`has a part ${number} that is not ${length} bytes long`);
    return toHex(value);
  };

  const tcb = entry(2);
  const tcbParts = readEntries(tcb, `${SGX_EXTENSION}.2`, 18);
  tcb.end();
  const svn = (number: number, limit: number) => {
    const reader = tcbParts.get(number) ?? tcb.fail(`lacks its part 2.${number}`);
    const value = reader.number(limit);
    reader.end();
    return value;
  };
  const components = Array.from({ length: COMPONENTS }, (_, i) => svn(i + 1, 255));
  const cpuSvn = tcbParts.get(18) ?? tcb.fail("lacks CPUSVN");
  if (cpuSvn.octetString().length !== 16) cpuSvn.fail("has a CPUSVN that is not 16 bytes long");
  cpuSvn.end();

  const type: DerReader = entry(5);
  const [typeByte, ...more] = type.integer(TAG.enumerated);
  type.end();
  const sgxType = SGX_TYPES[typeByte ?? SGX_TYPES.length];
  if (sgxType === undefined || more.length > 0) type.fail("has an SGX type that this version does not know");

  const hasInstance = entries.has(6);
  const configuration = entries.get(7);
  if (ca === "Platform" && (!hasInstance || configuration === undefined))
    outer.fail("lacks the platform instance, which a Platform CA's certificate has");
  return {
    ca,
    ppid: octets(1, 16),
    piid: hasInstance ? octets(6, 16) : undefined,
    fmspc: octets(4, 6),
    pceId: octets(3, 2),
    components,
    pceSvn: svn(17, 0xffff),
    sgxType,
    ...readConfiguration(configuration),
  };
}

/** All three are there, or absent ones are unknown: never "off". */
function readConfiguration(
  reader: DerReader | undefined,
): Pick<PckFacts, "dynamicPlatform" | "cachedKeys" | "smtEnabled"> {
  const parts =
    reader === undefined ? new Map<number, DerReader>() : readEntries(reader, `${SGX_EXTENSION}.7`, 3);
  reader?.end();
  const flag = (number: number) => {
    const part = parts.get(number);
    const value = part?.boolean();
    part?.end();
    return value;
  };
  return { dynamicPlatform: flag(1), cachedKeys: flag(2), smtEnabled: flag(3) };
}

/** SEQUENCE OF SEQUENCE { OID prefix.number, value }: numbers 1 to `limit`, each at most once. @returns readers at the values. */
function readEntries(reader: DerReader, prefix: string, limit: number): ReadonlyMap<number, DerReader> {
  const list = reader.open();
  const found = new Map<number, DerReader>();
  while (list.remaining > 0) {
    const entry = list.open();
    const oid = entry.oid();
    const number = oid.startsWith(`${prefix}.`) ? Number(oid.slice(prefix.length + 1)) : 0;
    if (!(number >= 1 && number <= limit)) list.fail("has a part that this version does not know");
    if (found.has(number)) list.fail("has a part twice");
    found.set(number, entry);
  }
  return found;
}
