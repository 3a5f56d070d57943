// Every key of an instance document, once: parser, explanation and editors' schema read this table.

import {
  type Item,
  type Json,
  type JsonObject,
  type Keys,
  type Kind,
  Section,
  flag,
  list,
  one,
  text,
} from "../../toml-keys.ts";
import { type TomlTable, quoted } from "../../toml-table.ts";
import { utf8 } from "../../bytes.ts";
import { MAX_COMMAND_ARGUMENTS, MAX_COMMAND_BYTES } from "../../limits.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../../user-auth/authorized-keys.ts";
import { KEY_TYPES } from "../../user-auth/public-key.ts";
import { isUserName } from "../../user-auth/user-auth-message.ts";
import { VERSION_MISSING, guestName, versionKind } from "../owner-file-head.ts";

export interface DocumentKey extends Pick<AuthorizedKey, "keyType" | "blob" | "options" | "comment"> {
  /** The line as the owner wrote it. */
  readonly line: string;
}

/** "any" only where the owner wrote `["*"]`. */
export type Any = "any";
export type Command = readonly string[];

export interface DocumentTop {
  readonly version: 1;
  readonly name: string;
  readonly authorizedKeys: readonly DocumentKey[];
  readonly users: readonly string[] | Any;
  readonly commands: readonly Command[] | Any;
}

export interface AgentSettings {
  /** Whether the guest's login program may ask for a password where no key is used. */
  readonly login: boolean;
  /** Whether a key opens an interactive shell. */
  readonly shell: boolean | typeof BY_COMMANDS;
}

const keyLine: Item<DocumentKey> = {
  words: 'a line of authorized_keys: "ssh-ed25519 AAAA… comment"',
  plural: "strings",
  example: '"ssh-ed25519 AAAA…"',
  schema: {
    type: "string",
    pattern: `^(?:.*[ \\t])?(?:${KEY_TYPES.join("|").replaceAll(".", "\\.")}) [A-Za-z0-9+/]{64,}={0,2}(?: .*)?$`,
  },
  read(value, fail) {
    if (typeof value === "string" && !/[\r\n]/.test(value)) {
      const { keys, refusedLines } = parseAuthorizedKeys(value);
      const [refused] = refusedLines;
      if (refused !== undefined) return fail(`is refused: ${refused.reason}; write "ssh-ed25519 AAAA…"`);
      const [key] = keys;
      if (key !== undefined) {
        const { keyType, blob, options, comment } = key;
        return { keyType, blob, options, comment, line: value };
      }
    }
    return fail('is not a public key; write "ssh-ed25519 AAAA…" on one line');
  },
  write: ({ line }) => quoted(line),
};

/** `["*"]`, or a list of which each element is read by `item`. */
function anyOr<T>(item: Item<T>, emptyAllowed: boolean): Kind<readonly T[] | Any> {
  const some = list(item, "an empty list lets nobody in");
  return {
    words: `\`["*"]\` for any, or list, each ${item.words}`,
    schema: {
      type: "array",
      ...(emptyAllowed ? {} : { minItems: 1 }),
      anyOf: [{ items: { const: "*" }, minItems: 1, maxItems: 1 }, { items: item.schema }],
    },
    read(table, key) {
      const value = table.value(key);
      if (Array.isArray(value)) {
        if (value.length === 1 && value[0] === "*") return "any";
        if (value.includes("*")) {
          table.fail(`${table.at(key)} has "*" beside others; write \`${key} = ["*"]\` alone, or remove it`);
        }
        if (value.length === 0 && emptyAllowed) return [];
      }
      return some.read(table, key);
    },
    write: (value) => (value === "any" ? '["*"]' : some.write(value)),
    meaning: (value) => (value === "any" ? "any" : some.meaning(value)),
  };
}

const user = text({
  words: "a user name",
  pattern: /^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}$/,
  problem: "is not a user name",
  write: 'for example "root"',
  refuse: (value) => (isUserName(value) ? undefined : 'is not a user name; write for example "root"'),
});

const command: Item<Command> = {
  words: "a list: program and each argument",
  plural: "lists",
  example: '["systemctl", "status"]',
  schema: { type: "array", minItems: 1, items: { type: "string" } },
  read(value, fail) {
    const words: unknown[] = Array.isArray(value) ? value : [];
    const good = words.every((word): word is string => typeof word === "string" && !word.includes("\0"));
    if (!good || words.length === 0 || words[0] === "") {
      return fail(
        'is not a command; write ["systemctl", "status"]: program and each argument a string of its own',
      );
    }
    const bytes = words.reduce((sum, word) => sum + utf8(word).length + 1, 0);
    if (words.length > MAX_COMMAND_ARGUMENTS || bytes > MAX_COMMAND_BYTES)
      return fail("is too long; shorten it");
    return words;
  },
  write: (words) => JSON.stringify(words),
};

const TOP: Keys<DocumentTop> = {
  version: {
    name: "version",
    kind: versionKind,
    words: "Version of the document's format.",
    missing: VERSION_MISSING,
  },
  name: {
    name: "name",
    kind: one(guestName),
    words: "Your name for this guest. It is what the client shows once the document is proven.",
    missing: 'name is missing; write `name = "db1"`',
  },
  authorizedKeys: {
    name: "authorized_keys",
    kind: allowEmpty(list(keyLine)),
    words:
      "SSH keys that may log in, for every user that `users` names, options and `cert-authority` as in authorized_keys ([identity.md](identity.md)). This list replaces any in the guest's file system.",
    missing: 'authorized_keys is missing; write `authorized_keys = ["ssh-ed25519 AAAA…"]`, or `[]` for none',
  },
  users: {
    name: "users",
    kind: anyOr(user, false),
    words: 'Accounts of the guest that may be logged into; `["*"]` for any.',
    missing:
      'users is missing; write `users = ["root"]` with the accounts that may be used, or `["*"]` for any',
  },
  commands: {
    name: "commands",
    kind: anyOr(command, true),
    words:
      'What `sealtty exec` may run, compared word for word; `["*"]` for anything, `[]` for nothing. Where it is a list, `--env` (but for language and colours) and `--cwd` are refused: they can change what a command does.',
    missing:
      'commands is missing; write `commands = [["uptime"]]` with what exec may run, `["*"]` for anything, or `[]`',
  },
};

/** An empty list is a decision here: no keys, only the guest's login program. */
function allowEmpty<T>(kind: Kind<readonly T[]>): Kind<readonly T[]> {
  const { minItems: _, ...schema } = kind.schema as JsonObject & { readonly minItems?: Json };
  return {
    ...kind,
    schema,
    read(table: TomlTable, key: string) {
      const value = table.value(key);
      return Array.isArray(value) && value.length === 0 ? [] : kind.read(table, key);
    },
  };
}

/** The default depends on `commands`, so it is kept apart from both answers. */
export const BY_COMMANDS = "by-commands";

const shellWords = (value: boolean | typeof BY_COMMANDS) =>
  value === BY_COMMANDS ? 'true where commands = ["*"], else error' : String(value);
const shell: Kind<boolean | typeof BY_COMMANDS> = { ...flag, write: shellWords, meaning: shellWords };

const AGENT: Keys<AgentSettings> = {
  login: {
    name: "login",
    kind: flag,
    words: "`true`: without a key, the guest's login program may ask for a password.",
    strict: "nobody gets in without a key",
  },
  shell: {
    name: "shell",
    kind: shell,
    words:
      'Whether a key opens an interactive shell. Needed where `commands` is not `["*"]`, because a shell runs anything; `true` otherwise.',
  },
};

export const DOCUMENT_SECTION = new Section<DocumentTop>(
  "",
  "A sealtty instance document: which guest this is, and who may enter it.",
  TOP,
  {},
);
export const AGENT_SECTION = new Section<AgentSettings>(
  "agent",
  "Settings of sealttyd in this guest.",
  AGENT,
  {
    login: false,
    shell: BY_COMMANDS,
  },
);
