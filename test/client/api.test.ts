// The browser's API against a whole guest in memory, in Node, which has web streams as well: hooks, options, and ends.
// test/browser/web-api.test.ts has the rest, in a browser.

import { webcrypto } from "node:crypto";
import { Duplex } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import { duplexOf } from "../../cli/api/remote-stream.ts";
import { type Browser, connectFrom, publicKeyLine } from "../../client/api/index.ts";
import { remoteStream } from "../../client/api/remote-stream.ts";
import { readableOf } from "../../client/api/streams.ts";
import type { ConnectOptions, Guest } from "../../client/api/types.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import { asError, SealttyError } from "../../protocol/errors.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { fastClock } from "../support/clocks.ts";
import { FakeStream } from "../support/fake-stream.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import {
  acceptAnyKey,
  echoProcess,
  FakeProcess,
  SIMULATED_POLICY_TEXT,
  testGuest,
} from "../support/session.ts";

const SIZE = { columns: 80, rows: 24 } as const;
const refusal = (code: string): object => expect.objectContaining({ name: "SealttyError", code }) as object;
/** As from JavaScript, where no type is in the way. */
const any = (value: unknown) => value as never;

async function keyPair(extractable = false): Promise<CryptoKeyPair> {
  const usages: webcrypto.KeyUsage[] = ["sign", "verify"];
  return (await webcrypto.subtle.generateKey("Ed25519", extractable, usages)) as CryptoKeyPair;
}

/** A guest, and programs that reach it. */
function world(makeProcess: () => FakeProcess = echoProcess) {
  const clock = fastClock(10);
  const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey }, makeProcess);
  let dialed = 0;
  const from: Browser = {
    suite: nodeSuite,
    signatures: webCryptoSignatures(webcrypto.subtle as never),
    clock,
    wallTime: () => Date.now(),
    connect,
    dial() {
      dialed++;
      const pair = memoryPipes();
      void guest.endpoint.servePipe(pair.guest).catch(() => {});
      return Promise.resolve(pair.client);
    },
  };
  const reach = async (more: Partial<ConnectOptions> = {}): Promise<Guest> =>
    connectFrom(from, {
      guest: "wss://host/guest",
      policy: { text: SIMULATED_POLICY_TEXT },
      user: "alice",
      key: await keyPair(),
      simulated: true,
      timeout: 600_000,
      ...more,
    });
  return { guest, reach, dialed: () => dialed };
}

test("what connect() cannot mean is refused with a sentence, says no secret, and nothing is dialled", async () => {
  const { reach, dialed } = world();
  const pair = await keyPair();
  const piece = new Uint8Array(1);
  const wrong: readonly (readonly [string, string, object])[] = [
    ["api-misuse", 'no option "identity"', { identity: "/x" }],
    ["api-misuse", "needs key", { key: undefined }],
    ["api-misuse", "needs user", { user: undefined }],
    ["api-misuse", "user is the name of a user", { user: "-f root" }],
    ["api-misuse", "policy is { text }", { policy: "feed" }],
    ["api-misuse", "key is a CryptoKeyPair", { key: true }],
    ["api-misuse", "key is a CryptoKeyPair", { key: null }],
    ["api-misuse", "not extractable", { key: await keyPair(true) }],
    ["api-misuse", "key is a CryptoKeyPair", { key: { ...pair, privateKey: pair.publicKey } }],
    ["api-misuse", "key is a CryptoKeyPair", { key: { publicKey: "feed", sign: () => piece } }],
    ["api-misuse", "key is a CryptoKeyPair", { key: { publicKey: piece } }],
    ["api-misuse", "simulated is true or false", { simulated: "false" }],
    ["api-misuse", "collateral is lists of bytes", { collateral: { certificate: [piece] } }],
    ["api-misuse", "collateral is lists of bytes", { collateral: { certificates: ["feed"] } }],
    [
      "api-misuse",
      "collateral is lists of bytes",
      { collateral: { crls: Array.from({ length: 513 }, () => piece) } },
    ],
    ["api-misuse", "timeout is a number", { timeout: 0 }],
    ["api-misuse", "timeout is a number", { timeout: 2 ** 31 }],
    ["api-misuse", "onChanged is a function", { onChanged: true }],
    ["bad-config", "is none that a browser reaches", { guest: "unix:/x" }],
    ["bad-config", "is none that a browser reaches", { guest: "https://host/" }],
    ["bad-config", "is none that a browser reaches", { guest: "wss://host/\u202e" }],
    ["bad-config", "a user name or password", { guest: "wss://a:b@host/" }],
    ["bad-config", "#fragment", { guest: "wss://host/#x" }],
    ["bad-config", "longer than 512", { guest: `wss://host/${"x".repeat(512)}` }],
    ["bad-policy", "Policy", { policy: { text: "version = 2" } }],
  ];
  for (const [code, words, more] of wrong) {
    const error: unknown = await reach(more).catch((thrown: unknown) => thrown);
    expect(error, words).toEqual(refusal(code));
    expect(String(error)).toContain(words);
    expect(String(error)).not.toContain("feed");
  }
  await expect(Promise.resolve(any(undefined)).then((none) => connectFrom(any({}), none))).rejects.toEqual(
    refusal("api-misuse"),
  );
  expect(dialed()).toBe(0);
});

test("what no call can mean is refused, and the connection lives on", async () => {
  const { guest, reach } = world();
  const connected = await reach();
  const wrong: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["A command is a list of words", () => connected.exec(any("ls"))],
    ['no option "cdw"', () => connected.exec(["ls"], any({ cdw: "/" }))],
    ["env is an object", () => connected.exec(["ls"], { env: any(7) })],
    ["stdin is true, a text", () => connected.exec(["ls"], { stdin: any(7) })],
    ["signal is an AbortSignal", () => connected.exec(["ls"], { signal: any({}) })],
    ["shell() takes its options", () => connected.shell(any(undefined))],
    ["A terminal has 1 to 10000", () => connected.shell({ ...SIZE, columns: 0 })],
    ["A destination is { host, port }", () => connected.openStream(any("h:80"))],
    ["A service is a word", () => connected.openStream({ service: any(1) })],
    ["cwd is", () => connected.exec(["ls"], any(Object.create({ cwd: 7 })))],
    [
      "stdin is true, a text",
      () => connected.exec(["ls"], Object.defineProperty({}, "stdin", { value: 7, enumerable: false })),
    ],
    ["onStderr is a function", () => connected.openStream({ path: "/x" }, { onStderr: any([]) })],
  ];
  for (const [words, call] of wrong) {
    const error: unknown = await call().catch((thrown: unknown) => thrown);
    expect(error, words).toEqual(refusal("api-misuse"));
    expect(String(error)).toContain(words);
  }
  expect(guest.processes).toHaveLength(0);
  const terminal = await connected.shell(SIZE);
  expect(() => terminal.resize(0, 24)).toThrow(expect.objectContaining({ code: "api-misuse" }) as Error);
  const writer = terminal.input.getWriter();
  await expect(writer.write(any(7))).rejects.toEqual(refusal("api-misuse"));
  await expect(terminal.exit).rejects.toEqual(refusal("api-misuse")); // and not with half an input
  await vi.waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"), { timeout: 30_000 });
  expect(guest.processes[0]?.events).not.toContain("end");
  const numbers = await connected.exec(["cat"], { stdin: any([1, 2, 3]) });
  await expect(numbers.exit).rejects.toEqual(refusal("api-misuse"));
  await connected.close();
});

describe("a hook that fails", () => {
  const broken = (): never => {
    throw new Error("broken");
  };
  const failed: object = expect.objectContaining({
    code: "api-misuse",
    cause: expect.objectContaining({ message: "broken" }) as Error,
  }) as object;

  test.each(["dialing", "appraising", "attested"])(
    "onState, told of %s: nothing is connected",
    async (at) => {
      const { guest, reach } = world();
      await expect(reach({ onState: ({ phase }) => void (phase === at && broken()) })).rejects.toEqual(
        failed,
      );
      expect(guest.processes).toHaveLength(0);
    },
  );

  test("onEvidence: the connection ends with it, and all that is in it", async () => {
    const { reach } = world();
    const connected = await reach({ onEvidence: broken });
    const terminal = await connected.shell(SIZE);
    const reading = terminal.output.getReader().read();
    reading.catch(() => undefined);
    await expect(connected.reattest()).rejects.toEqual(failed);
    await expect(terminal.exit).rejects.toEqual(failed);
    await expect(reading).rejects.toEqual(failed);
    await connected.closed;
    await expect(connected.exec(["true"])).rejects.toEqual(failed);
  });

  test.each([
    ["throws", broken],
    ["rejects", () => Promise.reject(new Error("broken"))],
  ])(
    "onStderr %s: its stream fails, and the guest's side is hung up; what it gets is its own",
    async (_, hook) => {
      for (const make of [remoteStream, duplexOf]) {
        const stderr = new FakeStream();
        const ends: string[] = [];
        const packet = utf8("complaint");
        const fail = new Error("not told");
        let told: Uint8Array | undefined;
        const channel: Channel = {
          stdout: new FakeStream(),
          stderr,
          write: () => Promise.resolve(),
          end: () => void ends.push("end"),
          resize: () => undefined,
          signal: () => undefined,
          hangUp: () => void ends.push("hang up"),
          exit: new Promise(() => undefined),
        };
        const onStderr = (bytes: Uint8Array): void => {
          told = bytes;
          structuredClone(bytes, { transfer: [bytes.buffer] });
          return any(hook());
        };
        const owner = { clock: fastClock(10), onChanged: () => () => {}, explain: asError };
        const stream = make(channel, { kind: "service", name: "x" }, { onStderr }, owner);
        const failed =
          stream instanceof Duplex
            ? new Promise<Error>((resolve) => stream.once("error", resolve))
            : stream.readable
                .getReader()
                .read()
                .then(() => fail, asError);
        stderr.push(packet);
        expect((await failed).message).toBe("broken");
        expect(told).toHaveLength(0); // given away
        expect(packet).toEqual(utf8("complaint"));
        await vi.waitFor(() => expect(stderr.credit).toBe(packet.length));
        expect(ends).toEqual(["hang up"]);
      }
    },
  );
});

test("without a key: the login program, and the key's hook is not asked", async () => {
  const { guest, reach } = world();
  const connected = await reach({ key: false });
  const terminal = await connected.shell({ ...SIZE, login: true });
  const writer = terminal.input.getWriter();
  await writer.write("root");
  const { value } = await terminal.output.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("root");
  expect(guest.processes).toHaveLength(1);
  await connected.close();
  await expect(terminal.exit).rejects.toEqual(refusal("transport-lost"));
});

test("an end of input is one; an abort of it, and a program's output that nobody wants, hang up", async () => {
  const { guest, reach } = world();
  const connected = await reach();
  const first = await connected.exec(["cat"], { stdin: true });
  const writer = (first.stdin as WritableStream<string>).getWriter();
  await writer.write("half");
  await writer.abort(new RangeError("no more"));
  await expect(first.exit).rejects.toThrow("no more");
  const second = await connected.exec(["cat"], { stdin: "all of it" });
  await second.stdout.cancel();
  const third = await connected.exec(["cat"], { stdin: "x" });
  await third.stderr.cancel(); // is nobody's business
  const { value } = await third.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("x");
  expect(guest.processes.map(({ events }) => events.includes("hang up"))).toEqual([true, true, false]);
  expect(guest.processes[0]?.events).not.toContain("end");
  await vi.waitFor(() => expect(guest.processes[2]?.events).toContain("end"), { timeout: 30_000 });
  await connected.close();
});

test("a stream reads nothing before it is asked, gives credit for what was read, and tells an error behind all that came", async () => {
  const pieces = ["one", "two"];
  const consumed: number[] = [];
  let asked = 0;
  const { readable } = readableOf(
    {
      async read() {
        asked++;
        const piece = pieces.shift();
        if (piece === undefined) throw new SealttyError("transport-lost", "gone");
        return utf8(piece);
      },
      consumed: (length) => consumed.push(length),
    },
    asError,
    () => {},
  );
  const reader = readable.getReader();
  expect([asked, consumed]).toEqual([0, []]);
  expect((await reader.read()).value).toEqual(utf8("one"));
  expect([asked, consumed]).toEqual([1, [3]]);
  expect((await reader.read()).value).toEqual(utf8("two"));
  await expect(reader.read()).rejects.toEqual(refusal("transport-lost"));
  expect(asked).toBe(3);
});

test("a key's line for authorized_keys: as ssh-keygen writes it; a comment is no second line", async () => {
  const pair = await keyPair();
  const line = await publicKeyLine(pair, "alice@laptop");
  expect(line).toMatch(/^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43} alice@laptop$/);
  const publicKey = new Uint8Array(Buffer.from(line.split(" ")[1] ?? "", "base64"));
  expect(await publicKeyLine({ publicKey }, "")).toBe(`${line.split(" ", 2).join(" ")} `);
  for (const comment of ["a\nb", "\u2028", any(7)])
    await expect(publicKeyLine(pair, comment)).rejects.toEqual(refusal("api-misuse"));
});
