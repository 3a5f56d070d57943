// bin `sealtty-relay`: on the host, untrusted.

import { createWriteStream, readFileSync } from "node:fs";
import { SealttyError } from "../protocol/errors.ts";
import { parseRelayArguments, RELAY_HELP, relayOptions } from "./config.ts";
import { startRelay } from "./relay.ts";
import type { Tap } from "./route.ts";
import { VERSION } from "../node/version.ts";

const MAX_TAP_WAITING = 1024 * 1024;

async function main(): Promise<void> {
  const args = parseRelayArguments(process.argv.slice(2));
  if (args.help) return void process.stdout.write(RELAY_HELP);
  if (args.version) return void process.stdout.write(`sealtty-relay ${VERSION}\n`);
  const options = relayOptions(args, args.config === undefined ? undefined : readConfig(args.config));
  const tap = args.tapFd === undefined ? undefined : tapTo(args.tapFd);
  const relay = await startRelay({ ...options, log: say }, tap === undefined ? {} : { tap });
  const host = relay.host.includes(":") ? `[${relay.host}]` : relay.host;
  for (const name of options.guests.keys())
    process.stdout.write(`listening ws://${host}:${relay.port}/${name}\n`);
  process.on("SIGUSR2", () => say(JSON.stringify(relay.counters())));
  const end = (): void => {
    void relay.close().then(() => process.exit(0));
  };
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  process.once("SIGHUP", end);
}

function readConfig(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new SealttyError("bad-config", `Cannot read ${path} (${code}); name another file with --config`, {
      cause,
    });
  }
}

function tapTo(fd: number): Tap {
  const out = createWriteStream("", { fd });
  let broken = false;
  out.on("error", () => {
    broken = true;
  });
  return (direction, bytes, client) => {
    if (broken || out.writableLength > MAX_TAP_WAITING) return; // who taps too slowly misses something
    const line = { direction, bytes: Buffer.from(bytes).toString("base64"), client, at: Date.now() };
    out.write(`${JSON.stringify(line)}\n`);
  };
}

function say(line: string): void {
  process.stderr.write(`sealtty-relay: ${line}\n`);
}

main().catch((error: unknown) => {
  const code = error instanceof SealttyError ? error.code : "internal-error";
  say(`${code}: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(code === "bad-config" ? 2 : 1);
});
