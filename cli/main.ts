// All of `sealtty` but what cli/entry.ts does alone: the real terminal, network, keys and clock, given to the commands.

import { inspectGuest } from "../protocol/session/connect.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { machine } from "./machine.ts";
import { openBrowser } from "./open-browser.ts";
import { run } from "./program.ts";
import { Reporter } from "./report.ts";
import type { Services } from "./services.ts";
import { endWith, surroundings, watchProcess } from "./surroundings.ts";

const services: Services = { ...machine, ...surroundings, inspectGuest, openBrowser };

/** Whatever goes wrong: the terminal is restored by the exit handlers, and the user gets one sentence. */
function crash(error: unknown): void {
  const verbose = process.argv.filter((argument) => argument === "-v" || argument === "--verbose").length;
  const json = process.argv.includes("--json");
  process.exitCode = EXIT_OURS;
  process.once("exit", () => {
    new Reporter(services, { has: (name) => json && name === "json", count: () => verbose }).failure(error);
  });
  process.exit(EXIT_OURS);
}

watchProcess(); // again: cli/entry.ts is another bundle
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);
await endWith(await run(process.argv.slice(2), services));
