// A program without a pty: stdin, stdout and stderr apart. It has ended once it exited and nobody holds its outputs
// open any more, as with ssh: anything sooner could cut output off and still look like a good end.

import type { Writable } from "node:stream";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { escapeText } from "../log.ts";
import { MAX_INPUT_QUEUED } from "./guest-process.ts";
import type { GuestProcess, OutputReader } from "./guest-process.ts";
import { shieldedStdio } from "./launch.ts";
import type { Launch } from "./launch.ts";
import { type OutputSource, StreamSource } from "./output-source.ts";
import { type RunningProgram, runOnStreams } from "./running-program.ts";

/** Its three streams, whoever holds their other ends; any is null where it could not be had. */
export interface ExecStreams {
  readonly stdin: Writable | null;
  readonly stdout: OutputSource | null;
  readonly stderr: OutputSource | null;
}

/** A program that does not exist ends with status 127, and says so on stderr. @throws SealttyError `api-misuse`. */
export function startExec(launch: Launch): GuestProcess {
  const { child, program } = runOnStreams(launch, shieldedStdio(["pipe", "pipe", "pipe"]));
  const streams = {
    stdin: child.stdin,
    stdout: child.stdout && new StreamSource(child.stdout),
    stderr: child.stderr && new StreamSource(child.stderr),
  };
  return new ExecProcess(streams, program, launch.command[0] ?? "");
}

export class ExecProcess implements GuestProcess {
  readonly stdout: OutputReader;
  readonly stderr: OutputReader;
  readonly exit: Promise<ExitStatus>;
  readonly #program: RunningProgram;
  readonly #stdin: Writable | null;
  readonly #outputs: readonly SourceReader[];

  /** @param name - the program's, as it was asked for. */
  constructor(streams: ExecStreams, program: RunningProgram, name: string) {
    this.#program = program;
    this.#stdin = streams.stdin;
    const failed = program.ended.then(({ failure }) =>
      failure === undefined ? undefined : utf8(`sealttyd: ${escapeText(name)}: ${failure}\n`),
    );
    const stdout = new SourceReader(streams.stdout);
    const stderr = new SourceReader(streams.stderr, failed);
    this.stdout = stdout;
    this.stderr = stderr;
    this.#outputs = [stdout, stderr];
    this.#stdin?.on("error", () => {}); // EPIPE: it does not read any more, which is its right
    const ended = program.ended.then(({ status }) => {
      this.#stdin?.destroy(); // nobody reads it; and what is queued must not wait for ever
      return status;
    });
    this.exit = Promise.all([ended, stdout.closed, stderr.closed]).then(([status]) => {
      program.forget();
      return status;
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
    this.#program.signal(name);
  }

  hangUp(): void {
    this.#program.signal("SIGHUP");
    this.#program.signal("SIGCONT"); // who is stopped would not hear it
    this.#stdin?.destroy();
    for (const output of this.#outputs) output.discard();
  }
}

const NO_WORDS = Promise.resolve(undefined);

class SourceReader implements OutputReader {
  /** Resolves once everything was read or thrown away, and nobody writes any more. */
  readonly closed: Promise<void>;
  readonly #source: OutputSource | null;
  #ended: boolean;
  /** Said at the end, in place of a program that never was. */
  #lastWords: Promise<Uint8Array | undefined>;
  #thrownAway: () => void = () => {};
  #wake: (() => void) | undefined;

  /** @param lastWords - the end is told once these are known, or everything was thrown away. */
  constructor(source: OutputSource | null, lastWords: Promise<Uint8Array | undefined> = NO_WORDS) {
    this.#source = source;
    const thrownAway = new Promise<undefined>((resolve) => {
      this.#thrownAway = () => resolve(undefined);
    });
    this.#lastWords = Promise.race([lastWords, thrownAway]);
    this.#ended = source === null;
    const wake = () => this.#wake?.();
    const end = () => {
      this.#ended = true;
      wake();
    };
    source?.watch(wake, end);
    this.closed = source?.closed ?? Promise.resolve();
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#source?.take() ?? null;
      if (chunk !== null) return chunk;
      if (this.#ended) {
        const words = await this.#lastWords;
        this.#lastWords = NO_WORDS;
        return words;
      }
      if (this.#wake !== undefined) throw new SealttyError("api-misuse", "Two reads of one output at a time");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  widen(): void {
    this.#source?.widen();
  }

  discard(): void {
    this.#ended = true;
    this.#thrownAway();
    this.#source?.destroy();
    this.#wake?.();
  }
}
