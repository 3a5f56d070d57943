// `exec` as a command line said it: read, planned, and what fails is told. Light: what runs over a kept connection needs no more.

import { EXEC, type ExecPlan, planOf } from "./exec-plan.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { settled } from "./named-guest.ts";
import { type Input, parseInput } from "./options.ts";
import { Reporter } from "./report.ts";
import type { Surroundings, TerminalOutput } from "./services.ts";

type Do<T> = (plan: ExecPlan, input: Input, services: Surroundings, reporter: Reporter) => Promise<T>;

interface Own {
  readonly read?: (input: Input) => Input;
  readonly stderr?: TerminalOutput;
}

/**
 * @param args - behind the command's name. @param own.read - what they are taken for. @param own.stderr - for words of ours, in
 * place of the one that the program's errors go to.
 * @returns what `run` did; EXIT_OURS where that, or reading them, failed: it has been said why.
 */
export async function execAsSaid<T>(
  args: readonly string[],
  around: Surroundings,
  run: Do<T>,
  { read = (input) => input, stderr = around.stderr }: Own = {},
): Promise<T | number> {
  const words = ownWords(args);
  const heard = { stderr, environment: around.environment };
  let reporter = new Reporter(heard, { has: (option) => words.includes(`--${option}`), count: () => 0 });
  try {
    const said = read(parseInput(EXEC, args));
    reporter = new Reporter(heard, said);
    const { input, services } = await settled(EXEC, said, around);
    return await run(planOf(input, services), input, services, reporter);
  } catch (error) {
    reporter.failure(error);
    return EXIT_OURS;
  }
}

/** Before the guest's command. */
export function ownWords(args: readonly string[]): readonly string[] {
  return args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
}

export function asksForHelp(args: readonly string[]): boolean {
  const own = ownWords(args);
  return own.includes("--help") || own.includes("-h");
}
