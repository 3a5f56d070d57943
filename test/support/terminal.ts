// Talks to a channel as a person would: types, and waits for what the terminal shows.

import { utf8 } from "../../protocol/bytes.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";

export class TestTerminal {
  readonly #channel: Channel;
  readonly #reading: Promise<void>;
  #shown = "";
  #failure: string | undefined;
  #ended = false;
  #looking: (() => void)[] = [];

  constructor(channel: Channel) {
    this.#channel = channel;
    this.#reading = this.#read();
  }

  get shown(): string {
    return this.#shown;
  }

  async type(text: string): Promise<void> {
    await this.#channel.write(utf8(text));
  }

  /** @throws with everything shown so far, where the output ends first or nothing matches within `timeout` ms. */
  async waitFor(pattern: RegExp, timeout = 60_000): Promise<RegExpMatchArray> {
    const late = setTimeout(() => this.#wake("late"), timeout);
    let over = "";
    this.#onLate = () => {
      over = `not within ${timeout} ms`;
    };
    try {
      for (;;) {
        const match = this.#shown.match(pattern);
        if (match !== null) return match;
        if (over === "" && this.#ended) over = `the output ended: ${this.#failure ?? "end of stream"}`;
        if (over !== "")
          throw new Error(`Waited for ${pattern}: ${over}. Shown so far:\n${JSON.stringify(this.#shown)}`);
        await new Promise<void>((resolve) => this.#looking.push(resolve));
      }
    } finally {
      clearTimeout(late);
    }
  }

  /** Forgets what was shown, so that the next `waitFor` sees only what is new. */
  clear(): void {
    this.#shown = "";
  }

  async ended(): Promise<void> {
    await this.#reading;
  }

  #onLate: () => void = () => {};

  #wake(why?: "late"): void {
    if (why === "late") this.#onLate();
    for (const look of this.#looking.splice(0)) look();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for (
        let part = await this.#channel.stdout.read();
        part !== undefined;
        part = await this.#channel.stdout.read()
      ) {
        this.#shown += decoder.decode(part, { stream: true });
        this.#channel.stdout.consumed(part.length);
        this.#wake();
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : "unknown failure";
    }
    this.#ended = true;
    this.#wake();
  }
}
