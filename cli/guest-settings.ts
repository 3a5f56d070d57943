// What guests.toml and -o may say of a guest: one table, whose names are those of both.

import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import { SealttyError } from "../protocol/errors.ts";
import { SHAPING_PROFILES } from "../protocol/packets/shaping.ts";
import { printable } from "./printable.ts";

export const ENCODINGS = ["auto", "binary", "armour"] as const;

export type SettingValue = string | boolean | readonly string[];

export interface Setting {
  /** The command line's option that says the same. */
  readonly option: string;
  readonly kind: "path" | "text" | "switch" | "list";
  /** What it is, behind "is not …". */
  readonly words: string;
  /** As TOML. */
  readonly example: string;
  /** @param value - of TOML; whole numbers are bigint. @returns undefined where it is not what it should be. */
  read(value: unknown): SettingValue | undefined;
}

export type SettingName =
  | "policy"
  | "user"
  | "identity"
  | "certificate"
  | "collateral"
  | "timeout"
  | "encoding"
  | "obfuscate"
  | "keep"
  | "detach_keys"
  | "escape"
  | "batch"
  | "forwards";

export type Settings = ReadonlyMap<SettingName, SettingValue>;

const isText = (value: unknown): value is string =>
  typeof value === "string" && value !== "" && value.length <= 4096 && !/\p{Cc}/u.test(value);

function file(option: string, words: string, example: string): Setting {
  return { option, kind: "path", words, example, read: (value) => (isText(value) ? value : undefined) };
}

function choice(option: string, values: readonly string[]): Setting {
  const list = values.map((value) => `"${value}"`).join(", ");
  return {
    option,
    kind: "text",
    words: `one of ${list}`,
    example: `"${values[0]}"`,
    read: (value) => values.find((each) => each === value),
  };
}

function onOff(option: string): Setting {
  return {
    option,
    kind: "switch",
    words: "true or false",
    example: "true",
    read: (value) => (typeof value === "boolean" ? value : undefined),
  };
}

function text(option: string, words: string, example: string, good: (value: string) => boolean): Setting {
  return {
    option,
    kind: "text",
    words,
    example,
    read: (value) => (isText(value) && good(value) ? value : undefined),
  };
}

/** ssh's letters for what `forwards` lists, and the options of sealtty forward that they are. */
export const FORWARD_OPTIONS: Readonly<Record<string, string>> = { L: "local", R: "remote", D: "dynamic" };

export const SETTINGS: Readonly<Record<SettingName, Setting>> = {
  policy: file("policy", "the path of a policy", '"db1.policy.toml"'),
  user: text("login", "a user name", '"root"', isUserName),
  identity: file("identity", "the path of an SSH key", '"~/.ssh/id_ed25519"'),
  certificate: file("certificate", "the path of an OpenSSH certificate", '"~/.ssh/id_ed25519-cert.pub"'),
  collateral: file("collateral", "the path of a directory", '"collateral"'),
  timeout: {
    option: "timeout",
    kind: "text",
    words: "a whole number of seconds from 1 to 86400",
    example: "60",
    read(value) {
      const seconds = typeof value === "string" && /^[0-9]{1,5}$/.test(value) ? BigInt(value) : value;
      return typeof seconds === "bigint" && seconds >= 1n && seconds <= 86_400n ? String(seconds) : undefined;
    },
  },
  encoding: choice("encoding", ENCODINGS),
  obfuscate: choice("obfuscate", SHAPING_PROFILES),
  keep: onOff("keep"),
  detach_keys: text("detach-keys", "keys as --detach-keys takes them", '"ctrl-p,ctrl-q"', () => true),
  escape: text("escape", "a character as --escape takes it", '"~"', () => true),
  batch: onOff("batch"),
  forwards: {
    option: "",
    kind: "list",
    words: 'a list of texts such as "-L 8080:localhost:80", "-R 9000:localhost:9000" and "-D 1080"',
    example: '["-L 8080:localhost:80"]',
    read(value) {
      const list: unknown[] = typeof value === "string" ? [value] : Array.isArray(value) ? value : [];
      const good = list.length > 0 && list.length <= 64;
      return good && list.every((each): each is string => isText(each) && /^-[LRD] ?\S/.test(each))
        ? list
        : undefined;
    },
  },
};

/**
 * `-o KEY=VALUE`, several of them; the first of one name counts, as with ssh, but forwards add up.
 * @returns the settings, and `address` where that was among them. @throws SealttyError `bad-config`.
 */
export function parseOverrides(said: readonly string[]): {
  readonly settings: Settings;
  readonly address: string | undefined;
} {
  const settings = new Map<SettingName, SettingValue>();
  let address: string | undefined;
  for (const each of said) {
    const [, name = "", value = ""] = /^([^=]*)=(.*)$/s.exec(each) ?? [];
    if (name === "address" && value !== "") {
      address ??= value;
      continue;
    }
    const setting = isSettingName(name) ? SETTINGS[name] : undefined;
    if (!isSettingName(name) || setting === undefined) {
      const what = each.includes("=") ? `has no key "${printable(name, 60)}"` : "takes KEY=VALUE";
      const known = ["address", ...Object.keys(SETTINGS)].join(", ");
      const simulated = name === "simulated" ? " (simulated evidence: only by --simulated itself)" : "";
      throw new SealttyError("bad-config", `-o ${what}${simulated}; known keys: ${known}`);
    }
    const found = setting.read(setting.kind === "switch" ? booleanOf(value) : value);
    if (found === undefined) {
      const words = setting.kind === "switch" ? "yes or no" : setting.words;
      throw new SealttyError("bad-config", `-o ${name}: "${printable(value, 60)}" is not ${words}`);
    }
    const before = settings.get(name);
    if (before === undefined) settings.set(name, found);
    else if (Array.isArray(before) && Array.isArray(found)) settings.set(name, [...before, ...found]);
  }
  return { settings, address };
}

function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(SETTINGS, name);
}

function booleanOf(text: string): boolean | undefined {
  if (text === "yes" || text === "true") return true;
  return text === "no" || text === "false" ? false : undefined;
}
