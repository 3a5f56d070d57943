// `sealttyd --check --initramfs`: whether a configuration will do before the root disk is there, and what goes into the initramfs.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../protocol/errors.ts";
import type { ServerConfig } from "./config.ts";
import { hostKeyProblem } from "./instance.ts";
import { escapeText } from "./log.ts";
import { findNativeProgram } from "./native-program.ts";
import { findProgram, setprivOfUtilLinux } from "./sessions/launch.ts";

const PROMPTS = "sealttyd-prompts.js";
/** Beside sealttyd.js; those that this machine has not are left out, and --check says what they were for. */
const OWN_FILES = [
  "sealttyd-screen.js",
  "sealttyd-files.js",
  PROMPTS,
  "sealttyd-connect.js",
  "sealttyd-service.js",
];
const OWN_NATIVE = ["sealtty-confine", "sev-guest-report", "tdx-report"] as const;
const REPLY = "/lib/systemd/systemd-reply-password";

/** Comes with the machine that boots, as a document from fw_cfg does: nothing to copy. */
const OF_A_KERNEL = /^\/(?:dev|proc|run|sys)\//;

/** What is copied into an initramfs, at the same place there. */
export interface EarlyFiles {
  /** Programs and addons: with the libraries that they need. */
  readonly programs: readonly string[];
  readonly files: readonly string[];
  /** Who has to be in its passwd besides root. */
  readonly user: string | undefined;
}

/**
 * What an initramfs cannot have is refused: it lies unencrypted in /boot, and has no users but root.
 * @throws SealttyError `bad-config`, a sentence for a person; `device-unavailable` where something is missing here.
 */
export async function earlyFiles(config: ServerConfig): Promise<EarlyFiles> {
  refuseLaterThings(config);
  const script = fs.realpathSync(process.argv[1] ?? "");
  const beside = (name: string): string => path.join(path.dirname(script), name);
  const native = OWN_NATIVE.flatMap((name) => findNativeProgram(name) ?? []);
  const setpriv = setprivOfUtilLinux();
  if (setpriv === undefined && config.daemon.user !== "root")
    throw new SealttyError(
      "device-unavailable",
      "setpriv of util-linux is missing, which takes the rights away from the half that talks to the host",
    );
  const setsid = findProgram("setsid");
  mustBeThere(beside("pty.node"), "no terminal could be opened");
  if (config.unlock.users.length > 0) mustBeThere(beside(PROMPTS), "no disk could be unlocked");
  const programs = [process.execPath, beside("pty.node"), ...native, setpriv, setsid, REPLY];
  const own = [script, ...OWN_FILES.map(beside)].filter((file) => fs.existsSync(file));
  return {
    programs: programs.filter((file) => file !== undefined && fs.existsSync(file)) as string[],
    files: [...new Set([...own, ...(await configured(config))])],
    user: config.daemon.user === "root" ? undefined : config.daemon.user,
  };
}

function mustBeThere(file: string, otherwise: string): void {
  if (!fs.existsSync(file))
    throw new SealttyError("device-unavailable", `There is no ${escapeText(file)}: ${otherwise}`);
}

function refuseLaterThings({
  pipe,
  users,
  instance,
  audit,
  recording,
  provision,
  daemon,
}: ServerConfig): void {
  if (pipe.type === "unix")
    refuse('[pipe] type = "unix" is for a guest that runs; an initramfs has a device');
  if (pipe.type === "framebuffer")
    refuse('[pipe] type = "framebuffer" is for the system: an initramfs has no drivers for screen and keys');
  if (instance.key !== undefined)
    refuse("[instance] key is a secret, and an initramfs lies unencrypted on the host's disk");
  if (users.login !== undefined)
    refuse("[users] login has nobody to log in: an initramfs has no user but root");
  if (users.pam === "required") refuse('[users] pam = "required": an initramfs has no PAM');
  const others = users.names === "any" ? [] : users.names.filter((name) => name !== "root");
  if (others.length > 0)
    refuse(`[users] names has ${escapeText(others.join(", "))}: an initramfs has no user but root`);
  if (audit.file !== undefined)
    refuse("[audit] file would be gone with the initramfs; its log is kept in /run");
  if (recording !== undefined) refuse("[recording] would be gone with the initramfs");
  if (provision !== undefined) refuse("[provision] is for the system: its disk is not there yet");
  if (daemon.user !== "root" && !fs.existsSync("/etc/passwd")) refuse("there is no /etc/passwd");
}

function refuse(problem: string): never {
  throw new SealttyError("bad-config", `${problem}. Remove it from the initramfs's configuration.`);
}

/**
 * Files that the configuration names.
 * @throws SealttyError `bad-config` where nobody could log in, or a host key is not the public one; `device-unavailable` where an
 * instance document is not here.
 */
async function configured({ evidence, users, instance }: ServerConfig): Promise<string[]> {
  const keys = users.authorizedKeys?.replaceAll("%u", "root");
  if (keys !== undefined && !fs.existsSync(keys))
    throw new SealttyError("bad-config", `There is no ${escapeText(keys)}: nobody could log in early`);
  const documents = (instance.document ?? []).filter(
    (source) => source.startsWith("/") && !OF_A_KERNEL.test(source),
  );
  for (const file of documents) mustBeThere(file, "[instance] document names it");
  for (const file of instance.sshHostKeys) {
    const problem = await hostKeyProblem(file); // a .pub that was forgotten would be a secret on the host's disk
    if (problem !== undefined) throw new SealttyError("bad-config", problem);
  }
  const collateral = "collateral" in evidence ? evidence.collateral : undefined;
  return [
    ...(keys === undefined ? [] : [keys]),
    ...documents,
    ...instance.sshHostKeys,
    ...(collateral === undefined ? [] : filesBelow(collateral)),
  ];
}

function filesBelow(directory: string): string[] {
  return fs
    .readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => path.join(directory, name))
    .filter((file) => fs.statSync(file).isFile());
}

/** For shell scripts: "program PATH", "file PATH" and "user NAME". @throws SealttyError `bad-config` on a name that would be two lines. */
export function earlyLines({ programs, files, user }: EarlyFiles): string {
  const lines = [
    ...programs.map((file) => `program ${file}`),
    ...files.map((file) => `file ${file}`),
    ...(user === undefined ? [] : [`user ${user}`]),
  ];
  if (lines.some((line) => /\s.*\s/.test(line)))
    throw new SealttyError("bad-config", "A file for the initramfs has blanks in its name");
  return lines.map((line) => `${line}\n`).join("");
}
