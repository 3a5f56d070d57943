// What the kernel and the log show the host, and what the host can have them do.

import { type Check, type Edit, type Evidence, found } from "../check.ts";
import { type System, isHostTerminal } from "../system.ts";
import { OWN_UNITS } from "../units.ts";
import { changeCommandLine, wordsLike } from "./command-line.ts";
import { DROP_IN, RELOAD, dropIn } from "../edits.ts";
import { OTHER_TERMINAL_UNITS } from "./consoles.ts";

/** A kernel value for now, where it runs, and for later. @param now - in place of the value, where the file has more than it. */
export function sysctlEdits(system: System, key: string, value: string, now = value): Edit[] {
  const path = `/proc/sys/${key.replaceAll(".", "/")}`;
  const name = key.replaceAll(/[._]/g, "-");
  return [
    dropIn(`/etc/sysctl.d/${DROP_IN}-${name}.conf`, `${key} = ${value}\n`),
    ...(system.exists(path) ? [{ kind: "value", path, text: now } as const] : []),
  ];
}

/** @returns what is wrong now, and what will be at the next boot. */
export function sysctlEvidence(system: System, key: string, isGood: (value: string) => boolean): Evidence[] {
  const path = `/proc/sys/${key.replaceAll(".", "/")}`;
  const now = system.value(path);
  if (now === undefined && system.exists("/proc/sys/kernel")) return []; // this kernel has none
  const later = system.sysctl(key);
  return [
    ...(now === undefined || isGood(now) ? [] : [{ where: path, found: now }]),
    ...(later !== undefined && isGood(later.value)
      ? []
      : [
          later === undefined
            ? { where: "/etc/sysctl.d", found: `nothing sets ${key}` }
            : { where: later.where, found: `${key} = ${later.value}` },
        ]),
  ];
}

/** @returns names of the consoles that the kernel prints to now; undefined where none runs. */
function runningConsoles(system: System): string[] | undefined {
  return system
    .read("/proc/consoles")
    ?.split("\n")
    .flatMap((line) => /^\S+/.exec(line)?.[0] ?? []);
}

const kernelConsole: Check = {
  id: "kernel-console",
  severity: "high",
  title: "The kernel has a console of the host's",
  why: "Its messages name devices, processes, addresses and users. A console also listens: SysRq comes in there, and /dev/console is where init and recovery talk.",
  repair: "hand",
  look(system) {
    const words = wordsLike(
      system,
      /^(?:console=(?!null$|ttynull$|$).*|earlycon(?:=.*)?|earlyprintk(?:=.*)?|ignore_loglevel|debug)$/,
    );
    const now = (runningConsoles(system) ?? []).filter((name) => isHostTerminal(name));
    return found([...words, ...now.map((name) => ({ where: "/proc/consoles", found: name }))], {
      words: "Give the kernel no console. The log is in the journal and, inside the channel, in dmesg.",
      byHand: changeCommandLine(system, { remove: words, add: "console=null loglevel=0" }),
    });
  },
};

const kernelLog: Check = {
  id: "kernel-log",
  severity: "medium",
  title: "The kernel's messages are printed on the host's console",
  why: "They name devices, processes, addresses and users; with an oops, parts of memory. Level 0 prints nothing, and stays so in an oops.",
  repair: "whole",
  look(system) {
    const consoles = runningConsoles(system);
    if (consoles !== undefined && !consoles.some((name) => isHostTerminal(name))) return undefined;
    const now = system.value("/proc/sys/kernel/printk") ?? "";
    const evidence = sysctlEvidence(system, "kernel.printk", (value) => /^0(?:\s|$)/.test(value));
    return found(evidence, {
      words: "Print nothing there.",
      edits: sysctlEdits(
        system,
        "kernel.printk",
        "0 4 0 7",
        now.replace(/^[0-9]+/, "0").replaceAll(/\s+/g, " "),
      ),
    });
  },
};

const sysrq: Check = {
  id: "sysrq",
  severity: "high",
  title: "The host can send SysRq",
  why: "A break on a serial console, ^O on hvc0 or keys of the host's keyboard restart, kill processes, or dump memory and registers on its console.",
  repair: "part",
  look(system) {
    if (system.kernelOption("CONFIG_MAGIC_SYSRQ") === false) return undefined;
    const evidence = sysctlEvidence(system, "kernel.sysrq", (value) => value === "0");
    const serial = evidence.length > 0 && system.kernelOption("CONFIG_MAGIC_SYSRQ_SERIAL") === true;
    const always = wordsLike(system, /^sysrq_always_enabled$/);
    const serialNote = {
      where: "/boot/config-*",
      found: "CONFIG_MAGIC_SYSRQ_SERIAL: by a break on a serial line, too",
    };
    return found([...evidence, ...(serial ? [serialNote] : []), ...always], {
      words: "Switch it off. /proc/sysrq-trigger still works for root.",
      edits: evidence.length > 0 ? sysctlEdits(system, "kernel.sysrq", "0") : [],
      byHand: always.length > 0 ? changeCommandLine(system, { remove: always }) : [],
    });
  },
};

const KGDB = "/sys/module/kgdboc/parameters/kgdboc";

const kernelDebugger: Check = {
  id: "kernel-debugger",
  severity: "critical",
  title: "A kernel debugger on the host's line",
  why: "Whoever has the other end reads and writes all memory.",
  repair: "part",
  look(system) {
    const words = wordsLike(
      system,
      /^(?:kgdboc(?:_earlycon)?(?:=.*)?|kgdbwait|kgdbcon|kgdbdbgp=.*|kgdboe=.*)$/,
    );
    const now = system.value(KGDB) ?? "";
    return found([...words, ...(now === "" ? [] : [{ where: KGDB, found: now }])], {
      words: "Switch it off.",
      edits: now === "" ? [] : [{ kind: "value", path: KGDB, text: "" }],
      byHand: words.length > 0 ? changeCommandLine(system, { remove: words }) : [],
    });
  },
};

const isYes = (value: string): boolean => /^(?:1|y|yes|t|true|on)$/i.test(value);

const journalConsole: Check = {
  id: "journal-console",
  severity: "high",
  title: "The journal is forwarded to where the host reads it",
  why: "Every line of every service's log, what users did among it.",
  repair: "part",
  look(system) {
    const settings = ["ForwardToConsole", "ForwardToKMsg", "ForwardToSocket"].flatMap((key) => {
      const setting = system.setting("journald.conf", key);
      const bad = setting !== undefined && (key === "ForwardToSocket" || isYes(setting.value));
      return bad ? [{ where: setting.where, found: `${key}=${setting.value}` }] : [];
    });
    const words = wordsLike(
      system,
      /^systemd\.journald\.forward_to_(?:console|kmsg)(?:=(?:1|y|yes|t|true|on))?$/i,
    );
    const text = "[Journal]\nForwardToConsole=no\nForwardToKMsg=no\nForwardToSocket=\n";
    return found([...settings, ...words], {
      words: "Forward it nowhere.",
      edits: settings.length > 0 ? [dropIn(`/etc/systemd/journald.conf.d/${DROP_IN}.conf`, text)] : [],
      byHand: words.length > 0 ? changeCommandLine(system, { remove: words }) : [],
      after: settings.length > 0 ? ["systemctl restart systemd-journald.service"] : [],
    });
  },
};

const systemdConsole: Check = {
  id: "systemd-console",
  severity: "medium",
  title: "systemd logs to the host's console",
  why: "Names of services and users, errors with their arguments; of services all that they print.",
  repair: "part",
  look(system) {
    const settings = ["LogTarget", "DefaultStandardOutput", "DefaultStandardError"].flatMap((key) => {
      const setting = system.setting("system.conf", key);
      const bad = setting !== undefined && /^(?:console|tty|kmsg)|\+console$/.test(setting.value);
      return bad ? [{ where: setting.where, found: `${key}=${setting.value}` }] : [];
    });
    const words = wordsLike(
      system,
      /^systemd\.(?:log_target=(?:console.*|kmsg)|default_standard_(?:output|error)=(?:tty|kmsg|.*console))$/,
    );
    const text =
      "[Manager]\nLogTarget=journal\nDefaultStandardOutput=journal\nDefaultStandardError=inherit\n";
    return found([...settings, ...words], {
      words: "Have it log to the journal.",
      edits: settings.length > 0 ? [dropIn(`/etc/systemd/system.conf.d/${DROP_IN}-log.conf`, text)] : [],
      byHand: words.length > 0 ? changeCommandLine(system, { remove: words }) : [],
      after: settings.length > 0 ? ["systemctl daemon-reexec"] : [],
    });
  },
};

const serviceConsole: Check = {
  id: "service-console",
  severity: "medium",
  title: "A service prints on the host's console",
  why: "cloud-final, for one, prints host keys and what it made, passwords among it.",
  repair: "whole",
  look(system) {
    const { units } = system;
    const there = units
      .names(/\.service$/)
      .filter((name) => !OTHER_TERMINAL_UNITS.test(name) && units.startable(name))
      .flatMap((name) =>
        ["StandardOutput", "StandardError"].flatMap((key) => {
          const output = units.setting(name, key);
          return output !== undefined && /^tty$|^kmsg|\+console$/.test(output.value)
            ? [{ name, key, output }]
            : [];
        }),
      );
    const names = [...new Set(there.map(({ name }) => name))];
    return found(
      there.map(({ name, key, output }) => ({
        where: output.where,
        found: `${name}: ${key}=${output.value}`,
      })),
      {
        words: "Have it print into the journal alone.",
        edits: names.map((name) =>
          dropIn(
            `${OWN_UNITS}/${name}.d/${DROP_IN}.conf`,
            "[Service]\nStandardOutput=journal\nStandardError=journal\n",
          ),
        ),
        after: [RELOAD],
      },
    );
  },
};

export const kernelChecks: readonly Check[] = [
  kernelDebugger,
  kernelConsole,
  sysrq,
  journalConsole,
  kernelLog,
  systemdConsole,
  serviceConsole,
];
