// Where sealtty keeps what is the user's: the XDG base directories, or none where there is no home.

import path from "node:path";
import type { Services } from "./services.ts";

function base(environment: Services["environment"], variable: string, below: string): string | undefined {
  const own = environment[variable] ?? "";
  if (path.isAbsolute(own)) return path.join(own, "sealtty");
  const home = environment["HOME"] ?? "";
  return path.isAbsolute(home) ? path.join(home, below, "sealtty") : undefined;
}

/** Collateral that `sealtty collateral fetch` keeps; lost without harm. */
export function collateralCache(environment: Services["environment"]): string | undefined {
  const cache = base(environment, "XDG_CACHE_HOME", ".cache");
  return cache === undefined ? undefined : path.join(cache, "collateral");
}

/** What was seen of guests before. */
export function seenDirectory(environment: Services["environment"]): string | undefined {
  const state = base(environment, "XDG_STATE_HOME", path.join(".local", "state"));
  return state === undefined ? undefined : path.join(state, "seen");
}

/** On which port of this machine the page of a guest is: page-port.ts. */
export function pagePortsDirectory(environment: Services["environment"]): string | undefined {
  const state = base(environment, "XDG_STATE_HOME", path.join(".local", "state"));
  return state === undefined ? undefined : path.join(state, "page-ports");
}

/** What the page remembers of a guest: page-memory.ts. */
export function pageMemoryDirectory(environment: Services["environment"]): string | undefined {
  const state = base(environment, "XDG_STATE_HOME", path.join(".local", "state"));
  return state === undefined ? undefined : path.join(state, "page-memory");
}

/** Sessions to come back to. */
export function sessionsDirectory(environment: Services["environment"]): string | undefined {
  const state = base(environment, "XDG_STATE_HOME", path.join(".local", "state"));
  return state === undefined ? undefined : path.join(state, "sessions");
}

/** The user's own settings. */
export function configDirectory(environment: Services["environment"]): string | undefined {
  return base(environment, "XDG_CONFIG_HOME", ".config");
}

/** Host keys that a running `sealtty proxy` verified: host-keys-handed.ts. */
export function hostKeysDirectory(environment: Services["environment"]): string | undefined {
  const state = base(environment, "XDG_STATE_HOME", path.join(".local", "state"));
  return state === undefined ? undefined : path.join(state, "host-keys");
}
