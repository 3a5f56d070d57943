// sealttyd: the in-guest console server. Reads the command line and the configuration, serves until told to stop.

import { SealttyError } from "../protocol/errors.ts";
import { foundHere, missingHere } from "./check.ts";
import { DEFAULT_CONFIG_FILE, type ServerConfig, readServerConfig } from "./config.ts";
import { runDoctor } from "./doctor/command.ts";
import { earlyFiles, earlyLines } from "./early.ts";
import { openEvidence } from "./evidence/open.ts";
import { runKeeper } from "./keeper/keeper.ts";
import { closeInherited } from "./inherited-files.ts";
import { createLog, escapeText } from "./log.ts";
import type { Log, LogLevel } from "./log.ts";
import { runFront } from "./monitor/front.ts";
import { FRONT_OPTION, KEEPER_OPTION } from "./monitor/names.ts";
import { doneWithin } from "./monitor/patience.ts";
import { noDaemonUser, serveSplit } from "./monitor/split.ts";
import { MANUAL_SECTIONS, daemonManual } from "./manual/manual.ts";
import { SERVE, givenOptions, usageText } from "./options.ts";
import { provisionWait } from "./provision/wait.ts";
import { giveBackConsole } from "./pipes/framebuffer/console.ts";
import { type RunningServer, serve } from "./serve.ts";
import { findAccount } from "./sessions/account.ts";
import { setupCommand } from "./setup/command.ts";
import { nodeClock } from "../node/clock.ts";
import { VERSION } from "../node/version.ts";
import { prepareHeapForFloods } from "../node/heap-for-floods.ts";

const EXIT_GOOD = 0;
const EXIT_CHECK_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_FAILED = 255;
/** systemd and people expect a stop to be quick; sessions got their SIGHUP by then: the front's 1500 ms and the keeper's 1000 are in it. */
const STOP_TIMEOUT_MS = 2800;

async function main(args: readonly string[]): Promise<number> {
  prepareHeapForFloods();
  if (args.length === 1 && args[0] === FRONT_OPTION) return await runFront();
  if (args.length === 1 && args[0] === KEEPER_OPTION) return await runKeeper();
  const [command, ...rest] = args;
  if (command === "setup") return await setupCommand(rest, createLog({ level: "warn" }));
  if (command === "man") return printManual(rest);
  if (command === "provision-wait") return await provisionWait(rest);
  if (command === "doctor") {
    const out = (text: string) => void process.stdout.write(text);
    return runDoctor(rest, { out, err: (text) => void process.stderr.write(text) });
  }
  const options = parse(args);
  if (options === undefined) return EXIT_USAGE;
  if (options.help) {
    process.stdout.write(usageText(SERVE));
    return EXIT_GOOD;
  }
  if (options.version) {
    process.stdout.write(`sealttyd ${VERSION}\n`);
    return EXIT_GOOD;
  }
  if (options.giveBack) {
    giveBackConsole();
    return EXIT_GOOD;
  }
  const log = createLog({ level: options.verbose ? "debug" : "info" });
  try {
    const config = await readServerConfig(options.config);
    if (options.check && options.initramfs) {
      process.stdout.write(earlyLines(await earlyFiles(config)));
      return EXIT_GOOD;
    }
    if (options.check) {
      process.stdout.write(`${options.config}: good\n`);
      for (const found of foundHere(config))
        process.stdout.write(`on this machine, now: it takes ${found}\n`);
      for (const missing of await missingHere(config)) {
        process.stdout.write(`on this machine, now: ${missing}\n`);
      }
      if (options.probe) await probeByHand(config, log);
      return EXIT_GOOD;
    }
    closeInherited();
    const stopped = stopSignal();
    const level = options.verbose ? "debug" : "info";
    const starting = start(config, log, level, { handsOver: options.handOver, stopped });
    const isStopped = await Promise.race([starting.then(() => false), stopped.then(() => true)]);
    // It may be asking a device of the host's, which need not answer.
    const isOver = isStopped && !(await doneWithin(nodeClock, STOP_TIMEOUT_MS, starting));
    const server = isOver ? undefined : await starting;
    if (server === undefined) {
      log.info("sealttyd stops, and has not served", { signal: await stopped });
      return EXIT_GOOD;
    }
    log.info("sealttyd serves", { version: VERSION, pipe: config.pipe.type, evidence: config.evidence.type });
    const why = await Promise.race([stopped, server.pipeLost]);
    if (typeof why === "string") log.info("sealttyd stops", { signal: why });
    const stopping = server.stop();
    if (await doneWithin(nodeClock, STOP_TIMEOUT_MS, stopping)) await stopping; // that it failed is said
    if (typeof why !== "string") throw why;
    return EXIT_GOOD;
  } catch (error) {
    report(log, error);
    return options.check ? EXIT_CHECK_FAILED : EXIT_FAILED;
  }
}

/**
 * Root's rights stay away from what the host sends: by another process, or by a word of the owner's that they need not.
 * @returns undefined where it was stopped before it served.
 */
async function start(
  config: ServerConfig,
  log: Log,
  level: LogLevel,
  how: { readonly handsOver: boolean; readonly stopped: Promise<unknown> },
): Promise<RunningServer | undefined> {
  const { user } = config.daemon;
  if (process.getuid?.() !== 0) return await serve(config, log, how.handsOver);
  if (user === "root") {
    log.warn('[daemon] user = "root": the process that the host talks to has all rights');
    return await serve(config, log, how.handsOver);
  }
  const account = await findAccount(user);
  if (account === undefined) throw noDaemonUser(user);
  if (account.uid === 0)
    throw new SealttyError(
      "bad-config",
      `The user "${escapeText(user)}" of [daemon] is root by another name`,
    );
  return await serveSplit(config, account, log, level, how);
}

/** Beside a running sealttyd, too: each asks on its own. @throws SealttyError `evidence-unavailable`, `bad-config`. */
async function probeByHand(config: ServerConfig, log: Log): Promise<void> {
  const { provider } = await openEvidence(config, log);
  try {
    await provider.probe();
    process.stdout.write(`on this machine, now: ${provider.type} evidence can be had\n`);
  } finally {
    await provider.close();
  }
}

interface Options {
  readonly config: string;
  readonly check: boolean;
  readonly probe: boolean;
  readonly initramfs: boolean;
  readonly handOver: boolean;
  readonly verbose: boolean;
  readonly version: boolean;
  readonly help: boolean;
  readonly giveBack: boolean;
}

function parse(args: readonly string[]): Options | undefined {
  try {
    const given = givenOptions(SERVE, args);
    for (const name of ["probe", "initramfs"] as const)
      if (given.has(name) && !given.has("check")) throw new Error(`--${name} goes with --check`);
    if (given.has("probe") && given.has("initramfs"))
      throw new Error("--probe and --initramfs exclude each other");
    return {
      config: given.text("config") ?? DEFAULT_CONFIG_FILE,
      check: given.has("check"),
      probe: given.has("probe"),
      initramfs: given.has("initramfs"),
      handOver: given.has("hand-over"),
      verbose: given.has("verbose"),
      version: given.has("version"),
      help: given.has("help"),
      giveBack: given.has("give-back-console"),
    };
  } catch (error) {
    process.stderr.write(`sealttyd: ${(error as Error).message}\n\n${usageText(SERVE)}`);
    return undefined;
  }
}

/** sealttyd(8), or with "5" sealttyd.toml(5). */
function printManual(args: readonly string[]): number {
  const [section = "8", ...extra] = args;
  const known = MANUAL_SECTIONS.find((each) => each === section);
  if (known === undefined || extra.length > 0) {
    process.stderr.write("sealttyd: man takes 8 or 5: sealttyd man | man -l -\n");
    return EXIT_USAGE;
  }
  process.stdout.write(daemonManual(known, VERSION));
  return EXIT_GOOD;
}

/** timeout(1) signals its child, and then its group: that is one wish, ms. */
const ONE_WISH = 1000;

/** Resolves with the first signal's name; one that comes later ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    let asked: number | undefined;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        asked ??= performance.now();
        if (performance.now() - asked > ONE_WISH) process.kill(process.pid, "SIGKILL"); // Node's own exit may wait for a device: end(), below
        resolve(signal);
      });
    }
  });
}

function report(log: Log, error: unknown): void {
  if (error instanceof SealttyError) log.error(error.message, { code: error.code });
  else
    log.error("unexpected error", {
      error: error instanceof Error ? (error.stack ?? error.message) : "unknown",
    });
}

/** Whether a thread of Node's is at a file. */
const isAtFiles = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith("FSReq"));

/**
 * Node's own exit waits for its threads: a device of the host's that never answers would keep this process from ever being started
 * anew. A signal ends it all the same; SIGTERM is a good end to systemd, and SIGKILL none.
 */
async function end(status: number): Promise<never> {
  for (let looks = 0; looks < 10 && isAtFiles(); looks++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  if (isAtFiles()) {
    process.removeAllListeners("SIGTERM");
    process.kill(process.pid, status === EXIT_GOOD ? "SIGTERM" : "SIGKILL");
  }
  process.exit(status);
}

// A bug must not leave a half-dead server behind: systemd starts a new one.
const crash = (error: unknown) => {
  report(createLog(), error);
  if (isAtFiles()) process.kill(process.pid, "SIGKILL");
  process.exit(EXIT_FAILED);
};
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);

await end(await main(process.argv.slice(2)));
