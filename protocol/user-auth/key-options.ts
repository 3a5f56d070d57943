// The options in front of a key in authorized_keys (sshd(8)): each is honoured, or its line is refused.

import type { UserRestrictions } from "./restrictions.ts";

export interface KeyOptions {
  readonly restrictions: UserRestrictions;
  /**
   * `port-forwarding` is written out: only then does a forced command, of the line or of a certificate, leave forwarding as it is.
   * Else it would be no restriction: whoever reaches a socket of the user's (docker's, the session bus) can have anything run.
   */
  readonly forwardingNamed: boolean;
  /** The key signs certificates; it is nobody's own. */
  readonly certAuthority: boolean;
  /** With `certAuthority`: a certificate must name one of these; absent: the user. */
  readonly principals?: readonly string[];
  /** A security key must have been touched. */
  readonly touchRequired: boolean;
  /** A security key must have verified its owner. */
  readonly verifyRequired: boolean;
}

export const NO_OPTIONS: KeyOptions = {
  restrictions: { pty: true, portForwarding: true },
  forwardingNamed: false,
  certAuthority: false,
  touchRequired: true,
  verifyRequired: false,
};

const MAX_PLACES = 256; // of permitopen, and of permitlisten

/** What is being put together. */
interface Draft {
  command?: string;
  pty: boolean;
  /** Undefined: nothing says so. */
  portForwarding?: boolean;
  permitOpen?: string[];
  permitListen?: string[];
  expires?: number;
  certAuthority: boolean;
  principals?: readonly string[];
  touchRequired: boolean;
  verifyRequired: boolean;
}

/** @returns whether there is such an option without a value. */
function applyFlag(draft: Draft, name: string): boolean {
  switch (name) {
    case "pty":
    case "no-pty":
      draft.pty = name === "pty";
      return true;
    case "port-forwarding":
    case "no-port-forwarding":
      draft.portForwarding = name === "port-forwarding";
      return true;
    case "touch-required":
    case "no-touch-required":
      draft.touchRequired = name === "touch-required";
      return true;
    case "verify-required":
    case "no-verify-required":
      draft.verifyRequired = name === "verify-required";
      return true;
    case "cert-authority":
      draft.certAuthority = true;
      return true;
    case "restrict":
      draft.pty = false;
      draft.portForwarding = false;
      return true;
    // What this guest never does: saying so changes nothing.
    case "agent-forwarding":
    case "no-agent-forwarding":
    case "x11-forwarding":
    case "no-x11-forwarding":
    case "user-rc":
    case "no-user-rc":
      return true;
    default:
      return false;
  }
}

/** @returns what is wrong, in fixed words; undefined where all is well. */
function applyValue(draft: Draft, name: string, value: string): string | undefined {
  switch (name) {
    case "command":
      if (draft.command !== undefined) return "it has command= twice";
      draft.command = value;
      return undefined;
    case "principals":
      if (draft.principals !== undefined) return "it has principals= twice";
      draft.principals = value.split(",");
      return draft.principals.includes("") ? "principals= has an empty name" : undefined;
    case "expiry-time": {
      const time = timeOf(value);
      if (time === undefined)
        return "expiry-time= is not YYYYMMDD or YYYYMMDDHHMM[SS], with a Z behind it for UTC";
      draft.expires = Math.min(draft.expires ?? time, time);
      return undefined;
    }
    case "permitopen":
      draft.permitOpen = [...(draft.permitOpen ?? []), value];
      if (draft.permitOpen.length > MAX_PLACES) return "it has too many permitopen=";
      return isPlace(value) ? undefined : "permitopen= is not host:port";
    case "permitlisten": {
      draft.permitListen = [...(draft.permitListen ?? []), value];
      if (draft.permitListen.length > MAX_PLACES) return "it has too many permitlisten=";
      return isPlace(value.includes(":") ? value : `*:${value}`)
        ? undefined
        : "permitlisten= is not [host:]port";
    }
    case "from":
      return "from= cannot be honoured: who carries the console says from where";
    case "environment":
      return "environment= is not honoured";
    case "tunnel":
      return "tunnel= is not honoured: there are no tunnel devices";
    default:
      return UNKNOWN;
  }
}

/**
 * In the order in which they stand, as sshd does: `restrict,pty` allows a terminal, `pty,restrict` does not.
 * @param text - what stands in front of the key's type. @returns a refusal in fixed words where not all of it is understood.
 */
export function parseKeyOptions(text: string): KeyOptions | string {
  const draft: Draft = {
    pty: true,
    certAuthority: false,
    touchRequired: true,
    verifyRequired: false,
  };
  let rest = text;
  for (;;) {
    const name = /^[A-Za-z0-9-]*/.exec(rest)?.[0] ?? "";
    rest = rest.slice(name.length);
    if (rest.startsWith("=")) {
      const end = endOfQuotes(rest);
      if (end === undefined) return "an option's value is not in double quotes";
      const problem = applyValue(draft, name.toLowerCase(), rest.slice(2, end).replaceAll('\\"', '"'));
      rest = rest.slice(end + 1);
      if (problem !== undefined) return problem;
    } else if (!applyFlag(draft, name.toLowerCase())) return UNKNOWN;
    if (rest === "") break;
    if (!rest.startsWith(",")) return UNKNOWN;
    rest = rest.slice(1);
  }
  if (draft.principals !== undefined && !draft.certAuthority)
    return "it has principals= without cert-authority";
  const { certAuthority, principals, touchRequired, verifyRequired, portForwarding, ...restrictions } = draft;
  return {
    restrictions: { ...restrictions, portForwarding: portForwarding ?? draft.command === undefined },
    forwardingNamed: portForwarding === true,
    certAuthority,
    ...(principals === undefined ? {} : { principals }),
    touchRequired,
    verifyRequired,
  };
}

const UNKNOWN = "it has an option that is not known";

/**
 * @param text - begins with `=`. @returns where the quotation mark is that ends the value. As with sshd a backslash protects a
 * quotation mark, and is nothing but itself elsewhere.
 */
function endOfQuotes(text: string): number | undefined {
  if (text.charAt(1) !== '"') return undefined;
  for (let i = 2; i < text.length; i++) {
    if (text.charAt(i) === "\\" && text.charAt(i + 1) === '"') i++;
    else if (text.charAt(i) === '"') return i;
  }
  return undefined;
}

/** "host:port", an IPv6 address in brackets; the port may be `*`. */
function isPlace(text: string): boolean {
  const [, host, port = ""] = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.*-]+):(\*|[0-9]{1,5})$/.exec(text) ?? [];
  return host !== undefined && (port === "*" || (Number(port) > 0 && Number(port) < 65_536));
}

/**
 * YYYYMMDD[HHMM[SS]][Z]; without the Z in the time zone of whoever reads it, as sshd has it.
 * @returns ms since 1970 UTC; undefined where it is no such time.
 */
function timeOf(text: string): number | undefined {
  const found = /^(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)$/.exec(text);
  if (found === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = found
    .slice(1, 7)
    .map((digits) => Number(digits ?? "0"));
  const utc = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const same =
    utc.getUTCFullYear() === year &&
    utc.getUTCMonth() === month - 1 &&
    utc.getUTCDate() === day &&
    utc.getUTCHours() === hour &&
    utc.getUTCMinutes() === minute &&
    utc.getUTCSeconds() === second;
  if (!same || year < 1970) return undefined;
  return found[7] === "Z" ? utc.getTime() : new Date(year, month - 1, day, hour, minute, second).getTime();
}
