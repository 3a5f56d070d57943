// What the guest asks for, answered in the page: each outcome in words, one answer at a time, nothing kept, nothing taken for more
// than the guest said.

import { expect, test } from "vitest";
import { GuestPrompts, type PromptsView } from "../../client/guest-prompts.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  encodePromptsMessage,
  type Prompt,
  type PromptOutcome,
  type PromptsMessage,
  PromptsDecoder,
} from "../../protocol/prompts/messages.ts";
import type { OwnChannel } from "../../protocol/session/channel-api.ts";
import { FakeStream } from "../support/fake-stream.ts";

const DISK: Prompt = { number: 1, origin: "initramfs", echo: false, name: "vda", message: "Root disk" };
const OTHER: Prompt = { ...DISK, number: 2, message: "Other disk" };
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

function playedGuest() {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  const decoder = new PromptsDecoder("client");
  const answers: PromptsMessage[] = [];
  const written: Uint8Array[] = [];
  const ends: string[] = [];
  const channel: OwnChannel = {
    stdout,
    stderr,
    write: async (bytes) => {
      written.push(bytes);
      answers.push(...decoder.push(bytes));
    },
    end: () => void ends.push("end"),
    resize: () => undefined,
    signal: () => undefined,
    hangUp: () => void ends.push("hang-up"),
    hangUpUnsent: () => void ends.push("hang-up, unsent"),
    exit: new Promise(() => undefined),
  };
  const say = (message: PromptsMessage): void => stdout.push(encodePromptsMessage(message));
  return {
    stdout,
    stderr,
    answers,
    written,
    ends,
    guest: { openChannel: async () => channel },
    ask: (...prompts: Prompt[]) => say({ type: "pending", prompts }),
    outcome: (number: number, outcome: PromptOutcome) => say({ type: "outcome", number, outcome }),
  };
}

function playedView() {
  const seen = { shown: [] as number[], busy: undefined as number | undefined, said: "", tone: "" };
  const troubles: string[] = [];
  let cleared = 0;
  const view: PromptsView = {
    show(prompts, busy) {
      seen.shown = prompts.map(({ number }) => number);
      seen.busy = busy;
    },
    say(outcome) {
      seen.said = outcome?.words ?? "";
      seen.tone = outcome?.tone ?? "";
    },
    close() {
      Object.assign(seen, { shown: [], busy: undefined, said: "", tone: "" });
    },
    trouble: (_, words) => void troubles.push(words),
    clearFields: () => void cleared++,
  };
  return { view, seen, troubles, cleared: () => cleared };
}

async function opened() {
  const played = playedGuest();
  const shown = playedView();
  const prompts = new GuestPrompts(shown.view);
  expect(await prompts.open(played.guest)).toBe(true);
  return { ...played, ...shown, prompts };
}

test.each(["user-refused", "program-failed", "limit-exceeded", "transport-lost"] as const)(
  "a guest that lets this user answer nothing (%s): nothing is shown, and no trouble made",
  async (code) => {
    const { view, seen } = playedView();
    const prompts = new GuestPrompts(view);
    const openChannel = () => Promise.reject(new SealttyError(code, "no"));
    expect(await prompts.open({ openChannel })).toBe(false);
    expect(seen).toEqual({ shown: [], busy: undefined, said: "", tone: "" });
  },
);

test.each([
  ["opened", "good", /^Accepted: a volume of the guest is open now/],
  ["asked-again", "caution", /^Refused: the guest asks for it again/],
  ["gone", "caution", /Your answer went nowhere/],
  ["unknown", "caution", /could not be seen/],
  ["failed", "caution", /could not be handed over in the guest: no such pipe\.$/],
] as const)("outcome %s", async (outcome, tone, words) => {
  const { prompts, ask, seen, stderr, answers, written, ...guest } = await opened();
  stderr.push(utf8("no such pipe\n"));
  ask(DISK);
  await settled();
  expect(seen.shown).toEqual([1]);
  const done = prompts.answer(DISK, "correct horse");
  await settled();
  expect(seen).toMatchObject({ shown: [1], busy: 1, said: "" }); // silence confirms nothing
  expect(answers).toMatchObject([{ type: "answer", number: 1, passphrase: utf8("correct horse") }]);
  expect(written[0]?.every((byte) => byte === 0)).toBe(true); // wiped once the channel had it
  guest.outcome(1, outcome);
  await done;
  expect(seen.said).toMatch(words);
  expect(seen.tone).toBe(tone);
  expect(seen.busy).toBeUndefined();
  expect(JSON.stringify(seen)).not.toContain("horse");
});

test("one answer at a time; a question that is asked again is another one", async () => {
  const { prompts, ask, seen, answers, outcome } = await opened();
  ask(DISK, OTHER);
  await settled();
  const first = prompts.answer(DISK, "one");
  await prompts.answer(OTHER, "two");
  expect(answers).toHaveLength(1);
  ask({ ...DISK, number: 3 }, OTHER);
  outcome(1, "asked-again");
  await first;
  await settled();
  expect(seen.shown).toEqual([3, 2]);
  const second = prompts.answer(OTHER, "two");
  outcome(2, "opened");
  await second;
  expect(answers.map((answer) => (answer.type === "answer" ? answer.number : 0))).toEqual([1, 2]);
  expect(seen.shown).toEqual([3]); // though the guest has not said yet that it is done
});

test.each([
  ["", /Nothing was typed, so nothing was sent/],
  ["x".repeat(513), /at most 512 bytes/],
  ["a\0b", /no zero byte/],
])("what can be no answer is not sent", async (text, words) => {
  const { prompts, ask, answers, troubles } = await opened();
  ask(DISK);
  await settled();
  await prompts.answer(DISK, text);
  expect(answers).toEqual([]);
  expect(troubles).toEqual([expect.stringMatching(words)]);
});

test("an answer for which another's outcome comes: said, hung up, and nothing asked any more", async () => {
  const { prompts, ask, seen, outcome, ends } = await opened();
  ask(DISK);
  await settled();
  const done = prompts.answer(DISK, "x");
  outcome(7, "opened");
  await done;
  expect(ends).toContain("hang-up");
  expect(seen).toMatchObject({ shown: [], busy: undefined, tone: "caution" });
  expect(seen.said).toContain("cannot be read");
  ask(OTHER);
  await settled();
  expect(seen.shown).toEqual([]);
});

test("what cannot be read as questions: said, given up, nothing asked", async () => {
  const { stdout, seen, ends } = await opened();
  stdout.push(Uint8Array.of(9, 0, 0, 1, 0));
  await settled();
  expect(seen.said).toContain("cannot be read");
  expect(seen.shown).toEqual([]);
  expect(ends).toEqual(["hang-up"]);
});

test("the guest's program ends: its words are said, made safe, and nothing is asked any more", async () => {
  const { ask, stdout, stderr, seen } = await opened();
  ask(DISK);
  stderr.push(utf8("no \u001b[31mdirectory\u202e"));
  await settled();
  stdout.end();
  await settled();
  expect(seen.said).toContain("no \\x1b[31mdirectory");
  expect(seen.said).not.toContain("\u202e");
  expect(seen.shown).toEqual([]);
});

test("the connection's end is said elsewhere; whether an answer was under way is told", async () => {
  const { prompts, ask, stdout, seen } = await opened();
  ask(DISK);
  await settled();
  expect(prompts.close()).toBe(false);
  const other = await opened();
  other.ask(DISK);
  await settled();
  const done = other.prompts.answer(DISK, "x");
  expect(other.prompts.close()).toBe(true);
  other.stdout.fail(new SealttyError("handed-over", "over"));
  await done;
  expect(other.seen).toEqual({ shown: [], busy: undefined, said: "", tone: "" });
  stdout.fail(new SealttyError("transport-lost", "gone"));
  await settled();
  expect(seen.said).toBe("");
});

test("frozen: what was typed for the guest that it was is cleared", async () => {
  const { prompts, cleared } = await opened();
  const before = cleared();
  prompts.freeze();
  expect(cleared()).toBe(before + 1);
});

test("frozen with an answer under way: its channel ends with what had not arrived; after that the guest is asked anew", async () => {
  const first = playedGuest();
  const second = playedGuest();
  const { view, seen } = playedView();
  const prompts = new GuestPrompts(view);
  const guests = [first, second];
  expect(
    await prompts.open({
      openChannel: async () => {
        const next = guests.shift();
        if (next === undefined) throw new Error("opened too often");
        return next.guest.openChannel();
      },
    }),
  ).toBe(true);
  first.ask(DISK, OTHER);
  await settled();
  const done = prompts.answer(DISK, "x");
  await settled();
  prompts.freeze();
  expect(first.ends).toEqual(["hang-up, unsent"]);
  expect(seen).toMatchObject({ shown: [], busy: undefined, tone: "caution" });
  expect(seen.said).toContain("What became of it is not known");
  first.outcome(1, "opened"); // whoever says it now
  await done;
  expect(seen.tone).toBe("caution");
  expect(guests).toHaveLength(1); // nothing is opened before the user chose
  await prompts.goOn();
  second.ask(OTHER);
  await settled();
  expect(seen.shown).toEqual([2]);
  expect(seen.said).toContain("What became of it is not known");
  const answered = prompts.answer(OTHER, "y");
  second.outcome(2, "opened");
  await answered;
  expect(second.answers).toHaveLength(1);
  expect(first.answers).toHaveLength(1);
});

test("frozen with nothing under way: the channel stays; nothing is answered before the user went on", async () => {
  const { prompts, ask, ends, answers, seen } = await opened();
  ask(DISK);
  await settled();
  prompts.freeze();
  await prompts.answer(DISK, "x");
  expect(answers).toEqual([]);
  await prompts.goOn();
  expect(ends).toEqual([]);
  void prompts.answer(DISK, "x");
  await settled();
  expect(answers).toHaveLength(1);
  expect(seen.busy).toBe(1);
});

test("the connection ends while frozen: that an answer was cut off is told", async () => {
  const { prompts, ask } = await opened();
  ask(DISK);
  await settled();
  void prompts.answer(DISK, "x");
  await settled();
  prompts.freeze();
  expect(prompts.close()).toBe(true);
});
