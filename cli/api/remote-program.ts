// A program in the guest as the API has it: Node's streams, and an end that is never taken for another.

import type { Readable } from "node:stream";
import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { SIGNALS } from "../../protocol/session/messages.ts";
import { exitOf } from "./exit.ts";
import { RunLimit } from "./run-limit.ts";
import { readableOf, TERMINAL_AHEAD, writableOf } from "./streams.ts";
import type { ExecOptions, Exit, RemoteProcess, RemoteTerminal, ShellOptions, SignalName } from "./types.ts";

const MAX_COLLECTED = 64 * 1024 * 1024;

/** The connection that a program belongs to. */
export interface Owner {
  readonly clock: Clock;
  /** Calls `fail` once the guest is another one. @returns what takes it off again. */
  onChanged(fail: (error: SealttyError) => void): () => void;
  /** What is behind an error of the connection. */
  explain(error: unknown): Error;
}

/** @throws SealttyError `api-misuse` on a name that docs/protocol.md §8 does not list. */
export function signalNamed(name: string): SignalName {
  const signal = SIGNALS.find((known) => known === name);
  if (signal === undefined) throw new SealttyError("api-misuse", `No such signal to send: ${name}`);
  return signal;
}

export function remoteProcess(channel: Channel, options: ExecOptions, owner: Owner): RemoteProcess {
  const explain = (error: unknown): Error => owner.explain(error);
  const stdout = readableOf(channel.stdout, explain, () => hangUp());
  const stderr = readableOf(channel.stderr, explain, () => {});
  const hangUp = (): void => {
    channel.hangUp();
    stdout.discard();
    stderr.discard();
  };
  const end = (error: Error): void => {
    channel.hangUp();
    stdout.fail(error);
    stderr.fail(error);
  };
  const { exit, fail } = endOf(channel, options, owner, end);
  const own = options.stdin === true;
  if (!own) void feed(channel, options.stdin).catch(fail);
  return {
    stdin: own ? writableOf(channel, explain) : undefined,
    stdout: stdout.readable,
    stderr: stderr.readable,
    exit,
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp,
    async collect(maxBytes = MAX_COLLECTED) {
      let left = maxBytes;
      const take = (length: number): void => {
        left -= length;
        if (left >= 0) return;
        hangUp();
        throw new SealttyError("limit-exceeded", `The program printed more than ${maxBytes} bytes`);
      };
      const [out, err] = await Promise.all([all(stdout.readable, take), all(stderr.readable, take)]);
      return { ...(await exit), stdout: out, stderr: err };
    },
  };
}

export function remoteTerminal(
  channel: Channel,
  options: Pick<ShellOptions, "signal" | "timeout">,
  owner: Owner,
): RemoteTerminal {
  const explain = (error: unknown): Error => owner.explain(error);
  const output = readableOf(channel.stdout, explain, () => hangUp(), TERMINAL_AHEAD);
  const hangUp = (): void => {
    channel.hangUp();
    output.discard();
  };
  return {
    input: writableOf(channel, explain),
    output: output.readable,
    exit: endOf(channel, options, owner, (error) => {
      channel.hangUp();
      output.fail(error);
    }).exit,
    resize: (columns, rows) => channel.resize(columns, rows),
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp,
  };
}

/**
 * @param end - hangs it up where it does not outlive this, and ends its streams with the error.
 * @returns how it ends; and `fail`, for an end that is not the program's.
 */
export function endOf(
  channel: Channel,
  { signal, timeout }: Pick<ExecOptions, "signal" | "timeout">,
  owner: Owner,
  end: (error: Error) => void,
): { exit: Promise<Exit>; fail: (error: unknown) => void } {
  const limit =
    timeout === undefined
      ? undefined
      : new RunLimit({ signal: (name) => channel.signal(name), hangUp: () => {} }, owner.clock, timeout); // fail() hangs up
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = (error) => {
      end(owner.explain(error));
      reject(error);
    };
  });
  const aborted = (): void => fail(signal?.reason);
  if (signal?.aborted === true) aborted();
  else signal?.addEventListener("abort", aborted, { once: true });
  const off = owner.onChanged(fail);
  const ended = channel.exit.then(
    (status) => {
      if (limit?.error !== undefined) throw limit.error;
      return exitOf(status);
    },
    (error: unknown) => {
      throw owner.explain(error);
    },
  );
  limit?.givenUp.catch(fail);
  const ends = [ended, failed, ...(limit === undefined ? [] : [limit.givenUp])];
  const exit = Promise.race(ends).finally(() => {
    limit?.stop();
    off();
    signal?.removeEventListener("abort", aborted);
  });
  exit.catch(() => undefined); // a caller that never asks is no unhandled rejection
  return { exit, fail };
}

async function feed(channel: Channel, stdin: Exclude<ExecOptions["stdin"], true>): Promise<void> {
  if (stdin === undefined) return channel.end();
  if (typeof stdin === "string" || stdin instanceof Uint8Array) {
    await write(channel, stdin);
  } else {
    for await (const part of stdin) if (!(await write(channel, part))) return;
  }
  channel.end();
}

/** @returns false where the connection is over: `exit` says so. */
async function write(channel: Channel, part: string | Uint8Array): Promise<boolean> {
  try {
    await channel.write(typeof part === "string" ? utf8(part) : part);
    return true;
  } catch {
    return false;
  }
}

async function all(stream: Readable, take: (length: number) => void): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream as AsyncIterable<Buffer>) {
    take(part.length);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
