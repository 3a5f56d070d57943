// Messages about prompts: what is written is read back, whatever the pieces; what is malformed is refused, whatever it is.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { concat, fromHex, Reader, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  MAX_PROMPT_ANSWER,
  MAX_PROMPT_MESSAGE,
  MAX_PROMPT_NAME,
  MAX_PROMPTS,
} from "../../protocol/limits.ts";
import {
  encodePromptsMessage,
  type Prompt,
  PROMPT_ORIGINS,
  PROMPT_OUTCOMES,
  PromptsDecoder,
  type PromptsMessage,
} from "../../protocol/prompts/messages.ts";
import { openBody, readOpen } from "../../protocol/session/open-request.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const text = (limit: number) =>
  fc.string({ unit: "grapheme", maxLength: limit }).filter((value) => utf8(value).length <= limit);
const number = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const prompt: fc.Arbitrary<Prompt> = fc.record({
  number,
  origin: fc.constantFrom(...PROMPT_ORIGINS),
  echo: fc.boolean(),
  name: text(MAX_PROMPT_NAME),
  message: text(MAX_PROMPT_MESSAGE),
});
const fromGuest: fc.Arbitrary<PromptsMessage> = fc.oneof(
  fc.record({
    type: fc.constant("pending" as const),
    prompts: fc.uniqueArray(prompt, { maxLength: MAX_PROMPTS, selector: ({ number: each }) => each }),
  }),
  fc.record({
    type: fc.constant("outcome" as const),
    number,
    outcome: fc.constantFrom(...PROMPT_OUTCOMES),
  }),
);
/** Blanks are for the reader. */
const plain = (hex: string): Uint8Array => fromHex(hex.replaceAll(" ", ""));
const fromClient: fc.Arbitrary<PromptsMessage> = fc.record({
  type: fc.constant("answer" as const),
  number,
  passphrase: fc.uint8Array({ min: 1, minLength: 1, maxLength: MAX_PROMPT_ANSWER }),
});

test.each([
  ["guest", fromGuest],
  ["client", fromClient],
] as const)("what the %s writes is read back, whatever the pieces", (from, arbitrary) => {
  const several = fc.array(arbitrary, { maxLength: 4 });
  fc.assert(
    fc.property(several, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (messages, lengths) => {
      const bytes = concat(...messages.map(encodePromptsMessage));
      const decoder = new PromptsDecoder(from);
      const read: PromptsMessage[] = [];
      for (let at = 0; at < bytes.length; ) {
        const piece = bytes.slice(at, at + (lengths.next().value ?? 1));
        read.push(...decoder.push(piece));
        at += piece.length;
      }
      decoder.end();
      expect(read).toEqual(messages);
    }),
    { seed },
  );
});

test("the bytes are those of docs/protocol.md", () => {
  const pending = encodePromptsMessage({
    type: "pending",
    prompts: [{ number: 7, origin: "systemd", echo: true, name: "a", message: "bc" }],
  });
  expect(pending).toEqual(plain("0100000e 01 00000007 01 01 000161 00026263"));
  expect(encodePromptsMessage({ type: "outcome", number: 7, outcome: "asked-again" })).toEqual(
    plain("02000005 00000007 01"),
  );
  const answer = encodePromptsMessage({ type: "answer", number: 7, passphrase: utf8("x y") });
  expect(answer).toEqual(plain("03000009 00000007 0003782079"));
  expect(readOpen(new Reader(openBody({ kind: "prompts" }), "test"))).toEqual({ kind: "prompts" });
  expect(openBody({ kind: "prompts" })).toEqual(plain("05"));
});

test.each([
  ["of the other side", "guest", "03000009 00000007 0003782079"],
  ["of an unknown type", "guest", "04000001 00"],
  ["empty", "guest", "01000000"],
  ["longer than any", "guest", "01ffffff"],
  ["an outcome with a byte more", "guest", "02000006 00000007 01 00"],
  ["an outcome that is none", "guest", "02000005 00000007 05"],
  ["number 0", "guest", "02000005 00000000 01"],
  ["an origin that is none", "guest", "0100000b 01 00000007 02 00 0000 0000"],
  ["flags that are none", "guest", "0100000b 01 00000007 00 02 0000 0000"],
  ["text that is no UTF-8", "guest", "0100000c 01 00000007 00 00 0000 0001ff"],
  ["more than it has", "guest", "0100000b 02 00000007 00 00 0000 0000"],
  ["one number twice", "guest", "01000015 02 00000007 00 00 0000 0000 00000007 00 00 0000 0000"],
  ["an empty passphrase", "client", "03000006 00000007 0000"],
  ["a passphrase with a zero byte", "client", "03000008 00000007 00026100"],
  ["of the other side", "client", "02000005 00000007 01"],
] as const)("refused: %s (%s)", (_what, from, hex) => {
  expect(() => new PromptsDecoder(from).push(plain(hex))).toThrow(
    expect.objectContaining({ code: "peer-misbehaved" }),
  );
});

test("whatever comes: messages, or a refusal", () => {
  const head = fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 90 }), fc.uint8Array());
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    head.map(([type, length, rest]) => concat(Uint8Array.of(type, 0, 0, length), rest)),
  );
  fc.assert(
    fc.property(bytes, fc.constantFrom("guest" as const, "client" as const), (chunk, from) => {
      try {
        const decoder = new PromptsDecoder(from);
        for (const message of decoder.push(chunk)) expect(message.type).toMatch(/pending|outcome|answer/);
      } catch (error) {
        if (!(error instanceof SealttyError) || error.code !== "peer-misbehaved") throw error;
      }
    }),
    { seed, numRuns: 2000 },
  );
});

test("a stream that ends within a message is no good end", () => {
  const decoder = new PromptsDecoder("client");
  decoder.push(plain("0300"));
  expect(() => decoder.end()).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
});

test("what no receiver takes is not written", () => {
  for (const length of [0, MAX_PROMPT_ANSWER + 1])
    expect(() =>
      encodePromptsMessage({ type: "answer", number: 1, passphrase: new Uint8Array(length).fill(1) }),
    ).toThrow(expect.objectContaining({ code: "api-misuse" }));
});
