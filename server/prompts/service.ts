// Tells a client what passphrases are asked for, hands its answers over, and looks what becomes of them.

import type { Clock } from "../../protocol/clock.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_PROMPT_MESSAGE, MAX_PROMPT_NAME, MAX_PROMPTS } from "../../protocol/limits.ts";
import type { Prompt, PromptOutcome, PromptsMessage } from "../../protocol/prompts/messages.ts";
import { escapeText } from "../log.ts";
import type { LookForQuestions, Question } from "./sources.ts";

/** How often is looked, while a client is there. */
const LOOK_EVERY_MS = 100;
/** A slow key derivation takes some seconds, on a busy machine many. */
const VOLUME_OPENS_WITHIN_MS = 60_000;
/** Where nothing can be seen to open, only whether it is asked again. */
const ASKED_AGAIN_WITHIN_MS = 5000;

export interface PromptsOptions {
  readonly clock: Clock;
  readonly sources: readonly LookForQuestions[];
  openVolumes(): ReadonlySet<string>;
  send(message: PromptsMessage): void;
  /** What went wrong here, for people. */
  complain(words: string): void;
}

interface Handed {
  readonly number: number;
  readonly question: Question;
  readonly before: ReadonlySet<string>;
  readonly until: number;
}

export class PromptsService {
  readonly #options: PromptsOptions;
  readonly #numbers = new Map<string, number>();
  #asked: readonly Question[] = [];
  #next = 1;
  #shown: string | undefined;
  #busy = false; // until the outcome of an answer is told
  #handed: Handed | undefined;
  #stopped = false;
  #cancel: () => void = () => undefined;

  constructor(options: PromptsOptions) {
    this.#options = options;
    this.#look();
  }

  /** @throws SealttyError `peer-misbehaved` where another answer's outcome was not told yet. */
  async answer(number: number, passphrase: Uint8Array): Promise<void> {
    if (this.#busy) throw new SealttyError("peer-misbehaved", "An answer came before the last one's outcome");
    this.#busy = true;
    try {
      const question = this.#asked.find(({ key }) => this.#numbers.get(key) === number);
      if (question === undefined) return this.#tell(number, "gone");
      const before = this.#options.openVolumes();
      if (!(await question.answer(passphrase))) return this.#tell(number, "gone");
      const within = question.opensVolume ? VOLUME_OPENS_WITHIN_MS : ASKED_AGAIN_WITHIN_MS;
      this.#handed = { number, question, before, until: this.#options.clock.now() + within };
    } catch (error) {
      this.#options.complain(error instanceof Error ? error.message : "unknown error");
      this.#tell(number, "failed");
    } finally {
      passphrase.fill(0);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #look(): void {
    if (this.#stopped) return;
    this.#asked = this.#options.sources.flatMap((look) => look()).slice(0, MAX_PROMPTS);
    for (const { key } of this.#asked) if (!this.#numbers.has(key)) this.#numbers.set(key, this.#next++);
    for (const key of this.#numbers.keys())
      if (!this.#asked.some((question) => question.key === key)) this.#numbers.delete(key);
    const prompts = this.#asked.map((question) => this.#promptOf(question));
    const shown = JSON.stringify(prompts);
    if (shown !== this.#shown) this.#options.send({ type: "pending", prompts });
    this.#shown = shown;
    this.#lookAfterAnswer();
    this.#cancel = this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  #lookAfterAnswer(): void {
    const handed = this.#handed;
    if (handed === undefined) return;
    const { question, before } = handed;
    const opened = [...this.#options.openVolumes()].some((uuid) => !before.has(uuid));
    const again = this.#asked.some(
      (each) =>
        each.key !== question.key &&
        each.origin === question.origin &&
        each.name === question.name &&
        each.message === question.message,
    );
    if (opened) this.#tell(handed.number, "opened");
    else if (again) this.#tell(handed.number, "asked-again");
    else if (this.#options.clock.now() >= handed.until) this.#tell(handed.number, "unknown");
  }

  #tell(number: number, outcome: PromptOutcome): void {
    this.#busy = false;
    this.#handed = undefined;
    this.#options.send({ type: "outcome", number, outcome });
  }

  #promptOf({ key, origin, echo, name, message }: Question): Prompt {
    return {
      number: this.#numbers.get(key) ?? 0,
      origin,
      echo,
      name: shortened(escapeText(name), MAX_PROMPT_NAME),
      message: shortened(escapeText(message), MAX_PROMPT_MESSAGE),
    };
  }
}

/** @param limit - in bytes of UTF-8; characters stay whole. */
function shortened(text: string, limit: number): string {
  if (utf8(text).length <= limit) return text;
  let short = "";
  let length = 0;
  for (const character of text) {
    length += utf8(character).length;
    if (length > limit - 3) break;
    short += character;
  }
  return `${short}…`;
}
