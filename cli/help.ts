// Help, from the same table that parses.

import type { Command, OptionSpec } from "./options.ts";

export function overview(commands: readonly Command[]): string {
  const shown = commands.filter((command) => !command.hidden);
  const rows = shown.map(
    (command) => [`sealtty ${command.name} ${command.brief ?? command.operands}`, command.summary] as const,
  );
  return `sealtty: an encrypted console into confidential VMs; the host carries it and cannot read it

${columns(rows)}
  sealtty help COMMAND

GUEST is a name from guests.toml in ~/.config/sealtty (docs/configuration.md), or an address:
  ws://HOST:PORT/  wss://HOST/…  tcp:HOST:PORT  unix:PATH  tty:PATH  vsock+unix:PATH:PORT
  vnc+unix:PATH  vnc+tcp:HOST:PORT  vnc+ws://HOST:PORT/
  proxmox:HOST/NODE/NUMBER  kubevirt:NAMESPACE/NAME  nova:SERVER-ID  nova:wss://HOST:6083/
  incus:INSTANCE  incus:PROJECT/INSTANCE   (docs/hosts.md)
Exit status of connect and exec: the remote command's own; 255 for anything of sealtty's, with its code on stderr.
connect: 0 after detaching, 255 after ~. (0 with --read-only). cp: 0 all copied, 1 not all, 255 for errors.
proxy: 0 where both sides ended in order, 255 for errors. config-ssh: 0 good, 2 usage, or files that cannot be used.
open, forward: 0 when told to end, 255 for errors. inspect: 0 good, 1 refused, 2 usage, 255 no connection.
verify, policy, instance: 0 good, 1 refused, 2 usage. measure: 0 good, 2 usage, or files that do not fit.
collateral: 0 good, 2 usage, 255 it could not be fetched. sessions, master, known-hosts: 0 good, 255 for errors.
completion, man: 0, 255 for errors. log, sysrq, provision: 0 done, 1 (sysrq) not confirmed, 128+n for signal n, 255 for errors.
unlock: 0 accepted, 1 refused, not known, or nothing was asked, 255 for errors.
`;
}

export function helpFor(command: Command): string {
  const rows = command.options.map((option) => [spelling(option), option.help] as const);
  const notes = command.notes === undefined ? "" : `\n${command.notes.join("\n")}\n`;
  return `Usage: sealtty ${command.name} ${command.operands}\n${command.summary}\n\n${columns(rows)}\n${notes}`;
}

function spelling(option: OptionSpec): string {
  const short = option.short === undefined ? "    " : `-${option.short}, `;
  return `${short}--${option.name}${option.value === undefined ? "" : ` ${option.value}`}`;
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}
