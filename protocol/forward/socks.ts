// A SOCKS server's side of the greeting, for `forward -D`: SOCKS5 (RFC 1928) without authentication, SOCKS4 and 4a. CONNECT
// only. Bytes in, bytes out: no socket here.

import { concat, textOf } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_FORWARD_HOST } from "../limits.ts";
import { isForwardHost } from "./target.ts";

/** More than any request needs: 4a's longest user name and host. */
export const MAX_SOCKS_REQUEST = 1024;
const MAX_SOCKS4_TEXT = 255;

export interface SocksRequest {
  readonly version: 4 | 5;
  readonly host: string;
  readonly port: number;
}

/** How it went, in RFC 1928's words. */
export type SocksOutcome =
  | "succeeded"
  | "failed"
  | "not-allowed"
  | "unreachable"
  | "refused"
  | "no-command"
  | "no-address";
const SOCKS5_CODES = {
  succeeded: 0,
  failed: 1,
  "not-allowed": 2,
  unreachable: 4,
  refused: 5,
  "no-command": 7,
  "no-address": 8,
} as const satisfies Record<SocksOutcome, number>;

/** `reply` is to be sent at once; it may be empty. */
export type SocksStep =
  /** More bytes are needed. */
  | { readonly kind: "more"; readonly reply: Uint8Array }
  /** @property rest - what came behind the request: the connection's own. */
  | {
      readonly kind: "request";
      readonly reply: Uint8Array;
      readonly request: SocksRequest;
      readonly rest: Uint8Array;
    }
  /** It cannot go on: send the reply, then close. */
  | { readonly kind: "refused"; readonly reply: Uint8Array; readonly why: string };

const NO_BYTES = new Uint8Array(0);
const MORE = { kind: "more", reply: NO_BYTES } as const;
const BY_NAME = [0, 0, 0];

export class SocksGreeting {
  #bytes: Uint8Array = NO_BYTES;
  #greeted = false; // SOCKS5: a method was agreed on
  #over = false;

  /** @param bytes - in pieces of any length. @throws SealttyError `api-misuse` once it has ended. */
  feed(bytes: Uint8Array): SocksStep {
    if (this.#over) throw new SealttyError("api-misuse", "A SOCKS greeting used after its end");
    this.#bytes = concat(this.#bytes, bytes);
    const step = this.#step();
    this.#over = step.kind !== "more";
    if (step.kind === "more" && this.#bytes.length > MAX_SOCKS_REQUEST) {
      this.#over = true;
      return { kind: "refused", reply: NO_BYTES, why: "the request is too long" };
    }
    return step;
  }

  #step(): SocksStep {
    const version = this.#bytes[0];
    if (version === undefined) return MORE;
    if (version === 5) return this.#greeted ? this.#request5() : this.#methods5();
    if (version === 4 && !this.#greeted) return this.#request4();
    return { kind: "refused", reply: NO_BYTES, why: "it is neither SOCKS5 nor SOCKS4" };
  }

  /** RFC 1928 §3. */
  #methods5(): SocksStep {
    const count = this.#bytes[1];
    if (count === undefined || this.#bytes.length < 2 + count) return MORE;
    const methods = this.#bytes.subarray(2, 2 + count);
    if (!methods.includes(0))
      return { kind: "refused", reply: Uint8Array.of(5, 0xff), why: "it wants to authenticate" };
    this.#greeted = true;
    this.#bytes = this.#bytes.subarray(2 + count);
    const next = this.#step(); // a client need not have waited for the answer
    return { ...next, reply: concat(Uint8Array.of(5, 0), next.reply) };
  }

  /** RFC 1928 §4. */
  #request5(): SocksStep {
    const bytes = this.#bytes;
    if (bytes.length < 5) return MORE;
    const [, command, reserved, type, first] = bytes as Uint8Array & [number, number, number, number, number];
    const length = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? first : undefined;
    const from = type === 3 ? 5 : 4;
    if (length === undefined || reserved !== 0)
      return refuse5("no-address", "it has an unknown kind of address");
    if (bytes.length < from + length + 2) return MORE;
    if (command !== 1) return refuse5("no-command", "it asks for something else than CONNECT");
    const address = bytes.subarray(from, from + length);
    const host = type === 3 ? hostName(address) : type === 1 ? ipv4(address) : ipv6(address);
    const port = portAt(bytes, from + length);
    if (host === undefined || port === 0) return refuse5("no-address", "its host or port cannot be");
    return {
      kind: "request",
      reply: NO_BYTES,
      request: { version: 5, host, port },
      rest: bytes.slice(from + length + 2),
    };
  }

  /** SOCKS4, and 4a: an address 0.0.0.x has the name behind the user's. */
  #request4(): SocksStep {
    const bytes = this.#bytes;
    const user = textUntilZero(bytes, 8);
    if (user === "too-long") return refuse4("its user name is too long");
    if (user === undefined) return MORE;
    if (bytes[1] !== 1) return refuse4("it asks for something else than CONNECT");
    const port = portAt(bytes, 2);
    const address = bytes.subarray(4, 8);
    const byName = BY_NAME.every((zero, i) => address[i] === zero) && address[3] !== 0;
    let end = user.end;
    let host: string | undefined = ipv4(address);
    if (byName) {
      const name = textUntilZero(bytes, end);
      if (name === "too-long") return refuse4("its host is too long");
      if (name === undefined) return MORE;
      host = hostName(name.text);
      end = name.end;
    }
    if (host === undefined || port === 0) return refuse4("its host or port cannot be");
    return { kind: "request", reply: NO_BYTES, request: { version: 4, host, port }, rest: bytes.slice(end) };
  }
}

/** What the client is told once it is known how it went. */
export function socksReply(version: SocksRequest["version"], outcome: SocksOutcome): Uint8Array {
  // The address bound is the guest's own business: zeros, as most servers have it.
  if (version === 4) return Uint8Array.of(0, outcome === "succeeded" ? 90 : 91, 0, 0, 0, 0, 0, 0);
  return Uint8Array.of(5, SOCKS5_CODES[outcome], 0, 1, 0, 0, 0, 0, 0, 0);
}

function refuse5(outcome: SocksOutcome, why: string): SocksStep {
  return { kind: "refused", reply: socksReply(5, outcome), why };
}

function refuse4(why: string): SocksStep {
  return { kind: "refused", reply: socksReply(4, "failed"), why };
}

function portAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) * 256 + (bytes[at + 1] as number);
}

/** @returns undefined where the zero has not come yet. */
function textUntilZero(
  bytes: Uint8Array,
  from: number,
): { readonly text: Uint8Array; readonly end: number } | "too-long" | undefined {
  const zero = bytes.indexOf(0, from);
  const length = (zero < 0 ? bytes.length : zero) - from;
  if (length > MAX_SOCKS4_TEXT) return "too-long";
  return zero < 0 ? undefined : { text: bytes.subarray(from, zero), end: zero + 1 };
}

function hostName(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0 || bytes.length > MAX_FORWARD_HOST) return undefined;
  try {
    const text = textOf(bytes);
    return isForwardHost(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

function ipv4(bytes: Uint8Array): string {
  return bytes.join(".");
}

function ipv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => portAt(bytes, 2 * i).toString(16));
  return groups.join(":");
}
