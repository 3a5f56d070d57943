// sealttyd(8) and sealttyd.toml(5) as roff, from the tables of options and of the configuration's keys.

import { DEFAULT_CONFIG_FILE } from "../config.ts";
import { bold, escaped, italic, paragraph, sentence, tagged, text } from "../../node/roff.ts";
import { type DaemonCommand, type DaemonOption, DOCTOR, PROVISION_WAIT, SERVE, SETUP } from "../options.ts";
import { KEYS_FILE, RECORD_FILE } from "../setup/places.ts";
import { CONFIG_WORDS } from "./config-words.ts";

/** Of the last change to the words in this directory. */
const DATE = "2026-11-26";
const SYSTEM_MANUAL = "System Manager's Manual";

const FILES = [
  [DEFAULT_CONFIG_FILE, "configuration: sealttyd.toml(5)"],
  ["/etc/sealtty/sealttyd.example.toml", "the same with every key, explained"],
  ["/etc/sealtty/NAME.toml", "configuration of sealttyd@NAME.service, for one more console"],
  [KEYS_FILE, "public keys that may log in, where setup wrote the configuration"],
  ["/etc/pam.d/sealtty", "PAM's rules for sessions of users with a key"],
  [RECORD_FILE, "what setup did, for --remove"],
  ["/var/log/sealtty", "for an audit file and recordings"],
  ["/usr/share/doc/sealttyd/docs", "what is called docs/NAME.md here, of the guest's side"],
] as const;

const ENVIRONMENT = [
  ["SEALTTY_NATIVE", "directory of the native programs. Default: beside sealttyd.js"],
  ["SEALTTY_PTY_ADDON", "the addon that opens terminals. Default: pty.node beside sealttyd.js"],
  ["LANG", "is passed to users' programs"],
  ["JOURNAL_STREAM", "by systemd: lines of the log then begin with a priority"],
] as const;

export const MANUAL_SECTIONS = ["8", "5"] as const;
export type ManualSection = (typeof MANUAL_SECTIONS)[number];

export function daemonManual(section: ManualSection, version: string): string {
  const lines = section === "8" ? programPage(version) : configurationPage(version);
  return `${lines.join("\n")}\n`;
}

function programPage(version: string): string[] {
  return [
    `.TH SEALTTYD 8 "${DATE}" "sealtty ${version}" "${SYSTEM_MANUAL}"`,
    ".SH NAME",
    "sealttyd \\- encrypted guest console of a confidential VM",
    ".SH SYNOPSIS",
    ...[
      ...SERVE.usage.slice(0, 1),
      ...SETUP.usage,
      ...DOCTOR.usage,
      ...PROVISION_WAIT.usage,
      "man [8|5]",
    ].flatMap((usage, index) => [...(index === 0 ? [] : [".br"]), bold("sealttyd"), ...text(usage)]),
    ".SH DESCRIPTION",
    ...text(
      "The console of a virtual machine ends in its host. sealttyd runs in the guest and serves a console that the host can carry " +
        "and not read: encrypted end to end, to clients that first appraise this guest's evidence. Started by root it is two " +
        "processes, of which the one that the host's bytes reach has no rights.",
    ),
    ...commandSection("OPTIONS", SERVE),
    ...commandSection("SETUP", SETUP),
    ...commandSection("DOCTOR", DOCTOR),
    ...commandSection("PROVISION-WAIT", PROVISION_WAIT),
    ".SH FILES",
    ...tagged(FILES),
    ".SH ENVIRONMENT",
    ...tagged(ENVIRONMENT),
    ".SH SEE ALSO",
    `${bold("sealttyd.toml")}(5),`,
    `${bold("sealtty")}(1),`,
    `${bold("systemctl")}(1)`,
  ];
}

function commandSection(title: string, command: DaemonCommand): string[] {
  return [
    `.SH ${title}`,
    ...text(command.summary),
    ...command.options.flatMap(optionEntry),
    ...paragraph("Exit status:"),
    ...tagged(command.exits.map(([status, words]) => [status, sentence(words)] as const)),
  ];
}

function optionEntry({ name, short, value, help }: DaemonOption): string[] {
  const spellings = [...(short === undefined ? [] : [`-${short}`]), `--${name}`];
  const taken = value === undefined ? "" : ` ${italic(escaped(value))}`;
  return [
    ".TP",
    spellings.map((spelled) => `${bold(escaped(spelled))}${taken}`).join(", "),
    ...text(sentence(help)),
  ];
}

function configurationPage(version: string): string[] {
  return [
    `.TH SEALTTYD.TOML 5 "${DATE}" "sealtty ${version}" "${SYSTEM_MANUAL}"`,
    ".SH NAME",
    "sealttyd.toml \\- configuration of sealttyd",
    ".SH SYNOPSIS",
    ...text(DEFAULT_CONFIG_FILE),
    ".SH DESCRIPTION",
    ...text(
      "A TOML file. Unknown tables and keys are refused, and so is a key that the chosen type does not have. It belongs into the " +
        "measured image, or on the encrypted disk: whoever can change it decides who may log in. sealttyd --check says whether " +
        "it is right.",
    ),
    ...CONFIG_WORDS.flatMap(({ table, words, keys }) => [
      `.SH [${escaped(table)}]`,
      ...text(words),
      ...keys.flatMap((each) => [
        ".TP",
        `${bold(escaped(each.key))} = ${escaped(each.value)}`,
        ...text(sentence(each.words)),
      ]),
    ]),
    ".SH SEE ALSO",
    `${bold("sealttyd")}(8)`,
  ];
}
