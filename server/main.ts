// sealttyd: the in-guest console server. Reads the command line and the configuration, serves until told to stop.

import { parseArgs } from "node:util";
import { SealttyError } from "../protocol/errors.ts";
import { missingHere } from "./check.ts";
import { DEFAULT_CONFIG_FILE, type ServerConfig, readServerConfig } from "./config.ts";
import { openEvidence } from "./evidence/open.ts";
import { createLog, escapeText } from "./log.ts";
import type { Log, LogLevel } from "./log.ts";
import { runFront } from "./monitor/front.ts";
import { FRONT_OPTION } from "./monitor/names.ts";
import { noDaemonUser, serveSplit } from "./monitor/split.ts";
import { giveBackConsole } from "./pipes/framebuffer/console.ts";
import { type RunningServer, serve } from "./serve.ts";
import { findAccount } from "./sessions/account.ts";
import { VERSION } from "../node/version.ts";

const USAGE = `Usage: sealttyd [--config FILE] [--check [--probe]] [-v]
       sealttyd --give-back-console

The encrypted guest console's server, to be run in the guest.

  --config FILE   configuration (default ${DEFAULT_CONFIG_FILE})
  --check         only check the configuration: exit status 0 good, 1 not; says as well what it names and is not here
  --probe         with --check: really ask this machine for evidence, once; exit status 1 where it gives none
  -v, --verbose   log more
  --give-back-console   gives the screen and keys that a sealttyd took (type = "framebuffer") back to the kernel's console:
                  for who starts sealttyd, once it has ended, however that was
  --version       print the version
  --help          print this

Exit status: 0 stopped by a signal, 2 usage, 255 it could not start or go on (the log says why).
`;

const EXIT_GOOD = 0;
const EXIT_CHECK_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_FAILED = 255;
/** systemd and people expect a stop to be quick; sessions got their SIGHUP by then. */
const STOP_TIMEOUT_MS = 1800;

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && args[0] === FRONT_OPTION) return await runFront();
  const options = parse(args);
  if (options === undefined) return EXIT_USAGE;
  if (options.help) {
    process.stdout.write(USAGE);
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
    if (options.check) {
      process.stdout.write(`${options.config}: good\n`);
      for (const missing of await missingHere(config)) {
        process.stdout.write(`on this machine, now: ${missing}\n`);
      }
      if (options.probe) await probeByHand(config, log);
      return EXIT_GOOD;
    }
    const stopped = stopSignal();
    const server = await start(config, log, options.verbose ? "debug" : "info");
    log.info("sealttyd serves", { version: VERSION, pipe: config.pipe.type, evidence: config.evidence.type });
    const why = await Promise.race([stopped, server.pipeLost]);
    if (typeof why === "string") log.info("sealttyd stops", { signal: why });
    await within(STOP_TIMEOUT_MS, server.stop());
    if (typeof why !== "string") throw why;
    return EXIT_GOOD;
  } catch (error) {
    report(log, error);
    return options.check ? EXIT_CHECK_FAILED : EXIT_FAILED;
  }
}

/** Root's rights stay away from what the host sends: by another process, or by a word of the owner's that they need not. */
async function start(config: ServerConfig, log: Log, level: LogLevel): Promise<RunningServer> {
  const { user } = config.daemon;
  if (process.getuid?.() !== 0) return await serve(config, log);
  if (user === "root") {
    log.warn('[daemon] user = "root": the process that the host talks to has all rights');
    return await serve(config, log);
  }
  const account = await findAccount(user);
  if (account === undefined) throw noDaemonUser(user);
  if (account.uid === 0)
    throw new SealttyError(
      "bad-config",
      `The user "${escapeText(user)}" of [daemon] is root by another name`,
    );
  return await serveSplit(config, account, log, level);
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
  readonly verbose: boolean;
  readonly version: boolean;
  readonly help: boolean;
  readonly giveBack: boolean;
}

function parse(args: readonly string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        config: { type: "string", default: DEFAULT_CONFIG_FILE },
        check: { type: "boolean", default: false },
        probe: { type: "boolean", default: false },
        verbose: { type: "boolean", short: "v", default: false },
        version: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
        "give-back-console": { type: "boolean", default: false },
      },
    });
    if (values.probe && !values.check) throw new Error("--probe goes with --check");
    return { ...values, giveBack: values["give-back-console"] };
  } catch (error) {
    process.stderr.write(`sealttyd: ${(error as Error).message}\n\n${USAGE}`);
    return undefined;
  }
}

/** Resolves with the first signal's name; a second one ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (asked) process.exit(EXIT_FAILED);
        asked = true;
        resolve(signal);
      });
    }
  });
}

async function within(timeout: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeout);
  });
  await Promise.race([work, tooLong]);
  clearTimeout(timer);
}

function report(log: Log, error: unknown): void {
  if (error instanceof SealttyError) log.error(error.message, { code: error.code });
  else
    log.error("unexpected error", {
      error: error instanceof Error ? (error.stack ?? error.message) : "unknown",
    });
}

// A bug must not leave a half-dead server behind: systemd starts a new one.
const crash = (error: unknown) => {
  report(createLog(), error);
  process.exit(EXIT_FAILED);
};
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);

process.exit(await main(process.argv.slice(2)));
