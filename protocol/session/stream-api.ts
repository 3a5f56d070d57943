// Forwarding as the CLI has it: somebody who connected in the guest, and the listener they came to.

import type { Channel } from "./channel-api.ts";

/** Somebody connected to a listener in the guest, and waits. */
export interface IncomingStream {
  /** @throws SealttyError `program-failed` where they have gone meanwhile. */
  accept(): Promise<Channel>;
  /** Hangs up on them. No effect after `accept`. */
  dismiss(): void;
}

export interface Listener {
  /** The one that the guest chose, where it was asked for 0; 0 for a socket's path. */
  readonly port: number;
  /** Idempotent. Streams that were accepted go on. */
  close(): void;
}
