// The native programs that ask for evidence by ioctl, which Node has none of: run once, bounded in time and output.

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import os from "node:os";
import type { Clock } from "../../protocol/clock.ts";
import { concat } from "../../protocol/bytes.ts";
import { type NativeProgram, findNativeProgram } from "../native-program.ts";
import { shieldedStdio } from "../sessions/launch.ts";
import { unavailable } from "./unavailable.ts";

export type NativeHelper = Extract<NativeProgram, "sev-guest-report" | "tdx-report">;

const MAX_COMPLAINT = 256;

/** @param file - default: found. @throws SealttyError `evidence-unavailable` where it is missing. */
export function requireHelper(name: NativeHelper, file = findNativeProgram(name)): string {
  try {
    if (file === undefined) throw new Error("nowhere");
    accessSync(file, constants.X_OK);
    return file;
  } catch (cause) {
    throw unavailable(
      `The program ${name} is missing`,
      "Build it (node scripts/build-native.mjs) and put it beside sealttyd.",
      cause,
    );
  }
}

export interface HelperRun {
  readonly file: string;
  readonly args: readonly string[];
  readonly input: Uint8Array;
  /** More bytes of output than that are an error. */
  readonly maxOutput: number;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** All of it. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Called when the program is gone, which may be long after the time bound. */
  readonly onGone?: () => void;
}

/** What the program says of its failure, strictly parsed. */
export interface HelperFailure {
  readonly step: string;
  /** Name of the errno. */
  readonly code: string;
  /** SEV-SNP: 16 hex digits. */
  readonly exitinfo2: string;
}

/** @returns its output, or how it failed. @throws SealttyError `evidence-unavailable` where neither makes sense. */
export function runHelper(name: NativeHelper, run: HelperRun): Promise<Uint8Array | HelperFailure> {
  const { file, args, input, maxOutput, clock, timeoutMs, environment = {}, onGone } = run;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: shieldedStdio(["pipe", "pipe", "pipe"]),
      env: { ...environment },
      cwd: "/",
    });
    const stop = clock.after(timeoutMs, () => {
      child.kill("SIGKILL"); // takes effect once the kernel's request ends
      reject(
        unavailable(
          `The hardware gave no report in ${Math.round(timeoutMs / 1000)} s`,
          "The host may throttle or ignore requests: see the guest's kernel log.",
        ),
      );
    });
    const output: Buffer[] = [];
    let length = 0;
    let complaint = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxOutput) output.push(chunk);
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      if (complaint.length < MAX_COMPLAINT) complaint += chunk.toString("latin1");
    });
    child.stdin?.on("error", () => {}); // it may end without reading: its status tells
    child.stdin?.end(input);
    child.once("error", (cause) => {
      stop();
      onGone?.();
      reject(unavailable(`Cannot run ${name}`, "See that it is built for this machine.", cause));
    });
    child.once("close", (status) => {
      stop();
      onGone?.();
      if (status === 0) {
        if (length <= maxOutput) resolve(concat(...output));
        else reject(unavailable(`${name} printed too much`, "Build it anew."));
        return;
      }
      const failure = parseComplaint(complaint);
      if (failure === undefined)
        reject(unavailable(`${name} failed without a reason`, "Build it for this machine."));
      else resolve(failure);
    });
  });
}

function parseComplaint(text: string): HelperFailure | undefined {
  const match = /^(usage|input|open|memory|ioctl|firmware|output) ([0-9]{1,5}) ([0-9a-f]{16})\n$/.exec(text);
  if (match === null) return undefined;
  const [, step = "", number = "", exitinfo2 = ""] = match;
  return { step, code: errnoName(Number(number)), exitinfo2 };
}

function errnoName(number: number): string {
  for (const [name, value] of Object.entries(os.constants.errno)) if (value === number) return name;
  return `error ${number}`;
}
