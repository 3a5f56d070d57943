// sealttyd's configuration: TOML, read strictly. What is absent is refused or off, never unchecked.

import { readFile } from "node:fs/promises";
import { TomlError, parse } from "smol-toml";
import { SealttyError } from "../protocol/errors.ts";
import { errorCode } from "../node/socket-pipe.ts";
import { DEFAULT_PCRS, TPM_DEVICE } from "./evidence/tpm.ts";
import { escapeText } from "./log.ts";

export type PipeConfig =
  | { readonly type: "virtio"; readonly name: string }
  | { readonly type: "tty"; readonly device: string; readonly armourOnly: boolean }
  | { readonly type: "unix"; readonly path: string };

export type EvidenceConfig =
  | { readonly type: "tpm"; readonly device: string; readonly pcrs: readonly number[] }
  | { readonly type: "simulated"; readonly instance: string };

export interface UsersConfig {
  /** File of public keys; absent: nobody can use a key. */
  readonly authorizedKeys: string | undefined;
  /** Program and arguments for a session without a key; absent: not allowed. */
  readonly login: readonly string[] | undefined;
  /** Program and arguments of a session with a key; absent: the user's own shell from /etc/passwd. */
  readonly shell: readonly string[] | undefined;
}

export interface ServerConfig {
  readonly pipe: PipeConfig;
  readonly evidence: EvidenceConfig;
  readonly users: UsersConfig;
}

export const DEFAULT_CONFIG_FILE = "/etc/sealtty/sealttyd.toml";

const MAX_NAME = 128;

/** @throws SealttyError `bad-config`. */
export async function readServerConfig(file: string): Promise<ServerConfig> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const code = errorCode(cause) ?? "unknown error";
    const [why, next] =
      code === "ENOENT"
        ? [code, "Write one (see sealttyd.example.toml), or name another with --config."]
        : code === "EISDIR"
          ? ["it is a directory", "Name the file in it with --config."]
          : [code, "Check that sealttyd may read it."];
    throw new SealttyError("bad-config", `Cannot read ${escapeText(file)}: ${why}. ${next}`, { cause });
  }
  return parseServerConfig(text, file);
}

/** @param where - the file's name, for errors. @throws SealttyError `bad-config`. */
export function parseServerConfig(text: string, where: string): ServerConfig {
  const place = escapeText(where);
  let root: Table;
  try {
    root = new Table(parse(text), place, "");
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // Not its own message: that quotes the file.
    throw new SealttyError(
      "bad-config",
      `${place}, line ${cause.line}, column ${cause.column}: not valid TOML. Check quotes, brackets and repeated keys there.`,
      { cause },
    );
  }
  root.allow("pipe", "evidence", "users");
  const config = {
    pipe: pipeOf(root.table("pipe", "It says how the host carries the console.")),
    evidence: evidenceOf(root.table("evidence", "It says how this machine proves what it is.")),
    users: usersOf(root.table("users", "It says who may log in.")),
  };
  return config;
}

function pipeOf(table: Table): PipeConfig {
  const type = table.oneOf("type", ["virtio", "tty", "unix"]);
  switch (type) {
    case "virtio":
      table.allow("type", "name");
      return { type, name: table.text("name") };
    case "tty":
      table.allow("type", "device", "armour_only");
      return { type, device: table.path("device"), armourOnly: table.flag("armour_only") ?? false };
    case "unix":
      table.allow("type", "path");
      return { type, path: table.path("path") };
  }
}

function evidenceOf(table: Table): EvidenceConfig {
  const type = table.oneOf("type", ["tpm", "simulated"]);
  switch (type) {
    case "tpm":
      table.allow("type", "device", "pcrs");
      return {
        type,
        device: table.has("device") ? table.path("device") : TPM_DEVICE,
        pcrs: table.has("pcrs") ? table.pcrs("pcrs") : DEFAULT_PCRS,
      };
    case "simulated":
      table.allow("type", "instance", "i_know_this_proves_nothing");
      if (table.flag("i_know_this_proves_nothing") !== true) {
        table.fail(
          'type = "simulated" proves nothing about this machine',
          "For a test, add i_know_this_proves_nothing = true; for anything else use real evidence.",
        );
      }
      return { type, instance: table.text("instance") };
  }
}

function usersOf(table: Table): UsersConfig {
  table.allow("authorized_keys", "login", "shell");
  const users = {
    authorizedKeys: table.has("authorized_keys") ? table.path("authorized_keys") : undefined,
    login: table.has("login") ? table.command("login") : undefined,
    shell: table.has("shell") ? table.command("shell") : undefined,
  };
  if (users.authorizedKeys === undefined && users.login === undefined) {
    table.fail(
      "nobody could log in",
      'Set authorized_keys = "/etc/sealtty/authorized_keys", or login = ["/bin/login"], or both.',
    );
  }
  return users;
}

/** One table of the file: reads each key with its type, and names file, table and key in every error. */
class Table {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #file: string;
  readonly #name: string;

  constructor(values: Readonly<Record<string, unknown>>, file: string, name: string) {
    this.#values = values;
    this.#file = file;
    this.#name = name;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#values, key);
  }

  allow(...known: readonly string[]): void {
    for (const key of Object.keys(this.#values)) {
      if (known.includes(key)) continue;
      const near = nearest(key, known);
      const list = known.join(", ");
      this.fail(
        `unknown key "${escapeText(key)}"`,
        near === undefined ? `Known here: ${list}.` : `Did you mean "${near}"? Known here: ${list}.`,
      );
    }
  }

  table(key: string, purpose: string): Table {
    const value = this.#values[key];
    if (!this.has(key)) this.fail(`the table [${key}] is missing`, purpose);
    if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Date) {
      this.fail(`"${key}" must be a table`, `Write [${key}] on a line of its own.`);
    }
    return new Table(value as Record<string, unknown>, this.#file, key);
  }

  oneOf<const T extends string>(key: string, choices: readonly T[]): T {
    const value = this.#values[key];
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const list = choices.map((choice) => `"${choice}"`).join(", ");
    const near = typeof value === "string" ? nearest(value, choices) : undefined;
    this.fail(
      this.has(key) ? `"${key}" has a value that is not known` : `"${key}" is missing`,
      near === undefined
        ? `It must be one of ${list}.`
        : `Did you mean "${near}"? It must be one of ${list}.`,
    );
  }

  text(key: string): string {
    const value = this.#required(key);
    if (typeof value !== "string" || value === "" || value.length > MAX_NAME || /\p{Cc}/u.test(value)) {
      this.fail(
        `"${key}" must be a text of 1 to ${MAX_NAME} printable characters`,
        `Write it in quotes: ${key} = "…".`,
      );
    }
    return value;
  }

  path(key: string): string {
    const value = this.#required(key);
    if (typeof value !== "string" || !value.startsWith("/") || value.includes("\0")) {
      this.fail(`"${key}" must be an absolute path`, `Write it in quotes, from the root: ${key} = "/…".`);
    }
    return value;
  }

  flag(key: string): boolean | undefined {
    const value = this.#values[key];
    if (value !== undefined && typeof value !== "boolean") {
      this.fail(`"${key}" must be true or false`, "Write it without quotes.");
    }
    return value;
  }

  command(key: string): readonly string[] {
    const value = this.#required(key);
    const isCommand =
      Array.isArray(value) &&
      value.every((part) => typeof part === "string" && !part.includes("\0")) &&
      typeof value[0] === "string" &&
      value[0].startsWith("/");
    if (!isCommand) {
      this.fail(
        `"${key}" must be a list: a program with its absolute path, then its arguments`,
        `For example ${key} = ["/bin/sh", "-l"].`,
      );
    }
    return value as string[];
  }

  pcrs(key: string): readonly number[] {
    const value = this.#required(key);
    const isSelection =
      Array.isArray(value) &&
      value.length > 0 &&
      new Set(value).size === value.length &&
      value.every((pcr) => typeof pcr === "number" && Number.isInteger(pcr) && pcr >= 0 && pcr <= 23);
    if (!isSelection) {
      this.fail(
        `"${key}" must list at least one PCR, each once, from 0 to 23`,
        `For example ${key} = [0, 2, 4, 7].`,
      );
    }
    return (value as number[]).toSorted((a, b) => a - b);
  }

  fail(problem: string, next: string): never {
    const place = this.#name === "" ? this.#file : `${this.#file}, [${this.#name}]`;
    throw new SealttyError("bad-config", `${place}: ${problem}. ${next}`);
  }

  #required(key: string): unknown {
    if (!this.has(key)) this.fail(`"${key}" is missing`, `Add it below [${this.#name}].`);
    return this.#values[key];
  }
}

/** The known word with the fewest single-letter edits, if they are few. */
function nearest<T extends string>(word: string, known: readonly T[]): T | undefined {
  let best: T | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
