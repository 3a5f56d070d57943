// A command line that sealtty-exec (cli/native/sealtty-exec.c) was given, as it hands it to who keeps a connection.

import { Buffer } from "node:buffer";
import path from "node:path";
import { Reader, textOf } from "../../protocol/bytes.ts";
import { SETTINGS } from "../guest-settings.ts";
import type { Input } from "../options.ts";
import { misbehaved } from "./wire.ts";

export interface Launch {
  /** Behind the name of the program; as behind `sealtty exec --master`. */
  readonly args: readonly string[];
  /** Where it was started. */
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Whether its standard input, output and error are terminals. */
  readonly terminals: readonly [boolean, boolean, boolean];
}

/** Of all of it: the frame has its own limit. */
const MAX_WORDS = 16 * 1024;

/**
 * Texts are u32 length and bytes: version, directory; u8, a bit for each of the standard streams that is a terminal; u32 count
 * and the words; u32 count and the variables as NAME=VALUE.
 * @returns undefined where it is another version's, or some of it no UTF-8: `sealtty` itself knows what to say of that.
 * @throws SealttyError `peer-misbehaved`.
 */
export function readLaunch(body: Uint8Array, version: string): Launch | undefined {
  const reader: Reader = new Reader(body, "A command line");
  const bytes = (): Uint8Array => reader.lv32(body.length);
  const list = (): Uint8Array[] => {
    const count = reader.u32();
    if (count > MAX_WORDS) throw misbehaved("a command line of too many words");
    return Array.from({ length: count }, bytes);
  };
  const itsVersion = bytes();
  if (Buffer.from(itsVersion).toString() !== version) return undefined;
  const directory = bytes();
  const terminals = reader.u8();
  const [args, variables] = [list(), list()];
  reader.end();
  try {
    return {
      args: args.map(textOf),
      directory: textOf(directory),
      environment: environmentOf(variables.map(textOf)),
      terminals: [(terminals & 1) !== 0, (terminals & 2) !== 0, (terminals & 4) !== 0],
    };
  } catch {
    return undefined;
  }
}

/** As Node has it: the first of a name counts. */
function environmentOf(variables: readonly string[]): Record<string, string> {
  const environment = new Map<string, string>();
  for (const variable of variables) {
    const equals = variable.indexOf("=", 1);
    const name = variable.slice(0, Math.max(equals, 0));
    if (name !== "" && !environment.has(name)) environment.set(name, variable.slice(equals + 1));
  }
  return Object.fromEntries(environment);
}

/** Options, and keys of -o, that name a file or directory of this machine: each is called the same as either. */
const FILES: ReadonlySet<string> = new Set([
  "config",
  ...Object.values(SETTINGS).flatMap(({ kind, option }) => (kind === "path" ? [option] : [])),
]);

/** The same words, said in another directory than this process has. */
export function saidIn(directory: string, input: Input): Input {
  // Not normalised: behind a link `..` is not what stands before it.
  const file = (text: string): string =>
    text === "" || path.isAbsolute(text) ? text : `${directory}/${text}`;
  const setting = (text: string): string => {
    const [, name = "", value = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    return FILES.has(name) && value !== "none" ? `${name}=${file(value)}` : text;
  };
  const meant = (name: string, text: string): string => {
    if (name === "option") return setting(text);
    return !FILES.has(name) || (name === "certificate" && text === "none") ? text : file(text);
  };
  return {
    ...input,
    text(name) {
      const text = input.text(name);
      return text === undefined ? undefined : meant(name, text);
    },
    texts: (name) => input.texts(name).map((text) => meant(name, text)),
  };
}

/** Whether one of its files is another one for each process, as /dev/stdin and what a shell makes of <(…). */
export function namesOwnFiles(input: Input): boolean {
  return [...FILES].some((name) => /^\/+(?:dev|proc)\//.test(path.normalize(input.text(name) ?? "")));
}
