// A tree of files as text, to hold one beside another.

import fs from "node:fs";
import path from "node:path";

/** Every name below `root` with its type, mode and content, a line each. */
export function treeOf(root: string): string[] {
  return (fs.readdirSync(root, { recursive: true }) as string[]).toSorted().map((name) => {
    const file = path.join(root, name);
    const stat = fs.lstatSync(file);
    const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
    if (stat.isSymbolicLink()) return `link ${name} -> ${fs.readlinkSync(file)}`;
    if (stat.isDirectory()) return `directory ${mode} ${name}`;
    return `file ${mode} ${name} ${JSON.stringify(fs.readFileSync(file, "latin1"))}`;
  });
}

/** Writes files below `root`, with the directories that they need. */
export function writeTree(root: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(root, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
}
