// Pending questions for a passphrase: what the guest's program and a client say to each other through a channel of kind
// "prompts". docs/protocol.md §8.12

import { concat, lv16, Reader, u16, u32, u8, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_PROMPT_ANSWER, MAX_PROMPT_MESSAGE, MAX_PROMPT_NAME, MAX_PROMPTS } from "../limits.ts";

/** Who asks: cryptsetup's scripts in an initramfs of initramfs-tools, or a program through systemd. By their numbers. */
export const PROMPT_ORIGINS = ["initramfs", "systemd"] as const;
export type PromptOrigin = (typeof PROMPT_ORIGINS)[number];

/** What became of an answer, by its number. */
export const PROMPT_OUTCOMES = [
  "opened", // an encrypted volume is open that was not before
  "asked-again", // the same question is there once more
  "gone", // nobody asked it any more: the answer went nowhere
  "unknown", // it was handed over, and nothing was seen to follow
  "failed", // it could not be handed over; why is on standard error
] as const;
export type PromptOutcome = (typeof PROMPT_OUTCOMES)[number];

export interface Prompt {
  /** Each time something is asked another one, from 1. */
  readonly number: number;
  readonly origin: PromptOrigin;
  /** Whether an answer is no secret: it may be shown while it is typed. */
  readonly echo: boolean;
  /** As programs name it, such as "cryptsetup:/dev/vda2"; empty where there is none. */
  readonly name: string;
  /** For people. */
  readonly message: string;
}

export type PromptsMessage =
  /** Guest → client: all that is asked now; first, and whenever that changed. */
  | { readonly type: "pending"; readonly prompts: readonly Prompt[] }
  /** Guest → client, once for each answer. */
  | { readonly type: "outcome"; readonly number: number; readonly outcome: PromptOutcome }
  /** Client → guest; the next one not before its outcome. */
  | { readonly type: "answer"; readonly number: number; readonly passphrase: Uint8Array };

export const PROMPTS_TYPES = { pending: 1, outcome: 2, answer: 3 } as const;
const FLAG_ECHO = 1;
const HEAD = 4;
const LONGEST = {
  [PROMPTS_TYPES.pending]: 1 + MAX_PROMPTS * (4 + 1 + 1 + 2 + MAX_PROMPT_NAME + 2 + MAX_PROMPT_MESSAGE),
  [PROMPTS_TYPES.outcome]: 5,
  [PROMPTS_TYPES.answer]: 4 + 2 + MAX_PROMPT_ANSWER,
} as const;

/** @throws SealttyError `api-misuse` on what no receiver takes. */
export function encodePromptsMessage(message: PromptsMessage): Uint8Array {
  const body = bodyOf(message);
  return concat(u8(PROMPTS_TYPES[message.type]), u8(body.length >>> 16), u16(body.length & 0xffff), body);
}

function bodyOf(message: PromptsMessage): Uint8Array {
  switch (message.type) {
    case "pending":
      if (message.prompts.length > MAX_PROMPTS) throw new SealttyError("api-misuse", "Too many prompts");
      return concat(u8(message.prompts.length), ...message.prompts.map(promptBody));
    case "outcome":
      return concat(u32(message.number), u8(PROMPT_OUTCOMES.indexOf(message.outcome)));
    case "answer":
      if (!isPassphrase(message.passphrase)) throw new SealttyError("api-misuse", "Impossible passphrase");
      return concat(u32(message.number), lv16(message.passphrase));
  }
}

function promptBody({ number, origin, echo, name, message }: Prompt): Uint8Array {
  return concat(
    u32(number),
    u8(PROMPT_ORIGINS.indexOf(origin)),
    u8(echo ? FLAG_ECHO : 0),
    lv16(utf8(name)),
    lv16(utf8(message)),
  );
}

/** Neither empty nor longer than programs take; 0x00 would be several answers to systemd. */
export function isPassphrase(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.length <= MAX_PROMPT_ANSWER && !bytes.includes(0);
}

function readBody(type: number, body: Uint8Array): PromptsMessage {
  const reader: Reader = new Reader(body, "Message about prompts");
  const message = readMessage(type, reader);
  reader.end();
  return message;
}

function readMessage(type: number, reader: Reader): PromptsMessage {
  if (type === PROMPTS_TYPES.pending) {
    const count = reader.u8();
    if (count > MAX_PROMPTS) reader.fail("lists too many");
    const prompts: Prompt[] = [];
    for (let i = 0; i < count; i++) prompts.push(readPrompt(reader));
    if (new Set(prompts.map(({ number }) => number)).size < count) reader.fail("lists a number twice");
    return { type: "pending", prompts };
  }
  const number = readNumber(reader);
  if (type === PROMPTS_TYPES.outcome) {
    const outcome = PROMPT_OUTCOMES[reader.u8()];
    if (outcome === undefined) reader.fail("has an unknown outcome");
    return { type: "outcome", number, outcome };
  }
  const passphrase = reader.lv16(MAX_PROMPT_ANSWER).slice();
  if (!isPassphrase(passphrase)) reader.fail("has an impossible passphrase");
  return { type: "answer", number, passphrase };
}

function readPrompt(reader: Reader): Prompt {
  const number = readNumber(reader);
  const origin = PROMPT_ORIGINS[reader.u8()];
  if (origin === undefined) reader.fail("has an unknown origin");
  const flags = reader.u8();
  if (flags > FLAG_ECHO) reader.fail("has unknown flags");
  const name = reader.text16(MAX_PROMPT_NAME);
  const message = reader.text16(MAX_PROMPT_MESSAGE);
  return { number, origin, echo: flags === FLAG_ECHO, name, message };
}

function readNumber(reader: Reader): number {
  const number = reader.u32();
  if (number === 0) reader.fail("has an impossible number");
  return number;
}

/** Messages out of a stream's pieces: never more than one of them held. */
export class PromptsDecoder {
  readonly #types: ReadonlySet<number>;
  readonly #head = new Uint8Array(HEAD);
  #headLength = 0;
  #body: Uint8Array | undefined; // once its head is known
  #bodyLength = 0;

  /** @param from - whose messages these are. */
  constructor(from: "guest" | "client") {
    this.#types = new Set(
      from === "guest" ? [PROMPTS_TYPES.pending, PROMPTS_TYPES.outcome] : [PROMPTS_TYPES.answer],
    );
  }

  /** @throws SealttyError `peer-misbehaved`; the decoder is of no use then. */
  push(chunk: Uint8Array): PromptsMessage[] {
    const messages: PromptsMessage[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        const piece = chunk.subarray(at, at + HEAD - this.#headLength);
        this.#head.set(piece, this.#headLength);
        this.#headLength += piece.length;
        at += piece.length;
        if (this.#headLength === HEAD) this.#body = this.#bodyFor(this.#head);
      } else {
        const piece = chunk.subarray(at, at + this.#body.length - this.#bodyLength);
        this.#body.set(piece, this.#bodyLength);
        this.#bodyLength += piece.length;
        at += piece.length;
      }
      if (this.#body === undefined || this.#bodyLength < this.#body.length) continue;
      const body = this.#body;
      this.#body = undefined;
      this.#bodyLength = 0;
      this.#headLength = 0;
      try {
        messages.push(readBody(this.#head[0] ?? 0, body));
      } finally {
        body.fill(0); // a passphrase may have been in it
      }
    }
    return messages;
  }

  /** The stream is over. @throws SealttyError `peer-misbehaved` in the middle of a message. */
  end(): void {
    if (this.#headLength > 0) throw misbehaved("ends too early");
  }

  #bodyFor([type = 0, high = 0, middle = 0, low = 0]: Uint8Array): Uint8Array {
    const length = (high << 16) | (middle << 8) | low;
    if (!this.#types.has(type)) throw misbehaved("is of an unknown type, or from the wrong side");
    const longest = LONGEST[type as keyof typeof LONGEST];
    if (length === 0 || length > longest) throw misbehaved("has an impossible length"); // before anything is allocated
    return new Uint8Array(length);
  }
}

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `Message about prompts ${problem}`);
}
