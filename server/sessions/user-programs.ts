// Which program a channel gets, as whom, in which environment.

import os from "node:os";
import { type InstanceDocument, mayRun } from "../../protocol/attestation/instance/document.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ProgramRequest } from "../../protocol/session/channel-api.ts";
import type { AuthenticatedUser, StartProcess } from "../../protocol/session/guest-process.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { commandLine } from "../../protocol/user-auth/restrictions.ts";
import { NOBODY_UNLOCKS, NO_SERVICES, type UnlockConfig, type UsersConfig } from "../config.ts";
import { type ServiceSettings, serviceLaunch } from "../services/plan.ts";
import { type Account, findAccount, sessionEnvironment } from "./account.ts";
import { startExec } from "./exec-process.ts";
import { filesProgram, promptsProgram } from "./helper-programs.ts";
import type { GuestProcess } from "./guest-process.ts";
import type { Launch, Pam } from "./launch.ts";
import { startOnPty } from "./pty-process.ts";

/** How to print: variables that change nothing else of what a program does, so that any client may set them. */
const HOW_TO_PRINT = /^(?:LANG|LC_[A-Z]+|COLORTERM|NO_COLOR|TZ)$/;

/** What ends a program in order is all that a client may tell one that it did not choose. */
const SIGNALS_OF_FORCED = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/** Linux takes no longer variable (MAX_ARG_STRLEN), its name included. */
const MAX_ORIGINAL_COMMAND = 128 * 1024 - 32;

/** Where the document allows a login without a key, and the configuration does not say by which program. */
const LOGIN_OF_DOCUMENTS: readonly string[] = ["/bin/login"];

/** @returns what a session without a key runs; undefined where it is not allowed. */
export function loginProgram(
  users: UsersConfig,
  document: InstanceDocument | undefined,
): readonly string[] | undefined {
  if (document === undefined) return users.login;
  return document.agent.login ? (users.login ?? LOGIN_OF_DOCUMENTS) : undefined;
}

/** What is to be started for a channel. */
export interface PlannedProgram {
  readonly launch: Launch;
  /** Absent: three streams in place of a terminal. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
}

/** @throws SealttyError `user-refused`, `bad-config`: the reason stays in the guest's log. */
export type PlanProgram = (user: AuthenticatedUser, request: ProgramRequest) => Promise<PlannedProgram>;

/** Starts programs in this very process's name: the rights needed for that are the daemon's own. */
export function startPlanned(plan: PlanProgram): StartProcess {
  return async (user, request) => await startPlan(await plan(user, request));
}

export async function startPlan({ launch, terminal }: PlannedProgram): Promise<GuestProcess> {
  return terminal === undefined ? startExec(launch) : await startOnPty({ ...launch, ...terminal });
}

/** What the configuration says of them. */
export interface OwnPrograms extends ServiceSettings {
  readonly unlock: UnlockConfig;
}
const NONE_OF_ITS_OWN: OwnPrograms = {
  unlock: NOBODY_UNLOCKS,
  services: NO_SERVICES,
  provision: undefined,
};

/**
 * @param document - the believed instance document: what it does not allow is refused.
 * @param pam - absent: users' programs get no session of PAM's. login(1) has its own in any case.
 * @param own - who may have what sealttyd's own programs do with its own rights; absent: nobody.
 */
export function planPrograms(
  users: UsersConfig,
  document: InstanceDocument | undefined,
  pam?: Pam,
  own: OwnPrograms = NONE_OF_ITS_OWN,
): PlanProgram {
  const login = loginProgram(users, document);
  return async (user, request) => {
    if (request.kind === "login") {
      if (login === undefined)
        throw new SealttyError(
          "bad-config",
          "No login program is configured, or the instance document forbids it",
        );
      // login(1) asks for the name and the password itself, and becomes the user: it starts as the daemon's own user.
      const { columns, rows, term } = request;
      const environment = { ...sessionEnvironment(await ownAccount(), term), HOSTNAME: os.hostname() };
      return { launch: { command: login, environment, directory: "/" }, terminal: { columns, rows } };
    }
    if (request.kind === "files") return { launch: await filesLaunch(user, document, pam) };
    if (request.kind === "prompts") return { launch: await promptsLaunch(user, document, own.unlock) };
    if (request.kind === "service") return { launch: serviceLaunch(user, request.service, own, document) };
    const forced = user.method === "ssh-key" ? user.restrictions.command : undefined;
    // A forced command is the owner's word, too, and more to the point than the document's list for everybody.
    if (forced !== undefined) requireUnchanged(request, "A key with a forced command may not set");
    else if (document !== undefined) requireAllowed(document, request);
    const account = await accountFor(user.name);
    const { environment: wished, directory: enter } = request;
    const as = {
      directory: account.home,
      ...(enter === undefined ? {} : { enter }),
      ...asUser(account, pam),
      ...(forced === undefined ? {} : { signals: SIGNALS_OF_FORCED }),
    };
    const shell = users.shell ?? [account.shell, "-l"];
    const asked = request.command.length > 0 ? request.command : shell;
    const command = forced === undefined ? asked : [account.shell, "-c", forced];
    const onTop = forced === undefined ? wished : { ...wished, ...originalCommand(request.command) };
    if (request.kind === "exec") {
      const environment = sessionEnvironment(account, undefined);
      return { launch: { ...as, command, environment, wished: onTop } };
    }
    const { columns, rows, term } = request;
    const environment = sessionEnvironment(account, term);
    return { launch: { ...as, command, environment, wished: onTop }, terminal: { columns, rows } };
  };
}

/** The program that copies files, as the user: the kernel decides what it may read and write. */
async function filesLaunch(
  user: AuthenticatedUser,
  document: InstanceDocument | undefined,
  pam: Pam | undefined,
): Promise<Launch> {
  // GuestChannels refuses it already (allowsKind).
  if (user.method !== "ssh-key" || user.restrictions.command !== undefined)
    throw new SealttyError("user-refused", "This key has a forced command, so it copies no files");
  if (document !== undefined && document.commands !== "any")
    throw new SealttyError("user-refused", "The instance document allows certain commands only, so no files");
  const program = filesProgram();
  if (program === undefined)
    throw new SealttyError("device-unavailable", "sealttyd-files.js is missing beside sealttyd.js");
  const account = await accountFor(user.name);
  return {
    command: [process.execPath, program],
    environment: sessionEnvironment(account, undefined),
    directory: account.home,
    ...asUser(account, pam),
  };
}

/** The program that hands over questions for passphrases: as the daemon's own user, for whom the owner named. */
async function promptsLaunch(
  user: AuthenticatedUser,
  document: InstanceDocument | undefined,
  { users, keys }: UnlockConfig,
): Promise<Launch> {
  // GuestChannels refuses it already (allowsKind).
  if (user.method !== "ssh-key" || user.restrictions.command !== undefined)
    throw new SealttyError("user-refused", "This key has a forced command, so it answers no prompts");
  if (!users.includes(user.name))
    throw new SealttyError("user-refused", "[unlock] does not name this user: no prompts are answered");
  if (keys !== undefined && !keys.includes(fingerprintOf(user.key)))
    throw new SealttyError("user-refused", "[unlock] does not name this key: no prompts are answered");
  if (document !== undefined && document.commands !== "any")
    throw new SealttyError("user-refused", "The instance document allows certain commands only: no prompts");
  const program = promptsProgram();
  if (program === undefined)
    throw new SealttyError("device-unavailable", "sealttyd-prompts.js is missing beside sealttyd.js");
  return {
    command: [process.execPath, program],
    environment: sessionEnvironment(await ownAccount(), undefined),
    directory: "/",
  };
}

/** Whom to become, if this process can become somebody. */
export function asUser(account: Account, pam: Pam | undefined): Pick<Launch, "account" | "pam"> {
  if (process.getuid?.() !== 0) return {};
  return { account, ...(pam === undefined ? {} : { pam }) };
}

/** As sshd names it for a forced command: a line that a shell reads back as the words. Without one a shell was asked for. */
function originalCommand(words: readonly string[]): Readonly<Record<string, string>> {
  if (words.length === 0) return {};
  const line = commandLine(words);
  if (utf8(line).length > MAX_ORIGINAL_COMMAND)
    throw new SealttyError("limit-exceeded", "The command is too long to be told to a forced command");
  return { SSH_ORIGINAL_COMMAND: line };
}

type ProgramOfUser = Extract<ProgramRequest, { kind: "shell" | "exec" }>;

function requireAllowed(document: InstanceDocument, request: ProgramOfUser): void {
  const { command } = request;
  const refuse = (what: string): never => {
    throw new SealttyError("user-refused", `The instance document does not allow ${what}`);
  };
  if (command.length === 0) {
    if (!document.agent.shell) refuse("a shell"); // an interactive one runs anything
  } else if (!mayRun(document, command)) refuse("this command");
  if (document.commands === "any") return;
  requireUnchanged(request, "The instance document does not allow, because it limits commands,");
}

/** Where only some commands are allowed, what changes their meaning is not: LD_PRELOAD, or another directory. */
function requireUnchanged({ environment, directory }: ProgramOfUser, who: string): void {
  if (!Object.keys(environment).every((name) => HOW_TO_PRINT.test(name)))
    throw new SealttyError("user-refused", `${who} these environment variables`);
  if (directory !== undefined) throw new SealttyError("user-refused", `${who} another directory`);
}

/** @throws SealttyError `user-refused` where there is no such user, or sealttyd may not act for them. */
export async function accountFor(name: string): Promise<Account> {
  const account = await findAccount(name);
  if (account === undefined) throw new SealttyError("user-refused", "No such user");
  const own = process.getuid?.();
  if (own !== 0 && own !== account.uid) {
    throw new SealttyError(
      "user-refused",
      "sealttyd does not run as root, so it can start programs only as its own user",
    );
  }
  return account;
}

/** Of sealttyd itself. */
export async function ownAccount(): Promise<Account> {
  const { username, uid, gid, homedir, shell } = os.userInfo();
  return (
    (await findAccount(username)) ?? { name: username, uid, gid, home: homedir, shell: shell ?? "/bin/sh" }
  );
}
