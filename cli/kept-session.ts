// Opening a session that outlives this program, and finding one again: what `connect` and `sessions` share.

import { SealttyError } from "../protocol/errors.ts";
import { toHex } from "../protocol/bytes.ts";
import type { Guest } from "../protocol/session/api.ts";
import type {
  AttachMode,
  SessionChannel,
  SessionName,
  SessionSummary,
  Sizing,
  TerminalRequest,
} from "../protocol/session/session-api.ts";
import type { Input, OptionSpec } from "./options.ts";
import type { SessionStore } from "./session-store.ts";

export const SESSION_OPTIONS = [
  { name: "keep", help: "the session outlives this program: ~d detaches, a lost connection does not end it" },
  {
    name: "detach-keys",
    value: "KEYS",
    help: "keys that detach, anywhere: like ctrl-p,ctrl-q or ctrl-]; implies --keep",
  },
  {
    name: "attach",
    value: "ID",
    help: "come back to a kept session: its id or at least 4 digits of its beginning, or last",
  },
  { name: "read-only", help: "with --attach: look on, type nothing" },
  {
    name: "size",
    value: "WHICH",
    help: "only when opening, with --keep: where several are attached, the size of the smallest (default) or the latest",
  },
] as const satisfies readonly OptionSpec[];

export interface KeepOptions {
  readonly detachKeys: Uint8Array | undefined;
  readonly sizing: Sizing;
  /** "last", or the beginning of an id in hex; undefined: a new session. */
  readonly attach: string | undefined;
  readonly mode: AttachMode;
}

/** @returns undefined where the session is to end with its connection. @throws SealttyError `bad-config`. */
export function keepOptions(input: Input): KeepOptions | undefined {
  const keys = input.text("detach-keys");
  const attach = input.text("attach");
  const size = input.text("size") ?? "smallest";
  const detachKeys = keys === undefined ? undefined : parseDetachKeys(keys);
  if (size !== "smallest" && size !== "latest")
    throw new SealttyError("bad-config", "--size takes smallest or latest");
  if (attach !== undefined && attach !== "last" && !/^[0-9a-f]{4,32}$/.test(attach))
    throw new SealttyError("bad-config", "--attach takes last, or 4 to 32 hex digits of a session's id");
  if (input.has("read-only") && attach === undefined)
    throw new SealttyError("bad-config", "--read-only goes with --attach");
  if (input.has("size") && attach !== undefined)
    throw new SealttyError("bad-config", "--size is chosen when the session is opened, not with --attach");
  if (!input.has("keep") && attach === undefined && detachKeys === undefined) {
    if (input.has("size")) throw new SealttyError("bad-config", "--size goes with --keep");
    return undefined;
  }
  return { detachKeys, sizing: size, attach, mode: input.has("read-only") ? "read-only" : "read-write" };
}

/** docker's spelling. @throws SealttyError `bad-config`. */
export function parseDetachKeys(text: string): Uint8Array {
  const bytes = text.split(",").map((key) => {
    if (/^[\x21-\x7e]$/.test(key)) return key.charCodeAt(0);
    const control = /^(?:ctrl-|\^)([a-zA-Z@[\\\]^_])$/.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    throw new SealttyError(
      "bad-config",
      "--detach-keys takes keys with commas between them: a character, or ctrl- and a letter or one of @[\\]^_",
    );
  });
  if (bytes.length > 8) throw new SealttyError("bad-config", "--detach-keys takes at most 8 keys");
  return Uint8Array.from(bytes);
}

/** @param screenLines - what the output goes to is a terminal: a screen may come in place of output that is gone. */
export async function openKept(
  guest: Guest,
  request: TerminalRequest,
  options: KeepOptions,
  store: SessionStore,
  screenLines?: number,
): Promise<{ readonly channel: SessionChannel; readonly remembered: boolean }> {
  const screen = screenLines === undefined ? {} : { screenLines };
  if (options.attach === undefined) {
    const channel = await guest.openSession({ request, sizing: options.sizing, ...screen });
    return { channel, remembered: await store.remember(channel.session) };
  }
  const session = await findSession(guest, options.attach, store);
  const { columns, rows } = request;
  const channel = await guest.attach({ session, mode: options.mode, from: 0, columns, rows, ...screen });
  const moved = await store.remember(session); // as the newest
  return { channel, remembered: moved || session.secret !== undefined }; // a secret came from there
}

/** What a user loses where a session could not be remembered. */
export function notRememberedWords({ id, secret }: SessionName, store: SessionStore): string {
  const where =
    store.directory === undefined
      ? "there is no home directory"
      : `nothing can be written in ${store.directory}`;
  const loss =
    secret === undefined
      ? `--attach last will not know it; its id finds it: ${shortId(id)}`
      : "nobody can come back to it once this program ends, because its secret is kept nowhere";
  return `sealtty: warning: this session could not be remembered (${where}): ${loss}`;
}

/** What the next command needs as much as this one did. */
const SAID_AGAIN = [
  "policy",
  "login",
  "identity",
  "simulated",
  "collateral",
  "encoding",
  "obfuscate",
  "detach-keys",
  "read-only",
] as const;

/** A line for a shell that comes back to the session in the way it was reached now. @param id - or its beginning. */
export function comeBackCommand(guest: string, id: string, input: Pick<Input, "text" | "has">): string {
  const words = ["sealtty", "connect", guest, "--attach", id];
  for (const name of SAID_AGAIN) {
    const value = input.text(name);
    if (value !== undefined) words.push(`--${name}`, value);
    else if (input.has(name)) words.push(`--${name}`);
  }
  return words.map(shellWord).join(" ");
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** All that the guest lets this user see. */
export async function listSessions(guest: Guest, store: SessionStore): Promise<readonly SessionSummary[]> {
  return guest.listSessions(proofs(await store.all()));
}

/** @throws SealttyError `session-gone`, `bad-config` where several begin like this. */
export async function findSession(guest: Guest, wanted: string, store: SessionStore): Promise<SessionName> {
  return (await findListed(guest, wanted, store)).session;
}

/** The same, with what the guest says of it now. @throws as `findSession`. */
export async function findListed(
  guest: Guest,
  wanted: string,
  store: SessionStore,
): Promise<{ readonly session: SessionName; readonly summary: SessionSummary }> {
  const stored = await store.all();
  const listed = await guest.listSessions(proofs(stored));
  const named = (summary: SessionSummary) => ({
    session: stored.find((each) => toHex(each.id) === toHex(summary.id)) ?? {
      id: summary.id,
      secret: undefined,
    },
    summary,
  });
  if (wanted === "last") {
    const running = listed.filter((each) => each.running);
    const byId = new Map(running.map((each) => [toHex(each.id), each]));
    const remembered = stored.findLast((each) => byId.has(toHex(each.id)));
    const mine = remembered === undefined ? undefined : byId.get(toHex(remembered.id));
    const newest = running.reduce<SessionSummary | undefined>(
      (best, each) => (best === undefined || each.ageSeconds <= best.ageSeconds ? each : best),
      undefined,
    );
    const found = mine ?? newest;
    if (found !== undefined) return named(found);
    throw new SealttyError(
      "session-gone",
      "no session of yours runs in this guest; open one with: sealtty connect GUEST --keep",
    );
  }
  const matching = listed.filter((each) => toHex(each.id).startsWith(wanted));
  if (matching.length > 1)
    throw new SealttyError(
      "bad-config",
      `${matching.length} sessions begin with ${wanted}: give more of the id`,
    );
  const [only] = matching;
  if (only === undefined) {
    throw new SealttyError(
      "session-gone",
      `no session of yours in this guest has an id that begins with ${wanted}; see: sealtty sessions GUEST`,
    );
  }
  return named(only);
}

/** Enough of an id to find it again. */
export function shortId(id: Uint8Array): string {
  return toHex(id).slice(0, 12);
}

function proofs(stored: readonly SessionName[]): SessionName[] {
  return stored.filter((each) => each.secret !== undefined).slice(-MAX_PROOFS);
}

/** A LIST holds no more (docs/protocol.md §9, MAX_SESSIONS); a guest has fewer of them. */
const MAX_PROOFS = 16;
