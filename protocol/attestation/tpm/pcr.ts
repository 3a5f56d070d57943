// PCR banks, selections and the digest over selected values. TPM 2.0 Library Part 2 §10.9.7, Part 3 §18.4 (TPM2_Quote)

import { Reader, concat, u16, u32, u8 } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";

/** Hash algorithms that a bank may have: TPM_ALG_ID and digest length in bytes. */
export const BANKS = {
  sha1: { alg: 0x0004, size: 20 },
  sha256: { alg: 0x000b, size: 32 },
  sha384: { alg: 0x000c, size: 48 },
  sha512: { alg: 0x000d, size: 64 },
} as const;
export type BankName = keyof typeof BANKS;

export const MAX_PCR = 23;
const MAX_SELECTIONS = 8;
/** Values in one quote: every PCR of four banks. */
const MAX_PCR_VALUES = 96;

export interface PcrSelection {
  readonly bank: BankName;
  /** Ascending. */
  readonly indexes: readonly number[];
}

export interface PcrValue {
  readonly bank: BankName;
  readonly index: number;
  readonly value: Uint8Array;
}

export function bankOfAlgorithm(alg: number): BankName | undefined {
  for (const [name, bank] of Object.entries(BANKS)) if (bank.alg === alg) return name as BankName;
  return undefined;
}

/** TPML_PCR_SELECTION. @throws SealttyError `peer-misbehaved`, also where a bank appears twice. */
export function readPcrSelections(reader: Reader): PcrSelection[] {
  const count = reader.u32();
  if (count > MAX_SELECTIONS) reader.fail("selects PCRs of too many banks");
  const selections: PcrSelection[] = [];
  for (let i = 0; i < count; i++) {
    const bank = bankOfAlgorithm(reader.u16());
    if (bank === undefined) reader.fail("selects PCRs of an unknown bank");
    if (selections.some((other) => other.bank === bank)) reader.fail("selects PCRs of one bank twice");
    const size = reader.u8();
    if (size > 4) reader.fail("has a PCR bitmap that is too long");
    const bitmap = reader.bytes(size);
    const indexes: number[] = [];
    for (let index = 0; index < 8 * size; index++) {
      if ((((bitmap[index >> 3] as number) >> (index & 7)) & 1) === 1) indexes.push(index);
    }
    if ((indexes.at(-1) ?? 0) > MAX_PCR) reader.fail("selects a PCR above 23");
    selections.push({ bank, indexes });
  }
  return selections;
}

/** The same bytes as a TPM expects them: three bytes of bitmap for each bank. */
export function encodePcrSelections(selections: readonly PcrSelection[]): Uint8Array {
  const parts: Uint8Array[] = [u32(selections.length)];
  for (const { bank, indexes } of selections) {
    const bitmap = new Uint8Array(3);
    for (const index of indexes) bitmap[index >> 3] = (bitmap[index >> 3] as number) | (1 << (index & 7));
    parts.push(u16(BANKS[bank].alg), u8(bitmap.length), bitmap);
  }
  return concat(...parts);
}

/** Whether `values` are exactly the selected registers, in the order of the selection. */
export function coversExactly(selections: readonly PcrSelection[], values: readonly PcrValue[]): boolean {
  let at = 0;
  for (const { bank, indexes } of selections) {
    for (const index of indexes) {
      const value = values[at++];
      if (value === undefined || value.bank !== bank || value.index !== index) return false;
    }
  }
  return at === values.length;
}

/** What TPM2_Quote hashes: the values one after the other. @param hash - that of the key's scheme, not of the bank. */
export function pcrDigestOf(
  values: readonly PcrValue[],
  hash: (message: Uint8Array) => Uint8Array,
): Uint8Array {
  return hash(concat(...values.map((each) => each.value)));
}

/** Our list of values beside a quote: (u16 algorithm, u8 index, value of the bank's length)*. */
export function encodePcrValues(values: readonly PcrValue[]): Uint8Array {
  return concat(
    ...values.flatMap(({ bank, index, value }) => {
      if (value.length !== BANKS[bank].size || index > MAX_PCR) {
        throw new SealttyError("api-misuse", "PCR value of another length, or no such PCR");
      }
      return [u16(BANKS[bank].alg), u8(index), value];
    }),
  );
}

/** @throws SealttyError `peer-misbehaved`, also where a register appears twice. */
export function parsePcrValues(bytes: Uint8Array): PcrValue[] {
  const reader: Reader = new Reader(bytes, "List of PCR values");
  const values: PcrValue[] = [];
  const seen = new Set<string>();
  while (reader.remaining > 0) {
    if (values.length >= MAX_PCR_VALUES) reader.fail("is too long");
    const bank = bankOfAlgorithm(reader.u16());
    if (bank === undefined) reader.fail("names an unknown bank");
    const index = reader.u8();
    if (index > MAX_PCR) reader.fail("names a PCR above 23");
    if (seen.has(`${bank}:${index}`)) reader.fail("has one PCR twice");
    seen.add(`${bank}:${index}`);
    values.push({ bank, index, value: reader.bytes(BANKS[bank].size) });
  }
  return values;
}

const MEANINGS: readonly string[] = [
  "firmware code",
  "firmware configuration",
  "option ROM code",
  "option ROM configuration",
  "boot loader or kernel image",
  "boot configuration and partition table",
  "events of the platform's maker",
  "Secure Boot state and keys",
  "boot loader commands and kernel command line",
  "files read at boot: kernel, initramfs, command line",
  "run-time measurements (IMA)",
  "unified kernel image and boot phases",
  "kernel command line overrides and credentials",
  "system extensions",
  "shim's keys",
  "machine identity and disks",
];

/** What software usually measures into a PCR, in words. */
export function pcrMeaning(index: number): string {
  if (index === 16) return "debugging";
  if (index === 23) return "applications";
  return MEANINGS[index] ?? "dynamic launch";
}

/** Anyone in the guest can set these back, so their values prove nothing. */
export const RESETTABLE_PCRS: ReadonlySet<number> = new Set([16, 23]);
/** Those that software measures the kernel into: without one of them nothing is said about what was started. */
export const KERNEL_PCRS: ReadonlySet<number> = new Set([4, 8, 9, 11]);
