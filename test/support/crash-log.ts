// What a host reads in the file of its firmware's variables of a kernel that has crashed: pstore's records.

import zlib from "node:zlib";

const RECORD = Buffer.from("dump-type0-", "utf16le");

/** @param variables - OVMF's, as QEMU keeps them. @returns the end of the kernel's log. */
export function crashLog(variables: Buffer): string {
  const parts = [];
  for (let at = variables.indexOf(RECORD); at >= 0; at = variables.indexOf(RECORD, at + 1)) {
    let end = at; // of the name, in UTF-16; what it holds comes right behind
    while (variables.readUInt16LE(end) !== 0) end += 2;
    parts.push(unpacked(variables.subarray(end + 2)));
  }
  return parts.join("\n");
}

function unpacked(bytes: Buffer): string {
  try {
    return zlib.inflateRawSync(bytes).toString("latin1");
  } catch {
    return ""; // one that the firmware did not write to its end
  }
}
