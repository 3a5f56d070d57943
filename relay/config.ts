// The relay's command line and configuration file, as one checked value.

import { parseArgs } from "node:util";
import { parse as parseToml, TomlError } from "smol-toml";
import { SealttyError } from "../protocol/errors.ts";
import type { GuestTarget } from "./guest-socket.ts";
import type { RelayOptions } from "./relay.ts";

export const RELAY_HELP = `Usage: sealtty-relay --guest NAME=unix:PATH [--guest …] [options]

Carries many sealtty clients (web sockets at /NAME) over each guest's one console pipe.
It sees ciphertext only and is trusted for nothing.

  --guest NAME=unix:PATH|tcp:HOST:PORT   a guest's character device; repeatable
  --listen HOST:PORT                     default 127.0.0.1:8744; port 0 takes any
  --allow-origin ORIGIN                  lets pages of this origin in, besides local ones; repeatable
  --config FILE                          TOML: listen = "HOST:PORT", allow_origins = […], [guests] NAME = "unix:PATH"
  --tap-fd N                             copies every frame to this file descriptor as JSON lines (demonstrations)
  --help, --version

SIGUSR2 writes the counters to stderr (SIGUSR1 belongs to Node's debugger).
Exit status: 0 stopped by a signal, 2 usage or configuration, 1 it could not start (stderr says why).
`;

export interface RelayArguments {
  readonly help: boolean;
  readonly version: boolean;
  readonly config: string | undefined;
  readonly tapFd: number | undefined;
  readonly listen: string | undefined;
  readonly guests: readonly string[];
  readonly allowOrigins: readonly string[];
}

/** @throws SealttyError `bad-config`. */
export function parseRelayArguments(args: readonly string[]): RelayArguments {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        guest: { type: "string", multiple: true },
        listen: { type: "string" },
        "allow-origin": { type: "string", multiple: true },
        config: { type: "string" },
        "tap-fd": { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
    });
    const tapFd = values["tap-fd"];
    if (tapFd !== undefined && !/^[0-9]{1,4}$/.test(tapFd)) throw new Error("--tap-fd takes a number");
    return {
      help: values.help ?? false,
      version: values.version ?? false,
      config: values.config,
      tapFd: tapFd === undefined ? undefined : Number(tapFd),
      listen: values.listen,
      guests: values.guest ?? [],
      allowOrigins: values["allow-origin"] ?? [],
    };
  } catch (cause) {
    const message = (cause as Error).message.split(". ")[0]?.replace(/\.$/, "");
    throw new SealttyError("bad-config", `${message}; see: sealtty-relay --help`, { cause });
  }
}

/** Command line over file. @throws SealttyError `bad-config`. */
export function relayOptions(args: RelayArguments, toml: string | undefined): RelayOptions {
  const file = toml === undefined ? { listen: undefined, guests: [], allowOrigins: [] } : readToml(toml);
  const guests = new Map<string, GuestTarget>();
  for (const text of [...file.guests, ...args.guests]) {
    const at = text.indexOf("=");
    if (at < 0)
      throw bad(`--guest ${JSON.stringify(text)} has no "="; write NAME=unix:PATH or NAME=tcp:HOST:PORT`);
    const name = text.slice(0, Math.max(at, 0));
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name) || name === "healthz") {
      throw bad(
        `--guest ${JSON.stringify(text)}: a name is 1 to 64 letters, digits, dots, dashes or underscores; choose another before the "="`,
      );
    }
    guests.set(name, parseTarget(text.slice(at + 1)));
  }
  if (guests.size === 0) throw bad("No guest: give --guest NAME=unix:PATH, or [guests] in the --config file");
  const allowOrigins = [...file.allowOrigins, ...args.allowOrigins];
  for (const origin of allowOrigins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw bad(`${JSON.stringify(origin)} is not an origin such as https://console.example`);
    }
  }
  return { listen: parseListen(args.listen ?? file.listen ?? "127.0.0.1:8744"), guests, allowOrigins };
}

function parseTarget(text: string): GuestTarget {
  if (text.startsWith("unix:") && text.length > 5) return { kind: "unix", path: text.slice(5) };
  if (text.startsWith("tcp:")) return { kind: "tcp", ...parseHostPort(text.slice(4), 1) };
  throw bad(`${JSON.stringify(text)} is no guest's address; write unix:PATH or tcp:HOST:PORT`);
}

function parseListen(text: string): { host: string; port: number } {
  return parseHostPort(text, 0);
}

function parseHostPort(text: string, least: number): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < least || port > 65535)
    throw bad(
      `${JSON.stringify(text)} is not HOST:PORT; write for example 127.0.0.1:8744, with a port from ${least} to 65535`,
    );
  return { host, port };
}

function readToml(text: string): { listen: string | undefined; guests: string[]; allowOrigins: string[] } {
  let root: Record<string, unknown>;
  try {
    root = parseToml(text);
  } catch (cause) {
    // Not its own message: that quotes the file, over several lines.
    const where = cause instanceof TomlError ? `, line ${cause.line}, column ${cause.column}` : "";
    throw new SealttyError(
      "bad-config",
      `The configuration file${where}: not valid TOML; check quotes, brackets and repeated keys there`,
      { cause },
    );
  }
  const { listen, guests = {}, allow_origins: allowOrigins = [], ...unknown } = root;
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined)
    throw bad(
      `The configuration file has an unknown key ${JSON.stringify(stranger)}; known are listen, guests, allow_origins`,
    );
  if (listen !== undefined && typeof listen !== "string") throw bad('listen must be "HOST:PORT"');
  if (typeof guests !== "object" || guests === null || Array.isArray(guests))
    throw bad("[guests] must be a table");
  const lines = Object.entries(guests).map(([name, target]) => {
    if (typeof target !== "string") throw bad('A guest is written NAME = "unix:PATH"');
    return `${name}=${target}`;
  });
  if (!Array.isArray(allowOrigins) || allowOrigins.some((origin) => typeof origin !== "string")) {
    throw bad("allow_origins must be a list of texts");
  }
  return { listen, guests: lines, allowOrigins: allowOrigins as string[] };
}

function bad(message: string): SealttyError {
  return new SealttyError("bad-config", message);
}
