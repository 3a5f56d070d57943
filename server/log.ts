// The daemon's log: one line per event on stderr, for journald or a person. Who logs: never keys, passwords,
// what was typed or shown, arguments of commands, or values of variables.

const LOG_LEVELS = ["error", "warn", "info", "debug"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  /** @param message - fixed text. @param fields - what varies, escaped on output. */
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

/** syslog priorities, which sd-daemon takes as a `<N>` prefix. */
const PRIORITY = { error: 3, warn: 4, info: 6, debug: 7 } as const;
/** @returns undefined for what createLog() writes in front of no line. */
export function levelOfPriority(priority: number): LogLevel | undefined {
  return LOG_LEVELS.find((level) => PRIORITY[level] === priority);
}

const MAX_FIELD = 1024;

// C0, DEL, C1, backslash, and what reorders or breaks lines: a log is often read in a terminal.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\\\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Cs}/gu;

/** The same without the backslash, which escapes begin with. */
const RELAYED_UNSAFE = new RegExp(UNSAFE.source.replace("\\\\", ""), UNSAFE.flags);

/** Hostile text made fit for a log or an error message. */
export function escapeText(text: string): string {
  const cut = text.length > MAX_FIELD ? `${text.slice(0, MAX_FIELD)}…` : text;
  return cut.replace(UNSAFE, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

export interface LogOptions {
  readonly level?: LogLevel;
  /** Default: under systemd, which sets JOURNAL_STREAM. */
  readonly journal?: boolean;
  readonly write?: (line: string) => void;
}

/** A line of another process's log, which escaped it already, if it is honest. @param text - without its priority and its end. */
export function relayLine(level: LogLevel, from: string, text: string, options: LogOptions = {}): void {
  const journal = options.journal ?? process.env["JOURNAL_STREAM"] !== undefined;
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const harmless = text.replaceAll(RELAYED_UNSAFE, "?");
  write(`${prefixOf(level, journal)}${from}: ${harmless}\n`);
}

function prefixOf(level: LogLevel, journal: boolean): string {
  return journal ? `<${PRIORITY[level]}>` : `${new Date().toISOString()} ${level}: `;
}

export function createLog(options: LogOptions = {}): Log {
  const threshold = LOG_LEVELS.indexOf(options.level ?? "info");
  const journal = options.journal ?? process.env["JOURNAL_STREAM"] !== undefined;
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const line =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) > threshold) return;
      const pairs = Object.entries(fields)
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => ` ${name}=${fieldText(value)}`);
      write(`${prefixOf(level, journal)}${escapeText(message)}${pairs.join("")}\n`);
    };
  return { error: line("error"), warn: line("warn"), info: line("info"), debug: line("debug") };
}

function fieldText(value: unknown): string {
  const text = escapeText(String(value));
  return /^[^\s"=]+$/.test(text) ? text : `"${text.replaceAll('"', "\\x22")}"`;
}
