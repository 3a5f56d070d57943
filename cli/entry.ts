// bin `sealtty`. What runs over a connection that is kept already needs next to nothing of this program, and is often the
// thousandth of its kind: it is done here, and the rest (cli/main.ts, a file of its own) is loaded for all others.

import { EXEC, planOf } from "./exec-plan.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { execOverRunningMaster } from "./master/exec-over-master.ts";
import { settled } from "./named-guest.ts";
import { parseInput } from "./options.ts";
import { Reporter } from "./report.ts";
import { endWith, surroundings, watchProcess } from "./surroundings.ts";
import { keepYoungHeapSmall } from "../node/young-heap.ts";

keepYoungHeapSmall();

/** @returns the exit status; undefined where this is not for here. */
async function overRunningMaster(argv: readonly string[]): Promise<number | undefined> {
  const [name, ...args] = argv;
  const own = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  if (name !== EXEC.name || !own.includes("--master") || own.includes("--help") || own.includes("-h"))
    return undefined;
  let reporter = new Reporter(surroundings, { has: (option) => own.includes(`--${option}`), count: () => 0 });
  try {
    const said = parseInput(EXEC, args);
    reporter = new Reporter(surroundings, said);
    const { input, services } = await settled(EXEC, said, surroundings);
    return await execOverRunningMaster(planOf(input, services), input, services, reporter);
  } catch (error) {
    reporter.failure(error);
    return EXIT_OURS;
  }
}

/** Never an exit status that could be the remote program's. */
function crash(error: unknown): void {
  new Reporter(surroundings, undefined).failure(error);
  process.exit(EXIT_OURS);
}

watchProcess();
process.on("uncaughtException", crash);
const status = await overRunningMaster(process.argv.slice(2));
if (status !== undefined) await endWith(status);
process.off("uncaughtException", crash); // the rest has one that knows more
const rest = new URL("sealtty-main.js", import.meta.url).href;
await import(rest);
