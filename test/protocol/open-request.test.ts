// A request to start a program, as bytes: whole, bounded, and refused in words before it is sent. docs/protocol.md §8.3

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Reader, toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  MAX_COMMAND_ARGUMENTS,
  MAX_COMMAND_BYTES,
  MAX_DIRECTORY,
  MAX_ENVIRONMENT,
  MAX_ENVIRONMENT_BYTES,
  MAX_ENVIRONMENT_VALUE,
  MAX_TERM_NAME,
  MAX_TERMINAL_SIDE,
} from "../../protocol/limits.ts";
import type { ChannelRequest } from "../../protocol/session/channel-api.ts";
import { checkRequest, checkSize, openBody, readOpen } from "../../protocol/session/open-request.ts";

function read(bytes: Uint8Array): ChannelRequest {
  const reader: Reader = new Reader(bytes, "request");
  const request = readOpen(reader);
  reader.end();
  return request;
}

test("exec with everything, byte by byte", () => {
  const request = { kind: "exec", command: ["ls", ""], environment: { A: "é" }, directory: "/srv" } as const;
  expect(toHex(openBody(request))).toBe(
    ["02", "0000", "0000", "0000", "0002", "000000026c73", "00000000", "0001", "000141", "0002c3a9"].join(
      "",
    ) + "00042f737276",
  );
  expect(read(openBody(request))).toEqual(request);
});

test("without a directory the field is empty, and so it is for a login", () => {
  const exec = { kind: "exec", command: ["ls"], environment: {} } as const;
  expect(toHex(openBody(exec)).endsWith("00000000")).toBe(true); // no variables, no directory
  expect(read(openBody(exec))).toEqual(exec);
  const login = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
  expect(read(openBody(login))).toEqual(login);
});

const text = fc.string({ unit: "grapheme", maxLength: 50 }).filter((part) => !part.includes("\0"));
const program = {
  command: fc.array(text, { minLength: 1, maxLength: 5 }).filter(([name]) => name !== ""),
  environment: fc.dictionary(fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,20}$/), text, { maxKeys: 5 }),
  directory: fc.option(
    text.filter((name) => name !== ""),
    { nil: undefined },
  ),
};
const side = fc.integer({ min: 1, max: 10_000 });
const requests = fc.oneof(
  fc.record({ kind: fc.constant("exec" as const), ...program }),
  fc.record({
    kind: fc.constant("shell" as const),
    term: fc.constant("xterm"),
    columns: side,
    rows: side,
    ...program,
  }),
);

test("what is written is read back, and no prefix of it is anything", () => {
  fc.assert(
    fc.property(requests, fc.nat(), ({ directory, ...rest }, cut) => {
      const request: ChannelRequest = directory === undefined ? rest : { ...rest, directory };
      expect(() => checkRequest(request)).not.toThrow();
      const body = openBody(request);
      expect(read(body)).toEqual(request);
      expect(() => read(body.subarray(0, cut % body.length))).toThrow(SealttyError);
    }),
  );
});

test("any bytes are a request or the peer's fault", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      let request: ChannelRequest;
      try {
        request = read(bytes);
      } catch (error) {
        expect(error).toMatchObject({ name: "SealttyError", code: "peer-misbehaved" });
        return;
      }
      expect(read(openBody(request))).toEqual(request);
    }),
  );
});

const exec = { kind: "exec", command: ["true"], environment: {} } as const;
const variables = (count: number, value: string) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`V${i}`, value]));
test.each<[string, Extract<ChannelRequest, { kind: "exec" }>]>([
  ["too many words", { ...exec, command: Array.from({ length: MAX_COMMAND_ARGUMENTS + 1 }, () => "a") }],
  ["too many bytes", { ...exec, command: ["true", "é".repeat(MAX_COMMAND_BYTES / 2)] }],
  ["a NUL in a word", { ...exec, command: ["true", "a\0b"] }],
  ["too many variables", { ...exec, environment: variables(MAX_ENVIRONMENT + 1, "") }],
  ["too long a value", { ...exec, environment: { A: "x".repeat(MAX_ENVIRONMENT_VALUE + 1) } }],
  [
    "too much environment",
    { ...exec, environment: variables(MAX_ENVIRONMENT, "x".repeat(MAX_ENVIRONMENT_BYTES / MAX_ENVIRONMENT)) },
  ],
  ["a name that is none", { ...exec, environment: { "1A": "" } }],
  ["a NUL in a value", { ...exec, environment: { A: "\0" } }],
  ["too long a directory", { ...exec, directory: "x".repeat(MAX_DIRECTORY + 1) }],
  ["a NUL in the directory", { ...exec, directory: "/\0" }],
])("%s: refused here with one sentence, and by the guest too", (_, request) => {
  expect(() => checkRequest(request)).toThrow(expect.objectContaining({ code: "bad-config" }));
  expect(() => read(openBody(request))).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
});

test("no command is none to run", () => {
  for (const command of [[], [""]])
    expect(() => checkRequest({ ...exec, command })).toThrow("there is no command to run");
});

const terminals = [
  { kind: "login", term: "xterm", columns: 80, rows: 24 },
  { kind: "shell", term: "xterm", columns: 80, rows: 24, command: [], environment: {} },
] as const;
test.each(terminals)("a $kind of a size or with a name that no terminal has is refused here", (terminal) => {
  for (const side of [0, -1, 1.5, NaN, Infinity, MAX_TERMINAL_SIDE + 1, 65_536 + 80, undefined, null, "80"]) {
    const wrong = side as number;
    for (const size of [{ columns: wrong }, { rows: wrong }])
      expect(() => checkRequest({ ...terminal, ...size }), String(side)).toThrow(
        expect.objectContaining({ code: "api-misuse" }),
      );
    expect(() => checkSize(wrong, 1), String(side)).toThrow(`A terminal has 1 to ${MAX_TERMINAL_SIDE}`);
  }
  for (const side of [1, MAX_TERMINAL_SIDE])
    expect(() => checkRequest({ ...terminal, columns: side, rows: side })).not.toThrow();
  for (const term of ["", "-x", "a b", "x".repeat(MAX_TERM_NAME + 1)]) {
    const request = { ...terminal, term };
    expect(() => checkRequest(request)).toThrow(expect.objectContaining({ code: "bad-config" }));
    expect(() => read(openBody(request))).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
  }
});
