// What a system's error means to whoever asked: a fixed code, nothing else.

import { LISTEN_FAILED, LISTEN_IN_USE, LISTEN_NOT_ALLOWED } from "../../protocol/forward/forward-messages.ts";
import {
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_REFUSED,
  OPEN_UNREACHABLE,
} from "../../protocol/session/messages.ts";

/** @param code - the system's, "ECONNREFUSED". @returns a code of OPENED (docs/protocol.md §8.3). */
export function openCodeOf(code: string | undefined): number {
  switch (code) {
    case "ECONNREFUSED":
    case "ENOENT":
    case "ENOTDIR":
      return OPEN_REFUSED;
    case "EACCES":
    case "EPERM":
      return OPEN_NOT_ALLOWED;
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NODATA":
    case "EAI_NONAME":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "EADDRNOTAVAIL":
    case "ETIMEDOUT":
    case "EINVAL": // an address that nothing can have, a zone that is not there
      return OPEN_UNREACHABLE;
    default:
      return OPEN_FAILED;
  }
}

/** @param code - the system's, "EADDRINUSE". @returns a code of LISTENING (docs/protocol.md §8.10). */
export function listenCodeOf(code: string | undefined): number {
  if (code === "EADDRINUSE" || code === "EEXIST") return LISTEN_IN_USE;
  if (code === "EACCES" || code === "EPERM") return LISTEN_NOT_ALLOWED;
  return LISTEN_FAILED;
}
