// guests.toml: the user's own names for guests, and how each is reached. Read strictly, as a policy is.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { readAtMost } from "../node/bounded-file.ts";
import { textOf } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { type TomlTable, readToml } from "../protocol/toml-table.ts";
import { type GuestAddress, parseAddress } from "./address.ts";
import { configDirectory } from "./directories.ts";
import { SETTINGS, type Setting, type Settings, type SettingName } from "./guest-settings.ts";
import { HOST_SETTINGS } from "./hosts/names.ts";
import { whyUnreadable } from "./owner-file.ts";
import { printable } from "./printable.ts";
import type { Services } from "./services.ts";

const MAX_FILE = 256 * 1024;
const MAX_GUESTS = 1000;
export const GUESTS_FILE = "guests.toml";

/** No colon and no slash, so that no address looks like one. */
const ALIAS = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export function isAlias(text: string): boolean {
  return ALIAS.test(text);
}

export interface GuestEntry {
  readonly address: GuestAddress | undefined;
  readonly settings: Settings;
  /** What the host's API wants to know, by the names of hosts/names.ts; undefined: the environment says it. */
  readonly host: Readonly<Record<string, string>> | undefined;
}

export interface GuestsFile {
  readonly defaults: Settings;
  readonly guests: ReadonlyMap<string, GuestEntry>;
}

export const NO_GUESTS: GuestsFile = { defaults: new Map(), guests: new Map() };

/** @returns undefined where there is no home. */
export function guestsPath(environment: Services["environment"]): string | undefined {
  const directory = configDirectory(environment);
  return directory === undefined ? undefined : path.join(directory, GUESTS_FILE);
}

/**
 * @param named - `-F FILE`, which must be there; undefined: the user's own file, which may be absent and which nobody else may
 * be able to change, as ssh has it. @throws SealttyError `bad-config`.
 */
export async function readGuests(
  named: string | undefined,
  environment: Services["environment"],
): Promise<GuestsFile> {
  const file = named ?? guestsPath(environment);
  if (file === undefined) return NO_GUESTS;
  let bytes: Uint8Array;
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { mode, uid } = await handle.stat();
      if (named === undefined) requireOwn(file, mode, uid);
      bytes = await readAtMost(handle, MAX_FILE + 1);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (named === undefined && (code === "ENOENT" || code === "ENOTDIR")) return NO_GUESTS;
    throw new SealttyError("bad-config", `cannot read ${printable(file)}: ${whyUnreadable(code)}`, {
      cause,
    });
  }
  if (bytes.length > MAX_FILE) {
    throw new SealttyError("bad-config", `${printable(file)} is larger than ${MAX_FILE / 1024} KiB`);
  }
  let text: string;
  try {
    text = textOf(bytes);
  } catch (cause) {
    throw new SealttyError("bad-config", `${printable(file)} is not UTF-8 text`, { cause });
  }
  return parseGuests(text, file, environment["HOME"]);
}

/** Whoever can change it chooses the policy. */
function requireOwn(file: string, mode: number, uid: number): void {
  const own = process.getuid?.();
  if (own === undefined) return;
  if (uid !== own && uid !== 0)
    throw new SealttyError("bad-config", `${printable(file)} belongs to another user; make one of your own`);
  if ((mode & 0o022) !== 0) {
    throw new SealttyError(
      "bad-config",
      `others may change ${printable(file)}, and with it the policies that you trust; run chmod go-w on it`,
    );
  }
}

/**
 * @param file - its path: paths in it are relative to its directory, and complaints name it. @param home - what `~/` means.
 * @throws SealttyError `bad-config`.
 */
export function parseGuests(text: string, file: string, home: string | undefined): GuestsFile {
  const root = readToml(text, {
    name: printable(file),
    code: "bad-config",
    hint: "a guest looks like [guests.NAME] with address and policy below it (docs/configuration.md)",
  });
  root.allowOnly(["defaults", "guests"]);
  const paths = { directory: path.dirname(path.resolve(file)), home };
  const defaults = root.table("defaults");
  const sections = root.table("guests");
  const guests = new Map<string, GuestEntry>();
  for (const name of sections?.keys() ?? []) {
    if (!isAlias(name)) {
      root.fail(
        `"${printable(name, 60)}" is no name for a guest; take up to 63 letters, digits, dots, dashes and underscores`,
      );
    }
    const section = sections?.table(name);
    if (section !== undefined) guests.set(name, entryOf(section, paths));
  }
  if (guests.size > MAX_GUESTS) root.fail(`more than ${MAX_GUESTS} guests`);
  return {
    defaults: defaults === undefined ? new Map() : settingsOf(defaults, paths, []),
    guests,
  };
}

interface Paths {
  readonly directory: string;
  readonly home: string | undefined;
}

function entryOf(section: TomlTable, paths: Paths): GuestEntry {
  const settings = settingsOf(section, paths, ["address", "host"]);
  const address = addressOf(section);
  const host = section.table("host");
  if (host === undefined) return { address, settings, host: undefined };
  const known = address === undefined ? undefined : HOST_SETTINGS[address.kind];
  if (known === undefined || address === undefined)
    return section.fail(
      `${section.at("host")} is for proxmox:, kubevirt:, nova:, incus: and vnc+…: addresses; remove it`,
    );
  host.allowOnly(known.names);
  const values: Record<string, string> = {};
  for (const name of host.keys()) {
    const value = host.value(name);
    if (typeof value === "boolean" && known.flags.includes(name)) {
      if (value) values[name] = "1";
    } else if (typeof value !== "string" || value === "" || known.flags.includes(name)) {
      host.fail(
        `${host.at(name)} is not ${known.flags.includes(name) ? "true or false" : "a text in quotes"}`,
      );
    } else values[name] = known.files.includes(name) ? located(value, paths) : value;
  }
  return { address, settings, host: values };
}

function addressOf(section: TomlTable): GuestAddress | undefined {
  const value = section.value("address");
  if (value === undefined) return undefined;
  const at = section.at("address");
  if (typeof value !== "string") return section.fail(`${at} is not a text; write it in quotes`);
  let address: GuestAddress;
  try {
    address = parseAddress(value);
  } catch (cause) {
    if (!(cause instanceof SealttyError)) throw cause;
    return section.fail(`${at}: ${cause.message}`);
  }
  const file = address.kind === "vnc" ? address.place : address;
  if ("path" in file && !path.isAbsolute(file.path)) {
    return section.fail(
      `${at}: ${printable(value, 120)} depends on where sealtty is started; write the full path`,
    );
  }
  return address;
}

function settingsOf(section: TomlTable, paths: Paths, others: readonly string[]): Settings {
  if (section.value("simulated") !== undefined) {
    section.fail(
      `${section.at("simulated")}: simulated evidence is accepted by --simulated on the command line, and nowhere else`,
    );
  }
  section.allowOnly([...others, ...Object.keys(SETTINGS)]);
  const settings = new Map<SettingName, string | boolean | readonly string[]>();
  for (const [name, setting] of Object.entries(SETTINGS) as [SettingName, Setting][]) {
    const value = section.value(name);
    if (value === undefined) continue;
    const found = setting.read(value);
    if (found === undefined) {
      section.fail(
        `${section.at(name)} is not ${setting.words}; write for example ${name} = ${setting.example}`,
      );
    }
    settings.set(
      name,
      setting.kind === "path" && typeof found === "string" && found !== "none"
        ? located(found, paths)
        : found,
    );
  }
  return settings;
}

/** Relative to the file that says it; `~/` is the user's home. */
function located(value: string, { directory, home }: Paths): string {
  if (value.startsWith("~/") && home !== undefined) return path.join(home, value.slice(2));
  return path.resolve(directory, value);
}
