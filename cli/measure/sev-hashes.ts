// The table of kernel hashes that QEMU puts into a measured page (kernel-hashes=on), so that OVMF starts no other kernel.

import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { digest } from "./hashes.ts";
import { guidBytes } from "./little-endian.ts";
import { PAGE } from "./ovmf.ts";

const TABLE = guidBytes("9438d606-4f22-4cc9-b479-a793d411fd21");
const COMMAND_LINE = guidBytes("97d02dd8-bd20-4c94-aa78-e7714d36ab2a");
const INITRD = guidBytes("44baf731-3a2f-4bd7-9af1-41e29169781d");
const KERNEL = guidBytes("4de79437-abd2-427f-b835-d5b172d2045b");
/** GUID, u16 length, SHA-256. */
const ENTRY = 16 + 2 + 32;
const TABLE_LENGTH = 16 + 2 + 3 * ENTRY;
/** QEMU pads the table to a multiple of 16. */
const PADDED = 176;

export interface DirectKernel {
  /** The file as it is on disk. */
  readonly kernel: Uint8Array;
  /** Empty where there is none. */
  readonly initrd: Uint8Array;
  /** Without the NUL that is hashed behind it. */
  readonly commandLine: string;
}

/** 176 bytes: header, then command line, initrd, kernel in this order. QEMU target/i386/sev.c, SevHashTable. */
export function hashTable({ kernel, initrd, commandLine }: DirectKernel): Uint8Array {
  const entry = (guid: Uint8Array, hash: Uint8Array) => concat(guid, Uint8Array.of(ENTRY, 0), hash);
  const table = concat(
    TABLE,
    Uint8Array.of(TABLE_LENGTH, 0),
    entry(COMMAND_LINE, digest("sha256", utf8(`${commandLine}\0`))),
    entry(INITRD, digest("sha256", initrd)),
    entry(KERNEL, digest("sha256", kernel)),
  );
  return concat(table, new Uint8Array(PADDED - table.length));
}

/** The measured page: zeros but for the table. @param address - of the table. @throws SealttyError `bad-config`. */
export function hashPage(kernel: DirectKernel, address: number): Uint8Array {
  const offset = address % PAGE;
  if (offset + PADDED > PAGE)
    throw new SealttyError(
      "bad-config",
      "The OVMF image puts its table of kernel hashes across a page's end",
    );
  return concat(new Uint8Array(offset), hashTable(kernel), new Uint8Array(PAGE - offset - PADDED));
}
