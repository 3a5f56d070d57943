// A command line that is handed to who keeps a connection, and the process that stands for the one it was given to.

import * as fc from "fast-check";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EXEC } from "../../cli/exec-plan.ts";
import { readLaunch, saidIn } from "../../cli/master/launch.ts";
import { LaunchedInput, LaunchedOutput } from "../../cli/master/launched-streams.ts";
import { masterPlace } from "../../cli/master/place.ts";
import {
  encodeFrame,
  FrameReader,
  INPUT_WINDOW,
  MAX_FRAME,
  OUTPUT_WINDOW,
  TYPES,
} from "../../cli/master/wire.ts";
import { parseInput } from "../../cli/options.ts";
import { OutputClosed, writeTo } from "../../cli/output.ts";
import type { ConnectionState } from "../../protocol/session/api.ts";
import { run } from "../../cli/program.ts";
import { concat, u32 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { fakeCli, POLICY_TEXT } from "./fake-cli.ts";

const text = (value: string | Uint8Array): Uint8Array => {
  const bytes = Buffer.from(value);
  return concat(u32(bytes.length), bytes);
};
const list = (values: readonly (string | Uint8Array)[]): Uint8Array =>
  concat(u32(values.length), ...values.map(text));
const body = (
  args: readonly (string | Uint8Array)[],
  {
    version = "1.2.3",
    terminals = 0,
    variables = [] as readonly (string | Uint8Array)[],
    directory = "/d",
  } = {},
): Uint8Array =>
  concat(text(version), text(directory), Uint8Array.of(terminals), list(args), list(variables));

describe("readLaunch", () => {
  test("comes out as it went in", () => {
    const word = fc.string({ unit: "grapheme", maxLength: 20 });
    fc.assert(
      fc.property(fc.array(word), fc.integer({ min: 0, max: 7 }), (args, terminals) => {
        const launch = readLaunch(
          body(args, { terminals, variables: ["A=b=c", "A=second", "=x", "none"] }),
          "1.2.3",
        );
        const [input, output, errors] = launch?.terminals ?? [];
        expect(launch).toMatchObject({ args, directory: "/d", environment: { A: "b=c" } });
        expect(Number(input) + 2 * Number(output) + 4 * Number(errors)).toBe(terminals);
      }),
    );
  });
  test("another version's, and what is no UTF-8, is nobody's to do here", () => {
    expect(readLaunch(body([], { version: "1.2.4" }), "1.2.3")).toBeUndefined();
    expect(readLaunch(body([Uint8Array.of(0x61, 0xff)]), "1.2.3")).toBeUndefined();
    expect(readLaunch(body([], { variables: [Uint8Array.of(0x41, 0x3d, 0xff)] }), "1.2.3")).toBeUndefined();
  });
  test("a name of the language's own is a variable like any other", () => {
    const launch = readLaunch(body([], { variables: ["__proto__=x", "constructor=y"] }), "1.2.3");
    expect(Object.entries(launch?.environment ?? {})).toEqual([
      ["__proto__", "x"],
      ["constructor", "y"],
    ]);
  });
  test("any other bytes are somebody's fault", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(), (bytes, cut) => {
        const whole = body(["a", "b"], { variables: ["C=d"] });
        for (const each of [bytes, concat(text("1.2.3"), bytes), whole.subarray(0, cut % whole.length)]) {
          try {
            readLaunch(each, "1.2.3");
          } catch (error) {
            expect(error).toBeInstanceOf(SealttyError);
            expect(error).toMatchObject({ code: "peer-misbehaved" });
          }
        }
      }),
    );
    expect(() => readLaunch(concat(body([]), Uint8Array.of(0)), "1.2.3")).toThrow("A command line");
    const many = concat(text("1.2.3"), text("/"), Uint8Array.of(0), u32(0xffffffff));
    expect(() => readLaunch(many, "1.2.3")).toThrow("too many words");
  });
});

test("files are those of where it was said", () => {
  const files = ["--policy=p", "-i", "../k", "--certificate=c", "--collateral=/abs/../c", "-F", "~f"];
  const said = saidIn(
    "/a/b",
    parseInput(EXEC, [...files, "-o", "policy=q", "-o", "user=x", "-o", "certificate=none", "--cwd=w"]),
  );
  expect(
    ["policy", "identity", "certificate", "collateral", "config", "cwd"].map((name) => said.text(name)),
  ).toEqual([...["/a/b/p", "/a/b/../k", "/a/b/c", "/abs/../c", "/a/b/~f", "w"]]);
  expect(said.texts("option")).toEqual(["policy=/a/b/q", "user=x", "certificate=none"]);
  const none = saidIn("/a", parseInput(EXEC, ["--certificate=none", "--policy=none"]));
  expect([none.text("certificate"), none.text("policy"), none.text("identity")]).toEqual([
    "none",
    "/a/none",
    undefined,
  ]);
});

describe("streams of the far end", () => {
  const ENOSPC = 28;
  const EPIPE = 32;
  test("what was written is not written before it was taken there", async () => {
    const sent: number[] = [];
    const output = new LaunchedOutput(false, (part) => sent.push(part.length));
    await writeTo(output, new Uint8Array(100_000)); // carried ahead
    expect(sent).toEqual([65_536, 34_464]);
    let written = false;
    const writing = output.written().then(() => (written = true));
    output.taken(99_999);
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(false);
    output.taken(1);
    await writing;
    expect(() => output.taken(1)).toThrow("more was taken than was given");
  });
  test("no more goes ahead than the window, beside one chunk", async () => {
    let sent = 0;
    const output = new LaunchedOutput(false, (part) => (sent += part.length));
    const done: number[] = [];
    for (let i = 0; i < 5; i++) void writeTo(output, new Uint8Array(200_000)).then(() => done.push(i));
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toBeLessThan(OUTPUT_WINDOW + 200_000);
    expect(done).toEqual([0]);
    output.taken(sent);
    await vi.waitFor(() => expect(done).toEqual([0, 1, 2]));
  });
  test.each([
    [ENOSPC, expect.objectContaining({ code: "device-unavailable" })],
    [EPIPE, expect.any(OutputClosed)],
  ])(
    "errno %i there, once all was carried: the last write's error, and not its end",
    async (errno, error) => {
      const output = new LaunchedOutput(false, () => {});
      await writeTo(output, "last");
      output.broken(errno);
      await expect(output.written()).rejects.toEqual(error);
      await expect(writeTo(output, "more")).rejects.toEqual(error);
    },
  );
  test("words of ours that nobody takes lose nothing of the program's", async () => {
    const output = new LaunchedOutput(false, () => {});
    const aside = output.aside();
    aside.write("warning");
    output.broken(ENOSPC);
    await output.written();
    await expect(writeTo(output, "the program's")).rejects.toMatchObject({ code: "device-unavailable" });
    const mixed = new LaunchedOutput(false, () => {});
    await writeTo(mixed, "the program's");
    mixed.aside().write("warning");
    mixed.taken("the program's".length);
    mixed.broken(EPIPE);
    await mixed.written();
  });
  test("room is given as it is read, and what comes beyond it is refused", async () => {
    const given: number[] = [];
    const input = new LaunchedInput(false, (length) => given.push(length));
    expect(given).toEqual([]); // nobody reads it: nothing of the far end's input is taken
    expect(() => input.come(Uint8Array.of(1))).toThrow("more input than there is room for");
    input.on("data", () => {});
    await vi.waitFor(() => expect(given).toEqual([INPUT_WINDOW]));
    input.come(new Uint8Array(INPUT_WINDOW));
    await vi.waitFor(() => expect(given).toEqual([INPUT_WINDOW, INPUT_WINDOW]));
    input.come(undefined);
    await once(input, "end");
    expect(() => input.come(undefined)).toThrow("more input than there is room for");
  });
  test("an input that cannot be read has Node's own error", async () => {
    const input = new LaunchedInput(false, () => {});
    const failed = once(input, "error");
    input.broken(21);
    expect(await failed).toMatchObject([
      { code: "EISDIR", message: "EISDIR: illegal operation on a directory, read" },
    ]);
  });
});

describe("in the process that keeps a connection", () => {
  let directory: string;
  const cleanups: (() => void)[] = [];
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), "sealtty-launch-"));
    writeFileSync(path.join(directory, "policy.toml"), POLICY_TEXT);
  });
  afterEach(() => {
    for (const cleanup of cleanups.splice(0)) cleanup();
    rmSync(directory, { recursive: true, force: true });
  });

  async function kept(changes: Parameters<typeof fakeCli>[0] = {}) {
    const cli = fakeCli({ environment: { XDG_RUNTIME_DIR: directory }, ...changes });
    const words = ["tcp:h:1", "--policy", path.join(directory, "policy.toml"), "-i", "/d/key"];
    const { socket } = masterPlace("tcp:h:1", parseInput(EXEC, [...words, "--", "x"]), false, cli.services);
    const done = run(["master", ...words, "--json"], cli.services);
    await vi.waitFor(() => expect(cli.errors()).toContain('"listens"'));
    return { cli, socket, words, done };
  }
  /** @param takes - says that what it hears was written. */
  function launcher(socket: string, args: readonly string[], takes = true) {
    const variables = [`XDG_RUNTIME_DIR=${directory}`];
    const connection = net.connect(socket);
    cleanups.push(() => connection.destroy());
    const frames = new FrameReader(MAX_FRAME);
    const heard: { type: string; body: string }[] = [];
    const send = (...frame: Parameters<typeof encodeFrame>): void =>
      void connection.write(encodeFrame(...frame));
    connection.on("error", () => {});
    const closed = new Promise<void>((resolve) => connection.once("close", () => resolve()));
    connection.on("data", (chunk: Buffer) => {
      for (const { type, body: bytes } of frames.push(chunk)) {
        heard.push({ type, body: Buffer.from(bytes).toString("latin1") });
        const stream = type === "output" ? 1 : 2;
        if (takes && (type === "output" || type === "errors"))
          send("taken", Uint8Array.of(stream), u32(bytes.length));
      }
    });
    send("launch", body(args, { variables }));
    const types = (): string[] => heard.map(({ type }) => type).filter((type) => type !== "hello");
    const waitFor = (type: string): Promise<void> => vi.waitFor(() => expect(types()).toContain(type));
    return { connection, heard, send, types, waitFor, closed };
  }

  test("here, then go, then the program; its bytes, its signals, its end", async () => {
    const { cli, socket, words } = await kept();
    const { heard, send, types, waitFor, closed } = launcher(
      socket,
      [...words, "-q", "--", "prog", "arg"],
      false,
    );
    await waitFor("here");
    expect(cli.requests).toEqual([]);
    send("go");
    await waitFor("begun");
    expect(cli.requests).toMatchObject([{ kind: "exec", command: ["prog", "arg"] }]);
    await waitFor("room");
    send("input", Buffer.from("in"));
    send("end");
    send("signal", Buffer.from("SIGINT"));
    await vi.waitFor(() => expect(cli.channel.events).toEqual(expect.arrayContaining(["end", "SIGINT"])));
    expect(Buffer.concat(cli.channel.input).toString()).toBe("in");
    cli.channel.stdout.push("out");
    await waitFor("output");
    cli.channel.finish({ kind: "exited", status: 7 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(types()).not.toContain("ended"); // not before it was written there
    send("taken", Uint8Array.of(1), u32(3));
    for (const { type, body: bytes } of heard)
      if (type === "errors") send("taken", Uint8Array.of(2), u32(bytes.length));
    await waitFor("ended");
    expect(heard.at(-1)).toEqual({ type: "ended", body: "\x07" });
    await closed;
  });
  test("a reader that stopped: the third signal ends it, and words of ours are not waited for", async () => {
    const { cli, socket, words } = await kept();
    const { send, waitFor, heard } = launcher(socket, [...words, "--", "prog"], false);
    send("go");
    await waitFor("begun");
    cli.channel.stdout.push("out");
    await waitFor("output");
    cli.channel.finish({ kind: "exited", status: 0 });
    await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 3; i++) send("signal", Buffer.from("SIGTERM"));
    await waitFor("ended");
    expect(heard.at(-1)?.body).toBe(String.fromCharCode(128 + 15));
  });
  test("gone before it agreed: nothing is run", async () => {
    const { cli, socket, words } = await kept();
    const { connection, waitFor } = launcher(socket, [...words, "--", "prog"]);
    await waitFor("here");
    connection.destroy();
    const next = launcher(socket, [...words, "--", "prog"]);
    await next.waitFor("here");
    expect(cli.requests).toEqual([]);
  });
  test("its output cannot be written: hung up, said, and 255", async () => {
    const { cli, socket, words } = await kept();
    const { send, waitFor, heard } = launcher(socket, [...words, "-q", "--", "prog"]);
    send("go");
    await waitFor("begun");
    cli.channel.stdout.push("out");
    await waitFor("output");
    send("broken", Uint8Array.of(1), u32(28));
    cli.channel.stdout.push("more");
    await waitFor("ended");
    expect(heard.at(-1)?.body).toBe("\xff");
    expect(heard.filter(({ type }) => type === "errors").at(-1)?.body).toContain("no space is left");
    expect(cli.channel.events).toContain("hang-up");
  });
  test("the connection is lost: one for another guest, or for nobody, leaves it as it is; one for it opens another", async () => {
    let state: (now: ConnectionState) => void = () => {};
    const { services } = fakeCli();
    const { socket, words, done } = await kept({
      connect(options: Parameters<typeof services.connect>[0]) {
        state = (now) => options.onState?.(now);
        return services.connect(options);
      },
    });
    const first = launcher(socket, [...words, "--", "prog"]);
    await first.waitFor("here");
    state({ phase: "reconnecting", reason: "reset" });
    await new Promise((resolve) => setTimeout(resolve, 3100)); // as long as it may come back by itself
    await launcher(socket, [...words, "-l", "other", "--", "prog"]).waitFor("elsewhere");
    await launcher(socket, ["--help"]).waitFor("not-here");
    await launcher(socket, [...words, "--nonsense", "--", "prog"]).waitFor("ended");
    first.send("go"); // it is being started: nobody else may end it
    await first.waitFor("begun");
    await launcher(socket, [...words, "--", "prog"]).waitFor("here");
    first.connection.destroy();
    await first.closed;
    await vi.waitFor(async () => {
      const next = launcher(socket, [...words, "--", "prog"]);
      await next.waitFor("not-here");
    });
    expect(await done).toBe(0);
  });
  test("gone amid its program: hung up", async () => {
    const { cli, socket, words } = await kept();
    const { connection, send, waitFor } = launcher(socket, [...words, "--", "prog"]);
    send("go");
    await waitFor("begun");
    connection.destroy();
    await vi.waitFor(() => expect(cli.channel.events).toContain("hang-up"));
  });
  test.each<[string, readonly string[], string]>([
    ["a terminal", ["-t", "--", "prog"], "not-here"],
    ["help", ["--help"], "not-here"],
    ["another user", ["-l", "other", "--", "prog"], "elsewhere"],
    ["nonsense", ["--nonsense", "--", "prog"], "ended"],
  ])("%s", async (_, more, answer) => {
    const { cli, socket, words } = await kept();
    const { types, waitFor, closed } = launcher(socket, [...words, ...more]);
    await waitFor(answer);
    await closed;
    expect(types()).not.toContain("here");
    expect(cli.requests).toEqual([]);
  });
  test("a path that depends on where it was started", async () => {
    const { cli, socket, words } = await kept();
    const { waitFor } = launcher(socket, ["unix:here.sock", ...words.slice(1), "--", "prog"]);
    await waitFor("not-here");
    expect(cli.requests).toEqual([]);
  });
  test("there is no connection yet: it waits, and hears why there is none", async () => {
    let refuse: (error: Error) => void = () => {};
    const connect = () => new Promise<never>((_resolve, reject) => (refuse = reject));
    const { socket, words, done } = await kept({ connect });
    const { heard, send, waitFor, closed } = launcher(socket, [...words, "--", "prog"]);
    send("go");
    await waitFor("here");
    refuse(new SealttyError("evidence-refused", "another guest"));
    await waitFor("ended");
    await closed;
    expect(heard.find(({ type }) => type === "errors")?.body).toBe(
      "sealtty: evidence-refused: another guest\n",
    );
    expect(heard.at(-1)?.body).toBe("\xff");
    expect(await done).toBe(255);
  });
  test("given up before there is a connection: nothing is run once there is one", async () => {
    let come = (): void => {};
    const later = new Promise<void>((resolve) => (come = resolve));
    const { services, requests } = fakeCli();
    const { socket, words } = await kept({
      connect: (options: Parameters<typeof services.connect>[0]) =>
        later.then(() => services.connect(options)),
    });
    const gone = launcher(socket, [...words, "--", "prog"]);
    await gone.waitFor("here");
    gone.send("go");
    gone.connection.destroy();
    const stays = launcher(socket, [...words, "--", "other"]);
    await stays.waitFor("here");
    stays.send("go");
    come();
    await stays.waitFor("begun");
    expect(requests).toMatchObject([{ command: ["other"] }]);
  });
  test("files that are others for each process are left to it", async () => {
    const { cli, socket } = await kept();
    for (const file of ["/dev/stdin", "/proc/self/fd/3", "/tmp/../dev/fd/63"])
      await launcher(socket, ["tcp:h:1", "--policy", file, "-i", "/d/key", "--", "prog"]).waitFor("not-here");
    expect(cli.requests).toEqual([]);
  });
  test.each<[string, Parameters<typeof encodeFrame>]>([
    ["a second command line", ["launch", body([])]],
    ["a request of the others'", ["open", Uint8Array.of(1)]],
    ["input that there is no room for", ["input", new Uint8Array(INPUT_WINDOW + 1)]],
    ["that more was taken than was given", ["taken", Uint8Array.of(1), u32(1)]],
    ["an error of no stream", ["broken", Uint8Array.of(3), u32(1)]],
    ["a signal that there is not", ["signal", Buffer.from("SIGNOT")]],
    ["what only the keeper says", ["ended", Uint8Array.of(0)]],
  ])("%s: cut, hung up, and the next one is served", async (_, frame) => {
    const { cli, socket, words } = await kept();
    const rogue = launcher(socket, [...words, "--", "prog"]);
    rogue.send("go");
    await rogue.waitFor("begun");
    rogue.send(...frame);
    await rogue.closed;
    await vi.waitFor(() => expect(cli.channel.events).toContain("hang-up"));
    await launcher(socket, [...words, "--", "prog"]).waitFor("here");
  });
  test("any frames at all leave the keeper as it was", async () => {
    const { socket, words } = await kept();
    const types = Object.keys(TYPES) as (keyof typeof TYPES)[];
    const frame = fc.tuple(fc.constantFrom(...types), fc.uint8Array({ maxLength: 12 }));
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 6 }), async (frames) => {
        const { connection, send, closed } = launcher(socket, [...words, "--", "prog"]);
        for (const [type, bytes] of frames) if (type !== "stop") send(type, bytes);
        connection.end();
        await closed;
      }),
      { numRuns: 60 },
    );
    await launcher(socket, [...words, "--", "prog"]).waitFor("here");
  });
});
