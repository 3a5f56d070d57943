// The API as a package sees it: the built dist/lib, found by its name, against a real sealttyd; and every example of docs/api.md.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectFrom } from "../../cli/api/index.ts";
import type { ConnectOptions, Guest } from "../../cli/api/types.ts";
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
let options: ConnectOptions;
const user = os.userInfo().username;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  const line = sshKeygen(scratch.path("key"));
  guest = await startSealttyd({ authorizedKeys: `${line}\n` });
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
  await guest?.stop();
  scratch?.remove();
  if (consumer !== undefined) rmSync(consumer, { recursive: true });
});

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
  /^100 host42\n$/,
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
  const program = `import { connect, SealttyError, type Exit, type Guest } from "sealtty";
export async function main(): Promise<Exit> {
  const guest: Guest = await connect({ guest: "unix:/x", policy: { text: "" }, obfuscate: "strict" });
  // @ts-expect-error a misspelt option
  await guest.exec(["true"], { cdw: "/" });
  const process = await guest.exec(["true"], { stdin: true, timeout: 5 });
  process.stdin?.end();
  const { stdout, ...exit } = await process.collect();
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

test("what is published agrees with what is inside", () => {
  const codes: [PublishedCode, SealttyErrorCode] extends [SealttyErrorCode, PublishedCode] ? true : false =
    true;
  const encodings: ProtocolOptions["encoding"] extends NonNullable<ConnectOptions["encoding"]>
    ? true
    : false = true;
  expect([codes, encodings]).toEqual([true, true]);
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
