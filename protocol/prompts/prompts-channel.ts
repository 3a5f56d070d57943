// A channel of kind "prompts" as the client has it: what the guest asks for now, and answers to it. docs/protocol.md §8.12

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import type { Channel, ReceiveStream } from "../session/channel-api.ts";
import { encodePromptsMessage, type Prompt, type PromptOutcome, PromptsDecoder } from "./messages.ts";

/** Characters, escaped, of what the guest's program says of its own failure. */
const MAX_COMPLAINT = 1000;

export interface PromptsSurroundings {
  readonly clock: Pick<Clock, "after">;
  /** Bytes of the guest's, made safe to show. @param limit - bytes kept. */
  escape(bytes: Uint8Array, limit: number): string;
  /** What is behind an error of the connection. */
  explain(error: unknown): Error;
  /** Calls `fail` once the guest is another one. @returns what takes it off again. */
  onChanged(fail: (error: Error) => void): () => void;
}

export class PromptsChannel {
  readonly #channel: Channel;
  readonly #around: PromptsSurroundings;
  readonly #unwatch: () => void;
  readonly #changed = new Set<() => void>();
  #pending: readonly Prompt[] | undefined; // until the guest has said it once
  #outcome: { readonly number: number; readonly outcome: PromptOutcome } | undefined;
  #ended: Error | undefined;
  #complaint = "";

  constructor(channel: Channel, around: PromptsSurroundings) {
    this.#channel = channel;
    this.#around = around;
    this.#unwatch = around.onChanged((error) => this.#end(error));
    void this.#read();
    void this.#listen(channel.stderr).catch(() => undefined); // how the connection ended, stdout tells as well
  }

  /** What is asked now; what the guest has not said yet is nothing. */
  get pending(): readonly Prompt[] {
    return this.#pending ?? [];
  }

  /** Whatever the guest's program said of its own failure, behind a colon. */
  get complaint(): string {
    return this.#complaint === "" ? "" : `: ${this.#complaint}`;
  }

  /** Why nothing comes any more. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  /** @param tell - called after each change of `pending` and at the end. */
  onChange(tell: () => void): void {
    this.#changed.add(tell);
  }

  /**
   * @param ms - how long. @param which - what counts.
   * @returns false where nothing of it was asked by then. @throws SealttyError once the channel has ended.
   */
  async somethingAsked(ms: number, which: (prompt: Prompt) => boolean = () => true): Promise<boolean> {
    return await this.#until(() => (this.pending.some(which) ? true : undefined), ms).then(
      (found) => found === true,
    );
  }

  /** One at a time. @param passphrase - is wiped. @throws SealttyError where the channel ends first. */
  async answer(number: number, passphrase: Uint8Array): Promise<PromptOutcome> {
    this.#outcome = undefined;
    const message = encodePromptsMessage({ type: "answer", number, passphrase });
    try {
      await this.#channel.write(message);
    } finally {
      message.fill(0); // the channel has a copy, until the guest has it
      passphrase.fill(0);
    }
    const outcome = await this.#until(() => this.#outcome);
    if (outcome === undefined || outcome.number !== number) {
      const error = new SealttyError("peer-misbehaved", "The guest told the outcome of another answer");
      this.#channel.hangUp();
      this.#end(error);
      throw error;
    }
    return outcome.outcome;
  }

  end(): void {
    this.#unwatch();
    this.#channel.end();
  }

  /** @returns undefined where the time is over. */
  async #until<T>(look: () => T | undefined, ms?: number): Promise<T | undefined> {
    let over = false;
    let wake = (): void => undefined;
    const wakeUp = (): void => wake();
    const cancel =
      ms === undefined
        ? (): void => undefined
        : this.#around.clock.after(ms, () => {
            over = true;
            wakeUp();
          });
    this.#changed.add(wakeUp);
    try {
      for (;;) {
        const found = look();
        if (found !== undefined || over) return found;
        if (this.#ended !== undefined) throw this.#ended;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      cancel();
      this.#changed.delete(wakeUp);
    }
  }

  async #read(): Promise<void> {
    const decoder = new PromptsDecoder("guest");
    try {
      for (;;) {
        const bytes = await this.#channel.stdout.read();
        if (bytes === undefined) break;
        for (const message of decoder.push(bytes)) {
          if (message.type === "pending") this.#pending = message.prompts;
          else if (message.type === "outcome") this.#outcome = message;
        }
        this.#channel.stdout.consumed(bytes.length);
        this.#tell();
      }
      decoder.end();
      this.#end(
        new SealttyError(
          "program-failed",
          `The guest's program for prompts ended${this.complaint}. Its log may say more (journalctl -u sealttyd, or in an initramfs /run/sealtty/early.log).`,
        ),
      );
    } catch (error) {
      this.#channel.hangUp(); // of what cannot be read nothing more is taken
      this.#end(this.#around.explain(error));
    }
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#tell();
  }

  #tell(): void {
    for (const wake of this.#changed) wake();
  }

  async #listen(stderr: ReceiveStream): Promise<void> {
    for (;;) {
      const bytes = await stderr.read();
      if (bytes === undefined) return;
      if (this.#complaint.length < MAX_COMPLAINT)
        this.#complaint = (
          this.#complaint + this.#around.escape(bytes, MAX_COMPLAINT).replaceAll("\\x0a", " ")
        )
          .slice(0, MAX_COMPLAINT)
          .trim();
      stderr.consumed(bytes.length);
    }
  }
}
