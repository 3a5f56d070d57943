// A guest whose evidence met the policy, for programs: their hooks are told, and whichever fails ends the connection.

import { toHex } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import type { AttestedGuest, ConnectionState, ConnectOptions, Guest } from "../session/api.ts";
import { ChangeWatch, type OnChanged } from "./change-watch.ts";
import { callHook } from "./hooks.ts";
import type { EvidenceEvent } from "./types.ts";
import type { Connection } from "./watched-guest.ts";

export interface Listeners {
  onState?(state: ConnectionState): void;
  /** Once the user is in. */
  onEvidence?(event: EvidenceEvent): void;
  /** A guest that is another one: nobody answers for it where this is absent. */
  readonly onChanged?: OnChanged;
}

/** Nothing secret was sent to it yet. */
export interface Reachable {
  readonly attested: AttestedGuest;
  readonly change: ChangeWatch;
}

/**
 * Whichever listener fails, the connection ends with what it threw.
 * @param connect - protocol/session/connect.ts, or a test's.
 * @throws SealttyError `evidence-refused`, `guest-silent`, …; `api-misuse` where a listener failed.
 */
export async function attestGuest(
  connect: (options: ConnectOptions) => Promise<AttestedGuest>,
  options: Omit<ConnectOptions, "onState" | "onAttestation">,
  listeners: Listeners,
): Promise<Reachable> {
  const change = new ChangeWatch({
    ...(listeners.onChanged === undefined ? {} : { onChanged: listeners.onChanged }),
    onAccepted: (claims) => listeners.onEvidence?.({ kind: "accepted", claims }),
  });
  const connecting = connect({
    ...options,
    onState(state) {
      const told = (): void => listeners.onState?.(state);
      // Nothing is left to end by then: what it ended with is not to be hidden behind this.
      if (state.phase === "closed") callHook(told, () => undefined);
      else change.tell("onState", told);
    },
    onAttestation(event) {
      if (event.kind === "changed") return change.event(event);
      const told: EvidenceEvent =
        event.kind === "renewed" ? { kind: event.kind, claims: event.verified.claims } : event;
      change.tell("onEvidence", () => listeners.onEvidence?.(told));
    },
  });
  let off = (): void => {};
  const failed = new Promise<never>((_, reject) => {
    off = change.watch(reject);
  });
  // Also before the user is in: what is still being attested then is closed once it is.
  change.watch(() => void connecting.then((late) => late.close()).catch(() => undefined));
  try {
    return { attested: await Promise.race([connecting, failed]), change };
  } finally {
    off();
  }
}

/** @param guest - whose user is in. @throws SealttyError where a listener failed meanwhile. */
export function connectionOf({ attested, change }: Reachable, guest: Guest, clock: Clock): Connection {
  if (change.error !== undefined) throw change.error;
  const key = toHex(attested.context.guestStatic);
  return { guest, key, clock, change, close: () => attested.close().catch(() => undefined) };
}

/** Has the user in, or closes. @throws SealttyError `user-refused`, …; or what a listener failed with. */
export async function signedIn(
  reached: Reachable,
  signIn: (attested: AttestedGuest) => Promise<Guest>,
  clock: Clock,
): Promise<Connection> {
  const { attested, change } = reached;
  try {
    return connectionOf(reached, await signIn(attested), clock);
  } catch (error) {
    await attested.close().catch(() => undefined);
    throw change.error ?? error; // a hook that failed closes it, too
  }
}
