// What each of a TD's run-time registers is about: the TDVF design guide's mapping.

const MEANINGS = [
  "firmware configuration, ACPI tables, boot variables",
  "boot loader and kernel images",
  "kernel command line, initramfs",
  "what the running system extends",
] as const;

/** @param index - 0 to 3. */
export function rtmrMeaning(index: number): string {
  return MEANINGS[index] ?? "no such register";
}
