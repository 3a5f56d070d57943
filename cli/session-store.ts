// Which sessions this user opened, so that another command can come back to them. Of one opened without a key the secret
// is in there: whoever can read the file can attach, as with a private key.

import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { fromHex, toHex } from "../protocol/bytes.ts";
import {
  SESSION_ID_LENGTH,
  SESSION_SECRET_LENGTH,
  type SessionName,
} from "../protocol/session/session-api.ts";
import { sessionsDirectory } from "./directories.ts";
import type { Services } from "./services.ts";

const VERSION = 1;
const MAX_FILE = 64 * 1024;
/** The newest are kept. */
const MAX_KEPT = 32;

interface StoredSession {
  readonly id: string; // hex
  readonly secret: string | null; // hex
}

/** Of one guest, by its policy's name: addresses change. */
export class SessionStore {
  readonly #file: string | undefined;

  constructor(policyName: string, services: Pick<Services, "environment">) {
    const directory = sessionsDirectory(services.environment);
    const name = createHash("sha256").update(policyName).digest("hex");
    this.#file = directory && path.join(directory, `${name}.json`);
  }

  /** Oldest first; none where nothing can be read. */
  async all(): Promise<SessionName[]> {
    return (await this.#read()).map(({ id, secret }) => ({
      id: fromHex(id),
      secret: secret === null ? undefined : fromHex(secret),
    }));
  }

  /** As the newest. @returns whether it could be kept. */
  async remember({ id, secret }: SessionName): Promise<boolean> {
    const entry = { id: toHex(id), secret: secret === undefined ? null : toHex(secret) };
    const others = (await this.#read()).filter((each) => each.id !== entry.id);
    return this.#write([...others, entry].slice(-MAX_KEPT));
  }

  async forget({ id }: Pick<SessionName, "id">): Promise<void> {
    const before = await this.#read();
    const after = before.filter((each) => each.id !== toHex(id));
    if (after.length < before.length) await this.#write(after);
  }

  async #read(): Promise<StoredSession[]> {
    if (this.#file === undefined) return [];
    try {
      const text = await readFile(this.#file, "utf8");
      if (text.length > MAX_FILE) return [];
      const { version, sessions } = JSON.parse(text) as { version?: unknown; sessions?: unknown };
      return version === VERSION && Array.isArray(sessions) ? sessions.filter(isStored) : [];
    } catch {
      return [];
    }
  }

  /** Whole or not at all: two commands may write at once. Trouble with the file is no trouble for the connection. */
  async #write(sessions: readonly StoredSession[]): Promise<boolean> {
    if (this.#file === undefined) return false;
    try {
      await mkdir(path.dirname(this.#file), { recursive: true, mode: 0o700 });
      const fresh = `${this.#file}.${process.pid}.new`;
      await writeFile(fresh, `${JSON.stringify({ version: VERSION, sessions })}\n`, { mode: 0o600 });
      await rename(fresh, this.#file);
      return true;
    } catch {
      return false;
    }
  }
}

function isStored(value: unknown): value is StoredSession {
  if (typeof value !== "object" || value === null) return false;
  const { id, secret } = value as Partial<StoredSession>;
  return isHex(id, SESSION_ID_LENGTH) && (secret === null || isHex(secret, SESSION_SECRET_LENGTH));
}

function isHex(value: unknown, bytes: number): boolean {
  return typeof value === "string" && value.length === 2 * bytes && /^[0-9a-f]+$/.test(value);
}
