// Opening a session that outlives this program, and finding one again: what `connect` and `sessions` share.

import { SealttyError } from "../protocol/errors.ts";
import { MAX_SCREEN_LINES } from "../protocol/limits.ts";
import type {
  AttachOptions,
  Guest,
  KeepOptions as ShellToKeep,
  KeptTerminal,
  OutputMark,
  SessionName,
  SessionSummary,
  ShellOptions,
  Viewers,
} from "./api/types.ts";
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
    values: ["smallest", "latest"],
  },
] as const satisfies readonly OptionSpec[];

export interface KeepOptions {
  readonly detachKeys: Uint8Array | undefined;
  readonly sizing: NonNullable<ShellToKeep["sizing"]>;
  /** "last", or the beginning of an id in hex; undefined: a new session. */
  readonly attach: string | undefined;
  readonly mode: NonNullable<AttachOptions["mode"]>;
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

/** What a session tells beside its output, from its opening on: whoever shows it may listen later. */
export class SessionNews {
  /** In their order; whoever came to one takes it away. Gaps with no output between them are one, however many are told. */
  readonly marks: OutputMark[] = [];
  #viewers: Viewers | undefined;
  #onViewers: (viewers: Viewers) => void = () => {};

  readonly listeners: Pick<AttachOptions, "onMark" | "onViewers"> = {
    onMark: (mark) => this.#mark(mark),
    onViewers: (viewers) => {
      this.#viewers = viewers;
      this.#onViewers(viewers);
    },
  };

  /** A guest that sends gaps and no output is held up by no reader: they must not take memory here. */
  #mark(mark: OutputMark): void {
    const last = this.marks.at(-1);
    if (mark.kind === "gap" && last?.kind === "gap" && last.at === mark.at)
      this.marks[this.marks.length - 1] = { ...last, lost: last.lost + mark.lost };
    else this.marks.push(mark);
  }

  /** Who is attached now, unless nobody else is; and at each change. */
  watchViewers(onViewers: (viewers: Viewers) => void): void {
    this.#onViewers = onViewers;
    if (this.#viewers !== undefined && this.#viewers.viewers.length > 1) onViewers(this.#viewers);
  }
}

export interface Kept {
  readonly terminal: KeptTerminal;
  readonly news: SessionNews;
  readonly remembered: boolean;
}

/** @param hasScreen - what the output goes to is a terminal: a screen may come in place of output that is gone. */
export async function openKept(
  guest: Guest,
  shell: ShellOptions,
  options: KeepOptions,
  store: SessionStore,
  hasScreen: boolean,
): Promise<Kept> {
  const news = new SessionNews();
  const attachment = { ...news.listeners, ...(hasScreen ? { screenLines: MAX_SCREEN_LINES } : {}) };
  if (options.attach === undefined) {
    const terminal = await guest.keepShell({ ...shell, ...attachment, sizing: options.sizing });
    return { terminal, news, remembered: await store.remember(terminal.session) };
  }
  const session = await findSession(guest, options.attach, store);
  const { columns, rows } = shell;
  const terminal = await guest.attach(session, { ...attachment, mode: options.mode, columns, rows });
  const moved = await store.remember(session); // as the newest
  return { terminal, news, remembered: moved || session.secret !== undefined }; // a secret came from there
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
  "config",
  "option",
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

type SaidBefore = Pick<Input, "text" | "has" | "texts"> & {
  readonly said?: Pick<Input, "text" | "has" | "texts">;
  readonly alias?: string;
};

/** A line for a shell that comes back to the session in the way it was reached now. @param id - or its beginning. */
export function comeBackCommand(guest: string, id: string, input: SaidBefore): string {
  const words = ["sealtty", "connect", input.alias ?? guest, "--attach", id];
  const said = input.said ?? input; // what guests.toml says, it says again
  for (const name of SAID_AGAIN) {
    const values = name === "option" ? said.texts(name) : [said.text(name)];
    for (const value of values) {
      if (value !== undefined) words.push(`--${name}`, value);
      else if (said.has(name)) words.push(`--${name}`);
    }
  }
  return words.map(shellWord).join(" ");
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** All that the guest lets this user see. */
export async function listSessions(guest: Guest, store: SessionStore): Promise<readonly SessionSummary[]> {
  return guest.listSessions(await store.all());
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
  const listed = await guest.listSessions(stored);
  const named = (summary: SessionSummary) => ({
    session: stored.find(({ id }) => id === summary.id) ?? { id: summary.id },
    summary,
  });
  if (wanted === "last") {
    const running = listed.filter((each) => each.running);
    const byId = new Map(running.map((each) => [each.id, each]));
    const remembered = stored.findLast(({ id }) => byId.has(id));
    const mine = remembered === undefined ? undefined : byId.get(remembered.id);
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
  const matching = listed.filter((each) => each.id.startsWith(wanted));
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
export function shortId(id: string): string {
  return id.slice(0, 12);
}
