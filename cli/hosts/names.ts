// Names of the settings of each host's API: what guests.toml may say of a guest in its table `host`. No secret is among them.

import type { GuestAddress } from "../address.ts";

export interface HostNames {
  /** SEALTTY_PROXMOX: in front of each variable's name. */
  readonly prefix: string;
  readonly names: readonly string[];
  /** Which of them are paths. */
  readonly files: readonly string[];
  /** Which of them are true or false. */
  readonly flags: readonly string[];
}

const TLS = ["ca_file", "tls_name", "cert_file", "key_file"];

function host(
  prefix: string,
  own: readonly string[],
  flags: readonly string[] = [],
  tls: readonly string[] = TLS,
): HostNames {
  const names = [...own, ...flags, ...tls];
  const files = names.filter((name) => name.endsWith("_file") || name === "socket");
  return { prefix, names, files, flags };
}

/** docs/hosts.md says what each is. */
export const HOST_SETTINGS: Readonly<Partial<Record<GuestAddress["kind"], HostNames>>> = {
  proxmox: host("SEALTTY_PROXMOX", ["token_file", "user", "password_file"]),
  kubevirt: host("SEALTTY_KUBEVIRT", ["server", "token_file"]),
  nova: host("SEALTTY_NOVA", ["token_file", "api", "auth_token_file"]),
  incus: host("SEALTTY_INCUS", ["socket", "server"], ["force"]),
  vnc: host("SEALTTY_VNC", ["password_file"], [], ["ca_file", "tls_name"]),
};

/** @returns variables of the environment. They are all that counts of this prefix: undefined takes one away. */
export function hostEnvironment(
  { prefix }: HostNames,
  values: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const variables: Record<string, string | undefined> = {};
  for (const name of Object.keys(environment)) if (name.startsWith(`${prefix}_`)) variables[name] = undefined;
  for (const [name, value] of Object.entries(values)) variables[`${prefix}_${name.toUpperCase()}`] = value;
  return variables;
}
