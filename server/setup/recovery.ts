// What takes rescue and emergency mode off the host's consoles: files that `sealttyd setup --recovery` writes. docs/recovery.md

import { parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { isExpired } from "../../protocol/user-auth/restrictions.ts";
import type { ServerConfig } from "../config.ts";
import { SetupRefused } from "./choose.ts";

const OWN = "/etc/systemd";

/** What a unit of recovery does in place of sulogin: it stays, so that its target does, and neither asks nor shows anything. */
export const QUIET_SERVICE =
  "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep infinity\n" +
  "StandardInput=null\nStandardOutput=journal\nStandardError=journal\n";

const HEAD = "# Written by sealttyd setup --recovery: sealttyd is the way in. docs/recovery.md\n";

/** `Wants=`, so that it is the way in as well where somebody has disabled it for these modes. */
const SERVICE = `${HEAD}[Unit]\nWants=sealttyd.service\n\n${QUIET_SERVICE}`;

/** Names of units that failed are words about the guest's disks and services, and the host reads its consoles. */
const MANAGER = `${HEAD}[Manager]\nShowStatus=no\n`;

/** fsck's progress and complaints name disks and files. */
const FSCK = `${HEAD}[Service]\nStandardOutput=journal\n`;

const RECOVERY_TARGETS = ["rescue.target", "emergency.target"] as const;

/** By path. */
export const RECOVERY_FILES: ReadonlyMap<string, string> = new Map([
  [`${OWN}/system/rescue.service.d/sealtty.conf`, SERVICE],
  [`${OWN}/system/emergency.service.d/sealtty.conf`, SERVICE],
  [`${OWN}/system/systemd-fsck@.service.d/sealtty.conf`, FSCK],
  [`${OWN}/system/systemd-fsck-root.service.d/sealtty.conf`, FSCK],
  [`${OWN}/system.conf.d/sealtty.conf`, MANAGER],
]);

/** @throws SetupRefused: with nobody on the consoles and no sealttyd, nobody could mend the machine. */
export function requireRecoveryUnit(unit: {
  readonly file: string;
  readonly wantedBy: readonly string[];
}): void {
  const missing = RECOVERY_TARGETS.filter((target) => !unit.wantedBy.includes(target));
  if (missing.length > 0)
    throw new SetupRefused(
      `${unit.file} does not say WantedBy=${missing.join(" ")}: there nobody could get in by sealtty`,
    );
}

/**
 * Who gets in where nothing is asked on the consoles any more: the configuration's word, and nobody's beside it. Keys of root's are looked
 * for; whether a document names somebody, or a login lets somebody in, cannot be known here, and that is said.
 * @param read - a file of the system's; undefined where it is not there.
 * @param now - ms since 1970 UTC.
 * @throws SetupRefused where that is nobody.
 */
export function recoveryWords(
  { users, instance }: ServerConfig,
  read: (file: string) => string | undefined,
  now: number,
): string[] {
  const { authorizedKeys, names, login } = users;
  const document = instance.document !== undefined;
  const rootIsNamed = names === "any" || names.some((name) => name === "root" || name === "*");
  // Where there is a document its keys are good, and no file's.
  const file = document || !rootIsNamed ? undefined : authorizedKeys?.replaceAll("%u", "root");
  const hasKey = file !== undefined && hasShellKey(read(file) ?? "", now);
  const unsure = [
    ...(document ? ["whom the instance document names"] : []),
    ...(login === undefined ? [] : [`whom ${login[0]} lets in`]),
  ];
  const ways = [...(hasKey ? [`root by the keys of ${file}`] : []), ...unsure];
  const noKey = `${file} has no key by which root gets a shell`;
  if (ways.length === 0)
    throw new SetupRefused(
      `${file === undefined ? "The configuration lets root in by no key, and has no login" : `${noKey}, and there is no login`}: in rescue and emergency mode nobody could mend this machine`,
    );
  const words = `in rescue and emergency mode: nothing on the consoles; by sealtty ${ways.join(", ")}`;
  if (hasKey) return [words];
  const but = file === undefined ? "" : `${noKey}, and `;
  return [words, `beware: ${but}whether anybody gets in so was not looked at: try it before you need it`];
}

/** A forced command is no shell, and a key that is over opens nothing. */
function hasShellKey(text: string, now: number): boolean {
  return parseAuthorizedKeys(text).keys.some(
    ({ options: { restrictions } }) =>
      restrictions.pty && restrictions.command === undefined && !isExpired(restrictions, now),
  );
}
