// Users of this machine, from /etc/passwd, and the environment that their sessions start with.

import { readFile } from "node:fs/promises";

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

const PATH_FOR_ROOT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PATH_FOR_USERS = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

/** @param file - in place of /etc/passwd. @returns undefined where there is no such user, or the file cannot be read. */
export async function findAccount(name: string, file = "/etc/passwd"): Promise<Account | undefined> {
  return accountIn(await readFile(file, "utf8").catch(() => ""), name);
}

/** @param text - of an /etc/passwd. @returns undefined where there is no such user. */
export function accountIn(text: string, name: string): Account | undefined {
  for (const line of text.split("\n")) {
    const fields = line.split(":");
    const [found, , uid = "", gid = "", , home, shell] = fields;
    if (fields.length !== 7 || found !== name || name === "") continue;
    if (!/^\d{1,10}$/.test(uid) || !/^\d{1,10}$/.test(gid)) continue;
    return { name, uid: Number(uid), gid: Number(gid), home: home || "/", shell: shell || "/bin/sh" };
  }
  return undefined;
}

/** Nothing of the daemon's own environment but its language. */
export function sessionEnvironment(account: Account, term: string | undefined): Record<string, string> {
  return {
    PATH: account.uid === 0 ? PATH_FOR_ROOT : PATH_FOR_USERS,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: account.shell,
    LANG: process.env["LANG"] ?? "C.UTF-8",
    ...(term === undefined ? {} : { TERM: term }),
  };
}
