// A program in the guest as the browser's API has it: web streams, and an end that is never taken for another.

import {
  collectLimit,
  endOf,
  feed,
  type Input,
  MAX_COLLECTED,
  type Owner,
} from "../../protocol/api/program-end.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { allOf, piecesOf, readableOf, writableOf } from "./streams.ts";
import type { ExecOptions, RemoteProcess, RemoteTerminal, ShellOptions } from "./types.ts";

export function remoteProcess(channel: Channel, options: ExecOptions, owner: Owner): RemoteProcess {
  const explain = (error: unknown): Error => owner.explain(error);
  const stdout = readableOf(channel.stdout, explain, () => hangUp());
  const stderr = readableOf(channel.stderr, explain, () => {});
  const hangUp = (): void => {
    channel.hangUp();
    stdout.discard();
    stderr.discard();
  };
  const { stdin: given } = options;
  const stdin =
    given === true
      ? writableOf(channel, explain, { end: () => channel.end(), left: (reason) => fail(reason) })
      : undefined;
  const { exit, fail } = endOf(channel, options, owner, (error) => {
    channel.hangUp();
    stdout.fail(error);
    stderr.fail(error);
    stdin?.fail(error);
  });
  if (given !== true) void feed(channel, inputOf(given)).catch(fail);
  return {
    stdin: stdin?.writable,
    stdout: stdout.readable,
    stderr: stderr.readable,
    exit,
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp,
    async collect(maxBytes = MAX_COLLECTED) {
      const take = collectLimit(maxBytes, hangUp);
      const [out, err] = await Promise.all([allOf(stdout.readable, take), allOf(stderr.readable, take)]);
      return { ...(await exit), stdout: out, stderr: err };
    },
  };
}

export function remoteTerminal(channel: Channel, options: ShellOptions, owner: Owner): RemoteTerminal {
  const explain = (error: unknown): Error => owner.explain(error);
  const output = readableOf(channel.stdout, explain, () => hangUp());
  const hangUp = (): void => {
    channel.hangUp();
    output.discard();
  };
  const input = writableOf(channel, explain, { end: () => channel.end(), left: (reason) => fail(reason) });
  const { exit, fail } = endOf(channel, options, owner, (error) => {
    channel.hangUp();
    output.fail(error);
    input.fail(error);
  });
  return {
    input: input.writable,
    output: output.readable,
    exit,
    resize: (columns, rows) => channel.resize(columns, rows),
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp,
  };
}

function inputOf(given: Exclude<ExecOptions["stdin"], true>): Input | undefined {
  return typeof given === "object" && "getReader" in given ? piecesOf(given) : given;
}
