// What exec --master and the keeper of the connection say to each other: cut anywhere, damaged, and by somebody who is neither.

import * as fc from "fast-check";
import { linkSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { EXEC } from "../../cli/exec-plan.ts";
import { ChangeWatch } from "../../protocol/api/change-watch.ts";
import { OpenGuest } from "../../cli/api/open-guest.ts";
import { READ_AHEAD } from "../../cli/api/streams.ts";
import { ConnectionLost, MasterLink } from "../../cli/master/master-link.ts";
import { masterPlace } from "../../cli/master/place.ts";
import { MasterServer } from "../../cli/master/serve-master.ts";
import {
  encodeFrame,
  encodeJson,
  errorOf,
  failureOf,
  FrameReader,
  type FrameType,
  OUTPUT_WINDOW,
  TYPES,
} from "../../cli/master/wire.ts";
import { parseInput } from "../../cli/options.ts";
import { run } from "../../cli/program.ts";
import { nodeClock } from "../../node/clock.ts";
import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { openBody } from "../../protocol/session/open-request.ts";
import type { Kept } from "../../cli/master/served.ts";
import { VerifiedGuest } from "../../protocol/attestation/verified-guest.ts";
import { ManualClock } from "../support/clocks.ts";
import { CLAIMS, FakeChannel, fakeCli, fakeGuest, POLICY_TEXT } from "./fake-cli.ts";

const silent = { say: () => {}, warn: () => {}, detail: () => {}, event: () => {} };
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-master-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("FrameReader", () => {
  const types = Object.keys(TYPES) as FrameType[];
  test("frames come out whole and in order, however they were cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...types), fc.uint8Array({ maxLength: 300 })), { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = concat(...frames.map(([type, body]) => encodeFrame(type, body)));
          const reader = new FrameReader(1000);
          const found: [FrameType, number[]][] = [];
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const end = at + (cuts[i % cuts.length] ?? 1);
            for (const { type, body } of reader.push(bytes.subarray(at, end))) found.push([type, [...body]]);
            at = end;
          }
          expect(found).toEqual(frames.map(([type, body]) => [type, [...body]]));
        },
      ),
    );
  });
  test("any bytes are frames or somebody's fault, and no more than the limit is kept", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), (chunks) => {
        const reader = new FrameReader(100);
        try {
          for (const chunk of chunks)
            for (const { body } of reader.push(chunk)) expect(body.length).toBeLessThan(100);
        } catch (error) {
          expect(error).toMatchObject({ name: "SealttyError", code: "peer-misbehaved" });
        }
      }),
    );
  });
});

test("an error is the same one at the other end", () => {
  const refusal = { check: "c", expected: "e", found: "f", next: "n", policyKey: "k" };
  const error = new SealttyError("evidence-refused", "no", { refusal });
  const again = errorOf(encodeJson("failed", failureOf(error)).subarray(5));
  expect(again).toMatchObject({ code: "evidence-refused", message: "no", refusal });
  for (const body of ["", "[]", "null", "{}", '{"code":1,"message":"x"}'])
    expect(() => errorOf(Buffer.from(body))).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
});

describe("masterPlace()", () => {
  const place = (
    more: string[] = [],
    changes: Partial<Parameters<typeof masterPlace>[3]> = {},
    guest = "tcp:h:1",
  ) => {
    const policy = path.join(directory, "policy.toml");
    const input = parseInput(EXEC, [guest, "--policy", policy, ...more, "--", "true"]);
    const environment = { XDG_RUNTIME_DIR: directory, HOME: "/home/alice", ...changes.environment };
    return masterPlace(guest, input, false, { localUser: "alice", version: "1", ...changes, environment })
      .socket;
  };
  test("what decides about a connection decides about its name; nothing else does", () => {
    writeFileSync(path.join(directory, "policy.toml"), "one");
    const same = place();
    expect(path.basename(same)).toMatch(/^[0-9a-f]{12}-[0-9a-f]{32}$/);
    for (const again of [
      place(["--json", "-q", "--timeout", "5", "-n", "--env", "A=b", "--run-timeout", "3"]),
      place(["-l", "alice"]),
      place(["--encoding", "auto", "--obfuscate", "off"]),
      place([], { environment: { TERM: "x" } }),
    ]) {
      expect(again).toBe(same);
    }
    const others = [
      place(["-l", "bob"]),
      place(["-i", "key"]),
      place(["--simulated"]),
      place(["--collateral", "d"]),
      place(["--encoding", "armour"]),
      place(["--obfuscate", "strict"]),
      place([], { version: "2" }),
      place([], {}, "tcp:h:2"),
      place([], { environment: { SSH_AUTH_SOCK: "/agent" } }),
      place([], { environment: { SEALTTY_KUBEVIRT_SERVER: "https://other:6443" } }),
    ];
    writeFileSync(path.join(directory, "policy.toml"), "two");
    others.push(place());
    expect(new Set([same, ...others]).size).toBe(others.length + 1);
  });
  test("a key that was replaced is another one", () => {
    const key = path.join(directory, "key");
    writeFileSync(path.join(directory, "policy.toml"), "policy");
    writeFileSync(key, "one");
    const before = place(["-i", key]);
    expect(place(["-i", key])).toBe(before);
    writeFileSync(key, "two");
    expect(place(["-i", key])).not.toBe(before);
  });
  test("without a policy there is none", () => {
    const input = parseInput(EXEC, ["tcp:h:1", "--", "true"]);
    expect(() =>
      masterPlace("tcp:h:1", input, false, { environment: {}, localUser: "a", version: "1" }),
    ).toThrow(expect.objectContaining({ code: "bad-policy" }));
  });
});

describe("MasterServer", () => {
  const verified = VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    CLAIMS,
  );
  const exec = { kind: "exec", command: ["true"], environment: {} } as const;
  let clock: ManualClock;
  let server: MasterServer;
  let socket: string;
  let channels: FakeChannel[];
  const kept = (): Kept => ({
    guest: new OpenGuest({
      guest: fakeGuest(verified, () => {
        const channel = new FakeChannel();
        channels.push(channel);
        return Promise.resolve(channel);
      }),
      key: "",
      clock,
      change: new ChangeWatch(),
      close: () => Promise.resolve(),
    }),
    policy: "test",
    askedForEvidence: () => {},
  });
  beforeEach(async () => {
    clock = new ManualClock();
    server = new MasterServer(fakeCli({ clock }).services, 1000);
    socket = path.join(directory, "socket");
    channels = [];
    await server.listen(socket);
  });
  afterEach(() => server.close());

  test("who comes early waits, and hears what is said meanwhile", async () => {
    const said: string[] = [];
    const reaching = MasterLink.reach(socket, { ...silent, warn: (text) => void said.push(text) }, nodeClock);
    await vi.waitFor(() => {
      server.warn("wait");
      expect(said).toContain("wait");
    });
    server.keep(kept());
    const link = await reaching;
    expect((await link?.open(exec))?.policy).toBe("test");
    link?.close();
  });
  test("who comes early hears why there is none", async () => {
    const reaching = MasterLink.reach(socket, silent, nodeClock);
    reaching.catch(() => undefined);
    await vi.waitFor(async () => {
      await server.fail(new SealttyError("user-refused", "not you"));
      await expect(reaching).rejects.toMatchObject({ code: "user-refused", message: "not you" });
    });
  });
  test("nobody is there: undefined, and nothing was asked", async () => {
    expect(await MasterLink.reach(path.join(directory, "nobody"), silent, nodeClock)).toBeUndefined();
  });
  test("what is not taken at the far end is bounded, and all of it is taken once nobody is there", async () => {
    server.keep(kept());
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await link?.open(exec);
    const [channel] = channels;
    const [chunk, chunks] = [10_000, 100];
    for (let i = 0; i < chunks; i++) channel?.stdout.push("x".repeat(chunk));
    const most = OUTPUT_WINDOW + READ_AHEAD + 2 * chunk;
    let read = 0;
    while (read < OUTPUT_WINDOW) read += (await link?.stdout.read())?.length ?? 0;
    await vi.waitFor(() => expect(channel?.stdout.consumedBytes).toBeGreaterThan(OUTPUT_WINDOW));
    await new Promise((resolve) => setImmediate(resolve));
    expect(channel?.stdout.consumedBytes).toBeLessThanOrEqual(most);
    link?.stdout.consumed(200_000);
    while (read < OUTPUT_WINDOW + 200_000) read += (await link?.stdout.read())?.length ?? 0;
    expect(channel?.stdout.consumedBytes).toBeLessThanOrEqual(most + 200_000);
    link?.close();
    await vi.waitFor(() => expect(channel?.stdout.consumedBytes).toBe(chunk * chunks));
    expect(channel?.events).toContain("hang-up");
    channel?.stdout.push("y".repeat(1000)); // comes late
    await vi.waitFor(() => expect(channel?.stdout.consumedBytes).toBe(chunk * chunks + 1000));
  });
  test("what is no program is refused", async () => {
    server.keep(kept());
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await expect(link?.open({ kind: "files" })).rejects.toMatchObject({ code: "peer-misbehaved" });
    expect(channels).toEqual([]);
  });
  test("input that the connection does not take waits at the one who has it", async () => {
    server.keep(kept());
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await link?.open(exec);
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    if (channels[0] !== undefined) channels[0].takes = () => held;
    let written = false;
    const writing = link?.write(new Uint8Array(1_000_000)).then(() => (written = true));
    link?.signal("SIGINT"); // is not held up by it
    await vi.waitFor(() => expect(channels[0]?.events).toEqual(["SIGINT"]));
    expect(written).toBe(false);
    release();
    await writing;
    link?.end();
    await vi.waitFor(() => expect(channels[0]?.events).toContain("end"));
    expect(Buffer.concat(channels[0]?.input ?? []).length).toBe(1_000_000);
    link?.close();
  });
  test.each<[string, Uint8Array]>([
    ["input before a request", encodeFrame("input", Uint8Array.of(1))],
    ["a request that is none", encodeFrame("open", Uint8Array.of(9, 9))],
    ["what only the keeper says", encodeFrame("hello")],
    ["a frame of no length", new Uint8Array(4)],
    ["a frame that is too long", Uint8Array.of(0, 16, 0, 0)],
  ])("%s: told, cut, and the next one is served", async (_, bytes) => {
    server.keep(kept());
    const rogue = net.connect(socket);
    let heard = "";
    rogue.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")));
    rogue.write(bytes);
    await once(rogue, "close");
    expect(heard).toContain('"code":"peer-misbehaved"');
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await expect(link?.open(exec)).resolves.toMatchObject({ policy: "test" });
    link?.close();
  });
  test.each<[string, Uint8Array]>([
    ["a second request", encodeFrame("open", Uint8Array.of(2))],
    ["that more was taken than was given", encodeFrame("taken", Uint8Array.of(1, 0, 0, 1, 0))],
    ["a signal that there is not", encodeFrame("signal", Uint8Array.of(0xff))],
  ])("%s amid a program: hung up", async (_, bytes) => {
    server.keep(kept());
    const rogue = net.connect(socket);
    rogue.on("error", () => {});
    let heard = "";
    rogue.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")));
    rogue.write(encodeFrame("open", openBody(exec)));
    await vi.waitFor(() => expect(heard).toContain('"policy":"test"'));
    rogue.write(bytes);
    await once(rogue, "close");
    expect(heard).toContain('"code":');
    await vi.waitFor(() => expect(channels.map(({ events }) => events)).toEqual([["hang-up"]]));
  });
  test("idle from the moment on when the last one left; then its name is gone", async () => {
    server.keep(kept());
    let why: string | undefined;
    void server.done.then((reason) => (why = reason));
    const link = await MasterLink.reach(socket, silent, nodeClock);
    clock.advance(5000);
    await link?.open(exec);
    clock.advance(5000);
    expect(why).toBeUndefined();
    link?.close();
    await vi.waitFor(() => expect(clock.timers).toBe(1));
    clock.advance(999);
    await Promise.resolve();
    expect(why).toBeUndefined();
    clock.advance(1);
    expect(await server.done).toBe("idle");
    await server.close();
    expect(readdirSync(directory)).toEqual([]);
  });
  test("a connection that is lost, and not just now: whoever comes opens another, and nobody finds this one", async () => {
    server.keep(kept());
    const early = await MasterLink.reach(socket, silent, nodeClock);
    server.connectionIs("lost");
    clock.advance(2999);
    await expect(early?.open(exec)).resolves.toMatchObject({ policy: "test" }); // it may come back by itself
    clock.advance(1);
    const beside = await MasterLink.reach(socket, silent, nodeClock);
    await expect(beside?.open(exec)).resolves.toMatchObject({ policy: "test" }); // a program waits for it
    early?.close();
    beside?.close();
    await vi.waitFor(() =>
      expect(channels.filter(({ events }) => events.includes("hang-up"))).toHaveLength(2),
    );
    const asking = await MasterLink.reach(socket, silent, nodeClock);
    expect(await asking?.ask("check")).toMatchObject({ running: 0, lostSeconds: 3 });
    const last = await MasterLink.reach(socket, silent, nodeClock);
    await expect(last?.open(exec)).rejects.toBeInstanceOf(ConnectionLost);
    expect(await server.done).toBe("lost");
    expect(await MasterLink.reach(socket, silent, nodeClock)).toBeUndefined();
    expect(channels).toHaveLength(2);
  });
  test("a connection that came back is used", async () => {
    server.keep(kept());
    server.connectionIs("lost");
    clock.advance(60_000);
    server.connectionIs("there");
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await expect(link?.open(exec)).resolves.toMatchObject({ policy: "test" });
    link?.close();
  });
  test("one that hangs is said to, with what to do", async () => {
    const hanging = path.join(directory, "hanging");
    const listener = net.createServer((asker) => asker.on("error", () => {}).resume());
    await new Promise<void>((resolve) => listener.listen(hanging, resolve));
    const own = new ManualClock();
    const reaching = MasterLink.reach(hanging, silent, own);
    const refused = reaching.catch((error: unknown) => error);
    own.advance(10_000);
    expect(await refused).toMatchObject({
      code: "timeout",
      message: expect.stringMatching(/does not answer; .*pgrep/),
    });
    await new Promise((resolve) => listener.close(resolve));
  });
  test("told to stop: nobody finds it from then on, before it is gone", async () => {
    server.keep(kept());
    const link = await MasterLink.reach(socket, silent, nodeClock);
    await link?.ask("stop");
    expect(await MasterLink.reach(socket, silent, nodeClock)).toBeUndefined();
  });
  test("a second one stands back; a dead one's name is taken over", async () => {
    const second = new MasterServer(fakeCli({ clock }).services, 1000);
    expect(await second.listen(socket)).toBe(false);
    const dead = path.join(directory, "dead");
    const left = net.createServer();
    await new Promise<void>((resolve) => left.listen(`${dead}.1`, resolve));
    linkSync(`${dead}.1`, dead);
    await new Promise<void>((resolve) => left.close(() => resolve()));
    expect(await second.listen(dead)).toBe(true);
    await second.close();
  });
});

describe("masterPlace", () => {
  const place = (...args: string[]) =>
    masterPlace(
      "tcp:h:1",
      parseInput(EXEC, args),
      false,
      fakeCli({ environment: { XDG_RUNTIME_DIR: directory } }).services,
    );
  test.each([
    [
      "a device without an end",
      "/dev/zero",
      /is no regular file, to be read again; write it into one, or leave out --master/,
    ],
    ["a directory", "/", /it is a directory; name the file in it/],
  ])("%s in place of a policy or key: refused, and not read", (_, file, words) => {
    expect(() => place("--policy", file)).toThrow(words);
    writeFileSync(path.join(directory, "p"), "");
    expect(() => place("--policy", path.join(directory, "p"), "-i", file)).toThrow(words);
  });
  test("a policy that is larger than any may be", () => {
    writeFileSync(path.join(directory, "p"), "#".repeat(1024 * 1024 + 1));
    expect(() => place("--policy", path.join(directory, "p"))).toThrow("is larger than 1024 KiB");
  });
  test("a policy that is not there is said at once, and so is what is no address", () => {
    expect(() => place("--policy", "/no/such")).toThrow(
      "cannot read the policy /no/such: there is no such file",
    );
    const words = ["--policy", "/no/such"];
    expect(() => masterPlace("root@demo", parseInput(EXEC, words), false, fakeCli().services)).toThrow(
      "is no guest address",
    );
  });
  test("another content is another place; a key that is not there is told by who needs it", () => {
    const file = path.join(directory, "p");
    const places = ["a", "b", "a"].map((text) => {
      writeFileSync(file, text);
      return place("--policy", file).socket;
    });
    expect(places[0]).toBe(places[2]);
    expect(new Set([...places, place("--policy", file, "-i", `${file}-none`).socket]).size).toBe(3);
  });
});

describe("sealtty master", () => {
  const started = (changes: Parameters<typeof fakeCli>[0] = {}) => {
    const environment = { XDG_RUNTIME_DIR: directory };
    const cli = fakeCli({ environment, ...changes });
    const policy = path.join(directory, "policy.toml");
    writeFileSync(policy, POLICY_TEXT);
    const args = ["tcp:h:1", "--policy", policy, "-i", "key"];
    const done = run(["master", ...args, "--json"], cli.services);
    const { socket } = masterPlace("tcp:h:1", parseInput(EXEC, [...args, "--", "x"]), false, cli.services);
    return { cli, done, socket };
  };
  const exec = { kind: "exec", command: ["true"], environment: {} } as const;

  test("a guest that is another one by then: all that run are told why, hung up, and it ends", async () => {
    const { cli, done, socket } = started();
    await vi.waitFor(() => expect(cli.errors()).toContain('{"event":"listens"}\n'));
    const events: string[] = [];
    const link = await MasterLink.reach(
      socket,
      { ...silent, event: (name) => void events.push(name) },
      nodeClock,
    );
    expect((await link?.open(exec))?.claims.warnings).toEqual(CLAIMS.warnings);
    cli.connects[0]?.onAttestation?.({
      kind: "unavailable",
      reason: "busy",
      inARow: 1,
    });
    await vi.waitFor(() => expect(events).toContain("attestation-unavailable"));
    cli.connects[0]?.onAttestation?.({
      kind: "changed",
      reason: "It restarted",
      changes: [],
      refusal: undefined,
    });
    await expect(link?.exit).rejects.toMatchObject({ code: "evidence-refused" });
    await expect(link?.stdout.read()).rejects.toMatchObject({ code: "evidence-refused" });
    link?.close();
    expect(await done).toBe(255);
    expect(cli.errors()).toContain('"code":"evidence-refused"');
    expect(readdirSync(path.dirname(socket))).toEqual([]);
  });
  test("a second one says so, and leaves; --check and --stop ask the first", async () => {
    const { cli, done } = started();
    await vi.waitFor(() => expect(cli.errors()).toContain('{"event":"listens"}\n'));
    const second = started();
    expect(await second.done).toBe(0);
    const ask = async (what: string) => {
      const other = fakeCli({ environment: { XDG_RUNTIME_DIR: directory } });
      const args = [
        "master",
        "tcp:h:1",
        "--policy",
        path.join(directory, "policy.toml"),
        "-i",
        "key",
        "--json",
        what,
      ];
      expect(await run(args, other.services)).toBe(0);
      return JSON.parse(other.out()) as unknown;
    };
    await vi.waitFor(async () =>
      expect(await ask("--check")).toMatchObject({ pid: process.pid, running: 0 }),
    );
    expect(await ask("--stop")).toMatchObject({ pid: process.pid });
    expect(await done).toBe(0);
    const nobody = fakeCli({ environment: { XDG_RUNTIME_DIR: directory } });
    const args = [
      "master",
      "tcp:h:1",
      "--policy",
      path.join(directory, "policy.toml"),
      "-i",
      "key",
      "--check",
    ];
    expect(await run(args, nobody.services)).toBe(255);
    expect(nobody.errors()).toContain("nobody keeps a connection to tcp:h:1");
  });
});
