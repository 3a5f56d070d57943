// Bytes as people read them: offset, sixteen in hex, the same in ASCII.

export function hexDump(bytes: Uint8Array, perLine = 16): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += perLine) {
    const row = bytes.subarray(at, at + perLine);
    const hex: string[] = [];
    let ascii = "";
    for (const byte of row) {
      hex.push(byte.toString(16).padStart(2, "0"));
      ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·";
    }
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex.join(" ").padEnd(perLine * 3 - 1)}  ${ascii}`);
  }
  return lines.join("\n");
}
