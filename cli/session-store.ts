// Which sessions this user opened, so that another command can come back to them. Of one opened without a key the secret
// is in there: whoever can read the file can attach, as with a private key.

import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import type { SessionName } from "./api/types.ts";
import { sessionsDirectory } from "./directories.ts";
import type { Services } from "./services.ts";
import { keepOwnFile } from "./whole-file.ts";

const VERSION = 1;
const MAX_FILE = 1024;
/** Of all guests together; the newest are kept. */
const MAX_KEPT = 256;
/** SHA-256 of the guest's key, and the session's id. */
const NAME = /^([0-9a-f]{64})\.([0-9a-f]{32})\.json$/;
const SECRET = /^[0-9a-f]{64}$/;

interface Stored {
  /** Milliseconds since 1970, UTC, or later than any that was there before: an order, no time. */
  readonly at: number;
  readonly secret: string | null; // hex
}

/**
 * Of one guest, by the key that its evidence is bound to: sealttyd draws one at each start, and its sessions live as long.
 * So a secret goes to nobody but the very guest that drew it, whatever else meets the same policy.
 *
 * A file for each session: two commands at once take nothing away from each other, without a lock.
 */
export class SessionStore {
  /** Undefined where there is no home. */
  readonly directory: string | undefined;
  readonly #guestKey: string;
  readonly #guest: string;
  readonly #wallTime: () => number;

  /** @param guestKey - hex, the verified guest's. */
  constructor(guestKey: string, services: Pick<Services, "environment" | "wallTime">) {
    this.directory = sessionsDirectory(services.environment);
    this.#guestKey = guestKey;
    this.#guest = createHash("sha256").update(guestKey, "hex").digest("hex");
    this.#wallTime = () => services.wallTime();
  }

  /** Oldest first; none where nothing can be read. */
  async all(): Promise<SessionName[]> {
    const guest = this.#guestKey;
    return (await this.#mine()).map(({ id, secret }) => (secret === null ? { id } : { id, secret, guest }));
  }

  /** As the newest. @returns whether it could be kept: trouble with the file is no trouble for the connection. */
  async remember({ id, secret }: Pick<SessionName, "id" | "secret">): Promise<boolean> {
    if (this.directory === undefined) return false;
    const file = path.join(this.directory, this.#fileOf(id));
    try {
      const newest = (await this.#mine()).at(-1)?.at ?? 0;
      const at = Math.max(this.#wallTime(), newest + 1);
      const stored = { version: VERSION, at, secret: secret ?? null };
      await keepOwnFile(file, `${JSON.stringify(stored)}\n`);
    } catch {
      return false;
    }
    await this.#forgetOldest(this.directory).catch(() => undefined);
    return true;
  }

  async forget({ id }: Pick<SessionName, "id">): Promise<void> {
    if (this.directory === undefined) return;
    await rm(path.join(this.directory, this.#fileOf(id)), { force: true }).catch(() => undefined);
  }

  #fileOf(id: string): string {
    return `${this.#guest}.${id}.json`;
  }

  /** Oldest first. */
  async #mine(): Promise<(Stored & { readonly id: string })[]> {
    const { directory } = this;
    if (directory === undefined) return [];
    const found: (Stored & { readonly id: string })[] = [];
    for (const name of await readdir(directory).catch(() => [])) {
      const [, guest, id] = NAME.exec(name) ?? [];
      if (guest !== this.#guest || id === undefined) continue;
      const stored = await readStored(path.join(directory, name));
      if (stored !== undefined) found.push({ ...stored, id });
    }
    return found.sort((a, b) => a.at - b.at);
  }

  async #forgetOldest(directory: string): Promise<void> {
    const names = (await readdir(directory)).filter((name) => NAME.test(name));
    if (names.length <= MAX_KEPT) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const file = path.join(directory, name);
        return { file, at: (await readStored(file))?.at ?? 0 };
      }),
    );
    files.sort((a, b) => a.at - b.at);
    for (const { file } of files.slice(0, -MAX_KEPT)) await rm(file, { force: true });
  }
}

/** @returns undefined where it is not one of ours, or gone meanwhile. */
async function readStored(file: string): Promise<Stored | undefined> {
  try {
    const text = await readFile(file, "utf8");
    if (text.length > MAX_FILE) return undefined;
    const { version, at, secret } = JSON.parse(text) as { version?: unknown } & Partial<Stored>;
    if (version !== VERSION || typeof at !== "number" || !Number.isSafeInteger(at)) return undefined;
    return secret === null || isSecret(secret) ? { at, secret } : undefined;
  } catch {
    return undefined;
  }
}

function isSecret(value: unknown): value is string {
  return typeof value === "string" && SECRET.test(value);
}
