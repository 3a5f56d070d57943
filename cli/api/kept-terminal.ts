// A terminal whose program outlives this connection, as the API has it; and sessions' names, as programs write them down.

import { fromHex, toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_SESSIONS } from "../../protocol/limits.ts";
import type { ReceiveStream } from "../../protocol/session/channel-api.ts";
import * as inside from "../../protocol/session/session-api.ts";
import { callHook, hookError } from "./hooks.ts";
import { isObject, misuse } from "./misuse.ts";
import { endOf, type Owner } from "./remote-program.ts";
import { ignored, readableOf, TERMINAL_AHEAD, writableOf } from "./streams.ts";
import type {
  AttachOptions,
  KeptTerminal,
  OutputMark,
  SessionEnd,
  SessionName,
  SessionSummary,
  Viewers,
} from "./types.ts";

const GUEST_KEY_LENGTH = 32;

/** Of `KeepOptions` and `AttachOptions` what both have. */
export type AttachmentOptions = Pick<AttachOptions, "onMark" | "onViewers">;

export function keptTerminal(
  channel: inside.SessionChannel,
  { onMark, onViewers }: AttachmentOptions,
  owner: Owner,
  guestKey: string,
): KeptTerminal {
  const explain = (error: unknown): Error => owner.explain(error);
  let broken: SealttyError | undefined; // a hook is: this attachment ends, its session does not, and nobody else's does
  const tell = (name: string, hook: () => unknown): void => {
    if (broken !== undefined) return;
    callHook(hook, (cause) => {
      if (broken !== undefined) return;
      broken = hookError(name, cause);
      fail(broken);
      void detach().catch(ignored);
    });
  };
  const { mode, lost, inputUnsure } = channel;
  const replays = channel.nextOffset < channel.replayEnd;
  const detach = (): Promise<void> => channel.detach();
  const output = readableOf(
    markedOutput(channel, (mark) => tell("onMark", () => onMark?.(mark))),
    explain,
    () => void detach().catch(ignored),
    TERMINAL_AHEAD,
  );
  const { exit, fail } = endOf(channel, {}, owner, (error) => output.fail(error));
  const tellViewers = (viewers: Viewers): void => tell("onViewers", () => onViewers?.(viewers));
  channel.onViewers = tellViewers;
  if (channel.viewers !== undefined) tellViewers(channel.viewers);
  const ended = exit.then(
    (how): SessionEnd => ({ kind: "exit", exit: how }),
    async (error: unknown): Promise<SessionEnd> => {
      if (broken !== undefined) throw broken;
      const end = await channel.ended.catch(() => undefined);
      if (end?.kind !== "detached") throw error;
      return { kind: "detached", by: end.by === "request" ? "request" : "elsewhere" };
    },
  );
  ended.catch(ignored); // a caller that never asks is no unhandled rejection
  return {
    session: nameOf(channel.session, guestKey),
    mode,
    lost,
    replays,
    inputUnsure,
    // Nothing was typed that could end.
    input: writableOf(
      { write: (bytes) => channel.write(bytes), end: () => void (mode === "read-write" && channel.end()) },
      explain,
    ),
    output: output.readable,
    exit,
    ended,
    resize: (columns, rows) => channel.resize(columns, rows),
    kill: (signal = "SIGTERM") => channel.signal(signal),
    hangUp() {
      channel.hangUp();
      output.discard();
    },
    detach,
  };
}

/** Says where what `read` gives stands in the session. */
function markedOutput(channel: inside.SessionChannel, tell: (mark: OutputMark) => void): ReceiveStream {
  let at = 0;
  let replaying = channel.nextOffset < channel.replayEnd;
  channel.onGap = (lost) => tell({ kind: "gap", at, lost });
  channel.onScreen = ({ columns, rows, begin, end, lines, cut }) =>
    tell({ kind: "screen", at, columns, rows, begin, end, lines, cut });
  return {
    async read() {
      const chunk = await channel.stdout.read();
      if (chunk === undefined) await orderlyEnd(channel);
      const before = at;
      at += chunk?.length ?? 0;
      if (replaying && channel.nextOffset >= channel.replayEnd) {
        replaying = false;
        tell({ kind: "new", at: Math.max(before, at - (channel.nextOffset - channel.replayEnd)) });
      }
      return chunk;
    },
    consumed: (length) => channel.stdout.consumed(length),
  };
}

/** @throws what it ended with, where that was neither its program nor our own leave. */
async function orderlyEnd(channel: inside.SessionChannel): Promise<void> {
  const end = await channel.ended;
  if (end.kind === "detached" && end.by !== "request") await channel.exit;
}

/** @param guestKey - hex: a secret goes to no other guest, and so has its guest beside it. */
function nameOf({ id, secret }: inside.SessionName, guestKey: string): SessionName {
  return { id: toHex(id), ...(secret === undefined ? {} : { secret: toHex(secret), guest: guestKey }) };
}

export function summaryOf(summary: inside.SessionSummary): SessionSummary {
  return { ...summary, id: toHex(summary.id) };
}

/**
 * @param guestKey - hex, of the guest that is to hear of it.
 * @throws SealttyError `api-misuse`, without what it was: there may be a secret in it. `session-gone` where it is another guest's,
 * of whatever machine, or of an earlier start of this one: that must not hear the secret.
 */
export function sessionOf(name: SessionName, guestKey: string): inside.SessionName {
  const session = parsedName(name);
  if (session.guest === undefined || session.guest === guestKey) return session;
  throw new SealttyError(
    "session-gone",
    "The session is another guest's, or this guest was started again since: sessions end with the guest's key",
  );
}

/** With what it says of its guest. @throws SealttyError `api-misuse`. */
function parsedName(name: SessionName): inside.SessionName & { readonly guest: string | undefined } {
  if (isObject(name) && isHex(name.id, inside.SESSION_ID_LENGTH)) {
    const { id, secret, guest } = name;
    if (secret === undefined && (guest === undefined || isHex(guest, GUEST_KEY_LENGTH)))
      return { id: fromHex(id), secret: undefined, guest };
    if (isSecret(secret) && isHex(guest, GUEST_KEY_LENGTH))
      return { id: fromHex(id), secret: fromHex(secret), guest };
  }
  throw new SealttyError(
    "api-misuse",
    "A session is { id } with 32 hex digits; opened without a key, also { secret } and { guest } with 64 each, as keepShell() gave them",
  );
}

function isSecret(secret: unknown): secret is string {
  return isHex(secret, inside.SESSION_SECRET_LENGTH);
}

function isHex(text: unknown, bytes: number): text is string {
  return typeof text === "string" && text.length === 2 * bytes && /^[0-9a-f]+$/.test(text);
}

/**
 * Those that prove anything to this guest, and no more than a question holds: of secrets that are another guest's, or nobody
 * knows whose, it hears nothing. @param guestKey - hex. @throws SealttyError `api-misuse`.
 */
export function proofsOf(known: readonly SessionName[], guestKey: string): inside.SessionName[] {
  if (!Array.isArray(known)) throw misuse("Known sessions are a list", typeof known);
  return (known as readonly SessionName[])
    .filter((name) => !isObject(name) || name.guest !== undefined || !isSecret(name.secret))
    .map(parsedName)
    .filter(({ secret, guest }) => secret !== undefined && guest === guestKey)
    .map(({ id, secret }) => ({ id, secret }))
    .slice(-MAX_SESSIONS);
}
