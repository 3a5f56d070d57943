// `sealttyd --check --initramfs`: whether a configuration will do before the root disk is there, and what goes into the initramfs.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../protocol/errors.ts";
import type { ServerConfig } from "./config.ts";
import { escapeText } from "./log.ts";
import { findNativeProgram } from "./native-program.ts";
import { findProgram, setprivOfUtilLinux } from "./sessions/launch.ts";

/** Beside sealttyd.js; those that this machine has not are left out, and --check says what they were for. */
const OWN_FILES = [
  "sealttyd-screen.js",
  "sealttyd-files.js",
  "sealttyd-prompts.js",
  "sealttyd-connect.js",
  "sealttyd-service.js",
];
const OWN_NATIVE = ["sealtty-confine", "sev-guest-report", "tdx-report"] as const;
const REPLY = "/lib/systemd/systemd-reply-password";

/** What is copied into an initramfs, at the same place there. */
export interface EarlyFiles {
  /** Programs and addons: with the libraries that they need. */
  readonly programs: readonly string[];
  readonly files: readonly string[];
}

/**
 * What an initramfs cannot have is refused: it lies unencrypted in /boot, and has no users but root.
 * @throws SealttyError `bad-config`, a sentence for a person; `device-unavailable` where something is missing here.
 */
export function earlyFiles(config: ServerConfig): EarlyFiles {
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
  const programs = [process.execPath, beside("pty.node"), ...native, setpriv, setsid, REPLY];
  const files = [script, ...OWN_FILES.map(beside), ...configured(config)];
  return {
    programs: programs.filter((file) => file !== undefined && fs.existsSync(file)) as string[],
    files: [...new Set(files.filter((file) => fs.existsSync(file)))],
  };
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

/** Files that the configuration names, those that are here. @throws SealttyError `bad-config` where nobody could log in. */
function configured({ evidence, users, instance }: ServerConfig): string[] {
  const keys = users.authorizedKeys?.replaceAll("%u", "root");
  if (keys !== undefined && !fs.existsSync(keys))
    throw new SealttyError("bad-config", `There is no ${escapeText(keys)}: nobody could log in early`);
  const collateral = "collateral" in evidence ? evidence.collateral : undefined;
  return [
    ...(keys === undefined ? [] : [keys]),
    ...(instance.document ?? []).filter((source) => source.startsWith("/")),
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

/** For shell scripts: "program PATH" and "file PATH". @throws SealttyError `bad-config` on a name that would be two lines. */
export function earlyLines({ programs, files }: EarlyFiles): string {
  const lines = [...programs.map((file) => `program ${file}`), ...files.map((file) => `file ${file}`)];
  if (lines.some((line) => /\s.*\s/.test(line)))
    throw new SealttyError("bad-config", "A file for the initramfs has blanks in its name");
  return lines.map((line) => `${line}\n`).join("");
}
