// The greeting of a SOCKS proxy, held with whoever connected to it: a socket of this machine, or one of the guest's.

import {
  SocksGreeting,
  type SocksOutcome,
  type SocksRequest,
  socksReply,
} from "../../../protocol/forward/socks.ts";

/** Who does not say what they want in this time is let go, ms. */
export const GREETING_WITHIN_MS = 30_000;

export interface SocksPeer {
  /** Undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
  write(bytes: Uint8Array): Promise<void>;
}

export interface Greeted {
  readonly request: SocksRequest;
  /** What came behind the request. */
  readonly rest: Uint8Array;
  answer(outcome: SocksOutcome): Promise<void>;
}

/** @returns undefined where it came to nothing: the peer was told by then. @throws what the peer throws. */
export async function greet(peer: SocksPeer): Promise<Greeted | undefined> {
  const greeting = new SocksGreeting();
  for (;;) {
    const bytes = await peer.read();
    if (bytes === undefined) return undefined;
    const step = greeting.feed(bytes);
    if (step.reply.length > 0) await peer.write(step.reply);
    if (step.kind === "refused") return undefined;
    if (step.kind === "more") continue;
    const { request, rest } = step;
    return { request, rest, answer: (outcome) => peer.write(socksReply(request.version, outcome)) };
  }
}
