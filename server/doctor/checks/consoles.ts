// Consoles whose other end is the host's: who logs in there, what runs there, and what is asked there.

import { type Check, found, plainWords } from "../check.ts";
import { DROP_IN, RELOAD, dropIn, masksOf, stopsOf } from "../edits.ts";
import { DRACUT_FILES, DRACUT_MODULE, DRACUT_SHUTDOWN } from "../../setup/dracut.ts";
import { EARLY_CONFIG_FILE, EARLY_HOOK } from "../../setup/places.ts";
import { QUIET_SERVICE } from "../../setup/recovery.ts";
import { isHostTerminal } from "../system.ts";
import { OWN_UNITS } from "../units.ts";
import { changeCommandLine, everyLineHas, linesWithout, wordsLike } from "./command-line.ts";

const GETTY = /^(?:(?:getty|serial-getty|autovt|container-getty)@.*|console-getty)\.service$/;
const OFF = "(?:0|n|no|f|false|off)";

const consoleProcess: Check = {
  id: "console-process",
  severity: "critical",
  title: "A program runs on a console of the host's",
  why: "The host reads what it prints and types into it. A shell there is a shell of the host's.",
  repair: "hand",
  look(system) {
    const there = system
      .processes()
      .map((each) => ({ ...each, consoles: each.terminals.filter((terminal) => isHostTerminal(terminal)) }))
      .filter(({ consoles }) => consoles.length > 0);
    return found(
      there.map(({ pid, name, consoles }) => ({
        where: `/proc/${pid}/fd`,
        found: `${name} on ${consoles.join(", ")}`,
      })),
      {
        words: "Close what starts it (other findings say what), then end it, or start the machine anew.",
        byHand: there.map(({ pid }) => `kill ${pid}`),
      },
    );
  },
};

const getty: Check = {
  id: "getty",
  severity: "high",
  title: "A login prompt on a console of the host's",
  why: "The host may try passwords there, and reads each one that somebody types.",
  repair: "whole",
  look(system) {
    const { units } = system;
    const wanted = units
      .names(GETTY)
      .filter((name) => units.startable(name))
      .flatMap((name) => units.wanted(name).map((where) => ({ where, name })));
    const names = [...new Set(wanted.map(({ name }) => name))];
    return found(
      wanted.map(({ where, name }) => ({ where, found: `${name} is wanted` })),
      { words: "Mask it.", edits: masksOf(system, names), after: stopsOf(names), needs: "console" },
    );
  },
};

const gettyGenerator: Check = {
  id: "getty-generator",
  severity: "high",
  title: "systemd puts a login prompt on whichever serial console the host adds",
  why: "systemd-getty-generator starts a getty on every kernel console, and on hvc0 where the host makes one: no file of yours says so.",
  repair: "whole",
  look(system) {
    const name = "systemd-getty-generator";
    const generator = system.generator(name);
    if (generator === undefined || !system.units.startable("serial-getty@.service")) return undefined;
    if (everyLineHas(system, new RegExp(`^systemd\\.getty_auto=${OFF}$`))) return undefined;
    return found([{ where: generator, found: "serial-getty@.service is not masked" }], {
      words: "Mask the template; or systemd.getty_auto=0 on the kernel's command line.",
      edits: masksOf(system, ["serial-getty@.service"]),
      after: [RELOAD],
      needs: "console",
    });
  },
};

const virtualTerminals: Check = {
  id: "virtual-terminals",
  severity: "high",
  title: "A key combination starts a login prompt on a virtual terminal",
  why: "Screen and keyboard are the host's. systemd-logind starts a getty where somebody changes to a virtual terminal.",
  repair: "whole",
  look(system) {
    const logind = system.firstOf("/usr/lib/systemd/systemd-logind", "/lib/systemd/systemd-logind");
    if (logind === undefined || !system.units.startable("autovt@.service")) return undefined;
    const evidence = ["NAutoVTs", "ReserveVT"].flatMap((key) => {
      const setting = system.setting("logind.conf", key);
      if (setting?.value === "0") return [];
      return [{ where: setting?.where ?? logind, found: `${key}=${setting?.value ?? "6, the default"}` }];
    });
    return found(evidence, {
      words: "Have logind start none.",
      edits: [dropIn(`/etc/systemd/logind.conf.d/${DROP_IN}.conf`, "[Login]\nNAutoVTs=0\nReserveVT=0\n")],
      after: ["systemctl kill --signal=HUP systemd-logind.service"],
      needs: "console",
    });
  },
};

/** agetty(8), login(1). @param line - of a unit. */
function logsInByItself(line: string): boolean {
  const [program = "", ...args] = line.trim().split(/\s+/);
  if (!program.startsWith("ExecStart=")) return false;
  if (program.endsWith("/login") && args.includes("-f")) return true;
  return (
    args.some((arg) => /^--autologin(?:=|$)/.test(arg)) || (program.endsWith("getty") && args.includes("-a"))
  );
}

const autologin: Check = {
  id: "autologin",
  severity: "critical",
  title: "A console of the host's logs in by itself",
  why: "Whoever has the other end, the host, has a shell without a password.",
  repair: "whole",
  look(system) {
    const { units } = system;
    const names = units.names(GETTY).filter((name) => units.startable(name));
    const lines = names.flatMap((name) =>
      units.files(name).flatMap(({ where, value }) =>
        value
          .split("\n")
          .filter((line) => logsInByItself(line))
          .map((line) => ({ where, found: line.trim(), name })),
      ),
    );
    const bad = [...new Set(lines.map(({ name }) => name))];
    return found(
      lines.map(({ where, found: line }) => ({ where, found: line })),
      { words: "Mask it.", edits: masksOf(system, bad), after: stopsOf(bad), needs: "console" },
    );
  },
};

const inittab: Check = {
  id: "inittab",
  severity: "high",
  title: "/etc/inittab starts logins or shells on a console of the host's",
  why: "The host may type there. busybox's `askfirst` is a shell without a password.",
  repair: "hand",
  look(system) {
    const lines = (system.read("/etc/inittab") ?? "")
      .split("\n")
      .filter((line) =>
        /^[^#:]*:[^:]*:(?:respawn|askfirst|once|wait|ondemand):.*\b(?:getty|agetty|mingetty|login|sulogin|a?sh|bash)\b/.test(
          line,
        ),
      );
    return found(
      lines.map((line) => ({ where: "/etc/inittab", found: line.trim() })),
      {
        words: "Take these lines out.",
        byHand: ["edit /etc/inittab: a # before each of these lines", "telinit q, or kill -HUP 1"],
      },
    );
  },
};

/** They have findings of their own, for what they read from a terminal and what they say there. */
export const OTHER_TERMINAL_UNITS =
  /^(?:emergency|rescue|debug-shell|systemd-firstboot|systemd-ask-password-console|initrd-.*|.*getty.*|autovt@.*)\.(?:service|path)$/;

const consoleService: Check = {
  id: "console-service",
  severity: "critical",
  title: "A service of systemd's reads from a console of the host's",
  why: "The host types what it reads, and sees what it answers. Where that is a shell, it is the host's.",
  repair: "whole",
  look(system) {
    const { units } = system;
    const there = units
      .names(/\.service$/)
      .filter(
        (name) => !OTHER_TERMINAL_UNITS.test(name) && units.startable(name) && units.wanted(name).length > 0,
      )
      .flatMap((name) => {
        const input = units.setting(name, "StandardInput");
        return input?.value.startsWith("tty") === true ? [{ name, input }] : [];
      });
    const names = there.map(({ name }) => name);
    return found(
      there.map(({ name, input }) => ({
        where: input.where,
        found: `${name}: StandardInput=${input.value}`,
      })),
      { words: "Mask it.", edits: masksOf(system, names), after: stopsOf(names), needs: "console" },
    );
  },
};

const firstBoot: Check = {
  id: "first-boot",
  severity: "high",
  title: "The first boot asks for root's password on the host's console",
  why: "systemd-firstboot takes it from whoever answers first, and from credentials of the host's.",
  repair: "whole",
  look(system) {
    const name = "systemd-firstboot.service";
    const wanted = system.units.startable(name) ? system.units.wanted(name) : [];
    const id = system.value("/etc/machine-id") ?? "";
    if (id !== "" && id !== "uninitialized") return undefined; // it was booted before: machine-id(5)
    if (everyLineHas(system, new RegExp(`^systemd\\.firstboot=${OFF}$`))) return undefined;
    return found(
      wanted.map((where) => ({ where, found: `${name} is wanted, and this system was not booted yet` })),
      { words: "Mask it.", edits: masksOf(system, [name]) },
    );
  },
};

const debugShell: Check = {
  id: "debug-shell",
  severity: "critical",
  title: "systemd's debug shell",
  why: "A root shell without a password on tty9, which is the host's screen and keyboard.",
  repair: "whole",
  look(system) {
    const name = "debug-shell.service";
    if (!system.units.startable(name)) return undefined;
    const wanted = system.units.wanted(name).map((where) => ({ where, found: `${name} is wanted` }));
    const asked = wordsLike(system, new RegExp(`^systemd\\.debug[_-]shell(?:=(?!${OFF}$).*)?$`));
    return found([...wanted, ...asked], {
      words: "Mask it: then the command line cannot start it either.",
      edits: masksOf(system, [name]),
      after: stopsOf([name]),
    });
  },
};

const bootShell: Check = {
  id: "boot-shell",
  severity: "critical",
  title: "The kernel's command line asks for a shell",
  why: "It is opened on a console of the host's, in an initramfs as root without a password.",
  repair: "part",
  look(system) {
    const words = wordsLike(
      system,
      /^(?:rd\.break(?:=.*)?|rd\.shell(?:=1)?|break(?:=.*)?|(?:rd)?init=.*\/(?:sh|bash|ash|dash|zsh|busybox)|single|S|s|1|rescue|emergency|-b|(?:rd\.)?systemd\.unit=(?:rescue|emergency)(?:\.target)?|rd\.systemd\.debug[_-]shell(?:=.*)?|systemd\.crash_shell(?:=.*)?|systemd\.confirm_spawn(?:=.*)?)$/,
    );
    const crash = system.setting("system.conf", "CrashShell");
    const crashes = crash !== undefined && !new RegExp(`^${OFF}$`, "i").test(crash.value);
    return found(
      [...words, ...(crashes ? [{ where: crash.where, found: `CrashShell=${crash.value}` }] : [])],
      {
        words: "Take the words off; a crash shell by a drop-in.",
        edits: crashes
          ? [dropIn(`/etc/systemd/system.conf.d/${DROP_IN}-shell.conf`, "[Manager]\nCrashShell=no\n")]
          : [],
        byHand: [
          ...changeCommandLine(system, { remove: words }),
          ...(words.some(({ where }) => where.endsWith("/grub.cfg"))
            ? [
                "of GRUB's entries for recovery: GRUB_DISABLE_RECOVERY=true in /etc/default/grub, then update-grub",
              ]
            : []),
        ],
        after: crashes ? ["systemctl daemon-reexec"] : [],
      },
    );
  },
};

const initramfsShell: Check = {
  id: "initramfs-shell",
  severity: "critical",
  title: "A failed boot opens a root shell in the initramfs",
  why: "The host only has to keep the root disk away: then it has a root shell without a password, on its console, in a machine whose measurements are right.",
  repair: "hand",
  look(system) {
    // sealtty's hook has panic=1800 in the image, for as long as somebody may mend it inside the channel; its module for dracut
    // closes the shell there whatever the command line says.
    const closedBy = (file: string): boolean => system.exists(EARLY_CONFIG_FILE) && system.exists(file);
    const tools = closedBy(EARLY_HOOK)
      ? undefined
      : system.firstOf("/usr/share/initramfs-tools/init", "/etc/initramfs-tools/initramfs.conf");
    const dracut = closedBy(DRACUT_MODULE) ? undefined : system.firstOf(...DRACUT_FILES);
    const evidence = [
      ...(tools === undefined ? [] : linesWithout(system, /^panic=-?[0-9]+$/, "panic= (initramfs-tools)")),
      ...(dracut === undefined ? [] : linesWithout(system, /^rd\.shell=0$/, "rd.shell=0 (dracut)")),
    ];
    const add = [
      ...(tools === undefined ? [] : ["panic=10"]),
      ...(dracut === undefined ? [] : ["rd.shell=0 rd.emergency=reboot"]),
    ];
    return found(evidence, {
      words: "Have a failed boot end in a new start.",
      byHand: changeCommandLine(system, { add: add.join(" ") }),
    });
  },
};

const shutdownInitramfs: Check = {
  id: "shutdown-initramfs",
  severity: "high",
  title: "dracut unpacks an initramfs when the machine stops, and runs it as root",
  why: "It comes from /boot, which is the host's where it is not on the encrypted disk, and nothing measures it then: what the host has put there runs beside the disk that is still open.",
  repair: "whole",
  look(system) {
    if (!system.units.startable(DRACUT_SHUTDOWN)) return undefined;
    const wanted = system.units.wanted(DRACUT_SHUTDOWN);
    return found(
      wanted.map((where) => ({ where, found: `${DRACUT_SHUTDOWN} is wanted` })),
      {
        words: "Mask it: systemd ends an encrypted root without it.",
        edits: masksOf(system, [DRACUT_SHUTDOWN]),
        // Not stopped: that is what unpacks it.
        after: [RELOAD],
      },
    );
  },
};

const recoveryConsole: Check = {
  id: "recovery-console",
  severity: "high",
  title: "Rescue and emergency mode ask for root's password on every console",
  why: "sulogin opens on all consoles at once. What is typed there the host reads; without a password for root the host gets a root shell.",
  repair: "whole",
  look(system) {
    const { units } = system;
    const there = ["emergency.service", "rescue.service"].flatMap((name) => {
      const input = units.startable(name) ? units.setting(name, "StandardInput") : undefined;
      return input?.value.startsWith("tty") === true ? [{ name, input }] : [];
    });
    return found(
      there.map(({ name, input }) => ({
        where: input.where,
        found: `${name}: StandardInput=${input.value}`,
      })),
      {
        words: "Take sulogin off the consoles: sealttyd runs in these modes, and is the way in.",
        edits: there.map(({ name }) => dropIn(`${OWN_UNITS}/${name}.d/${DROP_IN}.conf`, QUIET_SERVICE)),
        after: [RELOAD],
        needs: "recovery",
      },
    );
  },
};

const passphraseConsole: Check = {
  id: "passphrase-console",
  severity: "high",
  title: "Disk passphrases are asked for on the host's console",
  why: "Somebody who sees the prompt types the passphrase where the host reads it. The host may also answer, and use up the tries.",
  repair: "part",
  look(system) {
    const name = "systemd-ask-password-console.path";
    const { units } = system;
    if (!units.startable(name)) return undefined;
    const wanted = units.wanted(name).map((where) => ({ where, found: `${name} is wanted` }));
    const asks = (system.read("/etc/crypttab") ?? "")
      .split("\n")
      .some((line) => /^\s*[^#\s]\S*\s+\S+(?:\s+(?:none|-)(?:\s|$)|\s*$)/.test(line));
    const edits = masksOf(system, [name, "systemd-ask-password-console.service"]);
    return found(wanted, {
      words: asks
        ? "/etc/crypttab has a disk whose passphrase is asked for: mask the prompt once it is answered in another way."
        : "Mask it: no disk of /etc/crypttab asks.",
      edits: asks ? [] : edits,
      byHand: asks ? [`systemctl mask --now ${name} systemd-ask-password-console.service`] : [],
      after: asks ? [] : stopsOf([name]),
    });
  },
};

const emptyPassword: Check = {
  id: "empty-password",
  severity: "critical",
  title: "An account without a password",
  why: "Wherever a prompt is, the host logs in with it; sulogin opens without asking.",
  repair: "hand",
  look(system) {
    const empty = ["/etc/shadow", "/etc/passwd"].flatMap((where) =>
      (system.read(where) ?? "")
        .split("\n")
        .map((line) => line.split(":"))
        .filter(([name, password]) => name !== undefined && name !== "" && password === "")
        .map(([name = ""]) => ({ where, name })),
    );
    const names = plainWords([...new Set(empty.map(({ name }) => name))]);
    return found(
      empty.map(({ where, name }) => ({ where, found: `${name} has an empty password` })),
      {
        words: "Lock it: keys are good all the same.",
        byHand:
          names.length > 0
            ? names.map((name) => `passwd --lock ${name}`)
            : ["take the account out of the file"],
      },
    );
  },
};

export const consoleChecks: readonly Check[] = [
  consoleProcess,
  autologin,
  debugShell,
  bootShell,
  initramfsShell,
  consoleService,
  emptyPassword,
  firstBoot,
  getty,
  gettyGenerator,
  virtualTerminals,
  inittab,
  recoveryConsole,
  shutdownInitramfs,
  passphraseConsole,
];
