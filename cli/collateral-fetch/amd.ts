// AMD's Key Distribution Service: the chip's certificate for one TCB, the chain above it, the revocation list. AMD 57230

import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { SnpProduct } from "../../protocol/attestation/roots.ts";
import { parseEndorsement } from "../../protocol/attestation/sev-snp/endorsement.ts";
import { encodeTcb, sameTcb, type Tcb } from "../../protocol/attestation/sev-snp/tcb.ts";
import { chainPiece, checkedChain, crlPiece, leafPiece, reading, type Trust, wrong } from "./certificates.ts";
import { type DownloadOptions, download } from "./download.ts";
import type { Piece } from "./piece.ts";

export const KDS = "https://kdsintf.amd.com";
/** Turin's chip id has 8 bytes, and the report fills up with zeros. */
export const TURIN_HW_ID = 8;

export interface AmdWanted {
  readonly product: SnpProduct;
  readonly kind: "vcek" | "vlek";
  /** Undefined: chain and revocation list only. A VLEK's own certificate comes from the cloud. */
  readonly chip: { readonly chipId: Uint8Array; readonly tcb: Tcb } | undefined;
}

export function vcekUrl(base: string, product: SnpProduct, chipId: Uint8Array, tcb: Tcb): string {
  const hwId = toHex(product === "Turin" ? chipId.subarray(0, TURIN_HW_ID) : chipId);
  const two = (value: number) => `${value}`.padStart(2, "0");
  const parts = [
    ...(tcb.fmc === undefined ? [] : [`fmcSPL=${two(tcb.fmc)}`]),
    `blSPL=${two(tcb.bootloader)}`,
    `teeSPL=${two(tcb.tee)}`,
    `snpSPL=${two(tcb.snp)}`,
    `ucodeSPL=${two(tcb.microcode)}`,
  ];
  return `${base}/vcek/v1/${product}/${hwId}?${parts.join("&")}`;
}

/** Yields each piece as soon as it held. @throws SealttyError `peer-misbehaved`, and as `download` does. */
export async function* fetchAmd(
  base: string,
  { product, kind, chip }: AmdWanted,
  trust: Trust,
  options: DownloadOptions,
): AsyncGenerator<Piece> {
  const prefix = `amd-${product.toLowerCase()}-${kind}`;
  const chainUrl = `${base}/${kind}/v1/${product}/cert_chain`;
  const chain = await checkedChain(chainUrl, (await download(chainUrl, options)).body, trust);
  yield chainPiece(`${prefix}-chain.pem`, `${product} ${kind === "vcek" ? "ASK" : "ASVK"} and ARK`, chain);
  const crlUrl = `${base}/${kind}/v1/${product}/crl`;
  const crl = (await download(crlUrl, options)).body;
  yield await crlPiece(
    crlUrl,
    `amd-${product.toLowerCase()}-crl.der`,
    `${product} revocation list`,
    crl,
    chain.root,
    trust,
  );
  if (chip === undefined || kind === "vlek") return;
  const { chipId, tcb } = chip;
  const url = vcekUrl(base, product, chipId, tcb);
  const der = (await download(url, options)).body;
  const name = `${prefix}-${toHex(chipId.subarray(0, TURIN_HW_ID))}-${toHex(encodeTcb(tcb, product))}.der`;
  const { certificate, piece } = await leafPiece(url, name, `${product} VCEK`, der, chain.issuer, trust);
  const endorsement = reading(url, () => parseEndorsement(certificate, "vcek"));
  const hwId = product === "Turin" ? chipId.subarray(0, TURIN_HW_ID) : chipId;
  if (
    endorsement.product !== product ||
    endorsement.hwId === undefined ||
    !equalBytes(endorsement.hwId, hwId)
  )
    wrong(url, "answers with the certificate of another chip");
  if (!sameTcb(endorsement.tcb, tcb)) wrong(url, "answers with the certificate of another TCB");
  yield piece;
}
