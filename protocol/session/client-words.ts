// What a client tells a person when a connection does not come about, or ends: what happened, why, what to do next.

import { SealttyError } from "../errors.ts";
import { keyTypeOf } from "../user-auth/ssh-wire.ts";
import type { UserAuth } from "./api.ts";
import { LISTEN_IN_USE, LISTEN_NOT_ALLOWED, LISTEN_TOO_MANY } from "../forward/forward-messages.ts";
import type { ChannelRequest } from "./channel-api.ts";
import {
  AUTH_METHOD_NOT_ALLOWED,
  OPEN_NOT_ALLOWED,
  OPEN_REFUSED,
  OPEN_TOO_MANY,
  OPEN_UNREACHABLE,
} from "./messages.ts";
import {
  ATTACH_NO_SUCH_OFFSET,
  ATTACH_NOT_ALLOWED,
  ATTACH_TOO_MANY,
  ATTACH_UNKNOWN,
} from "./session-messages.ts";

/** @param progress - how far the connection had come. @param timeout - ms that were waited. @param address - for people. */
export function timeoutError(
  progress: {
    readonly dialing: boolean;
    readonly keys: boolean;
    readonly welcomed: boolean;
    readonly otherVersion: number | undefined;
    /** Why the last pipe ended; undefined: none did. */
    readonly lostBy: string | undefined;
  },
  timeout: number,
  address: string,
): SealttyError {
  const waited = `within ${Math.round(timeout / 1000)} s`;
  if (progress.dialing) {
    return new SealttyError(
      "transport-lost",
      `The host behind ${address} did not answer ${waited}: no pipe was opened, so the guest was not asked. Check the address, firewalls and that the host's API runs; where the address is QEMU's own, another client may hold it (one client at a time).`,
    );
  }
  if (progress.keys) {
    return new SealttyError(
      "timeout",
      `The guest agreed on keys but sent no evidence ${waited}. Its evidence device may be slow or throttled: try again with a longer --timeout.`,
    );
  }
  if (progress.welcomed) {
    return new SealttyError(
      "timeout",
      `The guest answered, but the handshake did not complete ${waited}. The host may be damaging what it carries; try again, or try --encoding armour.`,
    );
  }
  if (progress.otherVersion !== undefined) {
    return new SealttyError(
      "version-unknown",
      `The guest says it speaks protocol version ${progress.otherVersion}; this program speaks version 1. Install matching versions of sealtty and sealttyd.`,
    );
  }
  return new SealttyError(
    "guest-silent",
    `No sealttyd answered ${waited}${progress.lostBy === undefined ? "" : ` (${progress.lostBy.replace(/\.$/, "")})`}. Check that the address is the guest's console, that nothing else holds it (one client at a time on most hosts), and that sealttyd runs in the guest.`,
  );
}

/** @param code - of the guest's AUTHENTICATED message, not 0. */
export function userRefusedError(auth: UserAuth, code: number): SealttyError {
  const how = auth.method === "none" ? "a login without a key" : "this key";
  const certified =
    auth.method === "ssh-key" && keyTypeOf(auth.publicKey)?.endsWith("-cert-v01@openssh.com") === true
      ? " Of a certificate: that a cert-authority line there names who signed it, and that it is valid now and for this user."
      : "";
  if (code !== AUTH_METHOD_NOT_ALLOWED) {
    return new SealttyError(
      "user-refused",
      `The guest refused ${how} for user "${auth.user}". Check the user name, and that the key's line is in the guest's authorized_keys or in its instance document.${certified}`,
    );
  }
  const next =
    auth.method === "none"
      ? "Name a key with -i FILE."
      : "Neither its configuration nor an instance document names keys.";
  return new SealttyError("user-refused", `The guest does not allow ${how}. ${next}`);
}

/** @param code - of the guest's OPENED message, not 0. @param kind - of what was to be opened. */
export function notOpenedError(code: number, kind?: ChannelRequest["kind"]): SealttyError {
  if (kind === "stream" && code !== OPEN_TOO_MANY) return notConnectedError(code);
  if (kind === "service" && code !== OPEN_TOO_MANY) return NO_SERVICE();
  if (code === OPEN_NOT_ALLOWED) {
    return new SealttyError(
      "user-refused",
      "The guest does not allow this to the user: without a key only its login prompt is open (name one with -i FILE), and a key may be restricted (no-pty, command=, expiry-time=).",
    );
  }
  if (code === OPEN_TOO_MANY) {
    return new SealttyError(
      "limit-exceeded",
      "The guest has too many sessions open. Close some, then try again.",
    );
  }
  const forced =
    kind === "exec"
      ? " With a key that has a forced command it takes no --cwd, and no --env but for language and colours."
      : "";
  return new SealttyError(
    "program-failed",
    `The guest could not start the program. Its own log says why (journalctl -u sealttyd, in the guest).${forced}`,
  );
}

const NO_SERVICE = (): SealttyError =>
  new SealttyError(
    "user-refused",
    "The guest does not do this for this user. Its owner names in sealttyd.toml who may have it: [services] kernel_log, or sysrq with sysrq_keys, or [provision] users. A key with a forced command, or an instance document that lists commands, has no services. The guest's own log says which (journalctl -u sealttyd, in the guest).",
  );

const NO_FORWARDING =
  "Its owner allows it by [forward] allow = true in sealttyd.toml, for users with a key; the key's own options or the instance document may forbid it";

function notConnectedError(code: number): SealttyError {
  if (code === OPEN_NOT_ALLOWED) {
    return new SealttyError(
      "user-refused",
      `The guest does not forward this for this user. ${NO_FORWARDING}, and a socket may have permissions.`,
    );
  }
  if (code === OPEN_REFUSED) {
    return new SealttyError(
      "program-failed",
      "Nobody listens there in the guest. Check the port or path, and that the service runs.",
    );
  }
  if (code === OPEN_UNREACHABLE) {
    return new SealttyError(
      "program-failed",
      "The guest cannot get there: no such name, no way, or no answer. Names are looked up in the guest.",
    );
  }
  return new SealttyError(
    "program-failed",
    "The guest could not connect there, or has no such service. Its own log says why (journalctl -u sealttyd, in the guest).",
  );
}

/** @param code - of the guest's LISTENING message, not 0. */
export function notListeningError(code: number): SealttyError {
  if (code === LISTEN_NOT_ALLOWED) {
    return new SealttyError(
      "user-refused",
      `The guest does not listen there for this user. ${NO_FORWARDING}; other addresses than loopback need gateway = true there, and ports below 1024 root; a socket's path needs a directory that this user may write in.`,
    );
  }
  if (code === LISTEN_IN_USE) {
    return new SealttyError(
      "program-failed",
      "Somebody listens there in the guest already, or something else has this path. Name another port or path, or 0 for any port.",
    );
  }
  if (code === LISTEN_TOO_MANY)
    return new SealttyError("limit-exceeded", "The guest listens in too many places for this connection.");
  return new SealttyError(
    "program-failed",
    "The guest could not listen there. Its own log says why (journalctl -u sealttyd, in the guest).",
  );
}

/** @param whose - state is an earlier one of itself. */
export function rolledBackError(whose: "guest" | "client"): SealttyError {
  const machine = whose === "guest" ? "The guest" : "This machine";
  const next =
    whose === "guest"
      ? "Connect again; if you restored nothing, ask who did."
      : "Connect again from a machine that was not restored meanwhile.";
  return new SealttyError(
    "state-rolled-back",
    `${machine} is in an earlier state than this connection: it was restored from a snapshot, or cloned. To go on would use the connection's keys a second time for other bytes, so both sides throw them away; what ran in it, and was not kept, was hung up. ${next}`,
  );
}

/** @param code - of the guest's ATTACHED message, not 0. */
export function notAttachedError(code: number): SealttyError {
  if (code === ATTACH_UNKNOWN) {
    return new SealttyError(
      "session-gone",
      "The guest has no such session for this user: it ended, was killed, nobody came back to it for too long, or the guest restarted.",
    );
  }
  if (code === ATTACH_NO_SUCH_OFFSET)
    return new SealttyError("session-gone", "The session never printed that much: it is not the one meant.");
  if (code === ATTACH_NOT_ALLOWED) {
    return new SealttyError(
      "user-refused",
      "The guest keeps no such session: it is not allowed there, or not to this user (without a key only its login prompt is).",
    );
  }
  if (code === ATTACH_TOO_MANY) {
    return new SealttyError(
      "limit-exceeded",
      "The guest has too many sessions, or this session too many viewers. End one (sealtty sessions GUEST --kill ID), then try again.",
    );
  }
  return notOpenedError(code);
}

const AFTER_CLOSE: Readonly<Record<string, string>> = {
  busy: "It has too much to do: try again in some seconds.",
  "shutting-down": "Its sealttyd is being stopped, or the guest shuts down: connect again once it is back.",
  "not-authenticated": "No user was authenticated in time, or too many attempts failed: connect again.",
  superseded:
    "Its place at the session was taken: by this client over another connection, or, because nothing was heard from here for a while, by another one. The session goes on: attach again.",
  protocol: "One side broke the protocol: install matching versions of sealtty and sealttyd.",
};

/** @param reason - the name of the guest's close code. */
export function closedError(reason: string): SealttyError {
  if (reason === "state-rolled-back") return rolledBackError("guest");
  if (reason === "handed-over")
    return new SealttyError(
      "handed-over",
      "The guest's early sealttyd, of its initramfs, ended, and another one takes over: connect again, which checks the guest anew.",
    );
  const next = AFTER_CLOSE[reason] ?? "Connect again; the guest's own log says why.";
  return new SealttyError("transport-lost", `The guest closed the connection (${reason}). ${next}`);
}

/** What the code below threw, as the one class that callers know. */
export function asSealttyError(error: unknown): SealttyError {
  if (error instanceof SealttyError) return error;
  return new SealttyError(
    "transport-lost",
    error instanceof Error ? error.message : "The connection failed",
    { cause: error },
  );
}
