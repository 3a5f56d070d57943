// systemd's units as they lie on the disk: which there are, which are masked, what wants them, and what is set in them.
// systemd.unit(5): load path, masks, drop-ins, templates. Nobody is asked who runs, so an image can be looked at as well.

import { type Setting, dropIns, lastOf, readSettings } from "./settings.ts";
import type { Tree } from "./tree.ts";

/** In the order in which systemd looks. */
const UNIT_DIRECTORIES = [
  "/etc/systemd/system.control",
  "/run/systemd/system.control",
  "/run/systemd/transient",
  "/run/systemd/generator.early",
  "/etc/systemd/system",
  "/etc/systemd/system.attached",
  "/run/systemd/system",
  "/run/systemd/system.attached",
  "/run/systemd/generator",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
  "/run/systemd/generator.late",
];
/** Where what we write is above all that a distribution, and nearly all that a generator writes. */
export const OWN_UNITS = "/etc/systemd/system";

const MAX_ALIASES = 8;

export class Units {
  readonly #tree: Tree;
  readonly #directories: readonly string[];
  /** Names in each directory, of units and of directories beside them. */
  readonly #names: ReadonlyMap<string, readonly string[]>;

  constructor(tree: Tree) {
    this.#tree = tree;
    const seen = new Set<string>(); // where /lib is a link to /usr/lib there is one directory
    this.#directories = UNIT_DIRECTORIES.filter((directory) => {
      if (!tree.exists(directory)) return false;
      const at = tree.locate(directory);
      return !seen.has(at) && seen.add(at);
    });
    this.#names = new Map(this.#directories.map((directory) => [directory, tree.list(directory)]));
  }

  /** Every unit that has a file, or is wanted, or has a drop-in; templates among them. */
  names(pattern: RegExp): readonly string[] {
    const names = new Set<string>();
    for (const [directory, entries] of this.#names) {
      for (const entry of entries) {
        const inside = /\.(?:wants|requires)$/.test(entry) ? this.#tree.list(`${directory}/${entry}`) : [];
        for (const name of [entry.replace(/\.d$/, ""), ...inside]) if (pattern.test(name)) names.add(name);
      }
    }
    return [...names].sort();
  }

  /** @returns the file that counts, of the unit or else of its template, aliases followed; undefined where there is none. */
  file(name: string, depth = 0): string | undefined {
    for (const each of [name, templateOf(name)]) {
      if (each === undefined) continue;
      const directory = this.#directories.find((one) => this.#names.get(one)?.includes(each));
      if (directory === undefined) continue;
      const at = `${directory}/${each}`;
      const other = this.#tree.link(at)?.replace(/^.*\//, "");
      // A link to a unit of another name is an alias: what counts is that unit, which may be masked.
      const isAlias = other !== undefined && other !== each && /\.[a-z]+$/.test(other) && depth < MAX_ALIASES;
      return isAlias ? this.file(other.replace(/@\./, `@${instanceOf(name)}.`), depth + 1) : at;
    }
    return undefined;
  }

  /** That it can never be started. */
  masked(name: string): boolean {
    const file = this.file(name);
    if (file === undefined) return false;
    return this.#tree.link(file) === "/dev/null" || this.#tree.read(file) === "";
  }

  /** That there is one, and nobody forbade it. */
  startable(name: string): boolean {
    return this.file(name) !== undefined && !this.masked(name);
  }

  /** @returns the links by which others want it, at the place that counts. @param by - only those of this unit. */
  wanted(name: string, by?: string): readonly string[] {
    const links = new Map<string, string>();
    for (const [directory, entries] of this.#names) {
      for (const entry of entries) {
        if (!/\.(?:wants|requires)$/.test(entry) || links.has(entry)) continue;
        if (by !== undefined && entry !== `${by}.wants` && entry !== `${by}.requires`) continue;
        if (this.#tree.list(`${directory}/${entry}`).includes(name))
          links.set(entry, `${directory}/${entry}/${name}`);
      }
    }
    return [...links.values()].filter((link) => this.#tree.link(link) !== "/dev/null");
  }

  /** Of the file that counts and its drop-ins, the last one. */
  setting(name: string, key: string): Setting | undefined {
    const file = this.file(name);
    return lastOf(this.#tree, [...(file === undefined ? [] : [file]), ...this.#dropIns(name)], key);
  }

  /** The unit's file and its drop-ins, each with its text. */
  files(name: string): readonly Setting[] {
    const file = this.file(name);
    return [...(file === undefined ? [] : [file]), ...this.#dropIns(name)].map((where) => ({
      where,
      value: readSettings(this.#tree, where),
    }));
  }

  #dropIns(name: string): string[] {
    const folders = [...new Set([name, templateOf(name) ?? name])].map((each) => `${each}.d`);
    const there = [...this.#names].flatMap(([directory, entries]) =>
      folders.filter((folder) => entries.includes(folder)).map((folder) => `${directory}/${folder}`),
    );
    return dropIns(this.#tree, there, ".conf");
  }
}

function instanceOf(name: string): string {
  return /@(.*)\.[a-z]+$/.exec(name)?.[1] ?? "";
}

function templateOf(name: string): string | undefined {
  const template = name.replace(/@.*(\.[a-z]+)$/, "@$1");
  return template === name ? undefined : template;
}

/** A path in /etc that masks a unit: its template's where no file is the unit's own, so that no instance of it comes. */
export function maskOf(units: Units, name: string): string {
  const template = templateOf(name);
  const own = units.file(name)?.endsWith(`/${name}`) === true;
  return `${OWN_UNITS}/${template === undefined || own ? name : template}`;
}
