// Starts the process that keeps a connection, and waits until it can be asked.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { SealttyError, type SealttyErrorCode } from "../../protocol/errors.ts";
import { jsonLine } from "../printable.ts";
import type { Surroundings } from "../services.ts";
import type { MasterPlace } from "./place.ts";

/** Of what it says where it does not come about. */
const MAX_WORDS = 16 * 1024;

/** What it prints once it listens. */
const LISTENS = jsonLine({ event: "listens" });

/** @throws SealttyError what kept it from listening. */
export async function startMaster(
  place: MasterPlace,
  more: readonly string[],
  { programDirectory, environment }: Pick<Surroundings, "programDirectory" | "environment">,
): Promise<void> {
  const program = `${programDirectory}/sealtty.js`;
  const child = spawn(process.execPath, [program, ...place.args, ...more, "--json"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: environment, // with what guests.toml says of the host
    detached: true, // it outlives this command, its terminal and ^C
  });
  let words = "";
  const listens = new Promise<boolean>((resolve) => {
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = `${words}${text}`.slice(-MAX_WORDS);
      if (words.split("\n").includes(LISTENS)) resolve(true);
    });
    child.stderr.once("close", () => resolve(false));
    child.once("error", () => resolve(false));
  });
  if (!(await listens)) {
    if (child.exitCode === null && child.pid !== undefined) await once(child, "close");
    if (child.exitCode === 0) return; // another one was there first
    throw errorIn(words);
  }
  // It must not hold us, nor we it.
  child.stderr.destroy();
  child.unref();
}

function errorIn(words: string): SealttyError {
  for (const line of words.split("\n").reverse()) {
    try {
      const { event, code, message } = JSON.parse(line) as Readonly<Record<string, unknown>>;
      if (event === "error" && typeof code === "string" && typeof message === "string")
        return new SealttyError(code as SealttyErrorCode, message); // of this program's own list
    } catch {
      // no line of ours
    }
  }
  return new SealttyError(
    "device-unavailable",
    "The process that keeps the connection did not start. Start it yourself to see why: sealtty master GUEST --policy FILE",
  );
}
