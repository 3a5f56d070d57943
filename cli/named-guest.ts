// GUEST as the user wrote it: an address, or a name of guests.toml that stands for one and for the options that go with it.

import path from "node:path";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type { GuestAddress } from "./address.ts";
import {
  FORWARD_OPTIONS,
  SETTINGS,
  type SettingValue,
  type Settings,
  parseOverrides,
} from "./guest-settings.ts";
import { type GuestsFile, guestsPath, isAlias, readGuests } from "./guests-file.ts";
import { HOST_SETTINGS, hostEnvironment } from "./hosts/names.ts";
import type { Command, Input } from "./options.ts";
import { printable } from "./printable.ts";
import type { Services } from "./services.ts";

/** What of the services is needed here: a few commands have no more than the environment. */
interface Around {
  readonly environment: Services["environment"];
  dial?(address: GuestAddress, environment?: Services["environment"]): Promise<Pipe>;
}

export interface NamedGuest<S extends Around = Services> {
  /** An address, or whatever else the user wrote and parseAddress() is to complain about. */
  readonly guest: string;
  /** The command line's options, then those of -o, of the guest and of the defaults. */
  readonly input: Input;
  /** They know what guests.toml says of the guest's host. */
  readonly services: S;
}

/**
 * Idempotent: what it gave is given back. @throws SealttyError `bad-config` on a name that is not known, and on a bad guests.toml.
 */
export async function namedGuest<S extends Around>(
  guest: string,
  input: Input,
  services: S,
): Promise<NamedGuest<S>> {
  if (input.said !== undefined || !input.knows("option")) return { guest, input, services };
  const over = parseOverrides(input.texts("option"));
  const file = await guestsOf(input, services);
  if (!isAlias(guest)) {
    if (over.address !== undefined)
      throw new SealttyError("bad-config", "-o address goes with a name in place of GUEST's own address");
    return { guest, input: layered(input, [over.settings, file.defaults], undefined), services };
  }
  const entry = file.guests.get(guest);
  if (entry === undefined && over.address === undefined) throw unknown(guest, file, input, services);
  const address = over.address ?? entry?.address?.text;
  if (address === undefined) {
    throw new SealttyError(
      "bad-config",
      `${where(input, services)} has no address for ${guest}; add address = "…" below [guests.${guest}]`,
    );
  }
  const settings = [over.settings, entry?.settings ?? new Map(), file.defaults];
  const kind = over.address === undefined ? entry?.address?.kind : undefined;
  return {
    guest: address,
    input: layered(input, settings, guest),
    services: withHost(services, kind, entry?.host),
  };
}

/**
 * A command's input and services. Where its first operand is GUEST, a name of guests.toml gives way to what it stands for;
 * commands that take guests elsewhere ask namedGuest() for each. @throws SealttyError `bad-config`.
 */
export async function settled<S extends Around>(
  command: Pick<Command, "operands">,
  input: Input,
  services: S,
): Promise<{ readonly input: Input; readonly services: S }> {
  const [first, ...others] = input.operands;
  if (first === undefined || first === "" || !/^GUEST(?!…)/.test(command.operands))
    return { input, services };
  const named = await namedGuest(first, input, services);
  return {
    input: { ...named.input, operands: [named.guest, ...others] },
    services: named.services,
  };
}

/** What the user has in guests.toml, or in the file of -F. @throws SealttyError `bad-config`. */
export function guestsOf(input: Pick<Input, "text">, services: Around): Promise<GuestsFile> {
  return readGuests(input.text("config"), services.environment);
}

function where(input: Pick<Input, "text">, services: Around): string {
  const file = input.text("config") ?? guestsPath(services.environment);
  return file === undefined ? "guests.toml" : printable(file);
}

function unknown(guest: string, file: GuestsFile, input: Input, services: Around): SealttyError {
  const names = [...file.guests.keys()];
  const some = names.slice(0, 8).join(", ") + (names.length > 8 ? ", …" : "");
  const known =
    names.length === 0
      ? `${path.basename(where(input, services))} names no guest: write [guests.${guest}] into ${where(input, services)}`
      : `${where(input, services)} has ${some}`;
  return new SealttyError(
    "bad-config",
    `there is no guest "${guest}"; ${known}. An address has a colon, as in ws://HOST:PORT/ (sealtty help)`,
  );
}

function withHost<S extends Around>(
  services: S,
  kind: GuestAddress["kind"] | undefined,
  host: Readonly<Record<string, string>> | undefined,
): S {
  const names = kind === undefined ? undefined : HOST_SETTINGS[kind];
  if (names === undefined || host === undefined) return services;
  const environment = {
    ...services.environment,
    ...hostEnvironment(names, host, services.environment),
  };
  const own = services.dial?.bind(services);
  if (own === undefined) return { ...services, environment };
  return { ...services, environment, dial: (address: GuestAddress) => own(address, environment) };
}

/** @param layers - the first that has a setting counts; lists add up. */
function layered(said: Input, layers: readonly Settings[], alias: string | undefined): Input {
  const found = new Map<string, SettingValue>();
  const lists = new Map<string, string[]>();
  for (const layer of layers) {
    for (const [name, value] of layer) {
      const { option, kind } = SETTINGS[name];
      if (typeof value === "string" || typeof value === "boolean") {
        const taken = kind === "path" && value === "none" ? false : value; // a later layer's does not count either
        if (!found.has(option) && said.knows(option)) found.set(option, taken);
        continue;
      }
      for (const each of value) {
        const of = FORWARD_OPTIONS[each.charAt(1)] ?? "";
        if (said.knows(of)) lists.set(of, [...(lists.get(of) ?? []), each.slice(2).trim()]);
      }
    }
  }
  const textOf = (name: string): string | undefined => {
    const value = found.get(name);
    return typeof value === "string" ? value : lists.get(name)?.at(-1);
  };
  const isOn = (name: string): boolean => found.get(name) === true || textOf(name) !== undefined;
  return {
    ...said,
    said,
    ...(alias === undefined ? {} : { alias }),
    text: (name) => said.text(name) ?? textOf(name),
    has: (name) => said.has(name) || isOn(name),
    count: (name) => said.count(name) || (isOn(name) ? 1 : 0),
    texts(name) {
      const own = said.texts(name);
      const list = lists.get(name);
      if (list !== undefined) return [...own, ...list];
      const text = textOf(name);
      return own.length > 0 || text === undefined ? own : [text];
    },
  };
}
