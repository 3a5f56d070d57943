// PAM around users' programs: whether it is to be had here, and whether it lets a user in. The rest does sealtty-session,
// a small program in C that becomes the user's (server/native): docs/decisions/0020-a-session-by-pam.md.

import { spawn } from "node:child_process";
import { lstatSync } from "node:fs";
import type { Clock } from "../../protocol/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { PamUse } from "../config.ts";
import { type Log, escapeText } from "../log.ts";
import { findNativeProgram } from "../native-program.ts";
import type { VerifyAndSay } from "../user-keys.ts";
import { type Pam, PAM_SERVICE, shieldedStdio } from "./launch.ts";

/** Where Linux-PAM looks for it: the administrator's, then a distribution's. */
const SERVICE_FILES = [`/etc/pam.d/${PAM_SERVICE}`, `/usr/lib/pam.d/${PAM_SERVICE}`] as const;
const PROBE_TIMEOUT_MS = 10_000;
/** A directory server may be asked. */
const ACCOUNT_TIMEOUT_MS = 30_000;
const MAX_WORDS = 4096;
/** Of `sealtty-session probe`. */
const STATUS_MISSING = 1;

/**
 * @returns undefined where users' programs get none. @throws SealttyError `bad-config` where one is required and not to be
 * had, or where nobody can tell: whom PAM would keep out must not come in because it did not answer.
 */
export async function openPam(
  use: PamUse,
  log: Log,
  clock: Clock,
  where: WhereIsPam = {},
): Promise<Pam | undefined> {
  if (use === "off") {
    log.info("users' programs get no PAM session", { why: "the configuration says so" });
    return undefined;
  }
  const found = await findPam(use, clock, where);
  if ("file" in found) {
    log.info("users' programs get a PAM session", { service: PAM_SERVICE });
    return found;
  }
  const { why, certain, expected } = found;
  if (use === "required") {
    throw new SealttyError(
      "bad-config",
      `[users] pam = "required", but ${why}. Put that right, or say pam = "auto" to do without.`,
    );
  }
  if (!certain) {
    throw new SealttyError(
      "bad-config",
      `[users] pam = "auto", but whether there is PAM cannot be told: ${why}. Put that right, or say pam = "off" to do without.`,
    );
  }
  // Whoever made the file expects it to count.
  log[expected ? "warn" : "info"]("users' programs get no PAM session", { why });
  return undefined;
}

/** Why there is no PAM to be had. */
export interface NoPam {
  readonly why: string;
  /** Something is not there. Otherwise it could not be found out, or it is there and does not work. */
  readonly certain: boolean;
  /** There is a file of the service: somebody wants it. */
  readonly expected: boolean;
}

/** For tests. */
export interface WhereIsPam {
  /** In place of where Linux-PAM looks. */
  readonly files?: readonly string[];
  readonly probeTimeoutMs?: number;
}

export async function findPam(
  use: Exclude<PamUse, "off">,
  clock: Clock,
  { files = SERVICE_FILES, probeTimeoutMs = PROBE_TIMEOUT_MS }: WhereIsPam = {},
): Promise<Pam | NoPam> {
  const not = (why: string, certain: boolean, expected: boolean): NoPam => ({ why, certain, expected });
  if (process.getuid?.() !== 0) return not("sealttyd does not run as root", true, false);
  // Where nobody made one, PAM takes "other", which refuses everybody on many systems: nobody asked for that.
  if (use === "auto") {
    const there = files.map((file) => [file, presence(file)] as const);
    const unknown = there.find(([, state]) => state !== "there" && state !== "missing");
    if (unknown !== undefined) return not(`${unknown[0]} cannot be looked at (${unknown[1]})`, false, true);
    if (there.every(([, state]) => state === "missing"))
      return not(`there is no ${files[0] ?? ""} (packaging/pam.d has one)`, true, false);
  }
  const file = findNativeProgram("sealtty-session");
  if (file === undefined) return not("the program sealtty-session is missing beside sealttyd.js", true, true);
  const { status, words } = await run(file, ["probe"], probeTimeoutMs, clock);
  if (status === 0) return { file };
  const certain = status === STATUS_MISSING && words !== "";
  return not(
    words === "" ? "the program sealtty-session cannot be run, or does not answer" : escapeText(words),
    certain,
    true,
  );
}

/** A link that leads nowhere is there. @returns the system's code where that cannot be found out. */
function presence(file: string): string {
  try {
    lstatSync(file);
    return "there";
  } catch (error) {
    const code = errorCode(error) ?? "unknown error";
    return code === "ENOENT" ? "missing" : code;
  }
}

/**
 * Asks PAM, too, whose key it was. Whom it refuses may start programs, which sealtty-session refuses with PAM's words for
 * the user to read, and nothing that starts none: no forwarding, and no session that was kept from before.
 */
export function askingPam(verify: VerifyAndSay, pam: Pam | undefined, log: Log, clock: Clock): VerifyAndSay {
  if (pam === undefined) return verify;
  return async (fields, publicKey, sshsig, onRefused) => {
    const grant = await verify(fields, publicKey, sshsig, onRefused);
    const refusal = grant === undefined ? undefined : await accountRefusal(pam, fields.user, clock);
    if (grant === undefined || refusal === undefined) return grant;
    log.info("PAM refuses this user", { user: fields.user, why: refusal });
    return { ...grant, restrictions: { ...grant.restrictions, pty: false, portForwarding: false } };
  };
}

/** @returns what PAM says against this user, or undefined. A session is not opened. */
async function accountRefusal({ file }: Pam, user: string, clock: Clock): Promise<string | undefined> {
  const { status, words } = await run(file, ["account", PAM_SERVICE, user], ACCOUNT_TIMEOUT_MS, clock);
  if (status === 0) return undefined;
  return words === "" ? "PAM did not answer" : words;
}

/** @returns its exit status, undefined without one, and what it said on standard error. */
function run(
  file: string,
  args: readonly string[],
  timeoutMs: number,
  clock: Clock,
): Promise<{ readonly status: number | undefined; readonly words: string }> {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: shieldedStdio(["ignore", "ignore", "pipe"]),
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      cwd: "/",
    });
    let words = "";
    const end = (status: number | undefined): void => {
      stop();
      resolve({ status, words: words.trim() });
    };
    const stop = clock.after(timeoutMs, () => {
      child.kill("SIGKILL");
      end(undefined);
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      if (words.length < MAX_WORDS) words += chunk.toString("utf8");
    });
    child.once("error", () => end(undefined));
    child.once("close", (status) => end(status ?? undefined));
  });
}
