// QEMU's -kernel with OVMF: PCR 9 as the kernel's own EFI stub measures command line and initrd into it.

import { DIGEST_SIZE, digest, extend, type HashName } from "./hashes.ts";

/**
 * Two events: the load options as OVMF writes them (UTF-16 with NUL, ` initrd=initrd` appended), then the initrd file.
 * Checked against OVMF 2022.11 with Linux 6.1 on QEMU 7.2.
 */
export function directBootPcr9(name: HashName, commandLine: string, initrd: Uint8Array): Uint8Array {
  const options = Buffer.from(`${commandLine} initrd=initrd\0`, "utf16le");
  const register = extend(name, new Uint8Array(DIGEST_SIZE[name]), digest(name, options));
  return extend(name, register, digest(name, initrd));
}
