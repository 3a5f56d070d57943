// `sealttyd --check`: the configuration is right by itself; what it names may still be missing on this machine.

import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { nodeClock } from "../node/clock.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { ServerConfig } from "./config.ts";
import { TSM_REPORTS } from "./evidence/configfs-tsm.ts";
import { hostKeyProblem } from "./instance.ts";
import { SEV_GUEST_DEVICE } from "./evidence/sev-guest.ts";
import { escapeText } from "./log.ts";
import { findNativeProgram } from "./native-program.ts";
import { filesProgram, promptsProgram, serviceProgram } from "./sessions/helper-programs.ts";
import { findPam } from "./sessions/pam.ts";
import { loadPtyAddon } from "./sessions/pty-addon.ts";
import { findAccount } from "./sessions/account.ts";
import { findProgram } from "./sessions/launch.ts";
import { connectProgram } from "./streams/as-user.ts";
import type { FramebufferConfig } from "./config/pipe.ts";
import { lookAtInput } from "./pipes/framebuffer/choose-input.ts";
import { lookAtScreen } from "./pipes/framebuffer/choose-screen.ts";
import type { Places } from "./pipes/framebuffer/places.ts";
import { VIRTIO_PORTS, virtioPortNames } from "./pipes/virtio-port.ts";

/** What would not work here and now, a sentence each. An image may be checked on another machine than it boots on. */
export async function missingHere(config: ServerConfig): Promise<string[]> {
  const missing: string[] = [];
  const { pipe, users } = config;
  if (pipe.type === "virtio" && !virtioPortNames().includes(pipe.name)) {
    missing.push(`there is no virtio port named "${escapeText(pipe.name)}" (${VIRTIO_PORTS})`);
  }
  if (pipe.type === "tty" && !existsSync(pipe.device)) missing.push(`there is no ${escapeText(pipe.device)}`);
  if (pipe.type === "framebuffer") {
    missing.push(...lookAtConsole(pipe).missing);
    if (findNativeProgram("sealtty-display") === undefined)
      missing.push(
        "the program sealtty-display is missing: no screen could be measured, no keyboard grabbed",
      );
  }
  const { user } = config.daemon;
  if (user !== "root" && (await findAccount(user)) === undefined)
    missing.push(`there is no user ${escapeText(user)}: started by root, sealttyd would not start`);
  missing.push(...missingEvidence(config));
  const keys = users.authorizedKeys;
  if (keys !== undefined && !keys.includes("%u") && !existsSync(keys)) {
    missing.push(`there is no ${escapeText(keys)}: nobody could use a key`);
  }
  for (const name of users.names === "any" ? [] : users.names) {
    if ((await findAccount(name)) === undefined)
      missing.push(`there is no user ${escapeText(name)}, who is in names`);
  }
  for (const [what, command] of Object.entries({
    login: users.login,
    shell: users.shell,
    ssh: config.forward.ssh,
  })) {
    const program = command?.[0];
    if (program !== undefined && !isProgram(program))
      missing.push(`the ${what} program ${escapeText(program)} cannot be run`);
  }
  for (const file of config.instance.sshHostKeys) {
    const problem = await hostKeyProblem(file);
    if (problem !== undefined) missing.push(problem);
  }
  if (users.pam !== "off") {
    const found = await findPam(users.pam, nodeClock);
    if ("why" in found && (users.pam === "required" || !found.certain))
      missing.push(`${found.why}: sealttyd would not start without PAM`);
  }
  if (config.daemon.sandbox && user !== "root" && findNativeProgram("sealtty-confine") === undefined)
    missing.push(
      "sealtty-confine is missing beside sealttyd.js: the half that talks to the host gets no sandbox",
    );
  if (filesProgram() === undefined)
    missing.push("sealttyd-files.js is missing beside sealttyd.js: no files could be copied");
  if (config.unlock.users.length > 0 && promptsProgram() === undefined)
    missing.push("sealttyd-prompts.js is missing beside sealttyd.js: no disk could be unlocked");
  if (config.forward.allow && connectProgram() === undefined)
    missing.push("sealttyd-connect.js is missing beside sealttyd.js: no socket could be opened for a user");
  if (wantsServices(config) && serviceProgram() === undefined)
    missing.push("sealttyd-service.js is missing beside sealttyd.js: no service could be started");
  const { file } = config.audit;
  if (file !== undefined && !existsSync(path.dirname(file)))
    missing.push(`there is no directory ${escapeText(path.dirname(file))} for the audit's file`);
  const recordings = config.recording?.directory;
  if (recordings !== undefined && !existsSync(recordings))
    missing.push(`there is no directory ${escapeText(recordings)}: no session could be recorded`);
  if (findProgram("setsid") === undefined)
    missing.push("the program setsid (util-linux or busybox) is missing: no terminal could be opened");
  try {
    loadPtyAddon();
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    missing.push(error.message);
  }
  return missing;
}

/** What a client would come by here; nothing where the pipe is another. */
export function foundHere({ pipe }: ServerConfig): string[] {
  return pipe.type === "framebuffer" ? lookAtConsole(pipe).found : [];
}

/** @param places - other directories for tests. */
export function lookAtConsole(
  pipe: FramebufferConfig,
  places?: Places,
): { readonly found: string[]; readonly missing: string[] } {
  const found: string[] = [];
  const missing: string[] = [];
  for (const look of [lookAtScreen, lookAtInput]) {
    try {
      found.push(look(pipe, places));
    } catch (error) {
      if (!(error instanceof SealttyError)) throw error;
      missing.push(error.message.replace(/^T/, "t"));
    }
  }
  return { found, missing };
}

function wantsServices({ services, provision }: ServerConfig): boolean {
  return services.kernelLog.length > 0 || services.sysrq.length > 0 || provision !== undefined;
}

function missingEvidence({ evidence, instance }: ServerConfig): string[] {
  const missing: string[] = [];
  const nobody = "no client could verify this machine";
  switch (evidence.type) {
    case "tpm":
    case "azure":
      if (!existsSync(evidence.device))
        missing.push(`there is no TPM at ${escapeText(evidence.device)}: ${nobody}`);
      break;
    case "sev-snp": {
      const device = evidence.collector !== "configfs" && existsSync(SEV_GUEST_DEVICE);
      const configfs = evidence.collector !== "sev-guest" && existsSync(TSM_REPORTS);
      if (!device && !configfs)
        missing.push(`there is neither ${TSM_REPORTS} nor ${SEV_GUEST_DEVICE} to use: ${nobody}`);
      else if (!configfs && findNativeProgram("sev-guest-report") === undefined)
        missing.push(`the program sev-guest-report is missing, which asks ${SEV_GUEST_DEVICE}: ${nobody}`);
      break;
    }
    case "tdx":
      if (!existsSync(TSM_REPORTS)) missing.push(`there is no ${TSM_REPORTS}: ${nobody}`);
      break;
    case "simulated":
  }
  if ("collateral" in evidence && evidence.collateral !== undefined && !existsSync(evidence.collateral))
    missing.push(`there is no directory ${escapeText(evidence.collateral)}: sealttyd would not start`);
  if (instance.key !== undefined && !existsSync(instance.key))
    missing.push(`there is no instance key ${escapeText(instance.key)}: sealttyd would not start`);
  return missing;
}

function isProgram(program: string): boolean {
  if (!program.includes("/")) return findProgram(program) !== undefined;
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
