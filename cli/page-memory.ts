// What the fresh page finds again, though its address is another one each time: what it saw of the guest, how its user signed in. No
// secrets. A memory aid; trouble with it is none.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { pageMemoryDirectory } from "./directories.ts";
import type { Services } from "./services.ts";
import { keepOwnFile } from "./whole-file.ts";

const VERSION = 1;
const MAX_ITEMS = 8;
const MAX_NAME = 64; // characters, as MAX_VALUE
const MAX_VALUE = 128 * 1024;
const MAX_FILE = 1024 * 1024;

export class PageMemory {
  readonly #file: string | undefined;
  readonly #items = new Map<string, string>();
  #written: Promise<void> = Promise.resolve();

  /** @param file - undefined: for this run only. */
  constructor(file: string | undefined) {
    this.#file = file;
  }

  /** Of one guest: its address, and what the user's policy or guests.toml calls it. */
  static async of(
    identity: string,
    address: string,
    services: Pick<Services, "environment">,
  ): Promise<PageMemory> {
    const directory = pageMemoryDirectory(services.environment);
    const name = createHash("sha256").update(`${identity}\0${address}`).digest("hex");
    const memory = new PageMemory(directory && path.join(directory, `${name}.json`));
    await memory.#read();
    return memory;
  }

  get items(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#items);
  }

  /** Resolves once what was remembered is in the file, or cannot be. */
  get written(): Promise<void> {
    return this.#written;
  }

  /** What is too long, or one too many, is not remembered. */
  remember(name: string, value: string): void {
    if (name.length > MAX_NAME || value.length > MAX_VALUE) return;
    if (!this.#items.has(name) && this.#items.size >= MAX_ITEMS) return;
    this.#items.set(name, value);
    this.#save();
  }

  #save(): void {
    const file = this.#file;
    if (file === undefined) return;
    const text = `${JSON.stringify({ version: VERSION, items: this.items })}\n`;
    this.#written = this.#written.then(() => keepOwnFile(file, text)).catch(() => undefined);
  }

  async #read(): Promise<void> {
    if (this.#file === undefined) return;
    let stored: unknown;
    try {
      const text = await readFile(this.#file, "utf8");
      stored = text.length > MAX_FILE ? undefined : JSON.parse(text);
    } catch {
      return;
    }
    if (typeof stored !== "object" || stored === null) return;
    const { version, items } = stored as Record<string, unknown>;
    if (version !== VERSION || typeof items !== "object" || items === null) return;
    for (const [name, value] of Object.entries(items).slice(0, MAX_ITEMS)) {
      if (name.length <= MAX_NAME && typeof value === "string" && value.length <= MAX_VALUE)
        this.#items.set(name, value);
    }
  }
}
