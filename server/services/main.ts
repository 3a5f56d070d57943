#!/usr/bin/env node
// sealttyd-service: what a channel of kind "service" is, as root. The half of sealttyd that has rights starts it, with
// arguments of its own making, for users that the configuration names (plan.ts). Exit status: 0 done, 1 failed with words on
// standard error; of "provision" more (protocol/provision/seed.ts).

import { once } from "node:events";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_SEED, PROVISION_STATUS, readSeed } from "../../protocol/provision/seed.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { AlreadyProvisioned, provisionOnce } from "../provision/seed-files.ts";
import { openKernelLog, sendKernelLog } from "./kernel-log.ts";
import { pressSysrq } from "./sysrq.ts";

const FAILED = 1;

async function main([name, ...args]: readonly string[]): Promise<number> {
  switch (name) {
    case "kernel-log":
      await sendKernelLog(openKernelLog(), put, { follow: args[0] === "follow", now });
      return 0;
    case "sysrq":
      pressSysrq(args[0] ?? "");
      return 0;
    case "provision":
      return await provision(args);
    default:
      return fail("there is no such service");
  }
}

function now(): { uptime: number; wall: number } {
  return { uptime: Number(process.hrtime.bigint() / 1000n), wall: Date.now() };
}

async function put(bytes: Uint8Array): Promise<void> {
  if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
}

async function provision([directory = "", state = "", again]: readonly string[]): Promise<number> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of process.stdin as AsyncIterable<Uint8Array>) {
    length += piece.length;
    if (length > MAX_SEED) return malformed();
    pieces.push(piece);
  }
  try {
    provisionOnce(readSeed(Buffer.concat(pieces)), { directory, state, again: again === "again" });
    return PROVISION_STATUS.written;
  } catch (error) {
    if (error instanceof AlreadyProvisioned) {
      fail(error.message);
      return PROVISION_STATUS["already-provisioned"];
    }
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return malformed();
    throw error;
  }
}

function malformed(): number {
  fail("what came is no whole seed");
  return PROVISION_STATUS.malformed;
}

/** A sentence for whoever asked; never a part of what they sent. */
function fail(words: string): number {
  process.stderr.write(`${words}\n`);
  return FAILED;
}

process.stdout.on("error", () => process.exit(FAILED)); // nobody reads it any more
process.on("uncaughtException", (error) => end(failureOf(error)));
process.on("unhandledRejection", (error) => end(failureOf(error)));

function failureOf(error: unknown): number {
  if (error instanceof SealttyError) return fail(error.message);
  const code = errorCode(error);
  return fail(code === undefined ? "unexpected error" : `the system refuses: ${code}`);
}

/** Only once both outputs were taken: they may be sockets, whose writes are not done at once. */
function end(status: number): void {
  process.exitCode = status;
  process.stdin.destroy();
  process.stdout.end(() => process.stderr.end(() => process.exit(status)));
}

end(await main(process.argv.slice(2)));
