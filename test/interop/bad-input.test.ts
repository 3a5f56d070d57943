// Whatever is wrong, the programs end in one clear sentence, with a documented status, in time, and tell the host nothing.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { SocketPipe } from "../../node/socket-pipe.ts";
import type { Evidence } from "../../protocol/attestation/evidence.ts";
import { concat } from "../../protocol/bytes.ts";
import {
  FRAME_HELLO,
  FRAME_INIT,
  FRAME_PACE,
  FRAME_PACKET,
  FRAME_PROBE,
  FRAME_WELCOME,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { inspectGuest } from "../../protocol/session/connect.ts";
import { runCli, type RunningCli, startCli } from "../support/cli.ts";
import { everyForm, findSecret } from "../support/host-eyes.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";
import { clientOptions, testGuest } from "../support/session.ts";

const programs = path.resolve(import.meta.dirname, "../../dist/bin");
const SEALTTYD = path.join(programs, "sealttyd.js");
const RELAY = path.join(programs, "sealtty-relay.js");
const INSTANCE = "secret-instance-7f3a9c";
const COMMENT = "only-in-the-policy-file-51d2";
const USER = "secretuser8841";
const SECRET_COMMAND = "cat-the-secret-6620";
const POLICY = `version = 1\n# ${COMMENT}\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\n`;

let directory: string;
const at = (name: string): string => path.join(directory, name);
const key = newSshKey(nodeSuite, "a key's comment, also kept");
const ended: (() => Promise<void> | void)[] = [];

beforeAll(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-bad-"));
  writeFileSync(at("policy.toml"), `${POLICY}instance = "test"\n`);
  writeFileSync(at("secret.toml"), `${POLICY}instance = "${INSTANCE}"\n`);
  writeFileSync(at("malformed.toml"), "version = \n");
  symlinkSync("/dev/zero", at("endless.toml"));
  writeFileSync(at("unknown.toml"), `${POLICY}instance = "test"\ninstanse = "x"\n`);
  writeFileSync(at("version.toml"), POLICY.replace("version = 1", "version = 2"));
  writeFileSync(at("key"), key.privateFile, { mode: 0o600 });
});
afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const NO_TRACE = /\bat (?:async )?\S+ ?\(|\.[jt]s:\d+|node:internal|UnhandledPromise|\[object /;

interface Outcome {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

async function timed(work: () => ReturnType<typeof runCli>): Promise<Outcome> {
  const start = performance.now();
  const outcome = await work();
  return { ...outcome, ms: performance.now() - start };
}

const cli = (...args: string[]): Promise<Outcome> => timed(() => runCli(args));
const daemon = (...args: string[]): Promise<Outcome> => timed(() => runCli(args, "", { program: SEALTTYD }));
const relay = (...args: string[]): Promise<Outcome> => timed(() => runCli(args, "", { program: RELAY }));

/** One line with the code, every word expected, no trace, in time. */
function expectError(
  outcome: Outcome,
  status: number,
  code: string,
  words: RegExp[],
  limitMs = 40_000,
): void {
  const lines = outcome.stderr.trimEnd().split("\n");
  const errors = lines.filter((line) => /^sealtty: (?!warning)[a-z-]+: /.test(line));
  expect(errors, outcome.stderr).toHaveLength(1);
  expect(lines.at(-1), outcome.stderr).toMatch(/^(?:sealtty: |  next: )/); // the next step comes last
  expect(errors[0]).toMatch(new RegExp(`^sealtty: ${code}: `));
  for (const word of words) expect(outcome.stderr).toMatch(word);
  expect(outcome.stderr).not.toMatch(NO_TRACE);
  expect(outcome.stderr).not.toContain("\x1b");
  expect(outcome.status, outcome.stderr).toBe(status);
  expect(outcome.ms).toBeLessThan(limitMs);
}

/** A host that keeps what clients send, and does as `act` says. */
async function fakeHost(act: (socket: net.Socket) => void) {
  const name = at(`host-${Math.random().toString(36).slice(2)}.sock`);
  const kept: Buffer[][] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const mine: Buffer[] = [];
    kept.push(mine);
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (chunk: Buffer) => mine.push(Buffer.from(chunk)));
    act(socket);
  });
  server.listen(name);
  await once(server, "listening");
  ended.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return { address: `unix:${name}`, streams: () => kept.map((chunks) => Buffer.concat(chunks)) };
}

/** Only frames of these types, and nothing of the user's in any form. @returns the types seen. */
function sentOnly(streams: Buffer[], allowed: readonly number[]): Set<number> {
  const types = new Set<number>();
  for (const stream of streams) {
    const decoder = new FrameDecoder();
    const { frames, noise } = decoder.push(stream);
    expect(
      Buffer.from(noise)
        .toString("hex")
        .replace(/^(00)*$/, ""),
    ).toBe("");
    for (const { body } of frames) {
      types.add(body[0] as number);
      if (body[0] === FRAME_PACKET) expect(body.length).toBeLessThanOrEqual(9 + 16 + 40); // acknowledgements, CLOSE
    }
  }
  for (const type of types) expect(allowed).toContain(type);
  const publicKey = key.publicLine.split(" ")[1] as string;
  for (const secret of [INSTANCE, COMMENT, USER, SECRET_COMMAND, "minimumAssurance", publicKey])
    expect(findSecret(streams, secret), secret).toEqual([]);
  const raw = Buffer.from(publicKey, "base64").subarray(-32);
  for (const form of streams.flatMap((stream) => everyForm(stream))) expect(form.includes(raw)).toBe(false);
  return types;
}

const execAt = (address: string, ...more: string[]): Promise<Outcome> =>
  cli(
    ...["exec", address, "--policy", at("secret.toml"), "--simulated", "-l", USER, "-i", at("key")],
    ...[...more, "--", SECRET_COMMAND],
  );

/** `--timeout 2`, and what starting a process on a busy machine takes. */
const WITHIN = 4000;

describe("the policy and the command line: nothing is dialled", () => {
  test.each([
    ["missing", "none.toml", [/none\.toml/, /no such file/, /--save-policy/]],
    ["a directory", "", [/directory/, /name the file/]],
    ["without an end", "endless.toml", [/endless\.toml is larger than 1024 KiB; name the policy/]],
    ["malformed", "malformed.toml", [/malformed\.toml/, /line 1/, /not valid TOML/, /look like/]],
    ["an unknown key", "unknown.toml", [/unknown\.toml/, /instanse/, /did you mean instance/]],
    ["of another version", "version.toml", [/version\.toml/, /version = 1/]],
  ] as const)("policy %s", async (_, file, words) => {
    const host = await fakeHost(() => {});
    const options = ["--simulated", "--policy", at(file)];
    expectError(await cli("inspect", host.address, ...options), 2, "bad-policy", [...words]);
    expectError(await cli("connect", host.address, ...options), 255, "bad-policy", [...words]);
    expect(host.streams()).toEqual([]);
  });
  test.each([
    [["connect", "unix:/x"], 255, "bad-policy", /--policy FILE.*--save-policy FILE/],
    [["inspect"], 2, "bad-config", /GUEST is missing; usage/],
    [["inspect", "nonsense"], 2, "bad-config", /no guest "nonsense"/],
    [["inspect", "no:address"], 2, "bad-config", /is no guest address.*unix:PATH/],
    [["inspect", "tcp:h:99999"], 2, "bad-config", /port outside 1 to 65535/],
    [["inspect", "--bogus", "unix:/x"], 2, "bad-config", /sealtty help inspect/],
    [["inspect", "unix:/x", "--timeout", "soon"], 2, "bad-config", /--timeout takes seconds/],
    [["frobnicate"], 255, "bad-config", /the commands are open, connect/],
  ] as const)("%j", async (args, status, code, words) => {
    const outcome = await cli(...args);
    expectError(outcome, status, code, [words]);
    expect(outcome.stdout).toBe("");
  });
});

describe("the pipe of this machine", () => {
  test.each([
    ["unix:/nonexistent/console", /no such file.*Check the path/],
    ["unix:/etc/passwd", /nobody listens.*(?:Start the virtual machine|Check)/],
    ["tcp:127.0.0.1:1", /nobody listens on this port.*Check the port/],
    ["ws://127.0.0.1:1/", /nobody listens there.*Check the port/],
    ["tty:/dev/ttyNONE0", /no such device.*Check the path/],
    ["tty:/dev/null", /no terminal device.*serial device/],
  ])("%s", async (address, words) => {
    const outcome = await cli("inspect", address, "--policy", at("policy.toml"), "--simulated");
    const code = /^(?:tcp|ws):/.test(address) ? "transport-lost" : "device-unavailable";
    expectError(outcome, 255, code, [words]);
    expect(outcome.stdout).toBe("");
  });
  test.each([
    ["tcp:127.0.0.1:PORT", "guest-silent", /a VNC server answers there: write vnc\+tcp:127/],
    ["ws://127.0.0.1:PORT/", "transport-lost", /a VNC server's own, and no web socket. Write vnc\+tcp:/],
    ["vnc+ws://127.0.0.1:PORT/", "transport-lost", /a VNC server's own, and no web socket. Write vnc\+tcp:/],
    ["vnc+tcp:127.0.0.1:PORT", "transport-lost", /wants a password.*SEALTTY_VNC_PASSWORD_FILE/],
  ])("%s of a VNC server that wants a password", async (form, code, words) => {
    const server = net
      .createServer((socket) => {
        socket.on("error", () => {});
        socket.write("RFB 003.008\n");
        socket.once("data", () => socket.write(Uint8Array.of(1, 2)));
        ended.push(() => void socket.destroy());
      })
      .listen(0, "127.0.0.1");
    await once(server, "listening");
    ended.push(() => void server.close());
    const address = form.replace("PORT", String((server.address() as net.AddressInfo).port));
    const outcome = await cli("inspect", address, "--simulated", "--timeout", "2");
    expect(outcome.stderr).toMatch(words);
    expect(outcome.stderr).toContain(code);
    expect(outcome.status).toBe(255);
  });
  test("held by another client: the server takes the connection and never answers the upgrade", async () => {
    const server = net.createServer(() => {}).listen(0, "127.0.0.1");
    await once(server, "listening");
    const sockets: net.Socket[] = [];
    server.on("connection", (socket) => sockets.push(socket));
    ended.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const { port } = server.address() as net.AddressInfo;
    const address = `ws://127.0.0.1:${port}/`;
    const outcome = await cli("inspect", address, "--simulated", "--timeout", "2", "-q");
    expectError(outcome, 255, "(?:guest-silent|transport-lost)", [/one client at a time/], WITHIN);
    expect(outcome.stdout).toBe("");
  });
});

describe("hosts", () => {
  test("silent: ends at its timeout, having sent only HELLO", async () => {
    const host = await fakeHost(() => {});
    const outcome = await execAt(host.address, "--timeout", "2");
    expectError(outcome, 255, "guest-silent", [/within 2 s/, /Check that the address/], WITHIN);
    expect(outcome.ms).toBeGreaterThan(1900);
    expect(sentOnly(host.streams(), [FRAME_HELLO])).toEqual(new Set([FRAME_HELLO]));
  });
  test.each([
    ["text, escapes and kernel lines", "\x1bc\x1b]0;owned\x07login: \r\n[   1.0] oops\r\n"],
    ["zeros", "\0".repeat(5000)],
    ["armour that is none", "\n~sealtty1:AAAAAAAAAAAAAAAA\r\n"],
  ])("nonsense: %s", async (_, nonsense) => {
    const host = await fakeHost((socket) => {
      socket.write(nonsense);
      socket.on("data", () => socket.write(nonsense));
    });
    for (const more of [[], ["-v"]]) {
      const outcome = await execAt(host.address, "--timeout", "2", ...more);
      expectError(outcome, 255, "guest-silent", [/No sealttyd answered within 2 s/], WITHIN);
    }
    expect(sentOnly(host.streams(), [FRAME_HELLO])).toContain(FRAME_HELLO);
  });
  test("an echo", async () => {
    const host = await fakeHost((socket) => socket.pipe(socket));
    const outcome = await execAt(host.address, "--timeout", "2");
    expectError(outcome, 255, "guest-silent", [/No sealttyd answered/], WITHIN);
    expect(sentOnly(host.streams(), [FRAME_HELLO])).toContain(FRAME_HELLO);
  });
  test("closes every connection at once", async () => {
    const host = await fakeHost((socket) => socket.destroy());
    const outcome = await execAt(host.address, "--timeout", "2");
    expectError(outcome, 255, "guest-silent", [/nothing else holds it/], WITHIN);
    expect(sentOnly(host.streams(), [FRAME_HELLO]).size).toBeLessThanOrEqual(1); // often closed before anything left
  });

  /** Answers each HELLO with a WELCOME of this version. */
  const welcoming = (version: number) =>
    fakeHost((socket) => {
      const decoder = new FrameDecoder();
      socket.on("data", (chunk: Buffer) => {
        for (const { body, encoding } of decoder.push(chunk).frames) {
          if (body[0] !== FRAME_HELLO) continue;
          const rest = concat(body.subarray(1, 5), Uint8Array.of(version), new Uint8Array(16).fill(7));
          socket.write(encodeFrame(concat(Uint8Array.of(FRAME_WELCOME), rest), encoding));
        }
      });
    });
  test("another protocol version", async () => {
    const host = await welcoming(9);
    const outcome = await execAt(host.address, "--timeout", "2");
    expectError(outcome, 255, "version-unknown", [/version 9/, /Install matching versions/], WITHIN);
    expect(sentOnly(host.streams(), [FRAME_HELLO])).toContain(FRAME_HELLO);
  });
  test("a WELCOME, then nothing", async () => {
    const host = await welcoming(1);
    // A probe that is never answered takes 7 s.
    const outcome = await execAt(host.address, "--timeout", "12");
    expectError(outcome, 255, "timeout", [/handshake did not complete/, /try again/], 12_000 + WITHIN);
    const types = sentOnly(host.streams(), [FRAME_HELLO, FRAME_PROBE, FRAME_PACE, FRAME_INIT]);
    expect(types.has(FRAME_INIT)).toBe(true);
  });
});

describe("evidence", () => {
  /** A guest in this process behind a real socket, whose evidence comes from `collect`. */
  function guestHost(collect?: () => Promise<Evidence>) {
    const guest = testGuest(nodeClock, collect === undefined ? {} : { collectEvidence: collect });
    return fakeHost((socket) => {
      guest.endpoint.servePipe(new SocketPipe(socket, "client")).catch(() => {});
    });
  }
  /** Good for a connection of its own, and no other. */
  async function evidenceOfAnotherConnection(): Promise<Evidence> {
    const guest = testGuest(nodeClock);
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    return (await inspectGuest(clientOptions(nodeClock, async () => pipes.client))).evidence;
  }
  const ALLOWED = [FRAME_HELLO, FRAME_PROBE, FRAME_PACE, FRAME_INIT, FRAME_PACKET];

  test.each(["stale", "foreign"])("a %s quote", async (kind) => {
    const stale = kind === "stale" ? await evidenceOfAnotherConnection() : undefined;
    const host = await guestHost(async () => stale ?? (await evidenceOfAnotherConnection()));
    const words = [/check: +\S*bind\S*/, /expected: \S/, /found: +\S/, /next: \S/];
    expectError(await execAt(host.address, "--timeout", "10"), 255, "evidence-refused", words);
    const options = ["--policy", at("secret.toml"), "--simulated", "--timeout", "10"];
    expectError(await cli("inspect", host.address, ...options), 1, "evidence-refused", words);
    // Without a policy it only describes, but not what was made for somebody else.
    expectError(await cli("inspect", host.address, "--simulated"), 1, "evidence-refused", words);
    expect(sentOnly(host.streams(), ALLOWED)).toContain(FRAME_HELLO);
  });
  test("of another instance", async () => {
    const host = await guestHost();
    const outcome = await execAt(host.address, "--timeout", "10");
    expectError(outcome, 255, "evidence-refused", [
      /check: +simulated\.instance/,
      new RegExp(INSTANCE),
      /next: /,
    ]);
    expect(sentOnly(host.streams(), ALLOWED)).toContain(FRAME_HELLO);
  });
  test("that the guest cannot collect", async () => {
    const host = await guestHost(() => Promise.reject(new Error("no TPM")));
    const outcome = await execAt(host.address, "--timeout", "10");
    expectError(outcome, 255, "evidence-unavailable", [/Its own log says why/]);
    expect((await cli("inspect", host.address, "--simulated")).status).toBe(1);
    expect(sentOnly(host.streams(), ALLOWED)).toContain(FRAME_HELLO);
  });
  test("that never comes", async () => {
    const host = await guestHost(() => new Promise(() => {}));
    const outcome = await execAt(host.address, "--timeout", "2");
    expectError(outcome, 255, "timeout", [/sent no evidence within 2 s/, /--timeout/], WITHIN);
    expect(sentOnly(host.streams(), ALLOWED)).toContain(FRAME_HELLO);
  });
  test("simulated, without the flag", async () => {
    const host = await guestHost();
    const words = [/check: +simulated\.accepted/, /proves nothing/, /next: .*--simulated/];
    const options = [host.address, "--policy", at("policy.toml")];
    expectError(await cli("inspect", ...options), 1, "evidence-refused", words);
    expectError(await cli("connect", ...options, "-l", USER), 255, "evidence-refused", words);
    expect(sentOnly(host.streams(), ALLOWED)).toContain(FRAME_HELLO);
  });
});

describe("--json, colour", () => {
  const lastLine = (outcome: Outcome): Record<string, unknown> =>
    JSON.parse(outcome.stderr.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
  test("every line is JSON, the last is the error", async () => {
    const outcome = await cli("inspect", "--json", "unix:/nonexistent/console");
    for (const line of outcome.stderr.trimEnd().split("\n")) expect(JSON.parse(line)).toHaveProperty("event");
    const error = lastLine(outcome);
    expect(error).toEqual({
      event: "error",
      code: "device-unavailable",
      message: expect.stringContaining("no such file"),
    });
    for (const args of [
      ["exec", "--json", "unix:/x", "--policy", at("none.toml"), "--", "true"],
      ["inspect", "--json", "--bogus"],
      ["frobnicate", "--json"],
    ]) {
      expect(lastLine(await cli(...args))).toMatchObject({
        event: "error",
        code: expect.stringMatching(/^bad-/),
      });
    }
  });
  test("a refusal has its check, and what was expected and found", async () => {
    const guest = await guestFor();
    const outcome = await cli("inspect", "--json", `unix:${guest.socket}`, "--policy", guest.policyFile);
    expect(outcome.status).toBe(1);
    expect(outcome.stdout).toBe("");
    const text = expect.stringMatching(/./);
    expect(lastLine(outcome)).toEqual({
      event: "error",
      code: "evidence-refused",
      message: text,
      check: "simulated.accepted",
      expected: text,
      found: text,
      next: text,
    });
  });
  test("NO_COLOR beats FORCE_COLOR; without a terminal there is no colour either", async () => {
    const guest = await guestFor({ authorizedKeys: key.publicLine });
    const args = [
      ...["exec", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"],
      ...["-i", at("key"), "-l", os.userInfo().username, "--", "true"],
    ];
    const run = async (env: NodeJS.ProcessEnv) => (await runCli(args, "", { env })).stderr;
    expect(await run({ NO_COLOR: "", FORCE_COLOR: "1" })).toContain("\x1b[");
    expect(await run({ NO_COLOR: "1", FORCE_COLOR: "1" })).not.toContain("\x1b");
    expect(await run({ NO_COLOR: "", FORCE_COLOR: "" })).not.toContain("\x1b");
  });
});

async function guestFor(settings: Parameters<typeof startSealttyd>[0] = {}): Promise<RunningGuest> {
  const guest = await startSealttyd(settings);
  ended.push(() => guest.stop());
  return guest;
}

describe("sealttyd does not start", () => {
  const SIMULATED = 'type = "simulated"\ninstance = "test"\ni_know_this_proves_nothing = true';
  function config(pipe: string, evidence = SIMULATED): string {
    const file = at("sealttyd.toml");
    writeFileSync(
      file,
      `[pipe]\n${pipe}\n[evidence]\n${evidence}\n[users]\nlogin = ["/bin/sh"]\n[daemon]\nuser = "root"\n`,
    );
    return file;
  }
  const unix = (name: string): string => `type = "unix"\npath = ${JSON.stringify(at(name))}`;
  function expectRefusal(outcome: Outcome, code: string, words: RegExp): void {
    const errors = outcome.stderr.split("\n").filter((line) => / error: /.test(line));
    expect(errors, outcome.stderr).toHaveLength(1);
    expect(errors[0]).toMatch(words);
    expect(errors[0]).toContain(`code=${code}`);
    expect(outcome.stderr).not.toMatch(NO_TRACE);
    expect(outcome.status).toBe(255);
    expect(outcome.ms).toBeLessThan(40_000);
  }
  test.each([
    ["config missing", () => at("none.toml"), "bad-config", /none\.toml.*sealttyd setup.*--config/],
    ["config a directory", () => directory, "bad-config", /is a directory.*--config/],
    [
      "config malformed",
      () => at("malformed.toml"),
      "bad-config",
      /line 1, column \d+: not valid TOML\. Check/,
    ],
    [
      "an unknown key",
      () => config(`${unix("g")}\npathh = "x"`),
      "bad-config",
      /"pathh"\. Did you mean "path"\?/,
    ],
    [
      "simulated without the opt-in",
      () => config(unix("g"), 'type = "simulated"\ninstance = "test"'),
      "bad-config",
      /proves nothing.*i_know_this_proves_nothing = true/,
    ],
    [
      "no such virtio port",
      () => config('type = "virtio"\nname = "sealtty.none"'),
      "device-unavailable",
      /no virtio port named "sealtty\.none".*virtserialport/,
    ],
    [
      "no such tty",
      () => config('type = "tty"\ndevice = "/dev/ttyNONE0"'),
      "device-unavailable",
      /Cannot open "\/dev\/ttyNONE0": there is no such device.*Check the name/,
    ],
    [
      "a tty that is none",
      () => config('type = "tty"\ndevice = "/dev/null"'),
      "device-unavailable",
      /"\/dev\/null".*is it a terminal at all\? Check/,
    ],
    [
      "a tty that is the kernel's console",
      () => config('type = "tty"\ndevice = "/dev/console"'),
      "bad-config",
      /kernel uses.*console.*use another device, or set armour_only/,
    ],
    [
      "a path without its directory",
      () => config(unix("nowhere/g")),
      "device-unavailable",
      /Cannot listen.*directory exists/,
    ],
    ["a path that is a file", () => config(unix("key")), "device-unavailable", /not a socket.*Move it away/],
    [
      "no TPM",
      () => config(unix("g"), 'type = "tpm"\ndevice = "/dev/tpmrm99"'),
      "evidence-unavailable",
      /no TPM at \/dev\/tpmrm99.*Give the VM a TPM/,
    ],
  ] as const)("%s", async (_, file, code, words) => {
    expectRefusal(await daemon("--config", file()), code, words);
    expect(existsSync(at("g"))).toBe(false);
  });
  test("a socket that another sealttyd serves, which goes on serving", async () => {
    const guest = await guestFor();
    const file = config(`type = "unix"\npath = ${JSON.stringify(guest.socket)}`);
    const before = statSync(guest.socket).ino;
    expectRefusal(
      await daemon("--config", file),
      "device-unavailable",
      /another program listens there.*Stop it/,
    );
    expect(statSync(guest.socket).ino).toBe(before);
    expect((await cli("inspect", `unix:${guest.socket}`, "--simulated")).status).toBe(0);
  });
  test("--check: 1; an unknown option: 2", async () => {
    expect((await daemon("--check", "--config", at("none.toml"))).status).toBe(1);
    const outcome = await daemon("--bogus");
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toMatch(/Unknown option '--bogus'[^]*Usage: sealttyd/);
  });
});

/** Resolves once the process is gone: it is no child of ours, so nobody tells. */
async function gone(pid: number, within = 3000): Promise<boolean> {
  const until = Date.now() + within;
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    if (Date.now() > until) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const started = (args: readonly string[], options?: Parameters<typeof startCli>[1]): RunningCli => {
  const running = startCli(args, options);
  ended.push(() => running.stop());
  return running;
};

describe("sealttyd ends while a session runs", () => {
  const settings = { authorizedKeys: key.publicLine };
  const withKey = (guest: RunningGuest): string[] => [
    ...[`unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"],
    ...["-i", at("key"), "-l", os.userInfo().username],
  ];
  test.each(["connect", "exec"])("SIGTERM during %s", async (command) => {
    const guest = await guestFor(settings);
    const script = "echo shell-$$; sh -c 'echo pid-$$; exec sleep 300'";
    const running =
      command === "exec"
        ? started(["exec", ...withKey(guest), "--", "sh", "-c", script])
        : started(["connect", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"]);
    if (command === "connect") running.child.stdin.write(`${script}\n`);
    const match = await running.waitFor(/shell-(\d+)\s+pid-(\d+)/);
    const [shell, program] = match.slice(1).map(Number) as [number, number];
    const start = performance.now();
    const exit = once(guest.child, "exit");
    guest.child.kill("SIGTERM");
    expect(await exit).toEqual([0, null]);
    expect(performance.now() - start).toBeLessThan(30_000);
    expect(await running.ended()).toBe(255);
    expect(running.stderr()).toMatch(/sealtty: transport-lost: The guest closed the connection/);
    expect(running.stderr()).not.toMatch(NO_TRACE);
    expect(await gone(shell)).toBe(true);
    expect(await gone(program)).toBe(true);
    expect(existsSync(guest.socket)).toBe(false);
  });
  test("exec into a pipe that closes: 141, and the program in the guest ends", async () => {
    const guest = await guestFor(settings);
    const child: ChildProcess = spawn(
      "bash",
      ["-c", '"$@" | head -1; echo "status ${PIPESTATUS[0]}"', "bash"].concat(
        [process.execPath, path.join(programs, "sealtty.js"), "exec", ...withKey(guest)],
        ["--", "sh", "-c", "echo pid-$$; exec yes"],
      ),
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    let out = "";
    child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
    await once(child, "close");
    expect(out).toMatch(/^pid-\d+\nstatus 141\n$/);
    expect(await gone(Number(/pid-(\d+)/.exec(out)?.[1]))).toBe(true);
  });
  test("connect without a terminal: its input is sent, its end too, the status passes", async () => {
    const guest = await guestFor();
    const args = ["connect", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"];
    const outcome = await timed(() => runCli(args, "echo out-$((6*7)); exit 3\n"));
    expect(outcome.stdout).toContain("out-42");
    expect(outcome.stderr).toContain("standard input is no terminal");
    expect(outcome.status).toBe(3);
    expect((await runCli(args, "")).status).toBe(0); // end of input: the shell ends
  });
  test("a key that the guest does not know", async () => {
    const other = newSshKey(nodeSuite, "other");
    const guest = await guestFor({ authorizedKeys: other.publicLine });
    const outcome = await cli("exec", ...withKey(guest), "-q", "--", "true");
    expectError(outcome, 255, "user-refused", [/refused this key/, /authorized_keys/]);
    expect(outcome.stdout).toBe("");
  });
});

describe("open and relay", () => {
  async function takenPort(): Promise<number> {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    ended.push(() => void server.close());
    return (server.address() as net.AddressInfo).port;
  }
  test("open: the port is in use", async () => {
    const port = String(await takenPort());
    const args = ["open", "unix:/x", "--policy", at("policy.toml"), "--no-open", "--port", port];
    const outcome = await cli(...args);
    expectError(outcome, 255, "device-unavailable", [/port is taken/, /another with --port/]);
    expect(outcome.stdout).toBe("");
  });
  test("relay: the port is in use", async () => {
    const outcome = await relay("--guest", "a=unix:/x", "--listen", `127.0.0.1:${await takenPort()}`);
    expect(outcome.status).toBe(1);
    expect(outcome.stdout).toBe("");
    expect(outcome.stderr).toMatch(
      /^(?:sealtty-relay: a: no guest.*\n)?sealtty-relay: device-unavailable: Cannot listen .*the port is taken\. .*--listen HOST:PORT\.\n$/,
    );
  });
  test.each([
    [[], /No guest: give --guest NAME=unix:PATH/],
    [["--guest", "foo"], /has no "="; write NAME=unix:PATH/],
    [["--guest", "a b=unix:/x"], /a name is 1 to 64 letters.*choose another/],
    [["--guest", "a=udp:x"], /"udp:x" is no guest's address; write unix:PATH or tcp:HOST:PORT/],
    [["--guest", "a=tcp:h:0"], /is not HOST:PORT; write for example/],
    [["--guest", "a=unix:/x", "--listen", "localhost"], /is not HOST:PORT; write for example 127/],
    [["--bogus"], /Unknown option '--bogus'; see: sealtty-relay --help/],
    [["--config", "/nonexistent/relay.toml"], /Cannot read .*ENOENT.*--config/],
  ])("relay %j", async (args, words) => {
    const outcome = await relay(...args);
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toMatch(/^sealtty-relay: bad-config: [^\n]*\n$/);
    expect(outcome.stderr).toMatch(words);
  });
  test("relay: a malformed file is one line without its content", async () => {
    writeFileSync(at("relay.toml"), `listen = "${COMMENT}\n`);
    const outcome = await relay("--config", at("relay.toml"));
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toMatch(/^sealtty-relay: bad-config: .*line 1.*not valid TOML; check[^\n]*\n$/);
    expect(outcome.stderr).not.toContain(COMMENT);
  });
  test("relay: no guest behind it is said by both, in time; an unknown name too; SIGTERM ends it with 0", async () => {
    const args = ["--guest", `a=unix:${at("nobody")}`, "--listen", "127.0.0.1:0"];
    const running = started(args, { program: RELAY });
    const [, base] = await running.waitFor(/listening (ws:\/\/\S+\/)a/);
    await running.waitFor(/a: no guest there yet \(ENOENT\), trying again; check/);
    const options = ["--simulated", "--timeout", "2"];
    const outcome = await cli("inspect", `${base}a`, ...options);
    expectError(outcome, 255, "guest-silent", [/within 2 s/, /sealttyd runs in the guest/], WITHIN);
    expectError(
      await cli("inspect", `${base}b`, ...options),
      255,
      "transport-lost",
      [/HTTP status 404\. /],
      WITHIN,
    );
    running.child.kill("SIGTERM");
    expect(await running.ended()).toBe(0);
    expect(running.stderr()).toMatch(/^sealtty-relay: a: no guest[^\n]*\n$/); // said once
  });
});
