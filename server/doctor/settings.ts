// Settings that stand in several files of which the last wins: systemd's .conf files with their drop-ins, sysctl.d, modprobe.d.
// Files of an image may be an attacker's: no pattern here or in the checks takes longer than a file's length allows.

import type { Tree } from "./tree.ts";

export interface Setting {
  readonly where: string;
  readonly value: string;
}

const CONFIG_DIRECTORIES = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];

/**
 * Files of directories that add to each other: of the same name the one of the earlier directory counts, and they are read by name.
 * A link to /dev/null, or an empty file, takes one away: it says nothing.
 */
export function dropIns(tree: Tree, directories: readonly string[], ending: string): string[] {
  const byName = new Map<string, string>();
  for (const directory of directories) {
    for (const name of tree.list(directory)) {
      if (name.endsWith(ending) && !byName.has(name)) byName.set(name, `${directory}/${name}`);
    }
  }
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
}

/** One that is a link to nowhere says nothing, and cannot be read: that is systemd's own way to take a file away. */
export function readSettings(tree: Tree, file: string): string {
  return tree.link(file) === "/dev/null" ? "" : (tree.read(file) ?? "");
}

/** `key = value` of an ini file, in order, lines that go on put together. Sections are not told apart: no key of ours is in two. */
export function iniSettings(text: string): { readonly key: string; readonly value: string }[] {
  return text
    .replaceAll(/\\\n/g, " ")
    .split("\n")
    .flatMap((line) => {
      const [, key, value] = /^\s*([A-Za-z][\w.-]*)\s*=(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [{ key, value: value.trim() }];
    });
}

/** Of a file below systemd's directories. systemd.unit(5), systemd-system.conf(5). */
export function configSetting(tree: Tree, file: string, key: string): Setting | undefined {
  const directories = CONFIG_DIRECTORIES.map((directory) => `${directory}/systemd`);
  const main = directories.map((directory) => `${directory}/${file}`).find((each) => tree.isThere(each));
  const more = dropIns(
    tree,
    directories.map((directory) => `${directory}/${file}.d`),
    ".conf",
  );
  return lastOf(tree, main === undefined ? more : [main, ...more], key);
}

/** @param key - the last line with it counts; one without a value takes what came before away. */
export function lastOf(tree: Tree, files: readonly string[], key: string): Setting | undefined {
  let last: Setting | undefined;
  for (const where of files) {
    for (const setting of iniSettings(readSettings(tree, where))) {
      if (setting.key === key) last = setting.value === "" ? undefined : { where, value: setting.value };
    }
  }
  return last;
}

/** sysctl.d(5). /etc/sysctl.conf is read where a link of sysctl.d leads there, as on Debian. */
export function sysctlSetting(tree: Tree, key: string): Setting | undefined {
  const directories = CONFIG_DIRECTORIES.map((directory) => `${directory}/sysctl.d`);
  let last: Setting | undefined;
  for (const where of dropIns(tree, directories, ".conf")) {
    for (const line of readSettings(tree, where).split("\n")) {
      const [, name, value] = /^\s*-?([\w./-]+)\s*=(.*)$/.exec(line) ?? [];
      if (name?.replaceAll("/", ".") === key && value !== undefined) last = { where, value: value.trim() };
    }
  }
  return last;
}

/** modprobe.d(5): `blacklist` for what the kernel asks for by a device's id, `install` with false(1) or true(1) for everybody. */
export function modprobeBlocks(tree: Tree, module: string): boolean {
  const directories = CONFIG_DIRECTORIES.map((directory) => `${directory}/modprobe.d`);
  const never = /^\s*(?:blacklist\s+(\S+)\s*|install\s+(\S+)\s+(?:\/usr)?\/bin\/(?:false|true)\s*)$/;
  return dropIns(tree, directories, ".conf").some((file) =>
    readSettings(tree, file)
      .split("\n")
      .some((line) => {
        const [, blacklisted, installed] = never.exec(line) ?? [];
        return (blacklisted ?? installed)?.replaceAll("-", "_") === module;
      }),
  );
}
