// What a policy and an instance document begin with alike: the version of the format, and the owner's name for the guest.

import { type Item, type Kind, one, text } from "../toml-keys.ts";
import type { TomlTable } from "../toml-table.ts";
import { isPolicyName } from "./policy/names.ts";

export const VERSION_MISSING = "version is missing; write `version = 1` as the first line";
const VERSION_UNKNOWN = "is not one that this sealtty reads; write `version = 1`";

const version: Item<1> = {
  words: "1",
  plural: "whole numbers",
  example: "1",
  schema: { const: 1 },
  read: (value, fail) => (value === 1n ? 1 : fail(VERSION_UNKNOWN)),
  write: String,
};
export const versionKind: Kind<1> = one(version);

/** Before any other key is looked at: those of another version may have other names. @throws SealttyError of the file. */
export function requireVersion(file: TomlTable): void {
  const found = file.value("version");
  if (found === undefined) file.fail(VERSION_MISSING);
  if (found !== 1n) file.fail(`version ${VERSION_UNKNOWN}`);
}

const NAME_PROBLEM = "is not 1 to 64 characters without control characters";
const NAME_EXAMPLE = '`name = "db1"`';

export const guestName: Item<string> = text({
  words: "1 to 64 characters",
  pattern: /^[^\u0000-\u001f\u007f]{1,64}$/,
  problem: NAME_PROBLEM,
  write: NAME_EXAMPLE,
  refuse: (name) => (isPolicyName(name) ? undefined : `${NAME_PROBLEM}; write ${NAME_EXAMPLE}`),
});
