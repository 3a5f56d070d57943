// What the guest asks for, and the user's answers: a channel of kind "prompts" beside the terminal's, for as long as the connection
// lives. Who may answer, the guest decides by its [unlock]; where it is nobody, nothing is shown.

import { utf8 } from "../protocol/bytes.ts";
import { asError, SealttyError } from "../protocol/errors.ts";
import { MAX_PROMPT_ANSWER } from "../protocol/limits.ts";
import { isPassphrase, type Prompt, type PromptOutcome } from "../protocol/prompts/messages.ts";
import { PromptsChannel } from "../protocol/prompts/prompts-channel.ts";
import type { Guest } from "../protocol/session/api.ts";
import type { OwnChannel } from "../protocol/session/channel-api.ts";
import { ownTimer } from "./browser-clock.ts";
import { escapedBytes, plainText } from "./plain-text.ts";

export interface PromptsView {
  /** @param busy - the question whose answer is on its way: none is taken meanwhile. */
  show(prompts: readonly Prompt[], busy: number | undefined): void;
  /** What became of the last answer; undefined takes it away. */
  say(outcome: { readonly words: string; readonly tone: "good" | "caution" } | undefined): void;
  /** The connection is over: nothing is asked any more. */
  close(): void;
  /** What is wrong with what was typed. */
  trouble(number: number, words: string): void;
  /** What was typed and not sent. */
  clearFields(): void;
}

/** Only the guest's own word that a volume opened is good news. */
const OUTCOMES: Readonly<Record<PromptOutcome, string>> = {
  opened: "Accepted: a volume of the guest is open now.",
  "asked-again": "Refused: the guest asks for it again.",
  gone: "Nobody in the guest asked for it any more: somebody else answered, or gave up. Your answer went nowhere.",
  unknown: "Your answer was handed over. What became of it could not be seen.",
  failed: "Your answer could not be handed over in the guest",
};
const CUT_OFF =
  "The guest changed, or may have, while your answer was under way. What became of it is not known; what had not gone out by then never will.";
const MAX_COMPLAINT = 300;

export class GuestPrompts {
  readonly #view: PromptsView;
  #guest: Pick<Guest, "openChannel"> | undefined;
  #channel: OwnChannel | undefined;
  #prompts: PromptsChannel | undefined; // on that channel
  #connection = 0; // counts channels: what an older one still says is not shown
  #frozen = false;
  #cutOff = false; // an answer was under way at the freeze
  #busy: number | undefined;
  readonly #answered = new Set<number>(); // done with, though the guest may list them for a moment more

  constructor(view: PromptsView) {
    this.#view = view;
  }

  /** Once for each connection. @returns whether the guest lets this user answer. Never rejects. */
  async open(guest: Pick<Guest, "openChannel">): Promise<boolean> {
    this.close();
    this.#guest = guest;
    return await this.#open(guest);
  }

  async #open(guest: Pick<Guest, "openChannel">): Promise<boolean> {
    const connection = this.#connection;
    let channel: OwnChannel;
    try {
      channel = await guest.openChannel({ kind: "prompts" });
    } catch {
      return false; // not this user, or too many; a connection that is over is said elsewhere
    }
    if (connection !== this.#connection) {
      channel.end();
      return false;
    }
    const opened = new PromptsChannel(channel, {
      clock: { after: ownTimer },
      escape: (bytes, limit) => plainText(escapedBytes(bytes.subarray(0, limit)), limit),
      explain: asError,
      onChanged: () => () => undefined, // while the guest is frozen nothing passes: freeze()
    });
    this.#channel = channel;
    this.#prompts = opened;
    opened.onChange(() => {
      if (connection === this.#connection) this.#update(opened);
    });
    this.#update(opened);
    return true;
  }

  /**
   * The guest is another one, or may be: nothing that was typed for it is kept. An answer that is under way would be sent
   * (again) to what is there now, once the user goes on: so its channel ends here, and all of it that has not arrived.
   */
  freeze(): void {
    this.#frozen = true;
    this.#view.clearFields();
    if (this.#busy === undefined) return;
    this.#channel?.hangUpUnsent();
    this.#cutOff = true;
    this.#forgetChannel();
    this.#view.show([], undefined);
    this.#view.say({ words: CUT_OFF, tone: "caution" });
  }

  /** The user goes on with the guest as it is now. */
  async goOn(): Promise<void> {
    this.#frozen = false;
    if (!this.#cutOff || this.#guest === undefined) return;
    this.#cutOff = false; // it is told
    await this.#open(this.#guest);
  }

  #forgetChannel(): void {
    this.#connection++;
    this.#channel = undefined;
    this.#prompts = undefined;
    this.#busy = undefined;
    this.#answered.clear();
  }

  /** The connection is over. @returns whether an answer's outcome had not been told. */
  close(): boolean {
    const waits = this.#busy !== undefined || this.#cutOff;
    this.#forgetChannel();
    this.#guest = undefined;
    this.#frozen = this.#cutOff = false;
    this.#view.clearFields();
    this.#view.close();
    return waits;
  }

  async answer({ number }: Prompt, text: string): Promise<void> {
    const prompts = this.#prompts;
    if (prompts === undefined || this.#busy !== undefined || this.#frozen) return;
    const passphrase = utf8(text);
    if (!isPassphrase(passphrase)) {
      passphrase.fill(0);
      return this.#view.trouble(
        number,
        text === ""
          ? "Nothing was typed, so nothing was sent."
          : `An answer has at most ${MAX_PROMPT_ANSWER} bytes, and no zero byte. Nothing was sent.`,
      );
    }
    const connection = this.#connection;
    this.#busy = number;
    this.#view.say(undefined);
    this.#update(prompts);
    let outcome: PromptOutcome | undefined;
    try {
      outcome = await prompts.answer(number, passphrase);
    } catch {
      // why the channel ended, its end says; or the connection's. The outcome of another answer is such an end, too.
    }
    if (connection !== this.#connection) return;
    this.#busy = undefined;
    if (outcome !== undefined) {
      if (outcome === "opened" || outcome === "asked-again") this.#answered.add(number);
      const words =
        outcome === "failed"
          ? `${OUTCOMES.failed}${plainText(prompts.complaint, MAX_COMPLAINT)}.`
          : OUTCOMES[outcome];
      this.#view.say({ words, tone: outcome === "opened" ? "good" : "caution" });
    }
    this.#update(prompts);
  }

  #update(prompts: PromptsChannel): void {
    if (prompts.ended === undefined) {
      const open = prompts.pending.filter(({ number }) => !this.#answered.has(number));
      return this.#view.show(open, this.#busy);
    }
    this.#view.show([], undefined);
    const words = endWords(prompts.ended);
    if (words !== undefined) this.#view.say({ words, tone: "caution" });
  }
}

/** @returns undefined where the connection ended, which is said louder. */
function endWords(error: Error): string | undefined {
  if (!(error instanceof SealttyError)) return undefined;
  if (error.code === "program-failed") return plainText(error.message, 600);
  if (error.code === "peer-misbehaved")
    return "What the guest sent as questions cannot be read, so nothing is asked here any more.";
  return undefined;
}
