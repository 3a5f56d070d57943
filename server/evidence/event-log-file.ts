// The firmware's event log, as the kernel shows it.

import { readBoundedFile } from "../../node/bounded-file.ts";
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
  return await readBoundedFile(path, MAX_EVENT_LOG).catch(() => new Uint8Array());
}

/** A CC event log fills the whole area that the firmware set aside: 0xFF behind its last event. */
export function withoutPadding(log: Uint8Array): Uint8Array {
  let end = log.length;
  while (end > 0 && log[end - 1] === 0xff) end--;
  return log.subarray(0, end);
}
