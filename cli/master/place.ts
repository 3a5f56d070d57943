// Where the kept connection of a guest is found: a socket whose name is a digest of the address, and one of all that decides
// what it is. Another policy, user or key is another socket, so a connection is never shared beyond what was appraised and
// authenticated; the first part only finds others that hold the same pipe.

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import { encodingOf, obfuscationOf } from "../option-values.ts";
import type { Input, OptionSpec } from "../options.ts";
import { whyUnreadable } from "../owner-file.ts";
import { printable } from "../printable.ts";
import type { Surroundings } from "../services.ts";
import { parseAddress } from "../address.ts";

type Environment = Surroundings["environment"];

/** Options that decide what a connection is, beside --login: a master is started with the same ones. */
const DECISIVE = ["policy", "identity", "certificate", "collateral", "encoding"] as const;
/** Environment that decides it: keys, and how hosts are reached. */
const DECISIVE_VARIABLE = /^(?:SEALTTY_.*|SSH_AUTH_SOCK|HOME|XDG_CACHE_HOME)$/;

/** Of a policy, a key or a certificate: as much as whoever uses them reads. */
const MAX_FILE = 1024 * 1024;

export interface MasterPlace {
  readonly socket: string;
  /** Arguments of `sealtty master` for the very same connection. */
  readonly args: readonly string[];
}

export const IDLE_OPTION = {
  name: "idle",
  value: "SECONDS",
  help: "end when nothing ran for so long; default 600",
} as const satisfies OptionSpec;

/**
 * Makes the directory, where there is none.
 * @param terminal - what runs has one: its traffic is shaped by default.
 * @throws SealttyError `bad-config`, `bad-policy`, `device-unavailable`.
 */
export function masterPlace(
  guest: string,
  input: Pick<Input, "text" | "has">,
  terminal: boolean,
  services: Pick<Surroundings, "environment" | "localUser" | "version">,
): MasterPlace {
  const { environment } = services;
  parseAddress(guest); // before anything is advised about it
  const policy = input.text("policy");
  if (policy === undefined) {
    throw new SealttyError(
      "bad-policy",
      `no --policy FILE was given, and without one nothing says which guest to believe; make one, on a network and host that you trust, with: sealtty inspect ${guest} --save-policy FILE`,
    );
  }
  const identity = input.text("identity");
  const certificate = input.text("certificate");
  const user = input.text("login") ?? services.localUser;
  const obfuscate = obfuscationOf(input, terminal ? "adaptive" : "off");
  const decisive = [
    services.version,
    ...addressParts(guest),
    fileDigest(policy, "the policy "),
    user,
    identity === undefined ? "" : path.resolve(identity),
    identity === undefined ? "" : fileDigest(identity),
    identity === undefined ? "" : fileDigest(`${identity}-cert.pub`),
    certificate === undefined ? "" : path.resolve(certificate),
    certificate === undefined ? "" : fileDigest(certificate),
    input.text("collateral") === undefined ? "" : path.resolve(input.text("collateral") ?? ""),
    String(input.has("simulated")),
    encodingOf(input),
    obfuscate,
    ...Object.entries(environment)
      .filter(([name]) => DECISIVE_VARIABLE.test(name))
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  ];
  const digest = createHash("sha256").update(JSON.stringify(decisive)).digest("hex").slice(0, 32);
  // What guests.toml says is among them already, and must not count a second time.
  const args = ["master", guest, "--config=/dev/null", "--login", user, "--obfuscate", obfuscate];
  for (const name of DECISIVE) {
    const value = input.text(name);
    if (value !== undefined) args.push(`--${name}=${value}`);
  }
  for (const name of ["simulated", "batch"]) if (input.has(name)) args.push(`--${name}`);
  return { socket: path.join(masterDirectory(environment), `${addressDigest(guest)}-${digest}`), args };
}

/** A relative path is another one elsewhere. */
export function dependsOnDirectory(guest: string): boolean {
  return /^(?:vsock\+|vnc\+)?unix:[^/]/.test(guest);
}

function addressParts(guest: string): readonly string[] {
  return [guest, dependsOnDirectory(guest) ? process.cwd() : ""];
}

function addressDigest(guest: string): string {
  return createHash("sha256")
    .update(JSON.stringify(addressParts(guest)))
    .digest("hex")
    .slice(0, 12);
}

/** Sockets of those who keep a connection to this address, whatever else they were told. A directory that is not ours alone has none. */
export async function keepersOf(guest: string, environment: Environment): Promise<readonly string[]> {
  const directory = directoryName(environment);
  let names: string[];
  try {
    if (!isOursAlone(directory)) return [];
    names = readdirSync(directory);
  } catch {
    return [];
  }
  const sockets = names
    .filter((name) => name.startsWith(`${addressDigest(guest)}-`))
    .map((name) => path.join(directory, name));
  const answering = await Promise.all(sockets.map(answers));
  return sockets.filter((_, i) => answering[i]);
}

/** Whether anybody listens: one that was killed leaves its socket. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath, () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/**
 * What a file says now. @param needed - what it is, where there has to be one. @returns "none" where there is no such file:
 * whoever needs it tells.
 * @throws SealttyError `bad-config` on what cannot be read, or not read again: nobody could tell what it decides.
 */
function fileDigest(file: string, needed?: string): string {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (needed === undefined && (code === "ENOENT" || code === "ENOTDIR")) return "none";
    throw new SealttyError(
      "bad-config",
      `cannot read ${needed ?? ""}${printable(file)}: ${whyUnreadable(code)}`,
      { cause },
    );
  }
  try {
    const status = fstatSync(fd);
    if (status.isDirectory())
      throw new SealttyError("bad-config", `cannot read ${printable(file)}: ${whyUnreadable("EISDIR")}`);
    if (!status.isFile()) {
      const next = "write it into one, or leave out --master";
      throw new SealttyError(
        "bad-config",
        `${printable(file)} is no regular file, to be read again; ${next}`,
      );
    }
    const bytes = Buffer.allocUnsafe(MAX_FILE + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > MAX_FILE)
      throw new SealttyError("bad-config", `${printable(file)} is larger than ${MAX_FILE / 1024} KiB`);
    return createHash("sha256").update(bytes.subarray(0, length)).digest("hex");
  } finally {
    closeSync(fd);
  }
}

/** Ours alone: whoever may enter it may run programs as us. @throws SealttyError `device-unavailable`. */
function masterDirectory(environment: Environment): string {
  const directory = directoryName(environment);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "EEXIST") {
      throw new SealttyError(
        "device-unavailable",
        `cannot make ${directory} for kept connections (${code ?? "unknown error"}); set XDG_RUNTIME_DIR to a directory of yours`,
        { cause },
      );
    }
  }
  if (!isOursAlone(directory)) {
    throw new SealttyError(
      "device-unavailable",
      `${directory} is not yours alone, so no connection is kept there; remove it, or chmod 700 it where it is yours`,
    );
  }
  return directory;
}

function directoryName(environment: Environment): string {
  const runtime = environment["XDG_RUNTIME_DIR"] ?? "";
  return path.isAbsolute(runtime)
    ? path.join(runtime, "sealtty")
    : path.join(os.tmpdir(), `sealtty-${process.getuid?.() ?? 0}`);
}

function isOursAlone(directory: string): boolean {
  const found = lstatSync(directory);
  return found.isDirectory() && found.uid === (process.getuid?.() ?? 0) && (found.mode & 0o077) === 0;
}
