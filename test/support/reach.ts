// A client's way to a guest of `testGuest`: full handshake and evidence over a pipe in memory that is there once.

import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AttestedGuest, Guest, UserAuth } from "../../protocol/session/api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { memoryPipes, type PipePair } from "./memory-pipe.ts";
import { clientOptions, type TestGuest } from "./session.ts";

export const NOBODY: UserAuth = { method: "none", user: "root" };

export interface Reached {
  readonly attested: AttestedGuest;
  readonly guest: Guest;
  readonly pipes: PipePair;
}

/** @param pipes - of a host that does something to what they carry. A second dial finds the host gone. */
export async function reachGuest(
  guest: TestGuest,
  clock: Clock,
  auth: UserAuth = NOBODY,
  pipes: PipePair = memoryPipes(),
): Promise<Reached> {
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  let dialled = false;
  const attested = await connect(
    clientOptions(clock, async () => {
      if (dialled) throw new SealttyError("transport-lost", "The host is gone");
      dialled = true;
      return pipes.client;
    }),
  );
  return { attested, guest: await attested.authenticate(auth), pipes };
}
