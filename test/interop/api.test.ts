// The API as a package sees it: the built dist/lib, found by its name, against a real sealttyd; and every example of docs/api.md.

import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { connectFrom } from "../../cli/api/index.ts";
import type { ConnectOptions, CopyTrouble, CopyTroubleCode, Forward, Guest } from "../../cli/api/types.ts";
import type { TroubleName } from "../../protocol/files/messages.ts";
import { machine } from "../../cli/machine.ts";
import type { SealttyErrorCode as PublishedCode } from "../../cli/api/types.ts";
import { SealttyError, type SealttyErrorCode } from "../../protocol/errors.ts";
import type { ConnectOptions as ProtocolOptions } from "../../protocol/session/api.ts";
import { makeScratch, sshKeygen, hasOpenssh, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const root = path.resolve(import.meta.dirname, "../..");
tellIfOpensshIsAbsent();

let scratch: ReturnType<typeof makeScratch>;
let guest: RunningGuest;
let consumer: string;
let web: Server; // the guest's: it is this machine
let options: ConnectOptions & { readonly identity: string };
const user = os.userInfo().username;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  const line = sshKeygen(scratch.path("key"));
  const more = ["[forward]", "allow = true"];
  guest = await startSealttyd({ authorizedKeys: `${line}\n`, more });
  web = createServer((_request, response) => response.end("from the guest\n"));
  web.listen(0, "127.0.0.1");
  await once(web, "listening");
  options = {
    guest: `unix:${guest.socket}`,
    policy: guest.policyFile,
    identity: scratch.path("key"),
    user,
    simulated: true,
  };
  consumer = mkdtempSync(path.join(os.tmpdir(), "sealtty-consumer-"));
  mkdirSync(path.join(consumer, "node_modules/@types"), { recursive: true });
  symlinkSync(root, path.join(consumer, "node_modules/sealtty"));
  symlinkSync(path.join(root, "node_modules/@types/node"), path.join(consumer, "node_modules/@types/node"));
  writeFileSync(path.join(consumer, "package.json"), '{ "type": "module" }');
});
afterAll(async () => {
  web?.close();
  await guest?.stop();
  scratch?.remove();
  if (consumer !== undefined) rmSync(consumer, { recursive: true });
});

function directoryOf(name: string): string {
  mkdirSync(scratch.path(name));
  return scratch.path(name);
}

async function withGuest<T>(
  use: (guest: Guest) => Promise<T>,
  more: Partial<ConnectOptions> = {},
): Promise<T> {
  const connected = await connectFrom(machine, { ...options, ...more });
  try {
    return await use(connected);
  } finally {
    await connected.close();
  }
}

const document = readFileSync(path.join(root, "docs/api.md"), "utf8");
const examples = [...document.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code ?? "");
const PRINTED: readonly RegExp[] = [
  /^0 Linux\n/,
  /^0 [0-9a-f]{64}\n$/,
  /^a\nb\n\nas it comes\n\{ status: 137, signal: 'SIGKILL' \}\ntrue timeout\n$/,
  /^true 5\n$/,
  /^\{ kind: 'detached', by: 'request' \}\ntrue 0\ntrue true true \{ status: 0 \}\n$/,
  /^100 host42\n$/,
  /^1 1 9\n11\n[0-9a-f]{64} 9 <p>Hello\n\nprogram-failed true\n$/,
  /^HTTP\/1\.1 200 OK\n$/,
  /^200 from the guest\n\ntrue\n$/,
  /^renewed\n$/,
];

test("what is no option, no guest or no list of words is said, and nothing is connected to", async () => {
  const from = { ...machine, connect: () => Promise.reject(new Error("connected")) };
  const wrong = (more: object) => connectFrom(from, { guest: "unix:/x", policy: "/x", ...more });
  await expect(wrong({ guest: undefined })).rejects.toMatchObject({ code: "api-misuse" });
  await expect(wrong({ policy: "" })).rejects.toThrow("connect() needs policy");
  await expect(wrong({ timout: 3 })).rejects.toThrow('no option "timout": guest, policy,');
});

test.runIf(hasOpenssh)("a line in place of words is refused with the way to run one", async () => {
  await withGuest(async (connected) => {
    const line = "ls -l" as unknown as readonly string[];
    await expect(connected.exec(line)).rejects.toThrow('["sh", "-c", "ls -l | wc -l"]');
  });
});

test("connect() without an object is said", async () => {
  for (const wrong of [undefined, null, "unix:/x"])
    await expect(connectFrom(machine, wrong as unknown as ConnectOptions)).rejects.toMatchObject({
      code: "api-misuse",
      message: expect.stringContaining("connect() takes its options as an object: guest, policy,") as string,
    });
});

test.runIf(hasOpenssh)(
  "whatever JavaScript may hand over is refused with a sentence, and the connection lives on",
  () =>
    withGuest(async (connected) => {
      // As from JavaScript, where no type is in the way.
      const call = (name: keyof Guest, ...args: readonly unknown[]): Promise<unknown> =>
        (connected[name] as unknown as (...args: readonly unknown[]) => Promise<unknown>).apply(connected, [
          ...args,
        ]);
      const place = { path: "/x" };
      const sizes = [undefined, null, 0, -1, NaN, 1.5, "80", 10_001, 65_616];
      const wrong: readonly (readonly [string, keyof Guest, ...unknown[]])[] = [
        ['no option "cdw": env, cwd,', "exec", ["true"], { cdw: "/" }],
        ["exec() takes its options as an object", "exec", ["true"], "/"],
        ["env is an object", "exec", ["true"], { env: null }],
        ["env is an object", "exec", ["true"], { env: { A: 1 } }],
        ["cwd is the path", "exec", ["true"], { cwd: 1 }],
        ["shell() takes its options as an object", "shell"],
        ['no option "colums"', "shell", { colums: 80, rows: 24 }],
        ["A command is a list of words", "shell", { columns: 80, rows: 24, command: "ls -l" }],
        ...sizes.map((columns) => ["A terminal has 1 to 10000", "shell", { columns, rows: 24 }] as const),
        ...sizes.map((rows) => ["A terminal has 1 to 10000", "shell", { columns: 80, rows }] as const),
        ["a stream of bytes; it was undefined", "put"],
        ["a stream of bytes; it was bytes, 1 of them", "put", Buffer.from("x"), "/x"],
        ["a path is text", "put", "/x"],
        ["a path is text", "put", ["/x", undefined], "/x"],
        ['put() has no option "recusive": recursive,', "put", "/x", "/y", { recusive: true }],
        ["a list of paths; it was undefined", "get"],
        ["into a stream (Writable); it was undefined", "get", "/x"],
        ["get() has no option", "get", "/x", "/y", { recusive: true }],
        ["copyTo() copies to a guest", "copyTo"],
        ["a list of paths; it was undefined", "copyTo", connected],
        ["a path is text", "copyTo", connected, "/x"],
        ["copyTo() has no option", "copyTo", connected, "/x", "/y", { recusive: true }],
        ["A destination is { host, port }", "openStream"],
        ["it was 'h:80'", "openStream", "h:80"],
        ["A destination is { host, port }", "openStream", null],
        ["A destination is { host, port }", "openStream", { path: undefined }],
        ["A destination is { host, port }", "openStream", { port: 80 }],
        ["A service is a word", "openStream", { service: 1 }],
        [
          'openStream() has no option "onStdErr": signal, onStderr',
          "openStream",
          place,
          { onStdErr: () => {} },
        ],
        ["Listened is on { host, port }", "forwardLocal"],
        ["it was 8080", "forwardLocal", 8080, place],
        ["Listened is on { host, port }", "forwardLocal", { host: 1, port: 0 }, place],
        ["A destination is { host, port }", "forwardLocal", { port: 0 }],
        ["forwardLocal() has no option", "forwardLocal", { port: 0 }, place, { onfailed: () => {} }],
        ["Listened is on { host, port }", "forwardRemote", { path: 1 }, place],
        ["A destination is { host, port }", "forwardRemote", { port: 0 }, "sokcs"],
        ["forwardRemote() has no option", "forwardRemote", { port: 0 }, place, { onfailed: () => {} }],
      ];
      for (const [words, name, ...args] of wrong) {
        const outcome = await call(name, ...args).catch((error: unknown) => error);
        expect(outcome, `${name}: ${words}`).toMatchObject({
          name: "SealttyError",
          code: "api-misuse",
          message: expect.stringContaining(words) as string,
        });
      }
      // What is optional is left out by undefined as well.
      const terminal = await connected.shell({
        columns: 80,
        rows: 24,
        ...({ term: undefined, command: undefined, env: undefined, cwd: undefined } as object),
        command: ["sh", "-c", "read line; stty size"],
      });
      for (const side of sizes) {
        const misused = expect.objectContaining({ code: "api-misuse" }) as Error;
        expect(() => terminal.resize(side as number, 24)).toThrow(misused);
        expect(() => terminal.resize(80, side as number)).toThrow(misused);
      }
      terminal.resize(100, 30);
      terminal.input.write("\n");
      let printed = "";
      for await (const bytes of terminal.output) printed += String(bytes);
      expect(printed).toContain("30 100");
      expect(await terminal.exit).toEqual({ status: 0 });
    }),
);

test("docs/api.md has an example for each thing that is printed here", () => {
  expect(examples).toHaveLength(PRINTED.length);
});

test.runIf(hasOpenssh).each(PRINTED.map((printed, i) => [i + 1, printed] as const))(
  "example %i of docs/api.md runs as it stands",
  async (number, printed) => {
    const file = path.join(consumer, `example${number}.js`);
    writeFileSync(file, examples[number - 1] ?? "");
    const env = {
      ...process.env,
      GUEST: options.guest,
      POLICY: guest.policyFile,
      IDENTITY: options.identity,
      THERE: directoryOf(`there${number}`),
      TMPDIR: directoryOf(`here${number}`),
      PORT: String(portOf(web)),
    };
    const child = spawn(process.execPath, [file], { env, stdio: ["ignore", "pipe", "pipe"] });
    let [out, error] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    const [status] = (await once(child, "close")) as [number | null];
    expect(error).not.toContain("Error");
    expect(status, error).toBe(0);
    expect(out).toMatch(printed);
  },
);

test.runIf(hasOpenssh)("its types are found by a strict program that has nothing else of ours", () => {
  const program = `import { connect, SealttyError, type CopyResult, type Exit, type Forward, type Guest } from "sealtty";
export async function main(): Promise<Exit> {
  const guest: Guest = await connect({ guest: "unix:/x", policy: { text: "" }, obfuscate: "strict" });
  // @ts-expect-error a misspelt option
  await guest.exec(["true"], { cdw: "/" });
  const process = await guest.exec(["true"], { stdin: true, timeout: 5 });
  process.stdin?.end();
  const { stdout, ...exit } = await process.collect();
  const copied: CopyResult = await guest.put(["a", "b"], "c", { onFile: ({ sha256 }) => console.log(sha256) });
  // @ts-expect-error no such rule
  await guest.get("a", "b", { follow: "sometimes" });
  const kept = await guest.keepShell({ columns: 80, rows: 24, onMark: (mark) => console.log(mark.kind === "gap" && mark.lost) });
  // @ts-expect-error a kept session has no signal
  await guest.keepShell({ columns: 80, rows: 24, signal: AbortSignal.timeout(1) });
  const again = await guest.attach(JSON.parse(JSON.stringify(kept.session)), { columns: 80, rows: 24, mode: "read-only" });
  const ended = await again.ended;
  if (ended.kind === "exit") return ended.exit;
  const stream = await guest.openStream({ path: "/run/x" });
  stream.pipe(process.stdin ?? stream);
  const forward: Forward = await guest.forwardRemote({ port: 0 }, "socks");
  if ("port" in forward.address && copied.gaveUp) forward.close();
  if (stdout.length > 1) throw new SealttyError("limit-exceeded", "long");
  return exit;
}
`;
  writeFileSync(path.join(consumer, "types.ts"), program);
  const config = {
    compilerOptions: {
      module: "NodeNext",
      target: "ES2023",
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      types: ["node"],
    },
    files: ["types.ts"],
  };
  writeFileSync(path.join(consumer, "tsconfig.json"), JSON.stringify(config));
  const tsc = path.join(root, "node_modules/.bin/tsc");
  expect(execFileSync(tsc, ["-p", consumer], { encoding: "utf8" })).toBe("");
});

test("the browser's types as well, by one for a page and one for a worker", () => {
  const own = mkdtempSync(path.join(os.tmpdir(), "sealtty-consumer-"));
  try {
    mkdirSync(path.join(own, "node_modules"));
    symlinkSync(root, path.join(own, "node_modules/sealtty"));
    writeFileSync(
      path.join(own, "types.ts"),
      `import { connect, publicKeyLine, SealttyError, type Exit, type Guest, type UserKey } from "sealtty/browser";
export async function main(key: CryptoKeyPair, agent: UserKey): Promise<Exit> {
  console.log(await publicKeyLine(key, "here"), await publicKeyLine(agent, "there"));
  const guest: Guest = await connect({ guest: "wss://x/", policy: { text: "" }, user: "alice", key, obfuscate: "strict" });
  // @ts-expect-error a page has no files
  await connect({ guest: "wss://x/", policy: "/x", user: "alice", key });
  // @ts-expect-error who signs in is to be said
  await connect({ guest: "wss://x/", policy: { text: "" }, user: "alice" });
  const process = await guest.exec(["gzip"], { stdin: new Blob(["x"]).stream(), timeout: 5 });
  const text = await new Response(process.stdout.pipeThrough(new DecompressionStream("gzip"))).text();
  const stream = await guest.openStream({ host: "localhost", port: 80 });
  await stream.readable.pipeTo(stream.writable);
  const terminal = await guest.shell({ columns: 80, rows: 24, command: ["top"] });
  terminal.kill("SIGINT");
  if (text.length > 1) throw new SealttyError("limit-exceeded", "long");
  const { stdout, ...exit } = await (await guest.exec(["true"])).collect();
  console.log(new TextDecoder().decode(stdout));
  return exit;
}
`,
    );
    for (const lib of ["DOM", "WebWorker"]) {
      const compilerOptions = {
        module: "ESNext",
        moduleResolution: "bundler",
        target: "ES2023",
        lib: ["ES2023", lib],
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
        types: [],
      };
      writeFileSync(
        path.join(own, "tsconfig.json"),
        JSON.stringify({ compilerOptions, files: ["types.ts"] }),
      );
      const tsc = path.join(root, "node_modules/.bin/tsc");
      expect(execFileSync(tsc, ["-p", own], { encoding: "utf8" })).toBe("");
    }
  } finally {
    rmSync(own, { recursive: true });
  }
});

test("what is published agrees with what is inside", () => {
  const codes: [PublishedCode, SealttyErrorCode] extends [SealttyErrorCode, PublishedCode] ? true : false =
    true;
  const encodings: ProtocolOptions["encoding"] extends NonNullable<ConnectOptions["encoding"]>
    ? true
    : false = true;
  const troubles: [CopyTroubleCode, TroubleName] extends [TroubleName, CopyTroubleCode] ? true : false = true;
  expect([codes, encodings, troubles]).toEqual([true, true, true]);
});

test.runIf(hasOpenssh)("10 MB through cat and back, from an iterable, with another program beside it", () =>
  withGuest(async (connected) => {
    const part = new Uint8Array(100_000).fill(7);
    const cat = await connected.exec(["cat"], {
      stdin: (function* () {
        for (let i = 0; i < 100; i++) yield part;
      })() as unknown as AsyncIterable<Uint8Array>,
    });
    const collecting = cat.collect();
    const beside = await (await connected.exec(["echo", "beside"])).collect();
    expect(beside.stdout.toString()).toBe("beside\n");
    const { status, stdout } = await collecting;
    expect(status).toBe(0);
    expect(stdout.length).toBe(10_000_000);
    expect(stdout.every((byte) => byte === 7)).toBe(true);
  }),
);

test.runIf(hasOpenssh)("streams apart, status, place, and a program that is not there", () =>
  withGuest(async (connected) => {
    const script = 'pwd; echo "$WHO" >&2; exit 37';
    const there = await connected.exec(["sh", "-c", script], { cwd: "/usr", env: { WHO: "a\n'b'" } });
    expect(await there.collect()).toEqual({
      status: 37,
      stdout: Buffer.from("/usr\n"),
      stderr: Buffer.from("a\n'b'\n"),
    });
    const missing = await (await connected.exec(["no-such-program"])).collect();
    expect(missing.status).toBe(127);
    const nowhere = await (await connected.exec(["true"], { cwd: "/no/such" })).collect();
    expect([nowhere.status, nowhere.stderr.toString()]).toEqual([
      126,
      "sealttyd: /no/such: no such directory, or it may not be entered\n",
    ]);
    await expect(connected.exec(["echo", "x".repeat(10_000_000)])).rejects.toMatchObject({
      code: "bad-config",
    });
    await expect(connected.exec([])).rejects.toMatchObject({ code: "api-misuse" });
  }),
);

test.runIf(hasOpenssh)("too much to collect, a reader that leaves, an abort: each hangs the program up", () =>
  withGuest(async (connected) => {
    const flood = await connected.exec(["yes"]);
    await expect(flood.collect(100_000)).rejects.toMatchObject({ code: "limit-exceeded" });
    expect(await flood.exit).toMatchObject({ signal: "SIGHUP" });
    const left = await connected.exec(["yes"]);
    for await (const chunk of left.stdout) {
      expect((chunk as Buffer).length).toBeGreaterThan(0);
      break;
    }
    expect(await left.exit).toMatchObject({ status: 129, signal: "SIGHUP" });
    // More than credit lets through, and nobody ever read any: the end is told all the same.
    const unread = await connected.exec(["yes"]);
    const other = await connected.exec(["sleep", "0.2"]); // meanwhile the credit is used up
    await other.exit;
    unread.hangUp();
    expect(await unread.exit).toMatchObject({ signal: "SIGHUP" });
    const controller = new AbortController();
    const aborted = await connected.exec(["sleep", "600"], { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(aborted.exit).rejects.toThrow("enough");
    await expect(connected.exec(["true"], { signal: controller.signal })).rejects.toThrow("enough");
    const broken = await connected.exec(["cat"], {
      // eslint-disable-next-line require-yield -- it fails before it has anything
      stdin: (async function* (): AsyncGenerator<string> {
        await Promise.resolve();
        throw new Error("no more");
      })(),
    });
    await expect(broken.exit).rejects.toThrow("no more");
  }),
);

test.runIf(hasOpenssh)("a source that fails half-way is no end of a program's input", () =>
  withGuest(async (connected) => {
    const file = scratch.path("half");
    const program = ["sh", "-c", 'cat >"$0.part" && mv "$0.part" "$0"', file];
    const half = async function* (): AsyncGenerator<string> {
      yield "half of it";
      await Promise.resolve();
      throw new Error("no more");
    };
    const broken = await connected.exec(program, { stdin: true });
    await expect(pipeline(half, broken.stdin as Writable)).rejects.toThrow("no more");
    await expect(broken.exit).rejects.toThrow("no more");
    await connected.exec(["sleep", "0.3"]).then(({ exit }) => exit); // were it told an end, it would act on it by then
    expect(existsSync(file)).toBe(false);
    // Without an error it is one, and so is what comes behind the end.
    const whole = await connected.exec(program, { stdin: true });
    whole.stdin?.write("all");
    whole.stdin?.destroy();
    expect(await whole.exit).toEqual({ status: 0 });
    const late = await connected.exec(["true"], { stdin: true });
    const result = late.collect();
    expect(await late.exit).toEqual({ status: 0 });
    late.stdin?.destroy(new Error("too late"));
    expect((await result).status).toBe(0);
  }),
);

test.runIf(hasOpenssh)(
  "output that nobody ever reads keeps no place: 300 programs, then it is still there",
  () =>
    withGuest(async (connected) => {
      const first = await connected.exec(["echo", "first"]);
      for (let i = 0; i < 300; i++) {
        const echo = await connected.exec(["sh", "-c", "echo out; echo err >&2"]);
        expect(await echo.exit).toEqual({ status: 0 });
      }
      expect((await first.collect()).stdout.toString()).toBe("first\n");
    }),
);

test.runIf(hasOpenssh)("a connection that ends is no clean exit of a program", async () => {
  const connected = await connectFrom(machine, options);
  const sleeping = await connected.exec(["sleep", "600"]);
  const reading = sleeping.collect().catch((error: unknown) => error);
  const unread = await connected.exec(["sleep", "600"], { stdin: true }); // its streams have no listener
  await connected.close();
  await expect(sleeping.exit).rejects.toBeInstanceOf(SealttyError);
  await expect(unread.exit).rejects.toBeInstanceOf(SealttyError);
  expect(await reading).toBeInstanceOf(SealttyError);
  await expect(connected.exec(["true"])).rejects.toBeInstanceOf(SealttyError);
  expect(await connected.closed).not.toBe("");
});

test.runIf(hasOpenssh)(
  "a guest that is another one by then: everything fails with why, and the connection ends",
  async () => {
    let change: () => void = () => {};
    const other = {
      ...machine,
      connect(wanted: ProtocolOptions) {
        change = () =>
          wanted.onAttestation?.({
            kind: "changed",
            reason: "The guest restarted",
            changes: [],
            refusal: undefined,
          });
        return machine.connect(wanted);
      },
    };
    const connected = await connectFrom(other, options);
    const sleeping = await connected.exec(["sleep", "600"]);
    change();
    await expect(sleeping.exit).rejects.toMatchObject({ code: "evidence-refused" });
    await expect(connected.exec(["true"])).rejects.toMatchObject({ code: "evidence-refused" });
    await connected.closed;
  },
);

test.runIf(hasOpenssh)("refusals have their codes: policy, evidence, key, address", async () => {
  const policy = 'version = 1\nname = "t"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "other"\n';
  await expect(connectFrom(machine, { ...options, policy: { text: policy } })).rejects.toMatchObject({
    code: "evidence-refused",
  });
  await expect(connectFrom(machine, { ...options, simulated: false })).rejects.toBeInstanceOf(SealttyError);
  await expect(connectFrom(machine, { ...options, policy: "/no/such" })).rejects.toMatchObject({
    code: "bad-policy",
  });
  await expect(connectFrom(machine, { ...options, guest: "nonsense" })).rejects.toMatchObject({
    code: "bad-config",
  });
  sshKeygen(scratch.path("stranger"));
  await expect(
    connectFrom(machine, { ...options, identity: scratch.path("stranger") }),
  ).rejects.toMatchObject({ code: "user-refused" });
});

if (hasOpenssh)
  describe("copies", () => {
    const MiB = 1024 * 1024;
    function places(name: string): { readonly here: (file: string) => string; readonly there: string } {
      const here = directoryOf(`${name}-here`);
      return { here: (file) => path.join(here, file), there: directoryOf(`${name}-there`) };
    }

    test("there and back, and on to another guest: bytes, digest, totals, progress", () =>
      withGuest(async (connected) => {
        const { here, there } = places("around");
        const content = randomBytes(3 * MiB + 17);
        writeFileSync(here("a"), content);
        const sha256 = createHash("sha256").update(content).digest("hex");
        const [totals, bytes, files]: [unknown[], number[], string[]] = [[], [], []];
        const put = await connected.put(here("a"), `${there}/`, {
          onTotal: (total) => totals.push(total),
          onProgress: (progress) => bytes.push(progress.bytes),
          onFile: (file) => files.push(file.sha256),
        });
        expect(put).toMatchObject({ files: 1, bytes: content.length, sha256, failed: 0, gaveUp: false });
        expect([totals, files]).toEqual([[{ files: 1, bytes: content.length }], [sha256]]);
        expect(bytes.at(-1)).toBe(content.length);
        expect([...bytes].sort((a, b) => a - b)).toEqual(bytes);
        await withGuest(async (other) => {
          const along = await connected.copyTo(other, `${there}/a`, `${there}/b`);
          expect(along).toMatchObject({ files: 1, bytes: content.length, sha256 });
        });
        const into = new PassThrough();
        const parts: Buffer[] = [];
        into.on("data", (part: Buffer) => parts.push(part));
        expect(await connected.get(`${there}/b`, into)).toMatchObject({ sha256 });
        expect(Buffer.concat(parts).equals(content)).toBe(true);
        expect(into.writableEnded).toBe(false); // it may have something more to say
      }));

    test("what is not copied rejects, or is told to who takes it; the others are there", () =>
      withGuest(async (connected) => {
        const { here, there } = places("troubles");
        mkdirSync(here("tree"));
        writeFileSync(here("good"), "good");
        const sources = [here("missing"), here("tree"), here("good")];
        await expect(connected.put(sources, there)).rejects.toMatchObject({
          code: "device-unavailable",
          message: expect.stringContaining("no such file or directory (and 1 more)") as string,
        });
        expect(readFileSync(path.join(there, "good"), "utf8")).toBe("good");
        const told: CopyTrouble[] = [];
        const result = await connected.put(sources, there, { onTrouble: (trouble) => told.push(trouble) });
        expect(result).toMatchObject({ files: 1, failed: 2, gaveUp: false });
        expect(told.map(({ code, where }) => [code, where])).toEqual([
          ["not-found", "here"],
          ["is-directory", "here"],
        ]);
        await expect(connected.put(here("tree"), there)).rejects.toThrow(
          `${here("tree")}: is a directory: -r (recursive) copies it`,
        );
        await expect(connected.get(there, here("good"))).rejects.toThrow(
          `${there}: is a directory: -r (recursive) copies it`,
        );
        const failing = Readable.from(
          (async function* () {
            yield await Promise.resolve(Buffer.from("half"));
            throw new Error("the database went away");
          })(),
        );
        await expect(connected.put(failing, `${there}/half`)).rejects.toMatchObject({
          code: "device-unavailable",
          message: "Cannot read the stream that was to be copied: the database went away",
        });
        await expect(connected.put(Readable.from([Buffer.from("x")]), there)).rejects.toThrow(
          `${there}: is a directory, and takes no file's place`,
        );
        const none: CopyTrouble[] = [];
        expect(
          await connected.get(`${there}/good`, here("no/such/directory"), {
            onTrouble: (trouble) => none.push(trouble),
          }),
        ).toMatchObject({ files: 0, failed: 1, gaveUp: true });
        expect(none.map(({ code }) => code)).toEqual(["not-found"]);
        await expect(connected.get([], there)).rejects.toMatchObject({ code: "api-misuse" });
        await expect(connected.get("a\0b", there)).rejects.toMatchObject({ code: "api-misuse" });
        const stream = new PassThrough();
        await expect(connected.get(["a", "b"], stream)).rejects.toMatchObject({ code: "api-misuse" });
      }));

    test("an abort, and a connection that ends: rejected with why, nothing half is there", async () => {
      const { here, there } = places("aborts");
      await withGuest(async (connected) => {
        const controller = new AbortController();
        const endless = Readable.from(
          (async function* () {
            for (;;) {
              yield Buffer.alloc(MiB);
              await new Promise((resolve) => setImmediate(resolve));
            }
          })(),
        );
        const copying = connected.put(endless, `${there}/x`, {
          signal: controller.signal,
          onProgress: ({ bytes }) => void (bytes > 2 * MiB && controller.abort(new Error("enough"))),
        });
        await expect(copying).rejects.toThrow("enough");
        expect(endless.destroyed).toBe(true);
        await expect(connected.put(here("y"), there, { signal: controller.signal })).rejects.toThrow(
          "enough",
        );
        // A stream that takes nothing: the guest's file waits in it, and in no memory.
        writeFileSync(path.join(there, "big"), Buffer.alloc(8 * MiB));
        let seen = 0;
        const stuck = new Writable({ write: () => {} });
        const stopped = new AbortController();
        const reading = connected.get(`${there}/big`, stuck, {
          signal: stopped.signal,
          onProgress: ({ bytes }) => (seen = bytes),
        });
        const echo = await connected.exec(["echo", "beside"]); // meanwhile others go on
        expect((await echo.collect()).stdout.toString()).toBe("beside\n");
        stopped.abort(new Error("not taken"));
        await expect(reading).rejects.toThrow("not taken");
        expect(seen).toBeLessThan(MiB);
      });
      const connected = await connectFrom(machine, options);
      const waiting = connected.put(new PassThrough(), `${there}/z`);
      waiting.catch(() => undefined);
      await (await connected.exec(["true"])).exit;
      await connected.close();
      await expect(waiting).rejects.toBeInstanceOf(SealttyError);
      await vi.waitFor(() => expect(readdirSync(there)).toEqual(["big"]));
    });
  });

if (hasOpenssh)
  describe("streams and forwards", () => {
    /** Says back what comes, until its end. */
    async function echoServer(): Promise<{ readonly port: number; readonly server: net.Server }> {
      const server = net.createServer({ allowHalfOpen: true }, (socket) => {
        socket.on("error", () => undefined);
        socket.pipe(socket);
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      return { port: portOf(server), server };
    }

    test("10 MB through a stream and back, each direction with its own end", async () => {
      const { port, server } = await echoServer();
      await withGuest(async (connected) => {
        const stream = await connected.openStream({ host: "127.0.0.1", port });
        const content = randomBytes(10_000_000);
        const parts: Buffer[] = [];
        const taking = (async () => {
          for await (const part of stream) parts.push(part as Buffer);
        })();
        stream.end(content);
        await taking;
        expect(Buffer.concat(parts).equals(content)).toBe(true);
        expect(await stream.exit).toEqual({ status: 0 });
      });
      server.close();
    });

    test("a break is an error and no end; nobody there, and what is no place, is refused", async () => {
      const rude = net.createServer((socket) => {
        socket.on("error", () => undefined);
        socket.write("half");
        socket.once("data", () => socket.resetAndDestroy());
      });
      rude.listen(0, "127.0.0.1");
      await once(rude, "listening");
      const port = portOf(rude);
      await withGuest(async (connected) => {
        const stream = await connected.openStream({ host: "127.0.0.1", port });
        let got = "";
        const reading = (async () => {
          for await (const part of stream) {
            got += String(part);
            stream.end("now"); // from here on its end waits for how it ended
          }
        })();
        await expect(reading).rejects.toMatchObject({ code: "program-failed" });
        expect(got).toBe("half");
        await new Promise((resolve) => rude.close(resolve));
        const place = { host: "127.0.0.1", port };
        await expect(connected.openStream(place)).rejects.toMatchObject({ code: "program-failed" });
        await expect(connected.openStream({ ...place, port: 0 })).rejects.toMatchObject({
          code: "api-misuse",
        });
        await expect(connected.openStream({ path: "relative" })).rejects.toMatchObject({
          code: "api-misuse",
        });
        await expect(connected.forwardLocal({ port: -1 }, "socks")).rejects.toMatchObject({
          code: "api-misuse",
        });
      });
    });

    test("aborted, destroyed, or its connection closed: a stream fails, and gives its place back", async () => {
      const { port, server } = await echoServer();
      await withGuest(async (connected) => {
        const place = { host: "127.0.0.1", port };
        for (let i = 0; i < 100; i++) (await connected.openStream(place)).destroy(); // more than there are places
        const controller = new AbortController();
        const aborted = await connected.openStream(place, { signal: controller.signal });
        controller.abort(new Error("enough"));
        await expect(once(aborted, "end")).rejects.toThrow("enough");
        const cut = await connected.openStream(place);
        const ended = once(cut, "end");
        ended.catch(() => undefined); // looked at below
        await connected.close();
        await expect(ended).rejects.toBeInstanceOf(SealttyError);
        await expect(cut.exit).rejects.toBeInstanceOf(SealttyError);
      });
      server.close();
    });

    test("forwards both ways and by SOCKS; closed, nobody listens, and who had come is cut off", async () => {
      const { port, server } = await echoServer();
      const place = { host: "127.0.0.1", port };
      const connected = await connectFrom(machine, options);
      const failed: (string | undefined)[] = [];
      const local = await connected.forwardLocal({ port: 0 }, place);
      const remote = await connected.forwardRemote({ host: "127.0.0.1", port: 0 }, place);
      const socket = path.join(directoryOf("socks"), "s");
      const socks = await connected.forwardLocal({ path: socket }, "socks");
      const nowhere = await connected.forwardLocal(
        { port: 0 },
        { path: "/no/such/socket" },
        {
          onFailed: (_error, to) => failed.push(to),
        },
      );
      expect(socks.address).toEqual({ path: socket });
      const greeting = Buffer.from([5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 0xff]);
      for (const [forward, first, skipped] of [
        [local, "", 0],
        [remote, "", 0],
        [socks, greeting, 12],
      ] as const) {
        const client = clientOf(forward);
        client.write(first);
        client.write("hello");
        const wanted = skipped + 5;
        let got = Buffer.alloc(0);
        while (got.length < wanted) got = Buffer.concat([got, (await once(client, "data"))[0] as Buffer]);
        expect(got.subarray(skipped).toString()).toBe("hello");
        const gone = once(client, "close").catch(() => undefined);
        forward.close();
        forward.close();
        await gone;
        const late = clientOf(forward);
        await expect(once(late, "connect")).rejects.toMatchObject({ code: /ECONNREFUSED|ENOENT/ });
      }
      const client = clientOf(nowhere);
      await once(client, "close").catch(() => undefined);
      expect(failed).toEqual(["unix:/no/such/socket"]);
      await expect(connected.forwardLocal({ port }, place)).rejects.toMatchObject({
        code: "device-unavailable",
      });
      await connected.close();
      const late = clientOf(nowhere);
      await expect(once(late, "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
      await expect(connected.forwardLocal({ port: 0 }, place)).rejects.toBeInstanceOf(SealttyError);
      server.close();
    });

    function clientOf({ address }: Forward): net.Socket {
      const socket = "path" in address ? net.connect(address) : net.connect(address.port, "127.0.0.1");
      return socket;
    }
  });

function portOf(server: net.Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
