// What a connection of the guest needs to forward: connections to elsewhere, and listeners. server/streams makes them.

import type { ListenPlace, StreamPlace } from "../forward/target.ts";
import type { AuthenticatedUser, GuestProcess } from "./guest-process.ts";

/** Why nothing was opened or listened on: a code of OPENED (docs/protocol.md §8.3) or of LISTENING (§8.10). */
export type StreamRefusal = { readonly code: number };

/** Somebody connected to a listener, and waits. */
export interface WaitingStream {
  /** One call of either, once. */
  accept(): Promise<GuestProcess | StreamRefusal>;
  dismiss(): void;
}

export interface ListenerEvents {
  /** A client of whose connection nothing is heard keeps nobody else from its place. */
  isLive(): boolean;
  /** @returns whether there is room for it; else it is dismissed. */
  incoming(stream: WaitingStream): boolean;
}

export interface GuestListener {
  /** 0 for a socket's path. */
  readonly port: number;
  /** Nobody can connect any more; what has connected goes on. Idempotent. */
  close(): void;
}

export interface GuestStreams {
  /** The permissions of the user's key were looked at. Never rejects. */
  open(user: AuthenticatedUser, place: StreamPlace): Promise<GuestProcess | StreamRefusal>;
  /** As above. */
  listen(
    user: AuthenticatedUser,
    place: ListenPlace,
    events: ListenerEvents,
  ): Promise<GuestListener | StreamRefusal>;
}
