// docs/recipes/: the files that the documentation shows, run as they are.

import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isListening } from "../../scripts/lib/unix-socket.mjs";
import { runCli } from "./cli.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { buildGuestImage, writeInitramfs } = (await import(`${project}/scripts/guest-image.mjs`)) as {
  readonly buildGuestImage: () => Promise<{ readonly kernel: string; readonly base: string }>;
  readonly writeInitramfs: (
    image: { readonly base: string },
    output: string,
    options: {
      readonly sealttyd: string;
      readonly evidence: "tpm";
      readonly authorizedKeys: string;
      readonly files?: Readonly<Record<string, string | { readonly data: string; readonly mode: number }>>;
    },
  ) => Promise<void>;
};

export const recipe = (name: string): string => path.join(project, "docs/recipes", name);

/** A second sealttyd of the small guest's, on ttyS1. */
const ON_TTY_S1 = {
  "/etc/sealtty/ttyS1.toml":
    '[pipe]\ntype = "tty"\ndevice = "/dev/ttyS1"\n[evidence]\ntype = "tpm"\n' +
    '[users]\nauthorized_keys = "/etc/sealtty/authorized_keys"\nnames = ["root"]\nshell = ["/bin/sh", "-l"]\n',
  "/etc/sealtty/init.d/ttyS1": {
    data:
      "#!/bin/sh\n(SEALTTY_PTY_ADDON=/usr/lib/sealtty/pty.node node /usr/lib/sealtty/sealttyd.js --config /etc/sealtty/ttyS1.toml" +
      ' </dev/null 2>&1 | while IFS= read -r line; do echo "sealttyd[ttyS1]: $line"; done) &\n',
    mode: 0o755,
  },
};

/** A directory of its own, as the recipes have one for a guest, with what `mkdir` and ssh-keygen make there. */
export function recipeDirectory(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-recipe-"));
}

/** @param directory - where `vmlinuz` and `initrd` go. */
export async function putGuest(directory: string, authorizedKeys: string, withTtyS1 = false): Promise<void> {
  const image = await buildGuestImage();
  fs.copyFileSync(image.kernel, path.join(directory, "vmlinuz"));
  await writeInitramfs(image, path.join(directory, "initrd"), {
    sealttyd: path.join(project, "dist/bin/sealttyd.js"),
    evidence: "tpm",
    authorizedKeys,
    files: withTtyS1 ? ON_TTY_S1 : {},
  });
}

export interface Started {
  readonly child: ChildProcess;
  output(): string;
  /** Ends it, by SIGKILL as unshare(1) waits through others, and does nothing where it has ended. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** A program that dies with us, even when we are killed. */
export function start(command: string, args: readonly string[], options: SpawnOptions = {}): Started {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...args], {
    ...options,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const ended = once(child, "close");
  return {
    child,
    output: () => output,
    async stop(signal = "SIGKILL") {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await ended;
    },
  };
}

/** Until `look` finds something. @throws with the output where the program ends first, or after `timeoutMs`. */
export async function until<T>(
  what: string,
  program: Started,
  look: () => T | undefined | false,
  timeoutMs: number,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    const { exitCode, signalCode } = program.child;
    if (exitCode !== null || signalCode !== null || performance.now() > deadline)
      throw new Error(`No ${what} (${exitCode ?? signalCode ?? "in time"}):\n${program.output()}`);
    await sleep(50);
  }
}

export const untilListening = (socket: string, program: Started, timeoutMs: number) =>
  until(`one that listens at ${socket}`, program, () => isListening(socket), timeoutMs);

export const textOf = (file: string): string => (fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "");

export interface Console {
  readonly address: string;
  readonly policy: string;
  readonly key: string;
  readonly more?: readonly string[];
}

/** `sealtty exec` there as root, who has the key. */
export const execOn = ({ address, policy, key, more = [] }: Console, script: string) =>
  runCli([
    ...["exec", address, "--policy", policy, "-l", "root", "-i", key, "--timeout", "240", ...more],
    ...["--", "sh", "-c", script],
  ]);
