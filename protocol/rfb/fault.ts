// How a VNC server of the host's is told off. It is part of the transport and trusted for nothing, so is its fault.

import { SealttyError } from "../errors.ts";

/** Of what the host says about itself, this much is shown. */
const MAX_SHOWN = 200;

/** @param problem - what the server did, in our words. */
export function rfbFault(problem: string, cause?: unknown): SealttyError {
  return new SealttyError(
    "transport-lost",
    `The host's VNC server ${problem}.`,
    cause === undefined ? {} : { cause },
  );
}

/** The host's words, fit for a terminal: printable ASCII, the rest as question marks, cut. In quotes: they are not ours. */
export function hostWords(bytes: Uint8Array): string {
  const text = Array.from(bytes.subarray(0, MAX_SHOWN), (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?",
  ).join("");
  return JSON.stringify(bytes.length > MAX_SHOWN ? `${text}…` : text);
}
