// What options say, as values.

import { SealttyError } from "../protocol/errors.ts";
import { SHAPING_PROFILES, type ShapingProfile } from "../protocol/packets/shaping.ts";
import type { ConnectOptions } from "./api/types.ts";
import type { Input } from "./options.ts";

export const DEFAULT_TIMEOUT_MS = 30_000;

export function encodingOf(input: Pick<Input, "text">): NonNullable<ConnectOptions["encoding"]> {
  const encoding = input.text("encoding") ?? "auto";
  if (encoding === "auto" || encoding === "binary" || encoding === "armour") return encoding;
  throw new SealttyError("bad-config", "--encoding takes auto, binary or armour");
}

/** @param otherwise - where the user did not say. */
export function obfuscationOf(input: Pick<Input, "text">, otherwise: ShapingProfile): ShapingProfile {
  const named = input.text("obfuscate");
  if (named === undefined) return otherwise;
  const profile = SHAPING_PROFILES.find((known) => known === named);
  if (profile !== undefined) return profile;
  throw new SealttyError("bad-config", "--obfuscate takes strict, adaptive or off");
}

export function timeoutOf(input: Pick<Input, "text">): number {
  return secondsOf(input, "timeout") ?? DEFAULT_TIMEOUT_MS;
}

/** @returns ms; undefined where the option was not given. */
export function secondsOf(input: Pick<Input, "text">, option: string): number | undefined {
  const text = input.text(option);
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (!/^[0-9]+(\.[0-9]+)?$/.test(text) || seconds <= 0 || seconds > 86_400) {
    throw new SealttyError("bad-config", `--${option} takes seconds, more than 0 and at most 86400`);
  }
  return seconds * 1000;
}
