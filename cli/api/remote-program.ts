// A program in the guest as the API has it: Node's streams, and an end that is never taken for another.

import type { Readable } from "node:stream";
import { collectLimit, endOf, feed, MAX_COLLECTED, type Owner } from "../../protocol/api/program-end.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { SIGNALS } from "../../protocol/session/messages.ts";
import { readableOf, TERMINAL_AHEAD, writableOf } from "./streams.ts";
import type { ExecOptions, RemoteProcess, RemoteTerminal, ShellOptions, SignalName } from "./types.ts";

export type { Owner } from "../../protocol/api/program-end.ts";

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
  let over = false;
  const settled = (): void => void (over = true);
  exit.then(settled, settled);
  // As pipeline() does where its source fails: an end would say that this was all.
  const broken = (error: Error): void => {
    if (!over) fail(error);
  };
  const own = options.stdin === true;
  if (!own) void feed(channel, options.stdin).catch(fail);
  return {
    stdin: own ? writableOf(channel, explain, broken) : undefined,
    stdout: stdout.readable,
    stderr: stderr.readable,
    exit,
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp,
    async collect(maxBytes = MAX_COLLECTED) {
      const take = collectLimit(maxBytes, hangUp);
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

async function all(stream: Readable, take: (length: number) => void): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream as AsyncIterable<Buffer>) {
    take(part.length);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
