// The commands, and what they all have in common: help, errors, exit statuses.

import { SealttyError } from "../protocol/errors.ts";
import { PROTOCOL_VERSION } from "../protocol/frames/frame-body.ts";
import { configSshCommand } from "./commands/config-ssh.ts";
import { connectCommand } from "./commands/connect.ts";
import { collateralCommand } from "./commands/collateral.ts";
import { completionCommand } from "./commands/completion.ts";
import { cpCommand } from "./commands/cp.ts";
import { demoCommand } from "./commands/demo.ts";
import { execCommand } from "./commands/exec.ts";
import { forwardCommand } from "./commands/forward.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { instanceCommand } from "./commands/instance.ts";
import { knownHostsCommand } from "./commands/known-hosts.ts";
import { logCommand } from "./commands/log.ts";
import { manCommand } from "./commands/man.ts";
import { masterCommand } from "./commands/master.ts";
import { measureCommand } from "./commands/measure.ts";
import { openCommand } from "./commands/open.ts";
import { policyCommand } from "./commands/policy.ts";
import { provisionCommand } from "./commands/provision.ts";
import { proxyCommand } from "./commands/proxy.ts";
import { sessionsCommand } from "./commands/sessions.ts";
import { sysrqCommand } from "./commands/sysrq.ts";
import { unlockCommand } from "./commands/unlock.ts";
import { verifyCommand } from "./commands/verify.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { helpFor, overview } from "./help.ts";
import { settled } from "./named-guest.ts";
import { type Command, type Input, parseInput } from "./options.ts";
import { jsonLine } from "./printable.ts";
import { exitStatusOf, print, Reporter } from "./report.ts";
import type { Services } from "./services.ts";

export const COMMANDS: readonly Command[] = [
  openCommand,
  connectCommand,
  execCommand,
  cpCommand,
  masterCommand,
  proxyCommand,
  forwardCommand,
  configSshCommand,
  knownHostsCommand,
  sessionsCommand,
  unlockCommand,
  logCommand,
  sysrqCommand,
  provisionCommand,
  inspectCommand,
  verifyCommand,
  policyCommand,
  instanceCommand,
  measureCommand,
  collateralCommand,
  completionCommand(() => COMMANDS),
  manCommand(() => COMMANDS),
  demoCommand,
];

/** @returns the exit status. Never rejects. */
export async function run(argv: readonly string[], services: Services): Promise<number> {
  const [name, ...args] = argv;
  try {
    return await answer(name, args, services);
  } catch (error) {
    new Reporter(services, { has: (option) => args.includes(`--${option}`), count: () => 0 }).failure(error);
    return EXIT_OURS;
  }
}

/** @throws SealttyError where standard output takes no help. */
async function answer(
  name: string | undefined,
  args: readonly string[],
  services: Services,
): Promise<number> {
  if (name === undefined) {
    await print(services.stderr, overview(COMMANDS));
    return EXIT_OURS;
  }
  if (name === "--version" || name === "version") {
    const json = args.includes("--json");
    await print(
      services.stdout,
      json
        ? `${jsonLine({ event: "version", version: services.version, protocol: PROTOCOL_VERSION, node: process.version })}\n`
        : `sealtty ${services.version}\n`,
    );
    return 0;
  }
  if (name === "help" || name === "--help" || name === "-h") return help(args[0], services);
  const command = COMMANDS.find((each) => each.name === name);
  if (command === undefined) return unknown(name, args, services);
  const own = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  if (own.includes("--help") || own.includes("-h")) return help(name, services);
  let input: Input | undefined;
  try {
    input = parseInput(command, args);
    const named = await settled(command, input, services);
    return await command.run(named.input, named.services);
  } catch (error) {
    // Options that did not parse cannot say how to report that; look for the switch itself.
    const switches = input ?? { has: (option: string) => own.includes(`--${option}`), count: () => 0 };
    new Reporter(services, switches).failure(error);
    return exitStatusOf(error, command.exits);
  }
}

async function help(name: string | undefined, services: Services): Promise<number> {
  const command = COMMANDS.find((each) => each.name === name);
  if (name !== undefined && command === undefined) return unknown(name, [], services);
  await print(services.stdout, command === undefined ? overview(COMMANDS) : helpFor(command));
  return 0;
}

function unknown(name: string, args: readonly string[], services: Services): number {
  const problem = `there is no command ${JSON.stringify(name)}`;
  const known = COMMANDS.filter((command) => !command.hidden).map((command) => command.name);
  const error = new SealttyError(
    "bad-config",
    `${problem}; the commands are ${known.join(", ")} (sealtty help)`,
  );
  new Reporter(services, { has: (option) => args.includes(`--${option}`), count: () => 0 }).failure(error);
  return 255;
}
