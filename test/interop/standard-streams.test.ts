// What stands in place of a file or pipe as standard input and output of `sealtty`: directories, disks, a full disk. Nothing of it
// may look like an empty input, or swallow what was written.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { runCli } from "../support/cli.ts";
import { hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");
const DISK = 1024 * 1024;

tellIfOpensshIsAbsent();
let scratch: ReturnType<typeof makeScratch>;
let guest: RunningGuest;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  mkdirSync(scratch.path("run"), { mode: 0o700 });
  const authorizedKeys = `${sshKeygen(scratch.path("key"))}\n`;
  guest = await startSealttyd({ authorizedKeys, more: ["[forward]", "allow = true"] });
  env = { ...process.env, XDG_STATE_HOME: scratch.path("state"), XDG_RUNTIME_DIR: scratch.path("run") };
});
afterAll(async () => {
  await guest?.stop();
  scratch?.remove();
});

const options = (): string[] => [
  ...["--policy", guest.policyFile, "--simulated", "-q"],
  ...["-i", scratch.path("key"), "-l", "root"],
];
const exec = (...command: string[]): string[] => [
  ...["exec", `unix:${guest.socket}`, ...options(), "--", ...command],
];
const cp = (...operands: string[]): string[] => [
  ...["cp", "--guest", `unix:${guest.socket}`, ...options(), ...operands],
];

interface Streams {
  readonly stdin?: string;
  readonly stdout?: string;
}
/** @param streams - files in place of pipes. */
async function run(args: readonly string[], { stdin, stdout }: Streams) {
  const input = stdin === undefined ? "ignore" : openSync(stdin, "r");
  const output = stdout === undefined ? "pipe" : openSync(stdout, "r+");
  const child = spawn(process.execPath, [SEALTTY, ...args], { stdio: [input, output, "pipe"], env });
  for (const own of [input, output]) if (typeof own === "number") closeSync(own);
  let [out, error] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (error += chunk.toString()));
  const [status] = (await once(child, "close")) as [number];
  const lines = error.split("\n").filter((line) => line !== "" && !line.includes("SIMULATED"));
  return { status, stdout: out, lines };
}

const IS_DIRECTORY =
  /^sealtty: device-unavailable: Cannot read the standard input: EISDIR: illegal operation on a directory, read$/;

test.runIf(hasOpenssh).each([
  ["exec", () => exec("cat")],
  ["exec -t", () => ["exec", "-t", ...exec("cat").slice(1)]],
  ["exec --master", () => ["exec", "--master", ...exec("cat").slice(1)]],
  ["cp", () => cp("-", `:${scratch.path("made")}`)],
  ["proxy", () => ["proxy", `unix:${guest.socket}`, ...options(), `unix:${guest.socket}`]],
])("%s: an input that cannot be read is an error, and no empty one", async (_, args) => {
  try {
    const { status, lines } = await run(args(), { stdin: scratch.path("") });
    expect([status, lines]).toEqual([255, [expect.stringMatching(IS_DIRECTORY)]]);
    expect(existsSync(scratch.path("made"))).toBe(false);
  } finally {
    await runCli(["master", `unix:${guest.socket}`, ...options(), "--stop"], "", { env });
  }
});

test.runIf(hasOpenssh)(
  "an input that is open to be written to alone, as nohup leaves it, is an empty one",
  () => {
    const words = [process.execPath, SEALTTY, ...exec("sh", "-c", "cat; sleep 0.3; echo it-$((6*7))")];
    const { status, stdout } = spawnSync("sh", ["-c", '"$@" 0>/dev/null', "sh", ...words], {
      env,
      encoding: "utf8",
    });
    expect([status, stdout]).toEqual([0, "it-42\n"]);
  },
);

const NO_SPACE = "Cannot write the output: no space is left where it goes; make room there (ENOSPC)";

test.runIf(hasOpenssh && existsSync("/dev/full")).each([
  ["exec", () => exec("echo", "hi")],
  ["what there is", () => ["inspect", `unix:${guest.socket}`, "--simulated", "--json"]],
  ["a policy", () => ["policy", "schema"]],
  ["the manual", () => ["man"]],
  ["help", () => ["help", "exec"]],
  ["the version", () => ["--version"]],
])("a full disk is said in words: %s", async (_, args) => {
  const { status, lines } = await run(args(), { stdout: "/dev/full" });
  expect(status).toBe(255);
  expect(lines.at(-1)).toContain(NO_SPACE);
});

const canMount = spawnSync("unshare", ["-rm", "true"]).status === 0;

test.runIf(hasOpenssh && canMount).each(["out", "error"])(
  "a disk that is full before the last bytes of standard %s: an error, and not status 0",
  (which) => {
    const script = `mount -t tmpfs -o size=100k none "$0" && "$@" ${which === "out" ? ">" : "2>"}"$0/file"`;
    const program = `head -c 110000 /dev/zero ${which === "out" ? "" : ">&2"}`;
    const words = [process.execPath, SEALTTY, ...exec("sh", "-c", program)];
    const { status, stderr } = spawnSync(
      "unshare",
      ["-rm", "sh", "-c", script, scratch.path("run"), ...words],
      { env, encoding: "utf8" },
    );
    expect(status).toBe(255);
    if (which === "out") expect(stderr).toContain(NO_SPACE);
  },
);

let disk: string | undefined;
afterEach(() => {
  if (disk !== undefined) spawnSync("losetup", ["-d", disk]);
  disk = undefined;
});

/** Whether this machine lends a file as a disk: a container may have no device for it. */
const lendsDisks = process.getuid?.() === 0 && spawnSync("losetup", ["-f"]).status === 0;

/** @returns its device. @throws Error with losetup's words. */
function makeDisk(content: Uint8Array): string {
  writeFileSync(scratch.path("disk"), content);
  const made = spawnSync("losetup", ["-f", "--show", scratch.path("disk")], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(made.stderr);
  disk = made.stdout.trim();
  return disk;
}

test.runIf(hasOpenssh && lendsDisks)("a disk is read and written", async () => {
  const [before, after] = [randomBytes(DISK), randomBytes(DISK)];
  const device = makeDisk(before);
  const inGuest = scratch.path("copied");
  expect(await run(cp("-", `:${inGuest}`), { stdin: device })).toMatchObject({ status: 0, lines: [] });
  expect(readFileSync(inGuest).equals(before)).toBe(true);
  writeFileSync(inGuest, after);
  expect(await run(exec("cat", inGuest), { stdout: device })).toMatchObject({ status: 0, lines: [] });
  expect(readFileSync(device).equals(after)).toBe(true);
  writeFileSync(inGuest, Buffer.concat([after, before]));
  expect((await run(cp(`:${inGuest}`, "-"), { stdout: device })).status).toBe(255);
});
