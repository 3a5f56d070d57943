// What takes rescue and emergency mode off the host's consoles: files that `sealttyd setup --recovery` writes. docs/recovery.md

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
 * Who gets in where nothing is asked on the consoles any more: the configuration's word, and nobody's beside it. Whether a key
 * has expired, or a password is known, is not looked at.
 * @param read - a file of the guest's; undefined where there is none. @throws SetupRefused where that is nobody.
 */
export function recoveryWords(
  { users, instance }: ServerConfig,
  read: (path: string) => string | undefined,
): string {
  const { authorizedKeys, names, login } = users;
  const isForRoot = names === "any" || names.some((name) => name === "root" || name === "*");
  const file = isForRoot ? authorizedKeys?.replaceAll("%u", "root") : undefined;
  const rootHasKeys = file !== undefined && /^\s*[^#\s]/m.test(read(file) ?? "");
  const ways = [
    ...(rootHasKeys ? [`root by the keys of ${file}`] : []),
    ...(instance.document === undefined ? [] : ["whom the instance document names"]),
    ...(login === undefined ? [] : [`whom ${login[0]} lets in`]),
  ];
  if (ways.length === 0)
    throw new SetupRefused(
      file === undefined
        ? "The configuration lets root in by no key, and has no login: in rescue and emergency mode nobody could mend this machine"
        : `${file} has no key for root, and there is no login: in rescue and emergency mode nobody could mend this machine`,
    );
  return `in rescue and emergency mode: nothing on the consoles; by sealtty ${ways.join(", ")}`;
}
