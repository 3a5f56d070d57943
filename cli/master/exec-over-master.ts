// `sealtty exec --master`: the same as over a connection of its own, over the one that is kept. Light: where somebody keeps one
// already, this is all that is loaded.

import { asError, SealttyError } from "../../protocol/errors.ts";
import { type Owner, remoteProcess, remoteTerminal } from "../api/remote-program.ts";
import { AttestationWatch } from "../attestation-watch.ts";
import { terminalName } from "../environment.ts";
import { type ExecPlan, execOptions } from "../exec-plan.ts";
import { timeoutOf } from "../option-values.ts";
import type { Input } from "../options.ts";
import { RawTerminal } from "../raw-terminal.ts";
import type { Reporter } from "../report.ts";
import { runVerified } from "../run-program.ts";
import type { Surroundings } from "../services.ts";
import { escapeOption, runTerminal } from "../terminal-session.ts";
import { ConnectionLost, MasterLink, type Opened, type Request } from "./master-link.ts";
import { type MasterPlace, masterPlace } from "./place.ts";

type Start = (
  place: MasterPlace,
  more: readonly string[],
  services: Pick<Surroundings, "programDirectory" | "environment">,
) => Promise<void>;

/** A process that is just ending may hold the name for a moment. */
const TRIES = 3;

/** @returns the exit status. @throws SealttyError as `exec` does. */
export async function execOverMaster(
  plan: ExecPlan,
  input: Input,
  services: Surroundings,
  reporter: Reporter,
  start: Start,
): Promise<number> {
  const place = masterPlace(plan.guest, input, plan.terminal, services);
  for (let tries = 0; tries < TRIES; tries++) {
    const status = await runOverRunning(place.socket, plan, input, services, reporter);
    if (status !== undefined) return status;
    await start(place, [`--timeout=${timeoutOf(input) / 1000}`], services);
  }
  throw new SealttyError(
    "transport-lost",
    "The process that keeps the connection ends as soon as it was started. Start it yourself to see why: sealtty master GUEST --policy FILE",
  );
}

/** @returns the exit status; undefined where nobody keeps the connection: nothing was asked of anybody then. */
export async function execOverRunningMaster(
  plan: ExecPlan,
  input: Input,
  services: Surroundings,
  reporter: Reporter,
): Promise<number | undefined> {
  const { socket } = masterPlace(plan.guest, input, plan.terminal, services);
  return runOverRunning(socket, plan, input, services, reporter);
}

/** As `execOverRunningMaster`. */
async function runOverRunning(
  socket: string,
  plan: ExecPlan,
  input: Input,
  services: Surroundings,
  reporter: Reporter,
): Promise<number | undefined> {
  const link = await MasterLink.reach(socket, reporter, services.clock);
  try {
    return link === undefined ? undefined : await runOver(link, plan, input, services, reporter);
  } catch (error) {
    if (error instanceof ConnectionLost) return undefined;
    throw error;
  }
}

async function runOver(
  link: MasterLink,
  plan: ExecPlan,
  input: Input,
  services: Surroundings,
  reporter: Reporter,
): Promise<number> {
  try {
    const terminal = plan.terminal ? new RawTerminal(services) : undefined;
    const { claims, policy } = await open(link, requestOf(plan, terminal, services), input, services);
    reporter.verified(claims, policy);
    if (terminal !== undefined) {
      const status = await overTerminal(link, plan, terminal, input, services, reporter);
      reporter.warnings(claims);
      return status;
    }
    const program = remoteProcess(link, execOptions(plan), ownerOf(services));
    return await runVerified(program, claims, plan, services, reporter);
  } finally {
    link.close();
  }
}

/** The master ends us where its guest is another one, and says so. */
function ownerOf({ clock }: Surroundings): Owner {
  return {
    clock,
    onChanged: () => () => undefined,
    explain: asError,
  };
}

function requestOf(plan: ExecPlan, terminal: RawTerminal | undefined, services: Surroundings): Request {
  if (terminal === undefined) return plan.request;
  return { ...plan.request, kind: "shell", term: terminalName(services.environment), ...terminal.size };
}

function open(link: MasterLink, request: Request, input: Input, services: Surroundings): Promise<Opened> {
  return startedInTime(link.open(request), input, services);
}

/**
 * The kept connection may be lost just now, and would be tried for ten minutes: a command has not that much time to start.
 * @throws SealttyError `timeout`, and what `starting` fails with.
 */
export async function startedInTime<T>(
  starting: Promise<T>,
  input: Pick<Input, "text">,
  services: Pick<Surroundings, "clock">,
): Promise<T> {
  const timeout = timeoutOf(input);
  let off = (): void => {};
  const late = new Promise<never>((_, reject) => {
    off = services.clock.after(timeout, () =>
      reject(
        new SealttyError(
          "timeout",
          `The guest did not start the command within ${timeout / 1000} s over the kept connection, which may be lost: was the guest reset? Run it again: where nothing else runs over it, that opens another; else end it first, with sealtty master GUEST --stop and the same options.`,
        ),
      ),
    );
  });
  try {
    return await Promise.race([starting, late]);
  } finally {
    off();
  }
}

function overTerminal(
  link: MasterLink,
  { runFor }: ExecPlan,
  terminal: RawTerminal,
  input: Input,
  services: Surroundings,
  reporter: Reporter,
): Promise<number> {
  const options = runFor === undefined ? {} : { timeout: runFor };
  const program = remoteTerminal(link, options, ownerOf(services));
  // What evidence shows is the master's to judge, which ends us then.
  const attestation = {
    watch: new AttestationWatch(reporter),
    askAgain: () => Promise.resolve(link.attest()),
  };
  return runTerminal(program, terminal, escapeOption(input), services, reporter, { attestation });
}
