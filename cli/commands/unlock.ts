// `sealtty unlock`: answers what a guest asks for while it boots, such as the passphrase of its disk.

import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_PROMPT_ANSWER } from "../../protocol/limits.ts";
import { isPassphrase, type Prompt, type PromptOutcome } from "../../protocol/prompts/messages.ts";
import type { PromptsChannel } from "../../protocol/prompts/prompts-channel.ts";
import { readBoundedFile } from "../../node/bounded-file.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { askPassphrase } from "../ask-passphrase.ts";
import { secondsOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, onlyGuest, usage } from "../options.ts";
import { whyUnreadable } from "../owner-file.ts";
import { printable } from "../printable.ts";
import { enter, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const EXIT_NOT_UNLOCKED = 1;
const DEFAULT_WAIT_MS = 60_000;

export const unlockCommand: Command = {
  name: "unlock",
  summary: "answer the guest's pending question for a passphrase, such as that of its disk",
  operands: "GUEST",
  options: [
    ...KEYED_OPTIONS,
    {
      name: "passphrase-file",
      value: "FILE",
      help: "take the passphrase from there, - being standard input, without one newline at its end; default: ask on the terminal",
    },
    { name: "wait", value: "SECONDS", help: "how long the guest may take to ask for one; default 60" },
  ],
  notes: [
    "The guest must name your user in [unlock] of its configuration; in an initramfs that is /etc/sealtty/initramfs.toml (docs/unlock.md).",
    "All that is asked is answered, one after the other. From a file only what the initramfs or cryptsetup asks for, each with the same passphrase, and a refused one is not tried again; other questions are named and passed over.",
    "Exit status: 0 a volume is open after each answer, 1 refused, not known, or nothing was asked, 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    if (input.rest !== undefined) throw usage(unlockCommand, "unlock takes no command");
    const guestName = onlyGuest(unlockCommand, input);
    const reporter = new Reporter(services, input);
    const wait = secondsOf(input, "wait") ?? DEFAULT_WAIT_MS;
    const file = input.text("passphrase-file");
    if (file === undefined && reporter.batch)
      throw usage(unlockCommand, "--batch asks nobody: give --passphrase-file");
    const given = file === undefined ? undefined : await readPassphrase(file, services); // before a guest is bothered
    try {
      return await unlock(guestName, { input, services, reporter, wait, given });
    } finally {
      given?.fill(0);
    }
  },
};

interface Unlocking {
  readonly input: Input;
  readonly services: Services;
  readonly reporter: Reporter;
  readonly wait: number;
  /** Undefined: a person is asked. */
  readonly given: Uint8Array | undefined;
}

async function unlock(guestName: string, unlocking: Unlocking): Promise<number> {
  const { input, services, reporter, wait } = unlocking;
  const reached = await reach(guestName, input, services, reporter, { key: true });
  try {
    const guest = await enter(reached);
    const prompts = await guest.openPrompts().catch((error: unknown) => {
      throw withNextStep(error);
    });
    try {
      const mayAnswer = unlocking.given === undefined ? () => true : asksForVolume;
      if (!(await prompts.somethingAsked(wait, mayAnswer))) {
        for (const prompt of prompts.pending) sayPassedOver(prompt, reporter);
        reporter.say("sealtty: the guest asks for nothing");
        reporter.event("nothing-asked", {});
        return EXIT_NOT_UNLOCKED;
      }
      const status = await answerAll(prompts, unlocking);
      reporter.warnings(guest.claims);
      return status;
    } finally {
      prompts.end();
    }
  } finally {
    await reached.end();
  }
}

/** What a passphrase in a file is for: no other program of the guest's gets it because it asks first. */
function asksForVolume({ origin, echo, name }: Prompt): boolean {
  return !echo && (origin === "initramfs" || name.startsWith("cryptsetup:"));
}

function sayPassedOver(prompt: Prompt, reporter: Reporter): void {
  const { number, origin, name, message } = prompt;
  reporter.event("prompt-passed-over", { number, origin, name, message });
  reporter.problem(`sealtty: not answered from a file, as it is no disk's question: ${wordsOf(prompt)}`);
}

/** Until nothing is asked any more. */
async function answerAll(prompts: PromptsChannel, { services, reporter, given }: Unlocking): Promise<number> {
  let status = 0;
  const answered = new Set<number>();
  for (;;) {
    const prompt = prompts.pending.find(({ number }) => !answered.has(number));
    if (prompt === undefined) return status;
    answered.add(prompt.number);
    if (given !== undefined && !asksForVolume(prompt)) {
      sayPassedOver(prompt, reporter);
      continue;
    }
    const words = wordsOf(prompt);
    const { number, origin, name, message } = prompt;
    reporter.event("prompt", { number, origin, name, message });
    if (given !== undefined) reporter.say(`sealtty: the guest asks: ${words}`);
    const passphrase = given?.slice() ?? (await ask(words, services));
    const outcome = await told(prompts, prompt, passphrase);
    reporter.event("prompt-answered", { number, outcome });
    reporter.say(`sealtty: ${OUTCOMES[outcome]}`);
    if (outcome === "failed")
      throw new SealttyError("program-failed", `${OUTCOMES.failed}${prompts.complaint}`);
    if (outcome === "over") return status;
    // A person sees it asked again, and may try another one; after that only the last answer to it counts.
    if (outcome === "asked-again" && given === undefined) continue;
    if (outcome !== "opened") status = EXIT_NOT_UNLOCKED;
    if (outcome === "asked-again") return status;
  }
}

type Outcome = PromptOutcome | "over";

const OUTCOMES: Readonly<Record<Outcome, string>> = {
  opened: "accepted: a volume of the guest is open now",
  "asked-again": "refused: the guest asks for it again",
  gone: "nobody in the guest asked for it any more: somebody else answered, or gave up",
  unknown: "the answer was handed over; what became of it could not be seen",
  failed: "the answer could not be handed over in the guest",
  over: "the guest goes on from its initramfs to the system on its disk",
};

/** An initramfs that is left has its root, and may be too quick to say so; where systemd runs in it, systemd asked. */
async function told(prompts: PromptsChannel, prompt: Prompt, passphrase: Uint8Array): Promise<Outcome> {
  try {
    return await prompts.answer(prompt.number, passphrase);
  } catch (error) {
    if (asksForVolume(prompt) && error instanceof SealttyError && error.code === "handed-over") return "over";
    throw error;
  }
}

/** @throws SealttyError `bad-config` where nobody is there, or what was typed can be no passphrase. */
async function ask(words: string, { environment }: Services): Promise<Uint8Array> {
  const text = await askPassphrase(`${words}: `, environment);
  if (text === undefined)
    throw new SealttyError("bad-config", "nobody gave a passphrase; give one with --passphrase-file");
  return checked(utf8(text));
}

/** The guest's own words, which a host cannot change; printed on one line and marked as the guest's. */
function wordsOf({ message, name }: Prompt): string {
  const text = printable(message, 300).replace(/\s*:?\s*$/, "");
  const of = name === "" || text.includes(name) ? "" : ` (${printable(name, 150)})`;
  return `${text === "" ? "a passphrase" : text}${of}`;
}

/** @throws SealttyError `bad-config`. */
async function readPassphrase(file: string, { stdin }: Services): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = file === "-" ? await all(stdin) : await readBoundedFile(file, MAX_PROMPT_ANSWER + 2);
  } catch (cause) {
    const why = errorCode(cause) ?? (cause instanceof Error ? cause.message : "unknown error");
    const words = `cannot read the passphrase from ${printable(file)}: ${whyUnreadable(why)}`;
    throw new SealttyError("bad-config", words, { cause });
  }
  return checked(bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes);
}

/** @throws Error where there is more than a passphrase has. */
async function all(stdin: AsyncIterable<Uint8Array | string>): Promise<Uint8Array> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stdin) {
    bytes = Buffer.concat([bytes, Buffer.from(chunk)]);
    if (bytes.length > MAX_PROMPT_ANSWER + 2) throw new Error("too long");
  }
  return bytes;
}

function checked(bytes: Uint8Array): Uint8Array {
  if (isPassphrase(bytes)) return bytes;
  throw new SealttyError(
    "bad-config",
    `a passphrase has 1 to ${MAX_PROMPT_ANSWER} bytes, and no zero byte among them`,
  );
}

/** The guest tells nobody why it opens nothing. */
function withNextStep(error: unknown): unknown {
  if (!(error instanceof SealttyError) || !["program-failed", "user-refused"].includes(error.code))
    return error;
  return new SealttyError(
    error.code,
    'The guest lets this user or key answer no prompts: its configuration has to say users = ["…"] below [unlock] (docs/unlock.md); its log says which it is.',
    { cause: error },
  );
}
