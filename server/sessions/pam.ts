// PAM around users' programs: whether it is to be had here, and whether it lets a user in. The rest does sealtty-session,
// a small program in C that becomes the user's (server/native): docs/decisions/0020-a-session-by-pam.md.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Clock } from "../../protocol/clock.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { PamUse } from "../config.ts";
import { type Log, escapeText } from "../log.ts";
import { findNativeProgram } from "../native-program.ts";
import { type Pam, PAM_SERVICE, shieldedStdio } from "./launch.ts";

/** Where Linux-PAM looks for it: the administrator's, then a distribution's. */
const SERVICE_FILES = [`/etc/pam.d/${PAM_SERVICE}`, `/usr/lib/pam.d/${PAM_SERVICE}`] as const;
const PROBE_TIMEOUT_MS = 10_000;
/** A directory server may be asked. */
const ACCOUNT_TIMEOUT_MS = 30_000;
const MAX_WORDS = 4096;

/** @returns undefined where users' programs get none. @throws SealttyError `bad-config` where one is required and not to be had. */
export async function openPam(use: PamUse, log: Log, clock: Clock): Promise<Pam | undefined> {
  if (use === "off") {
    log.info("users' programs get no PAM session", { why: "the configuration says so" });
    return undefined;
  }
  const found = await findPam(use, clock);
  if (typeof found !== "string") {
    log.info("users' programs get a PAM session", { service: PAM_SERVICE });
    return found;
  }
  if (use === "required") {
    throw new SealttyError(
      "bad-config",
      `[users] pam = "required", but ${found}. Put that right, or say pam = "auto" to do without.`,
    );
  }
  // Whoever made the file expects it to count.
  const level = hasServiceFile() ? "warn" : "info";
  log[level]("users' programs get no PAM session", { why: found });
  return undefined;
}

const hasServiceFile = (): boolean => SERVICE_FILES.some((file) => existsSync(file));

/** @returns it, or what is missing. */
export async function findPam(use: Exclude<PamUse, "off">, clock: Clock): Promise<Pam | string> {
  if (process.getuid?.() !== 0) return "sealttyd does not run as root";
  // Where nobody made one, PAM takes "other", which refuses everybody on many systems: nobody asked for that.
  if (use === "auto" && !hasServiceFile()) return `there is no ${SERVICE_FILES[0]} (packaging/pam.d has one)`;
  const file = findNativeProgram("sealtty-session");
  if (file === undefined) return "the program sealtty-session is missing beside sealttyd.js";
  const { status, words } = await run(file, ["probe"], PROBE_TIMEOUT_MS, clock);
  if (status === 0) return { file };
  return words === "" ? "the program sealtty-session cannot be run" : escapeText(words);
}

/**
 * Asks PAM, too, whose key it was. Whom it refuses may start programs, which sealtty-session refuses with PAM's words for
 * the user to read, and nothing that starts none: no forwarding, and no session that was kept from before.
 */
export function askingPam(
  verify: GuestServices["verifyUserKey"],
  pam: Pam | undefined,
  log: Log,
  clock: Clock,
): GuestServices["verifyUserKey"] {
  if (pam === undefined) return verify;
  return async (fields, publicKey, sshsig) => {
    const grant = await verify(fields, publicKey, sshsig);
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
