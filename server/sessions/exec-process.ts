// A program without a pty: stdin, stdout and stderr apart. It has ended once it exited and nobody holds its outputs
// open any more, as with ssh: anything sooner could cut output off and still look like a good end.

import type { ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";
import { MAX_INPUT_QUEUED, exitStatusOf, isSignalName, signalQuietly } from "./guest-process.ts";
import type { GuestProcess, OutputReader } from "./guest-process.ts";
import { STATUS_NOT_STARTED, prepareLaunch, shieldedStdio, spawnOrThrow } from "./launch.ts";
import type { Launch } from "./launch.ts";

/** As shells have it. */
const STATUS_NOT_FOUND = 127;

/** A program that does not exist ends with status 127, and says so on stderr. @throws SealttyError `api-misuse`. */
export function startExec(launch: Launch): GuestProcess {
  const { command, options } = prepareLaunch(launch);
  const [program, ...args] = command;
  return new ExecProcess(
    spawnOrThrow(program, args, {
      ...options,
      stdio: shieldedStdio(["pipe", "pipe", "pipe"]),
      detached: true, // a session of its own, so that signals reach all of it
    }),
    launch.command[0] ?? program,
  );
}

class ExecProcess implements GuestProcess {
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  readonly exit: Promise<ExitStatus>;
  readonly #child: ChildProcess;
  readonly #stdin: Writable | null;
  readonly #outputs: readonly StreamReader[];
  #gone = false;

  constructor(child: ChildProcess, program: string) {
    this.#child = child;
    this.#stdin = child.stdin;
    const stdout = new StreamReader(child.stdout);
    const stderr = new StreamReader(child.stderr);
    this.stdout = stdout;
    this.stderr = stderr;
    this.#outputs = [stdout, stderr];
    this.#stdin?.on("error", () => {}); // EPIPE: it does not read any more, which is its right
    this.exit = new Promise((resolve) => {
      child.once("exit", () => {
        this.#gone = true;
      });
      child.once("close", (code, signal) => resolve(exitStatusOf(code, signal)));
      child.once("error", (error) => {
        if (child.pid !== undefined) return; // a signal that could not be sent
        this.#gone = true;
        const code = errorCode(error);
        const why = code === "ENOENT" ? "not found" : `cannot be started (${code ?? "unknown error"})`;
        for (const output of this.#outputs) output.discard();
        stderr.say(`sealttyd: ${escapeText(program)}: ${why}\n`);
        resolve({ kind: "exited", status: code === "ENOENT" ? STATUS_NOT_FOUND : STATUS_NOT_STARTED });
      });
    });
  }

  async write(bytes: Uint8Array): Promise<void> {
    const stdin = this.#stdin;
    if (stdin === null || !stdin.writable || bytes.length === 0) return;
    if (stdin.writableLength > 0 && stdin.writableLength + bytes.length > MAX_INPUT_QUEUED) {
      throw new SealttyError("limit-exceeded", `More than ${MAX_INPUT_QUEUED} bytes wait to be written`);
    }
    await new Promise<void>((resolve) => {
      stdin.write(bytes, () => resolve());
      if (stdin.writableLength === 0) resolve(); // the kernel has it
    });
  }

  endInput(): void {
    this.#stdin?.end();
  }

  resize(): void {}

  signal(name: string): void {
    if (!isSignalName(name)) throw new SealttyError("api-misuse", `Unknown signal ${JSON.stringify(name)}`);
    this.#signalAll(name);
  }

  hangUp(): void {
    this.#signalAll("SIGHUP");
    this.#stdin?.destroy();
    for (const output of this.#outputs) output.discard();
  }

  /** While an output is open the group's number cannot be another's: somebody of the group still lives, or we are told. */
  #signalAll(name: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    if (this.#gone && this.#outputs.every((output) => output.ended)) return;
    signalQuietly(-pid, name);
  }
}

/** Pulls from a stream, whose own buffer is the read-ahead. */
class StreamReader implements OutputReader {
  readonly #stream: Readable | null;
  #ended: boolean;
  #message: Uint8Array | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: Readable | null) {
    this.#stream = stream;
    this.#ended = stream === null;
    const wake = () => this.#wake?.();
    const end = () => {
      this.#ended = true;
      wake();
    };
    stream?.on("readable", wake);
    stream?.once("end", end);
    stream?.once("close", end);
    stream?.on("error", end);
  }

  get ended(): boolean {
    return this.#ended;
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = (this.#stream?.read() ?? null) as Buffer | null;
      if (chunk !== null) return chunk;
      if (this.#ended) {
        const message = this.#message;
        this.#message = undefined;
        return message;
      }
      if (this.#wake !== undefined) throw new SealttyError("api-misuse", "Two reads of one output at a time");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /** A last message of our own, in place of a program that never was. */
  say(text: string): void {
    this.#message = new TextEncoder().encode(text);
  }

  discard(): void {
    this.#ended = true;
    this.#stream?.destroy();
    this.#wake?.();
  }
}
