// The native addon that opens and resizes ptys (the one of node-pty, prebuilt by @lydell), used without its JavaScript:
// that loses output when the program ends fast, and its fork() leaves a thread waiting for every child.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { SealttyError } from "../../protocol/errors.ts";

export interface PtyAddon {
  /** Both descriptors are O_NONBLOCK and without close-on-exec. `pty` is the terminal's device file. */
  open(
    columns: number,
    rows: number,
  ): { readonly master: number; readonly slave: number; readonly pty: string };
  resize(master: number, columns: number, rows: number): void;
}

let loaded: PtyAddon | undefined;

/**
 * Looks at SEALTTY_PTY_ADDON, then beside the program, then in node_modules.
 * @throws SealttyError `device-unavailable` naming what was tried.
 */
export function loadPtyAddon(): PtyAddon {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  for (const find of candidates(require)) {
    let file: string | undefined;
    try {
      file = find();
      if (file === undefined) continue;
      loaded = require(file) as PtyAddon;
      return loaded;
    } catch (error) {
      // Of a long message only the first line: Node appends its search path.
      tried.push(`${file ?? "node_modules"}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  throw new SealttyError(
    "device-unavailable",
    `Cannot load the pty addon, so there are no terminals. Tried ${tried.join("; ")}. Put pty.node beside the program, or name it in SEALTTY_PTY_ADDON.`,
  );
}

function candidates(require: NodeJS.Require): (() => string | undefined)[] {
  const named = process.env["SEALTTY_PTY_ADDON"];
  // Whoever names one means that one.
  if (named !== undefined && named !== "") return [() => path.resolve(named)];
  const beside = path.join(path.dirname(fileURLToPath(import.meta.url)), "pty.node");
  const packageName = `@lydell/node-pty-${process.platform}-${process.arch}`;
  return [
    () => (fs.existsSync(beside) ? beside : undefined),
    () => require.resolve(`${packageName}/pty.node`),
  ];
}
