// A terminal whose program outlives this connection, as the API has it; and sessions' names, as programs write them down.

import { fromHex, toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_SCREEN_LINES, MAX_SESSIONS } from "../../protocol/limits.ts";
import type { ReceiveStream } from "../../protocol/session/channel-api.ts";
import * as inside from "../../protocol/session/session-api.ts";
import { callHook, hookError } from "./hooks.ts";
import { isObject, misuse } from "./misuse.ts";
import { endOf, type Owner } from "./remote-program.ts";
import { ignored, readableOf, TERMINAL_AHEAD, writableOf } from "./streams.ts";
import type {
  AttachOptions,
  KeepOptions,
  KeptTerminal,
  OutputMark,
  SessionEnd,
  SessionName,
  SessionSummary,
  Viewers,
} from "./types.ts";

/** Of `KeepOptions` and `AttachOptions` what both have. */
export type AttachmentOptions = Pick<AttachOptions, "screenLines" | "onMark" | "onViewers">;

export function keptTerminal(
  channel: inside.SessionChannel,
  { onMark, onViewers }: AttachmentOptions,
  owner: Owner,
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
    session: nameOf(channel.session),
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

function nameOf({ id, secret }: inside.SessionName): SessionName {
  return { id: toHex(id), ...(secret === undefined ? {} : { secret: toHex(secret) }) };
}

export function summaryOf(summary: inside.SessionSummary): SessionSummary {
  return { ...summary, id: toHex(summary.id) };
}

/** @throws SealttyError `api-misuse`; without what it was: there may be a secret in it. */
export function sessionOf(name: SessionName): inside.SessionName {
  if (isObject(name) && isHex(name.id, inside.SESSION_ID_LENGTH) && isSecret(name.secret))
    return { id: fromHex(name.id), secret: name.secret === undefined ? undefined : fromHex(name.secret) };
  throw new SealttyError(
    "api-misuse",
    "A session is { id } with 32 hex digits, and { secret } with 64 where it was opened without a key",
  );
}

function isSecret(secret: unknown): boolean {
  return secret === undefined || isHex(secret, inside.SESSION_SECRET_LENGTH);
}

function isHex(text: unknown, bytes: number): boolean {
  return typeof text === "string" && text.length === 2 * bytes && /^[0-9a-f]+$/.test(text);
}

/** Those that prove anything, and no more than a question holds. @throws SealttyError `api-misuse`. */
export function proofsOf(known: readonly SessionName[]): inside.SessionName[] {
  if (!Array.isArray(known)) throw misuse("Known sessions are a list", typeof known);
  return known
    .map(sessionOf)
    .filter(({ secret }) => secret !== undefined)
    .slice(-MAX_SESSIONS);
}

/** @throws SealttyError `api-misuse`. */
export function requireAttachment({ screenLines }: AttachmentOptions): void {
  if (screenLines !== undefined && !isWhole(screenLines, 0, MAX_SCREEN_LINES))
    throw misuse(`screenLines is a whole number up to ${MAX_SCREEN_LINES}`, screenLines);
}

/** @throws SealttyError `api-misuse`. */
export function requireKeeping({ sizing, idleSeconds }: Pick<KeepOptions, "sizing" | "idleSeconds">): void {
  if (sizing !== undefined && sizing !== "smallest" && sizing !== "latest")
    throw misuse('sizing is "smallest" or "latest"', sizing);
  if (idleSeconds !== undefined && !isWhole(idleSeconds, 1, 0xffff_ffff))
    throw misuse("idleSeconds is a whole number, at least 1", idleSeconds);
}

/** @throws SealttyError `api-misuse`. */
export function modeOf({ mode = "read-write" }: Pick<AttachOptions, "mode">): inside.AttachMode {
  if (mode === "read-write" || mode === "read-only") return mode;
  throw misuse('mode is "read-write" or "read-only"', mode);
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}
