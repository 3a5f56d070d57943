// A channel of kind "prompts": what the guest asks for now, and answers to it.

import type { Owner } from "../../protocol/api/program-end.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  encodePromptsMessage,
  type Prompt,
  type PromptOutcome,
  PromptsDecoder,
} from "../../protocol/prompts/messages.ts";
import type { Channel, ReceiveStream } from "../../protocol/session/channel-api.ts";
import { escapeBytes } from "../printable.ts";

const MAX_COMPLAINT = 1000;

export class PromptsChannel {
  readonly #channel: Channel;
  readonly #owner: Owner;
  readonly #unwatch: () => void;
  readonly #changed = new Set<() => void>();
  #pending: readonly Prompt[] | undefined; // until the guest has said it once
  #outcome: { readonly number: number; readonly outcome: PromptOutcome } | undefined;
  #ended: Error | undefined;
  #complaint = "";

  constructor(channel: Channel, owner: Owner) {
    this.#channel = channel;
    this.#owner = owner;
    this.#unwatch = owner.onChanged((error) => this.#end(error));
    void this.#read();
    void this.#listen(channel.stderr).catch(() => undefined); // how the connection ended, stdout tells as well
  }

  /** What is asked now; what the guest has not said yet is nothing. */
  get pending(): readonly Prompt[] {
    return this.#pending ?? [];
  }

  /** Whatever the guest's program said of its own failure. */
  get complaint(): string {
    return this.#complaint === "" ? "" : `: ${this.#complaint}`;
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

  /** @param passphrase - is wiped. @throws SealttyError where the channel ends first. */
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
    if (outcome === undefined || outcome.number !== number)
      throw new SealttyError("peer-misbehaved", "The guest told the outcome of another answer");
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
        : this.#owner.clock.after(ms, () => {
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
      this.#end(this.#owner.explain(error));
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
        this.#complaint = (this.#complaint + escapeBytes(bytes, MAX_COMPLAINT).replaceAll("\\x0a", " "))
          .slice(0, MAX_COMPLAINT)
          .trim();
      stderr.consumed(bytes.length);
    }
  }
}
