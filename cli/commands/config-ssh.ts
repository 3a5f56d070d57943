// `sealtty config-ssh`: a Host block in the user's ssh configuration, so that ssh, scp, rsync and ansible reach a guest as any host.

import { lstat, mkdir, realpath } from "node:fs/promises";
import path from "node:path";
import { readBoundedFile } from "../../node/bounded-file.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { asError, SealttyError } from "../../protocol/errors.ts";
import { parseAddress } from "../address.ts";
import { SETTINGS } from "../guest-settings.ts";
import { type NamedGuest, namedGuest } from "../named-guest.ts";
import { type Command, type Input, KEYED_OPTIONS, usage } from "../options.ts";
import { readPolicy } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import {
  blockNames,
  blockText,
  isSshHostName,
  type SshBlock,
  withBlock,
  withoutBlock,
} from "../ssh-config.ts";
import { replaceFile } from "../whole-file.ts";

/** So that no name of the user's own is hidden by one of ours. */
const SUFFIX = ".sealtty";
const MAX_FILE = 4 * 1024 * 1024;
/** What proxy and known-hosts are given again, as it was given here. Those of FILE and DIR become absolute. */
const PATHS = ["config", "policy", "collateral"] as const;
const TEXTS = ["timeout", "encoding"] as const;
const SWITCHES = ["simulated"] as const;

export const configSshCommand: Command = {
  name: "config-ssh",
  summary: "write a Host block for the guest into ~/.ssh/config: ssh, scp, rsync and ansible then reach it",
  operands: "GUEST…",
  options: [
    ...KEYED_OPTIONS,
    {
      name: "host",
      value: "NAME",
      help: "what ssh calls the guest; default: its name in guests.toml, or the policy's, with .sealtty behind it",
    },
    { name: "ssh-config", value: "FILE", help: "in place of ~/.ssh/config" },
    { name: "dry-run", help: "print what the file would be, and write nothing" },
    { name: "remove", help: "take the blocks of these names out; without a name, all that sealtty made" },
  ],
  notes: [
    "The options are those that the guest is to be reached with; paths are written down whole. -l is the user at both ends.",
    "ssh takes the host key from the guest's verified evidence (ssh_host_keys in its sealttyd.toml) and from nowhere else.",
    "Run again it replaces its own block, between the lines that say begin and end; the rest of the file stays byte for byte.",
    "Exit status: 0, 2 for usage and for files that cannot be read or written.",
  ],
  exits: "inspect-like",
  async run(input, services) {
    if (input.rest !== undefined) throw usage(configSshCommand, "config-ssh takes no command");
    const reporter = new Reporter(services, input);
    const file = await configFile(input, services);
    const before = await readConfig(file);
    const { after, changed } = input.has("remove")
      ? await removed(before, input, services)
      : await added(before, input, services);
    if (input.has("dry-run")) {
      await print(services.stdout, after);
      return 0;
    }
    if (after !== before) await writeConfig(file, Buffer.from(after, "latin1"));
    const verb = input.has("remove") ? "taken out of" : "written into";
    for (const host of changed) {
      reporter.event("ssh-host", { host, file, removed: input.has("remove") });
      reporter.say(`sealtty: ${host} is ${verb} ${file}`);
    }
    if (changed.length === 0) reporter.say(`sealtty: ${file} has no such block`);
    else if (!input.has("remove")) {
      const other = input.text("ssh-config") === undefined ? "" : `-F ${file} `;
      reporter.say(`sealtty: try: ssh ${other}${changed[0]}`);
    }
    return 0;
  },
};

interface Change {
  readonly after: string;
  readonly changed: readonly string[];
}

async function removed(before: string, input: Input, services: Services): Promise<Change> {
  const there = blockNames(before);
  const named = input.text("host");
  // Where the host's name is said, the guest needs no other.
  const names = named === undefined ? input.operands : [named];
  // A guest by its address is known here by its policy.
  const hosts: string[] = [];
  for (const name of names) {
    if (/[:/]/.test(name)) hosts.push(await defaultHost(await namedGuest(name, input, services)));
    else hosts.push(name);
  }
  const wanted =
    names.length === 0 ? there : there.filter((host) => hosts.some((name) => isNamed(host, name)));
  let after = before;
  for (const host of wanted) after = withoutBlock(after, host);
  return { after, changed: wanted };
}

function isNamed(host: string, name: string): boolean {
  return host === name || host === name + SUFFIX;
}

async function added(before: string, input: Input, services: Services): Promise<Change> {
  const guests = input.operands;
  if (guests.length === 0) throw usage(configSshCommand, "GUEST is missing");
  const named = input.text("host");
  if (named !== undefined && guests.length > 1) throw usage(configSshCommand, "--host goes with one GUEST");
  let after = before;
  const changed: string[] = [];
  for (const guest of guests) {
    const reached = await namedGuest(guest, input, services);
    const host = named ?? (await defaultHost(reached)) + SUFFIX;
    if (!isSshHostName(host))
      throw usage(
        configSshCommand,
        `${JSON.stringify(host)} is no name for ssh; ${named === undefined ? "name one with --host" : "letters, digits, . _ and - make one"}`,
      );
    if (changed.includes(host))
      throw usage(configSshCommand, `two guests would be ${host}: write them one by one, with --host`);
    after = withBlock(after, host, latin1(blockText(blockOf(guest, host, reached))));
    changed.push(host);
  }
  return { after, changed };
}

/** Its name in guests.toml, or else its policy's. @throws SealttyError `bad-policy`: better now than when ssh is started. */
async function defaultHost({ guest, input, services }: NamedGuest): Promise<string> {
  parseAddress(guest);
  const { policy } = await readPolicy(input, input.alias ?? guest, services);
  return input.alias ?? policy.name;
}

/** @param guest - as it was named: what guests.toml says of a name is looked up again whenever ssh is started. */
function blockOf(guest: string, host: string, { input, services }: NamedGuest): SshBlock {
  const said = input.said ?? input;
  const options = [
    ...PATHS.flatMap((name) => withValue(name, absolute(said.text(name)))),
    ...said.texts("option").map((text) => `--option=${wholeSetting(text)}`),
    ...TEXTS.flatMap((name) => withValue(name, said.text(name))),
    ...SWITCHES.flatMap((name) => (said.has(name) ? [`--${name}`] : [])),
  ];
  const user = input.text("login");
  const identityFile = absolute(input.text("identity"));
  const certificate = input.text("certificate");
  const asUser = [
    ...withValue("login", user),
    ...withValue("identity", identityFile),
    ...withValue("certificate", certificate === "none" ? certificate : absolute(certificate)),
  ];
  const sealtty = [process.execPath, path.join(services.programDirectory, "sealtty.js")];
  return {
    host,
    user,
    identityFile,
    // -q: what is no error and no warning would stand between the lines of whatever uses ssh.
    proxy: [...sealtty, "proxy", guest, "-q", ...options, ...asUser],
    knownHosts: [...sealtty, "known-hosts", guest, "-q", ...options],
  };
}

function withValue(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [`--${name}=${value}`];
}

/** A relative path in a setting of -o would be another one where ssh is started. */
function wholeSetting(text: string): string {
  const [, key = "", value = ""] = /^([a-z_]+)=(.*)$/s.exec(text) ?? [];
  const isPath = Object.entries(SETTINGS).some(([name, { kind }]) => name === key && kind === "path");
  return isPath && value !== "none" && !value.startsWith("~") ? `${key}=${path.resolve(value)}` : text;
}

function absolute(file: string | undefined): string | undefined {
  return file === undefined ? undefined : path.resolve(file);
}

/** One character for each byte, as the file is read. */
function latin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** Where a symbolic link leads, so that it stays one. */
async function configFile(input: Input, services: Services): Promise<string> {
  const home = services.environment["HOME"] ?? "";
  const named = input.text("ssh-config");
  if (named === undefined && !path.isAbsolute(home))
    throw new SealttyError("bad-config", "there is no home directory; name the file with --ssh-config FILE");
  const file = named === undefined ? path.join(home, ".ssh", "config") : path.resolve(named);
  try {
    return (await lstat(file)).isSymbolicLink() ? await realpath(file) : file;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return file;
    throw unusable(file, "read", cause);
  }
}

async function readConfig(file: string): Promise<string> {
  try {
    return Buffer.from(await readBoundedFile(file, MAX_FILE)).toString("latin1");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw unusable(file, "read", cause);
  }
}

/** Whole or not at all, with the mode that it had; a new one is the user's alone, as ssh wants it. */
async function writeConfig(file: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(path.dirname(file), { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await replaceFile(file, bytes, { mode: 0o600, keepsMode: true, sync: true });
  } catch (cause) {
    throw unusable(file, "write", cause);
  }
}

function unusable(file: string, what: "read" | "write", cause: unknown): SealttyError {
  const why = errorCode(cause) ?? asError(cause).message;
  return new SealttyError("bad-config", `cannot ${what} ${file} (${why}); nothing was changed`, { cause });
}
