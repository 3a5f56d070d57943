// What the checks ask of a system, running or an image: files, the kernel's command line, units, settings, modules, processes.

import { type Setting, configSetting, modprobeBlocks, sysctlSetting } from "./settings.ts";
import type { Tree } from "./tree.ts";
import { Units } from "./units.ts";

export interface CommandLine {
  readonly where: string;
  readonly words: readonly string[];
}

export interface Process {
  readonly pid: string;
  /** Of the process's own choosing. */
  readonly name: string;
  /** Of its standard input, output and error, those that lead to a device. */
  readonly terminals: readonly string[];
}

/** Terminals whose other end is the host's: serial lines, hvc, virtual terminals (screen and keyboard), s390's. */
const HOST_TERMINAL =
  /^(?:console|tty[0-9]*|ttyS[0-9]+|hvc[0-9]+|hvsi[0-9]+|ttyAMA[0-9]+|xvc[0-9]+|ttysclp[0-9]+|sclp_line[0-9]+|ttyUSB[0-9]+|ttyACM[0-9]+)$/;

export function isHostTerminal(device: string): boolean {
  return HOST_TERMINAL.test(device.replace(/^\/dev\//, ""));
}

export class System {
  readonly tree: Tree;
  readonly units: Units;
  /** All that are to be found, each with its place: the running one's, and those that boot loaders are given. */
  readonly commandLines: readonly CommandLine[];
  /** Those that count: the running one, or what an image would boot with. Empty where whoever boots it writes it. */
  readonly bootLines: readonly CommandLine[];

  constructor(tree: Tree) {
    this.tree = tree;
    this.units = new Units(tree);
    const running = linesOf(tree, ["/proc/cmdline"], plainLine);
    const loader = [
      ...linesOf(tree, ["/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"], plainLine),
      ...linesOf(tree, below(tree, "/boot/loader/entries", ".conf"), loaderLine),
      ...linesOf(tree, ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"], grubLine),
    ];
    const grub = ["/etc/default/grub", ...below(tree, "/etc/default/grub.d", ".cfg")];
    const defaults = linesOf(tree, grub, grubDefaultLine);
    this.commandLines = [...running, ...loader, ...defaults];
    this.bootLines = running.length > 0 ? running : loader.length > 0 ? loader : joined(defaults);
  }

  read(file: string): string | undefined {
    return this.tree.read(file);
  }

  list(directory: string): readonly string[] {
    return this.tree.list(directory);
  }

  exists(file: string): boolean {
    return this.tree.exists(file);
  }

  /** Of several places of the same file, the first that is there. */
  firstOf(...files: readonly string[]): string | undefined {
    return files.find((file) => this.exists(file));
  }

  /** A running kernel's value, without its end of line. */
  value(file: string): string | undefined {
    return this.read(file)?.trimEnd();
  }

  /** @returns one of systemd's programs that make units, where it is there and nobody forbade it. systemd.generator(7). */
  generator(name: string): string | undefined {
    const directories = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];
    const places = directories.map((directory) => `${directory}/systemd/system-generators/${name}`);
    const file = places.find((place) => this.tree.isThere(place));
    return file === undefined || this.tree.link(file) === "/dev/null" ? undefined : file;
  }

  /** `file` is one of systemd's, "journald.conf" say; the last of it and its drop-ins wins. */
  setting(file: string, key: string): Setting | undefined {
    return configSetting(this.tree, file, key);
  }

  /** As it will be set at the next boot. @param key - with dots. */
  sysctl(key: string): Setting | undefined {
    return sysctlSetting(this.tree, key);
  }

  /**
   * Where a driver can come from: a file that the kernel may load by itself, unless modprobe was told never to; or the kernel, which
   * has it built in. @param file - below `kernel/`, without `.ko`.
   */
  driver(file: string): { readonly loadable: readonly string[]; readonly builtIn: readonly string[] } {
    const blocked = modprobeBlocks(this.tree, file.replace(/^.*\//, "").replaceAll("-", "_"));
    const root = this.exists("/usr/lib/modules") ? "/usr/lib/modules" : "/lib/modules";
    const kernels = this.list(root).map((kernel) => `${root}/${kernel}`);
    const files = kernels.flatMap((kernel) => {
      const at = `${kernel}/kernel/${file}.ko`;
      return this.firstOf(at, `${at}.xz`, `${at}.zst`, `${at}.gz`) ?? [];
    });
    const builtIn = kernels
      .map((kernel) => `${kernel}/modules.builtin`)
      .filter((list) => this.read(list)?.split("\n").includes(`kernel/${file}.ko`));
    return { loadable: blocked ? [] : files, builtIn };
  }

  /** @returns whether kernels of this system were built with an option; undefined where no file says so. */
  kernelOption(name: string): boolean | undefined {
    const configs = this.list("/boot").filter((each) => each.startsWith("config-"));
    const texts = configs.flatMap((each) => this.read(`/boot/${each}`) ?? []);
    if (texts.length === 0) return undefined;
    return texts.some((text) => new RegExp(`^${name}=[ym]$`, "m").test(text));
  }

  /** @returns what runs now; nothing of an image. */
  processes(): readonly Process[] {
    const pids = this.list("/proc").filter((name) => /^[0-9]+$/.test(name));
    const processes = pids.map((pid) => {
      const terminals = new Set<string>();
      for (const fd of [0, 1, 2]) {
        const target = this.tree.link(`/proc/${pid}/fd/${fd}`);
        if (target?.startsWith("/dev/") === true) terminals.add(target);
      }
      return { pid, name: this.value(`/proc/${pid}/comm`) ?? "?", terminals: [...terminals] };
    });
    this.tree.mergeBlind((where) => /^\/proc\/[0-9]+\/fd\//.test(where), "/proc/*/fd");
    return processes;
  }
}

function linesOf(
  tree: Tree,
  files: readonly string[],
  wordsOf: (line: string) => readonly string[] | undefined,
): CommandLine[] {
  return files.flatMap((where) =>
    (tree.read(where) ?? "").split("\n").flatMap((line) => {
      const words = wordsOf(line);
      return words === undefined || words.length === 0 ? [] : [{ where, words }];
    }),
  );
}

function below(tree: Tree, directory: string, ending: string): string[] {
  return tree
    .list(directory)
    .filter((name) => name.endsWith(ending))
    .map((name) => `${directory}/${name}`);
}

/** GRUB's variables are parts of one line. */
function joined(lines: readonly CommandLine[]): CommandLine[] {
  const [first] = lines;
  if (first === undefined) return [];
  return [{ where: first.where, words: lines.flatMap(({ words }) => words) }];
}

const plainLine = (line: string) => (line.startsWith("#") ? undefined : commandWords(line));

function loaderLine(line: string): readonly string[] | undefined {
  const [, options] = /^options\s+(.*)$/.exec(line) ?? [];
  return options === undefined ? undefined : commandWords(options);
}

function grubLine(line: string): readonly string[] | undefined {
  const [, rest] = /^\s*linux(?:16|efi)?\s+\S+\s+(.*)$/.exec(line) ?? [];
  return rest === undefined ? undefined : commandWords(rest);
}

function grubDefaultLine(line: string): readonly string[] | undefined {
  const [, , text] = /^\s*GRUB_CMDLINE_LINUX(?:_DEFAULT)?=(["']?)(.*)\1\s*$/.exec(line) ?? [];
  return text === undefined ? undefined : commandWords(text).filter((word) => !word.startsWith("$"));
}

/** Quotes hold words with blanks together, as the kernel has it, and count for nothing else. */
export function commandWords(text: string): string[] {
  return (text.match(/(?:"[^"]*"|[^\s"])+/g) ?? []).map((word) => word.replaceAll('"', ""));
}
