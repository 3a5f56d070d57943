// Base64 (RFC 4648 §4) as SSH key lines and key files use it: padded, nothing but the alphabet, one spelling per value.

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES = new Map(ALPHABET.split("").map((character, value) => [character, value]));

/** @returns undefined for anything but canonical base64: other characters, wrong padding, stray bits in the last digit. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digits = text.length - padding;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let bits = 0; // not yet written, at most 6 + 8 of them
  let held = 0;
  let at = 0;
  for (let i = 0; i < digits; i++) {
    const value = VALUES.get(text.charAt(i));
    if (value === undefined) return undefined;
    bits = ((bits << 6) | value) & 0x3fff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes[at++] = bits >> held;
    }
  }
  return (bits & ((1 << held) - 1)) === 0 ? bytes : undefined;
}

/** The URL-safe alphabet (§5) without padding. @returns undefined as above. */
export function decodeBase64Url(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  return decodeBase64(standard + "=".repeat((4 - (text.length % 4)) % 4));
}
