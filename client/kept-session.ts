// The page's session outlives its connection: after a reload, or when the guest has given the keys up, the page comes back
// to it, behind a full handshake, evidence and user authentication. The screen comes from the guest's own ring.

import { fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_SCREEN_LINES } from "../protocol/limits.ts";
import type { Guest } from "../protocol/session/api.ts";
import type { Channel } from "../protocol/session/channel-api.ts";
import {
  CLIENT_ID_LENGTH,
  SESSION_ID_LENGTH,
  type ScreenInfo,
  type SessionChannel,
  type SessionName,
  type TerminalRequest,
  type Viewer,
} from "../protocol/session/session-api.ts";
import type { TerminalPort } from "./channel-pump.ts";
import type { PageConfig } from "./page-config.ts";

const KEY = "sealtty.session";
/** Said once, where the page came back. */
const UNSURE_INPUT =
  "it is not known whether the last keys that were typed before reached the program, and they are not sent again: look before you type them anew";
/** A closed tab cannot be told from one that comes back: its program waits an hour, not the guest's day. */
const WAIT_FOR_TAB_S = 3600;
/** What a terminal says by itself when asked: cursor, status, attributes, modes, colours. */
const ANSWER =
  // oxlint-disable-next-line no-control-regex
  /^\u001b(?:\[[?>=]?[0-9;]*[Rncx]|\[\??[0-9;]*\$y|\[[0-9;]+t|[\]P_][^\r\n]*)/;

interface Kept {
  readonly session: SessionName;
  readonly client: Uint8Array; // 16 bytes
}

/**
 * In the tab's session storage, which browsers also write to disk and copy into a duplicated tab: so it holds nothing that
 * opens a session. Coming back takes the user's key again. Trouble with it is no trouble for the console.
 */
export class KeptStore {
  readonly #storage: () => Storage;

  constructor(storage: () => Storage) {
    this.#storage = storage;
  }

  recall(config: PageConfig): Kept | undefined {
    try {
      const kept = JSON.parse(this.#storage().getItem(KEY) ?? "null") as Record<string, unknown> | null;
      if (kept === null || kept["whose"] !== whose(config)) return undefined;
      const id = bytesOf(kept["id"], SESSION_ID_LENGTH);
      const client = bytesOf(kept["client"], CLIENT_ID_LENGTH);
      if (id === undefined || client === undefined) return undefined;
      return { session: { id, secret: undefined }, client };
    } catch {
      return undefined;
    }
  }

  remember(config: PageConfig, { session, client }: Kept): void {
    const kept = { whose: whose(config), id: toHex(session.id), client: toHex(client) };
    this.#try((storage) => storage.setItem(KEY, JSON.stringify(kept)));
  }

  forget(_config: PageConfig): void {
    this.#try((storage) => storage.removeItem(KEY));
  }

  #try(use: (storage: Storage) => void): void {
    try {
      use(this.#storage());
    } catch {
      // full, or forbidden: the next reload starts a new session
    }
  }
}

function whose({ identity, address, user, auth }: PageConfig): string {
  return JSON.stringify([identity, address, user, auth]);
}

function bytesOf(value: unknown, length: number): Uint8Array | undefined {
  if (typeof value !== "string" || value.length !== 2 * length || !/^[0-9a-f]+$/.test(value))
    return undefined;
  return fromHex(value);
}

/** Back to this tab's session; to a new one where there is none; to one that ends with its connection without a key. */
export async function openOrComeBack(
  guest: Guest,
  request: TerminalRequest,
  terminal: TerminalPort,
  own: {
    readonly config: PageConfig;
    readonly kept: KeptStore | undefined;
    showViewers(viewers: readonly Viewer[]): void;
    /** What came back, and what could not. */
    sayRestored(words: string): void;
  },
): Promise<{ channel: Channel; terminal: TerminalPort }> {
  const { config, kept } = own;
  // Without a key whoever holds the session's secret is its owner: a page has no place to keep one.
  if (kept === undefined || config.auth === "none")
    return { channel: await guest.openChannel(request), terminal };
  const session = (await comeBack(guest, request, config, kept)) ?? (await openNew(guest, request));
  if (session === undefined) return { channel: await guest.openChannel(request), terminal };
  kept.remember(config, { session: session.session, client: session.client });
  session.onViewers = ({ viewers }) => own.showViewers(viewers);
  if (session.viewers !== undefined) own.showViewers(session.viewers.viewers);
  const shown = withoutOldAnswers(session, terminal);
  session.onGap = (lost) => sayGap(terminal, lost);
  session.onScreen = (screen, length) => {
    terminal.restore(screen.columns, screen.rows, length);
    own.sayRestored(restoredWords(screen));
  };
  if (session.lost > 0) sayGap(terminal, session.lost);
  if (session.inputUnsure) say(terminal, UNSURE_INPUT);
  return { channel: session, terminal: shown };
}

async function comeBack(
  guest: Guest,
  { columns, rows }: TerminalRequest,
  config: PageConfig,
  kept: KeptStore,
): Promise<SessionChannel | undefined> {
  const screenLines = MAX_SCREEN_LINES;
  const known = kept.recall(config);
  if (known === undefined) return undefined;
  try {
    // From the beginning, because a new terminal shows nothing yet.
    return await guest.attach({ ...known, mode: "read-write", from: 0, columns, rows, screenLines });
  } catch (error) {
    if (!(error instanceof SealttyError) || error.code !== "session-gone") throw error;
    kept.forget(config);
    return undefined;
  }
}

/** @returns undefined where the guest keeps none, or no more. */
async function openNew(guest: Guest, request: TerminalRequest): Promise<SessionChannel | undefined> {
  const screenLines = MAX_SCREEN_LINES;
  try {
    return await guest.openSession({ request, idleSeconds: WAIT_FOR_TAB_S, screenLines });
  } catch (error) {
    if (error instanceof SealttyError && (error.code === "user-refused" || error.code === "limit-exceeded"))
      return undefined;
    throw error;
  }
}

export function restoredWords({ begin, lines, cut }: ScreenInfo): string {
  const above = lines === 0 ? "nothing" : lines === 1 ? "one line" : `${lines} lines`;
  const words = [`The guest gave the screen back as it stood, with ${above} above it. Links in it are gone.`];
  if (cut > 0) words.push(`${cut} older ${cut === 1 ? "line was" : "lines were"} too much to send.`);
  if (begin > 0)
    words.push(
      "The guest has lost what was printed earlier: lines, colours or modes may be missing until the program draws anew.",
    );
  return words.join(" ");
}

function sayGap(terminal: TerminalPort, lost: number): void {
  say(terminal, `${lost} bytes of output before this are gone`);
}

function say(terminal: TerminalPort, words: string): void {
  terminal.write(utf8(`\r\n[sealtty: ${words}]\r\n`), () => undefined);
}

/** What the terminal answers to questions in old output was said long ago, and is not typed again. */
function withoutOldAnswers(session: SessionChannel, terminal: TerminalPort): TerminalPort {
  let old = session.nextOffset < session.replayEnd;
  return {
    get columns() {
      return terminal.columns;
    },
    get rows() {
      return terminal.rows;
    },
    write(bytes, parsed) {
      const last = session.nextOffset >= session.replayEnd;
      terminal.write(bytes, () => {
        if (last) old = false;
        parsed();
      });
    },
    restore: (columns, rows, length) => terminal.restore(columns, rows, length),
    onInput: (listener) =>
      terminal.onInput((bytes) => {
        if (!old || !ANSWER.test(new TextDecoder("latin1").decode(bytes))) listener(bytes);
      }),
    onResize: (listener) => terminal.onResize(listener),
    finish: () => terminal.finish(),
  };
}
