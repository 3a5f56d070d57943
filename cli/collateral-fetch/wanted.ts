// What to fetch: said by options, or read out of evidence. Nothing of the evidence is believed; it only picks names.

import { decodeAux } from "../../protocol/attestation/aux.ts";
import { parseHclReport } from "../../protocol/attestation/azure/hcl.ts";
import { SNP_PRODUCTS, type SnpProduct } from "../../protocol/attestation/roots.ts";
import { productOfCpuid } from "../../protocol/attestation/sev-snp/product.ts";
import { parseSnpReport } from "../../protocol/attestation/sev-snp/report.ts";
import { decodeTcb, TCB_PARTS, type Tcb } from "../../protocol/attestation/sev-snp/tcb.ts";
import { CA_NAMES } from "../../protocol/attestation/tdx/chain.ts";
import { readPckFacts } from "../../protocol/attestation/tdx/pck.ts";
import { parseTdxQuote } from "../../protocol/attestation/tdx/quote.ts";
import { parseCertificate } from "../../protocol/attestation/x509/certificate.ts";
import { pemCertificates } from "../../protocol/attestation/x509/pem.ts";
import { fromHex, isZero } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { readEvidenceFile } from "../evidence-file.ts";
import type { Input } from "../options.ts";
import { type AmdWanted, TURIN_HW_ID } from "./amd.ts";
import type { IntelWanted } from "./intel.ts";

export interface Wanted {
  readonly amd: AmdWanted | undefined;
  readonly intel: IntelWanted | undefined;
  /** For people: what of it cannot be had. */
  readonly remarks: readonly string[];
}

const CHIP_ID = 64;

/** @throws SealttyError `bad-config`. */
export async function wantedOf(input: Input): Promise<Wanted> {
  const evidence = input.text("for");
  const own = ["snp-product", "chip-id", "tcb", "vlek", "fmspc"].filter((name) => input.has(name));
  if (evidence !== undefined) {
    const foreign = own.find((name) => name !== "snp-product");
    if (foreign !== undefined) bad(`--${foreign} is read from the evidence; leave out it or --for`);
    return await ofEvidence(evidence, productOption(input));
  }
  if (own.length === 0) bad("say what for: --for EVIDENCE, --snp-product NAME, or --fmspc HEX");
  const amd = amdOfOptions(input);
  const fmspc = input.text("fmspc")?.toLowerCase();
  if (fmspc !== undefined && !/^[0-9a-f]{12}$/.test(fmspc)) bad("--fmspc is not 12 hex digits");
  return {
    amd,
    intel: fmspc === undefined ? undefined : { fmspc, authorities: ["platform", "processor"] },
    remarks: [],
  };
}

function productOption(input: Input): SnpProduct | undefined {
  const text = input.text("snp-product");
  if (text === undefined) return undefined;
  const product = SNP_PRODUCTS.find((each) => each.toLowerCase() === text.toLowerCase());
  return product ?? bad(`--snp-product is none of ${SNP_PRODUCTS.join(", ")}`);
}

function amdOfOptions(input: Input): AmdWanted | undefined {
  const product = productOption(input);
  const [chip, tcb] = [input.text("chip-id"), input.text("tcb")];
  if (product === undefined) {
    for (const name of ["chip-id", "tcb", "vlek"])
      if (input.has(name)) bad(`--${name} goes with --snp-product`);
    return undefined;
  }
  if (input.has("vlek")) {
    if (chip !== undefined || tcb !== undefined)
      bad("a VLEK's certificate comes from the cloud only: leave out --chip-id and --tcb");
    return { product, kind: "vlek", chip: undefined };
  }
  if ((chip === undefined) !== (tcb === undefined))
    bad("--chip-id and --tcb go together: a VCEK is of one chip and one TCB");
  return {
    product,
    kind: "vcek",
    chip:
      chip === undefined || tcb === undefined
        ? undefined
        : { chipId: chipIdOf(chip, product), tcb: tcbOf(tcb, product) },
  };
}

function chipIdOf(text: string, product: SnpProduct): Uint8Array {
  const lengths = product === "Turin" ? [TURIN_HW_ID, CHIP_ID] : [CHIP_ID];
  if (!/^[0-9a-f]+$/i.test(text) || !lengths.includes(text.length / 2))
    bad(`--chip-id is not ${lengths.map((length) => `${2 * length}`).join(" or ")} hex digits`);
  const chipId = new Uint8Array(CHIP_ID);
  chipId.set(fromHex(text));
  return chipId;
}

/** "bootloader=4,tee=0,snp=23,microcode=213", Turin also fmc. */
function tcbOf(text: string, product: SnpProduct): Tcb {
  const found = new Map<keyof Tcb, number>();
  for (const part of text.split(",")) {
    const [, name, value = ""] = /^([a-z]+)=([0-9]{1,3})$/.exec(part.trim()) ?? [];
    const key = TCB_PARTS.find((each) => each === name);
    if (key === undefined || Number(value) > 255 || found.has(key))
      return bad(`--tcb is not like ${example(product)}`);
    found.set(key, Number(value));
  }
  const need = (key: keyof Tcb): number =>
    found.get(key) ?? bad(`--tcb lacks ${key}; write it like ${example(product)}`);
  if (product !== "Turin" && found.has("fmc"))
    bad(`--tcb: only Turin has fmc; write it like ${example(product)}`);
  return {
    fmc: product === "Turin" ? need("fmc") : undefined,
    bootloader: need("bootloader"),
    tee: need("tee"),
    snp: need("snp"),
    microcode: need("microcode"),
  };
}

function example(product: SnpProduct): string {
  return `${product === "Turin" ? "fmc=0," : ""}bootloader=4,tee=0,snp=23,microcode=213`;
}

async function ofEvidence(file: string, product: SnpProduct | undefined): Promise<Wanted> {
  const { evidence } = await readEvidenceFile(file);
  try {
    const aux = decodeAux(evidence.type, evidence.aux);
    switch (evidence.type) {
      case "sev-snp":
        return ofSnpReport(evidence.quote, product);
      case "tdx":
        return ofTdxQuote(evidence.quote);
      case "azure-snp":
        return ofSnpReport(parseHclReport(aux.hclReport ?? new Uint8Array(0)).hardwareReport, product);
      case "azure-tdx":
        return ofTdxQuote(aux.hardwareQuote ?? new Uint8Array(0));
      case "tpm":
      case "nitro":
      case "cca":
      case "simulated":
        return bad(`${file} is ${evidence.type} evidence, which needs no collateral of AMD or Intel`);
    }
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "peer-misbehaved") throw cause;
    return bad(`${file} cannot be read: ${cause.message}`, cause);
  }
}

function ofSnpReport(bytes: Uint8Array, named: SnpProduct | undefined): Wanted {
  const report = parseSnpReport(bytes);
  const found = report.cpuid === undefined ? undefined : productOfCpuid(report.cpuid);
  if (report.cpuid !== undefined && found === undefined)
    bad("the report is of a processor that this version does not know");
  if (found !== undefined && named !== undefined && found !== named)
    bad(`the report is of a ${found} processor; leave out --snp-product`);
  const product = found ?? named;
  if (product === undefined)
    return bad("a version 2 report does not name its processor; say --snp-product Milan, or Genoa");
  const intel = undefined;
  if (report.signingKey === "vlek")
    return {
      amd: { product, kind: "vlek", chip: undefined },
      intel,
      remarks: [
        "the report is signed with a VLEK, whose own certificate only the cloud has: the guest must send it",
      ],
    };
  if (isZero(report.chipId))
    return {
      amd: { product, kind: "vcek", chip: undefined },
      intel,
      remarks: [
        "the platform masks its chip id, so that nobody can ask for its VCEK: the guest must send it",
      ],
    };
  const tcb = decodeTcb(report.reportedTcb, product);
  return { amd: { product, kind: "vcek", chip: { chipId: report.chipId, tcb } }, intel, remarks: [] };
}

function ofTdxQuote(bytes: Uint8Array): Wanted {
  const parsed = parseTdxQuote(bytes);
  if (!parsed.supported) return bad(parsed.unsupported.problem);
  const [first] = pemCertificates(trimmed(parsed.quote.pckChain));
  const leaf = parseCertificate(first ?? new Uint8Array(0));
  const authority = leaf.issuerCommonName === CA_NAMES.Processor ? "Processor" : "Platform";
  const { fmspc } = readPckFacts(leaf, authority);
  const authorities = [authority === "Platform" ? "platform" : "processor"] as const;
  return { amd: undefined, intel: { fmspc, authorities }, remarks: [] };
}

/** The chain in a quote ends with a zero byte as a rule. */
function trimmed(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes;
}

function bad(problem: string, cause?: unknown): never {
  throw new SealttyError("bad-config", problem, { cause });
}
