// How many programs may run at a time: of all users together, and of each of them, so that none takes every place.

import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { findAccount } from "./account.ts";
import type { Launch } from "./launch.ts";

export class ProgramShares {
  readonly #perUser: number;
  readonly #total: number;
  readonly #running = new Map<string, number>();
  #all = 0;

  constructor(perUser: number, total: number) {
    this.#perUser = perUser;
    this.#total = total;
  }

  /** @param owner - as `shareOwner` says it. @returns gives the place back, once. @throws SealttyError `limit-exceeded`. */
  take(owner: string): () => void {
    const running = this.#running.get(owner) ?? 0;
    if (this.#all >= this.#total) throw new SealttyError("limit-exceeded", "Too many programs run");
    if (running >= this.#perUser)
      throw new SealttyError("limit-exceeded", "Too many programs of this user's run ([users] max_programs)");
    this.#running.set(owner, running + 1);
    this.#all++;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      this.#all--;
      const left = (this.#running.get(owner) ?? 0) - 1;
      if (left > 0) this.#running.set(owner, left);
      else this.#running.delete(owner);
    };
  }
}

/** Whose share a program is of: a user id's; logins without a key, which all run as root at first, have one together. */
export async function shareOwner(user: AuthenticatedUser, { account }: Launch): Promise<string> {
  if (user.method === "none") return "login";
  const uid = account?.uid ?? (await findAccount(user.name))?.uid; // the service ssh runs as root, for this user
  return uid === undefined ? `name ${user.name}` : `uid ${uid}`;
}
