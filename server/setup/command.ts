// `sealttyd setup`'s command line, and this machine as it sees it.

import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { errorCode } from "../../node/socket-pipe.ts";
import { missingHere } from "../check.ts";
import type { PipeConfig } from "../config/pipe.ts";
import { parseServerConfig, readServerConfig } from "../config.ts";
import { openEvidence } from "../evidence/open.ts";
import { type Log, escapeText } from "../log.ts";
import { type Given, SETUP, givenOptions, rootOf, usageText } from "../options.ts";
import { saysForbidden } from "../rooted-path.ts";
import { findProgram } from "../sessions/launch.ts";
import { virtioPortNames } from "../pipes/virtio-port.ts";
import { EVIDENCE_TYPES, type Machine, type RealEvidence, SetupRefused, isRealEvidence } from "./choose.ts";
import { configurationText } from "./configuration.ts";
import { SetupFailed, setUp, takeAway } from "./setup.ts";
import type { SetupSurroundings, SetupWishes } from "./wishes.ts";

const EXIT_GOOD = 0;
const EXIT_REFUSED = 1;
const EXIT_USAGE = 2;
const EXIT_FAILED = 255;

type Wishes = SetupWishes & { readonly remove: boolean; readonly help: boolean };

/** @param log - of what collectors say while they are asked. @returns an exit status. */
export async function setupCommand(args: readonly string[], log: Log): Promise<number> {
  let wishes: Wishes;
  try {
    wishes = wishesOf(args);
  } catch (error) {
    process.stderr.write(`sealttyd setup: ${(error as Error).message}\n\n${usageText(SETUP)}`);
    return EXIT_USAGE;
  }
  if (wishes.help) {
    process.stdout.write(usageText(SETUP));
    return EXIT_GOOD;
  }
  try {
    const around = thisMachine(log);
    if (!wishes.remove) return print(await setUp(wishes, around), EXIT_GOOD);
    const { said, left } = await takeAway(wishes, around);
    return print(said, left ? EXIT_REFUSED : EXIT_GOOD);
  } catch (error) {
    if (error instanceof SetupFailed) print(error.said, EXIT_FAILED);
    process.stderr.write(`sealttyd setup: ${wordsOf(error)}\n`);
    return error instanceof SetupRefused ? EXIT_REFUSED : EXIT_FAILED;
  }
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const code = errorCode(error);
  const file = "path" in error && typeof error.path === "string" ? escapeText(error.path) : undefined;
  if (code === undefined || file === undefined) return error.message;
  if (saysForbidden(error)) return `${file} may not be read or changed: run it as root`;
  return `${file} cannot be read or changed: ${code}`;
}

function print(lines: readonly string[], status: number): number {
  for (const line of lines) process.stdout.write(`${line}\n`);
  return status;
}

/** @throws Error, for people. */
function wishesOf(args: readonly string[]): Wishes {
  const given = givenOptions(SETUP, args);
  const evidence = given.text("evidence");
  if (evidence !== undefined && !isRealEvidence(evidence))
    throw new Error(`--evidence takes one of ${EVIDENCE_TYPES.join(", ")}`);
  const remove = given.has("remove");
  const root = path.resolve(rootOf(given));
  const here = root === "/";
  const pipe = pipeOf(given, here);
  if (
    remove &&
    (evidence !== undefined ||
      pipe !== undefined ||
      (["initramfs", "provision", "recovery"] as const).some((name) => given.has(name)))
  )
    throw new Error("--remove undoes what was done, whatever it was: it goes with --root and --dry-run only");
  return {
    root,
    here,
    evidence,
    pipe,
    provision: given.has("provision"),
    recovery: given.has("recovery"),
    dryRun: given.has("dry-run"),
    early: given.has("initramfs"),
    remove,
    help: given.has("help"),
  };
}

/** @param here - whether the device is this machine's. Of another one's nobody knows, and printable lines pass everywhere. */
function pipeOf(given: Given<"port" | "tty" | "screen">, here: boolean): PipeConfig | undefined {
  const port = given.text("port");
  const tty = given.text("tty");
  const screen = given.has("screen");
  if ([port !== undefined, tty !== undefined, screen].filter(Boolean).length > 1)
    throw new Error("--port, --tty and --screen exclude each other");
  if (screen) return { type: "framebuffer", screen: undefined, input: undefined };
  const pipe: PipeConfig | undefined =
    port !== undefined
      ? { type: "virtio", name: port }
      : tty !== undefined
        ? { type: "tty", device: tty, armourOnly: !here || isKernelConsole(tty) }
        : undefined;
  // By the configuration's own rules, so that nothing is written that it would refuse.
  if (pipe !== undefined) parseServerConfig(configurationText(pipe, "tpm", undefined), "options");
  return pipe;
}

/** The kernel writes into it, and takes 0x0f from it: then only printable lines pass. */
function isKernelConsole(device: string): boolean {
  const name = path.basename(device);
  try {
    return readFileSync("/proc/consoles", "utf8")
      .split("\n")
      .some((line) => line.split(/\s/, 1)[0] === name);
  } catch {
    return true; // printable lines pass everywhere
  }
}

function thisMachine(log: Log): SetupSurroundings {
  const systemctl = existsSync("/run/systemd/system") ? findProgram("systemctl") : undefined;
  const machine: Machine = {
    exists: existsSync,
    ports: virtioPortNames,
    probe: async (type) => probe(type, log),
  };
  return {
    machine,
    isRoot: process.geteuid?.() === 0,
    systemctl:
      systemctl === undefined ? undefined : async (...args) => (await runQuietly(systemctl, args)) === 0,
    missing: async (file) => missingHere(await readServerConfig(file)),
  };
}

/** @throws SealttyError. */
async function probe(type: RealEvidence, log: Log): Promise<void> {
  const text = configurationText({ type: "virtio", name: "sealtty.0" }, type, undefined);
  const { provider } = await openEvidence(parseServerConfig(text, "setup"), log);
  try {
    await provider.probe();
  } finally {
    await provider.close();
  }
}

/** Its complaints are the user's to read. @returns its exit status; 127 where it could not be started. */
function runQuietly(program: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
    child.once("error", () => resolve(127));
    child.once("close", (status) => resolve(status ?? 128));
  });
}
