// Which program a channel gets, as whom, in which environment.

import os from "node:os";
import { type InstanceDocument, mayRun } from "../../protocol/attestation/instance/document.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ChannelRequest } from "../../protocol/session/channel-api.ts";
import type { AuthenticatedUser, StartProcess } from "../../protocol/session/guest-process.ts";
import type { UsersConfig } from "../config.ts";
import { type Account, findAccount, sessionEnvironment } from "./account.ts";
import { startExec } from "./exec-process.ts";
import type { Launch } from "./launch.ts";
import { startOnPty } from "./pty-process.ts";

/** What a client may set for a program; everything else is the guest's to say (sshd's AcceptEnv habit). */
const CLIENT_MAY_SET = /^(?:LANG|LC_[A-Z]+|COLORTERM|NO_COLOR|TZ)$/;

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
export type PlanProgram = (user: AuthenticatedUser, request: ChannelRequest) => Promise<PlannedProgram>;

/** Starts programs in this very process's name: the rights needed for that are the daemon's own. */
export function startPlanned(plan: PlanProgram): StartProcess {
  return async (user, request) => {
    const { launch, terminal } = await plan(user, request);
    return terminal === undefined ? startExec(launch) : await startOnPty({ ...launch, ...terminal });
  };
}

/** @param document - the believed instance document: what it does not allow is refused. */
export function planPrograms(users: UsersConfig, document: InstanceDocument | undefined): PlanProgram {
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
    if (document !== undefined) requireAllowed(document, request.command);
    const account = await accountFor(user.name);
    const allowed = Object.fromEntries(
      Object.entries(request.environment).filter(([name]) => CLIENT_MAY_SET.test(name)),
    );
    const as = { directory: account.home, ...(process.getuid?.() === 0 ? { account } : {}) };
    if (request.kind === "exec") {
      const environment = sessionEnvironment(account, undefined, allowed);
      return { launch: { ...as, command: request.command, environment } };
    }
    const shell = users.shell ?? [account.shell, "-l"];
    const { columns, rows, term } = request;
    const command = request.command.length > 0 ? request.command : shell;
    const environment = sessionEnvironment(account, term, allowed);
    return { launch: { ...as, command, environment }, terminal: { columns, rows } };
  };
}

/** @param command - empty: an interactive shell, which runs anything. */
function requireAllowed(document: InstanceDocument, command: readonly string[]): void {
  if (command.length === 0 ? document.agent.shell : mayRun(document, command)) return;
  const what = command.length === 0 ? "a shell" : "this command";
  throw new SealttyError("user-refused", `The instance document does not allow ${what}`);
}

async function accountFor(name: string): Promise<Account> {
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

async function ownAccount(): Promise<Account> {
  const { username, uid, gid, homedir, shell } = os.userInfo();
  return (
    (await findAccount(username)) ?? { name: username, uid, gid, home: homedir, shell: shell ?? "/bin/sh" }
  );
}
