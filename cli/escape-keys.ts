// The escapes of a raw terminal, by ssh's rules: a line's first character, then a letter. What the terminal itself answers,
// to a shell that asks where the cursor is, is sent and is no character of the line.

import { TerminalReports } from "./terminal-reports.ts";

export type EscapeAction = "disconnect" | "suspend" | "help" | "attest" | "go-on" | "detach";
export type EscapeEvent = { readonly send: Uint8Array } | { readonly action: EscapeAction };

const ESC = 0x1b;
const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const QUESTION = 0x3f;
const CONTROL_Z = 0x1a;
const ACTIONS: ReadonlyMap<number, EscapeAction> = new Map([
  [DOT, "disconnect"],
  [CONTROL_Z, "suspend"],
  [QUESTION, "help"],
  [0x41, "attest"], // A
  [0x47, "go-on"], // G
  [0x64, "detach"], // d
]);

/** What `-e` takes. @returns the byte; null for `none`; undefined where it is neither. */
export function parseEscapeCharacter(text: string): number | null | undefined {
  if (text === "none") return null;
  if (/^[\x21-\x7e]$/.test(text)) return text.charCodeAt(0);
  if (/^\^[\x40-\x5f]$/.test(text)) return text.charCodeAt(1) & 0x1f;
  return undefined;
}

export function escapeName(character: number): string {
  return character < 0x20 ? `^${String.fromCharCode(character | 0x40)}` : String.fromCharCode(character);
}

export class EscapeKeys {
  readonly #character: number | null;
  /** Whether there is something to detach from: else its key is one like any other. */
  readonly #detaches: boolean;
  readonly #onlyLooks: boolean;
  #atLineStart = true;
  #pending = false; // the escape character was typed and is held back
  /** Undefined where ESC, which begins every report, is the escape character. */
  readonly #reports: TerminalReports | undefined;
  /** A sequence that came while the escape character is held back, and may be a key; at most MAX_REPORT. */
  #held: number[] = [];

  /** @param onlyLooks - at a session that others have: nothing that is done here ends it. */
  constructor(character: number | null, detaches = false, onlyLooks = false) {
    this.#character = character;
    this.#detaches = detaches;
    this.#onlyLooks = onlyLooks;
    this.#reports = character === ESC ? undefined : new TerminalReports();
  }

  /** @returns in order: bytes for the guest, and what the user asked of this program. */
  push(typed: Uint8Array): EscapeEvent[] {
    if (this.#character === null) return typed.length > 0 ? [{ send: typed.slice() }] : [];
    const events: EscapeEvent[] = [];
    let send: number[] = [];
    const act = (action: EscapeAction): void => {
      if (send.length > 0) events.push({ send: Uint8Array.from(send) });
      send = [];
      events.push({ action });
      this.#atLineStart = true;
    };
    /** It was a key that came: no line's start, and nothing to hold back for. */
    const key = (character: number): void => {
      if (this.#pending) send.push(character, ...this.#held);
      this.#held = [];
      this.#pending = false;
      this.#atLineStart = false;
    };
    for (const byte of typed) {
      let part = this.#reports?.feed(byte) ?? "none";
      while (part === "broken") {
        key(this.#character);
        part = this.#reports?.feed(byte) ?? "none";
      }
      if (part !== "none") {
        (this.#pending ? this.#held : send).push(byte);
        if (part === "key") key(this.#character);
        if (part === "report") send.push(...this.#held.splice(0));
      } else if (this.#pending) {
        this.#pending = false;
        const known = ACTIONS.get(byte);
        const action = known === "detach" && !this.#detaches ? undefined : known;
        if (action !== undefined && byte !== this.#character) {
          act(action);
          continue;
        }
        if (byte !== this.#character) send.push(this.#character); // doubled: one of them goes through
        send.push(byte);
        this.#atLineStart = byte === CR || byte === LF;
      } else if (this.#atLineStart && byte === this.#character) {
        this.#pending = true;
      } else {
        send.push(byte);
        this.#atLineStart = byte === CR || byte === LF;
      }
    }
    // Terminals send a report whole, so this is the key Escape: the guest is not to wait for the next one.
    if (this.#held.length === 1) key(this.#character);
    if (send.length > 0) events.push({ send: Uint8Array.from(send) });
    return events;
  }

  help(): string[] {
    if (this.#character === null) return ["no escape character is set (-e none)"];
    const key = escapeName(this.#character);
    return [
      "supported escapes, after a newline:",
      this.#onlyLooks
        ? `  ${key}.   leave; the session runs on`
        : `  ${key}.   end the session (the guest's programs get a hang-up)`,
      ...(this.#detaches && !this.#onlyLooks ? [`  ${key}d   detach: the session runs on in the guest`] : []),
      `  ${key}^Z  suspend sealtty`,
      `  ${key}A   ask the guest for evidence again, now`,
      `  ${key}G   go on with a guest that changed (the session is frozen until then)`,
      `  ${key}?   this text`,
      `  ${key}${key}   send the escape character itself`,
    ];
  }
}

/** Keys that detach wherever they are typed; what only began like them is sent after all. */
export class DetachKeys {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** @returns bytes for the guest, and whether the keys were typed: what is behind them is dropped. */
  push(typed: Uint8Array): { send: Uint8Array; detach: boolean } {
    const send: number[] = [];
    for (const byte of typed) {
      // The longest beginning that is still possible, as in Knuth, Morris and Pratt, for a few keys.
      const tail = [...this.#keys.subarray(0, this.#matched), byte];
      while (tail.length > 0 && !tail.every((each, i) => each === this.#keys[i]))
        send.push(tail.shift() as number);
      this.#matched = tail.length;
      if (this.#matched === this.#keys.length) {
        this.#matched = 0;
        return { send: Uint8Array.from(send), detach: true };
      }
    }
    return { send: Uint8Array.from(send), detach: false };
  }
}
