// The port on which a guest's page was opened first. What a browser keeps for a page, keys included, belongs to an origin, and the
// port is part of it: so a guest whose page is opened again comes back to its own. A memory aid; trouble with it is none.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { pagePortsDirectory } from "./directories.ts";
import type { Services } from "./services.ts";
import { keepOwnFile } from "./whole-file.ts";

const VERSION = 1;
const MAX_FILE = 256;

export class PagePort {
  readonly #file: string | undefined;

  /** @param address - the guest's. */
  constructor(address: string, services: Pick<Services, "environment">) {
    const directory = pagePortsDirectory(services.environment);
    const name = `${createHash("sha256").update(address).digest("hex")}.json`;
    this.#file = directory === undefined ? undefined : path.join(directory, name);
  }

  /** @returns undefined where none was kept. */
  async recall(): Promise<number | undefined> {
    if (this.#file === undefined) return undefined;
    try {
      const text = await readFile(this.#file, "utf8");
      if (text.length > MAX_FILE) return undefined;
      const { version, port } = JSON.parse(text) as Record<string, unknown>;
      if (version !== VERSION || typeof port !== "number" || !Number.isInteger(port)) return undefined;
      return port >= 1 && port <= 65535 ? port : undefined;
    } catch {
      return undefined;
    }
  }

  async remember(port: number): Promise<void> {
    if (this.#file === undefined) return;
    try {
      await keepOwnFile(this.#file, `${JSON.stringify({ version: VERSION, port })}\n`);
    } catch {
      // The next page may be on another port, and says so.
    }
  }
}
