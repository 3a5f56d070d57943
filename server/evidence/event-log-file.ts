// The firmware's event log, as the kernel shows it.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MAX_EVENT_LOG } from "../../protocol/limits.ts";

/** TPM: readable with securityfs mounted. */
export const TPM_EVENT_LOG = "/sys/kernel/security/tpm0/binary_bios_measurements";
/** TDX: what the firmware extended into RTMR 0 to 2. */
export const CC_EVENT_LOG = "/sys/firmware/acpi/tables/data/CCEL";

/**
 * Absent (no firmware log, no securityfs), unreadable or longer than 512 KiB: empty. A log explains registers and proves
 * nothing by itself, so a verifier then says that there is none.
 */
export async function readEventLog(path: string | undefined): Promise<Uint8Array> {
  if (path === undefined) return new Uint8Array();
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY);
  } catch {
    return new Uint8Array();
  }
  try {
    // The kernel tells no length; one byte more than allowed shows a log that is too long.
    const log = new Uint8Array(MAX_EVENT_LOG + 1);
    let length = 0;
    while (length < log.length) {
      const { bytesRead } = await file.read(log, length, log.length - length, null);
      if (bytesRead === 0) return log.slice(0, length);
      length += bytesRead;
    }
    return new Uint8Array();
  } catch {
    return new Uint8Array();
  } finally {
    await file.close();
  }
}

/** A CC event log fills the whole area that the firmware set aside: 0xFF behind its last event. */
export function withoutPadding(log: Uint8Array): Uint8Array {
  let end = log.length;
  while (end > 0 && log[end - 1] === 0xff) end--;
  return log.subarray(0, end);
}
