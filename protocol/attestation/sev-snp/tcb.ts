// TCB_VERSION: the security versions of a platform's firmware. Its layout depends on the product, so it is compared
// component by component and never as one number. AMD 56860, TCB_VERSION

import { isZero } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import type { SnpTcbMinimum } from "../policy/model.ts";
import type { SnpProduct } from "../roots.ts";

export interface Tcb {
  /** Turin only. */
  readonly fmc: number | undefined;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** In the order of a TCB_VERSION from the lowest byte up (Turin's). */
export const TCB_PARTS = [
  "fmc",
  "bootloader",
  "tee",
  "snp",
  "microcode",
] as const satisfies readonly (keyof Tcb)[];

/** @param raw - 8 bytes. @throws SealttyError `peer-misbehaved` where a byte without a meaning is not zero. */
export function decodeTcb(raw: Uint8Array, product: SnpProduct): Tcb {
  if (raw.length !== 8 || !isZero(product === "Turin" ? raw.subarray(4, 7) : raw.subarray(2, 6))) {
    throw new SealttyError("peer-misbehaved", "TCB version has a byte that this processor does not have");
  }
  return tcbParts(raw, product);
}

/** The bytes that have a meaning, whatever the others are: for telling a difference. @param raw - 8 bytes. */
export function tcbParts(raw: Uint8Array, product: SnpProduct): Tcb {
  const at = (index: number) => raw[index] as number;
  return product === "Turin"
    ? { fmc: at(0), bootloader: at(1), tee: at(2), snp: at(3), microcode: at(7) }
    : { fmc: undefined, bootloader: at(0), tee: at(1), snp: at(6), microcode: at(7) };
}

/** @returns 8 bytes. */
export function encodeTcb(tcb: Tcb, product: SnpProduct): Uint8Array {
  return product === "Turin"
    ? Uint8Array.of(tcb.fmc ?? 0, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode)
    : Uint8Array.of(tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode);
}

export function sameTcb(a: Tcb, b: Tcb): boolean {
  return TCB_PARTS.every((part) => a[part] === b[part]);
}

/** A component that the minimum names and the processor does not have counts as version 0. */
export function meetsTcb(tcb: Tcb, minimum: SnpTcbMinimum): boolean {
  return TCB_PARTS.every((part) => (tcb[part] ?? 0) >= (minimum[part] ?? 0));
}

/** "bootloader 10, tee 0, snp 27, microcode 88" */
export function tcbWords(tcb: Tcb | SnpTcbMinimum): string {
  const parts = TCB_PARTS.flatMap((part) => (tcb[part] === undefined ? [] : [`${part} ${tcb[part]}`]));
  return parts.length === 0 ? "none" : parts.join(", ");
}

/** The least that a policy would ask for to accept exactly this and what is newer. */
export function minimumOf(tcb: Tcb): SnpTcbMinimum {
  const { fmc, ...rest } = tcb;
  return fmc === undefined ? rest : { fmc, ...rest };
}
