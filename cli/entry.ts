// bin `sealtty`. What runs over a connection that is kept already needs next to nothing of this program, and is often the
// thousandth of its kind: it is done here, and the rest (cli/main.ts, a file of its own) is loaded for all others.

import { asksForHelp, execAsSaid, ownWords } from "./exec-as-said.ts";
import { EXEC } from "./exec-plan.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { execOverRunningMaster } from "./master/exec-over-master.ts";
import { Reporter } from "./report.ts";
import { endWith, surroundings, watchProcess } from "./surroundings.ts";
import { prepareHeapForFloods } from "../node/heap-for-floods.ts";

prepareHeapForFloods();

/** @returns the exit status; undefined where this is not for here. */
async function overRunningMaster(argv: readonly string[]): Promise<number | undefined> {
  const [name, ...args] = argv;
  if (name !== EXEC.name || !ownWords(args).includes("--master") || asksForHelp(args)) return undefined;
  return execAsSaid(args, surroundings, execOverRunningMaster);
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
