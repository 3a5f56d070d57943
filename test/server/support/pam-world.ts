// A machine of a test's own to log in to: PAM's files, users, utmp and wtmp, in a mount namespace of one sealttyd. Nothing
// of it is there for anybody else.

import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../..");
export const SESSION_PROGRAM = path.join(root, "dist/bin/sealtty-session");

/** Whether it can be made here: root, PAM, a namespace, and the program that is tested. */
export const canMakePamWorld =
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["--mount", "true"]).status === 0 &&
  spawnSync(SESSION_PROGRAM, ["probe"]).status === 0;

export interface PamWorld {
  /** Program and arguments that become what follows them, in this world. */
  readonly through: readonly string[];
  readonly utmp: string;
  readonly wtmp: string;
  path(name: string): string;
  /** The world's own /etc/pam.d/NAME. */
  service(name: string, text: string): void;
  remove(): void;
}

export const UID = 47_011;
export const GID = 47_012;
export const SECOND_GID = 47_013;

/** With users `mary`, in a second group, and `expired`, whose account has. */
export function makePamWorld(): PamWorld {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-pam-"));
  execFileSync("chmod", ["755", directory]);
  const at = (name: string): string => path.join(directory, name);
  for (const name of ["pam.d", "home", "var/run", "var/log"]) mkdirSync(at(name), { recursive: true });
  execFileSync("chown", [`${UID}:${GID}`, at("home")]);
  for (const name of ["passwd", "group", "shadow"]) copyFileSync(`/etc/${name}`, at(name));
  appendFileSync(at("passwd"), `mary:x:${UID}:${GID}::${at("home")}:/bin/bash\n`);
  appendFileSync(at("passwd"), `expired:x:${UID + 1}:${GID}::/:/bin/sh\n`);
  appendFileSync(at("group"), `marys:x:${GID}:\nothers:x:${SECOND_GID}:mary\n`);
  appendFileSync(at("shadow"), "mary:*:20000:0:99999:7:::\nexpired:*:20000:0:99999:7::1:\n");
  for (const name of ["var/run/utmp", "var/log/wtmp"]) writeFileSync(at(name), "");
  const mounts = ["passwd", "group", "shadow", "pam.d"]
    .map((name) => `mount --bind '${at(name)}' /etc/${name}`)
    .concat(`mount --bind '${at("var")}' /var`, `[ -d /etc/pam.d ]`);
  const script = [...mounts, 'exec "$@"'].join(" && ");
  return {
    through: ["unshare", "--mount", "--", "sh", "-c", script, "sh"],
    utmp: at("var/run/utmp"),
    wtmp: at("var/log/wtmp"),
    path: at,
    service: (name, text) => writeFileSync(at(`pam.d/${name}`), text),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
