// What a user's key may be used for: from the options of its line in authorized_keys, and from its certificate. The guest asks
// at each OPEN.

import type { ChannelRequest } from "../session/channel-api.ts";

export interface UserRestrictions {
  /** Run in place of whatever is asked for, by the user's shell with `-c`; what was asked for is in SSH_ORIGINAL_COMMAND. */
  readonly command?: string;
  /** Whether programs may have a terminal. */
  readonly pty: boolean;
  readonly portForwarding: boolean;
  /** Where connections may be forwarded to, "host:port" each, the port or `*`; absent: anywhere. */
  readonly permitOpen?: readonly string[];
  /** Where may be listened for connections that are forwarded, "[host:]port" each, as above; absent: anywhere. */
  readonly permitListen?: readonly string[];
  /** From then on nothing more is opened, ms since 1970 UTC; absent: never. */
  readonly expires?: number;
}

/** A key whose line says nothing else. */
export const UNRESTRICTED: UserRestrictions = { pty: true, portForwarding: true };

/** @param now - ms since 1970 UTC. */
export function isExpired({ expires }: UserRestrictions, now: number): boolean {
  return expires !== undefined && now >= expires;
}

/** Whether a channel of this kind may be opened at all; what then runs in it, `command` says. */
export function allowsKind(restrictions: UserRestrictions, kind: ChannelRequest["kind"]): boolean {
  switch (kind) {
    case "login": // a password prompt is no way around a forced command
      return restrictions.pty && restrictions.command === undefined;
    case "shell":
      return restrictions.pty;
    case "exec":
    case "stream": // where to, protocol/forward/permission.ts says
      return true;
    case "files": // whoever may write the user's files can have any command run, sooner or later
    case "prompts": // whoever opens the disk decides what is on it from then on
    case "service": // root's rights, in other words than the key's one command
      return restrictions.command === undefined;
  }
}

/**
 * Whether who is restricted so may come to a session that was opened with this forced command (undefined: with none), see it or
 * end it. Sessions are on terminals; and a forced command is no restriction where it lets its user into another program's session.
 */
export function allowsSession(restrictions: UserRestrictions, openedWith: string | undefined): boolean {
  return restrictions.pty && (restrictions.command === undefined || restrictions.command === openedWith);
}

/** Both hold. @returns undefined where they cannot: two different forced commands. */
export function bothRestrictions(a: UserRestrictions, b: UserRestrictions): UserRestrictions | undefined {
  if (a.command !== undefined && b.command !== undefined && a.command !== b.command) return undefined;
  const command = a.command ?? b.command;
  const permitOpen = bothLists(a.permitOpen, b.permitOpen);
  const permitListen = bothLists(a.permitListen, b.permitListen);
  const expires = a.expires === undefined ? b.expires : Math.min(a.expires, b.expires ?? a.expires);
  return {
    ...(command === undefined ? {} : { command }),
    pty: a.pty && b.pty,
    portForwarding: a.portForwarding && b.portForwarding,
    ...(permitOpen === undefined ? {} : { permitOpen }),
    ...(permitListen === undefined ? {} : { permitListen }),
    ...(expires === undefined ? {} : { expires }),
  };
}

/** Places are compared as they are written: what one list means by `*` is not worked out against the other. */
function bothLists(
  a: readonly string[] | undefined,
  b: readonly string[] | undefined,
): readonly string[] | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.filter((place) => b.includes(place));
}

/** Words as a shell reads them back: what a forced command is told of the command that it stands in for. */
export function commandLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}
