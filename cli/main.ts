// bin `sealtty`: the real terminal, network, keys and clock, given to the commands.

import { userInfo } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { loadIdentities } from "../node/user-identity.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import { SealttyError } from "../protocol/errors.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { connect, inspectGuest } from "../protocol/session/connect.ts";
import { askPassphrase } from "./ask-passphrase.ts";
import { openBrowser } from "./open-browser.ts";
import { dial } from "./dial.ts";
import { EXIT_OURS } from "./exit-status.ts";
import { printable } from "./printable.ts";
import { run } from "./program.ts";
import { Reporter } from "./report.ts";
import type { Services } from "./services.ts";
import { VERSION } from "../node/version.ts";

const services: Services = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
  localUser: localUser(),
  programDirectory: path.dirname(fileURLToPath(import.meta.url)),
  version: VERSION,
  suite: nodeSuite,
  signatures: webCryptoSignatures(globalThis.crypto.subtle),
  clock: nodeClock,
  wallTime: () => Date.now(),
  connect,
  inspectGuest,
  parsePolicy,
  async loadIdentity(identityFile, { certificate, silent = false } = {}) {
    const ask = (file: string): Promise<string | undefined> =>
      askPassphrase(`Passphrase for key '${printable(file)}': `, process.env);
    const [first, ...others] = await loadIdentities({
      ...(identityFile === undefined ? {} : { identityFile }),
      ...(certificate === undefined ? {} : { certificateFile: certificate }),
      ...(silent ? {} : { askPassphrase: ask }),
    });
    if (first === undefined) throw new SealttyError("bad-config", "No SSH key to authenticate with");
    return { ...first, others };
  },
  dial: (address) => dial(address, process.env, nodeClock),
  onSignal(name, handler) {
    process.on(name, handler);
    return () => process.off(name, handler);
  },
  onExit(handler) {
    process.on("exit", handler);
    return () => process.off("exit", handler);
  },
  suspend: () => process.kill(0, "SIGTSTP"), // the whole job: npx and shell functions stop with us
  openBrowser,
};

function localUser(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env["USER"] ?? "root"; // a container's user without an entry in /etc/passwd
  }
}

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

process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);
// Whoever reads our output may leave: the writer learns it from its own write.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

let terminalGone = false;
process.once("SIGHUP", () => {
  terminalGone = true;
});
const status = await run(process.argv.slice(2), services);
if (terminalGone) {
  // Not process.exit(): at its end Node sets the terminal's modes back, and aborts where there is no terminal any more.
  process.removeAllListeners("SIGHUP");
  process.kill(process.pid, "SIGHUP");
  await new Promise(() => setTimeout(() => {}, 1000)); // the signal is on its way
}
process.exit(status);
