// `sealtty` on a terminal, typed into and read as somebody at it would.

import path from "node:path";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { startOnPty } from "../../server/sessions/pty-process.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");

export interface OnTerminal {
  /** Everything so far, without carriage returns: two terminals add one or two for each line. */
  shown(): string;
  /** Where what comes next begins in it. */
  mark(): number;
  type(text: string): Promise<void>;
  /** In what came since `from`, or comes. @throws with all that was shown. */
  shows(pattern: RegExp, from?: number): Promise<RegExpExecArray>;
  /** A line for the shell there. @returns what it printed; what was typed is not among it. */
  readonly run: (line: string) => Promise<string>;
  readonly exit: Promise<ExitStatus>;
}

export interface TerminalSettings {
  readonly home: string;
  /** For each thing that is waited for, ms. */
  readonly patience: number;
}

/** @param args - of `sealtty`. */
export async function onTerminal(
  args: readonly string[],
  { home, patience }: TerminalSettings,
): Promise<OnTerminal> {
  const terminal = await startOnPty({
    command: [process.execPath, SEALTTY, ...args],
    environment: { PATH: process.env["PATH"] ?? "", TERM: "xterm", HOME: home },
    directory: "/",
    columns: 100,
    rows: 30,
  });
  let text = "";
  let ended = false;
  let lines = 0;
  const waiting = new Set<() => void>();
  const wakeAll = (): void => {
    for (const wake of waiting) wake();
  };
  void (async () => {
    for (;;) {
      const chunk = await terminal.stdout.read();
      if (chunk === undefined) break;
      text += Buffer.from(chunk).toString().replaceAll("\r", "");
      wakeAll();
    }
    ended = true;
    wakeAll();
  })();
  const type = (typed: string): Promise<void> => terminal.write(Buffer.from(typed));
  async function shows(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const until = performance.now() + patience;
    for (;;) {
      const match = pattern.exec(text.slice(from));
      if (match !== null) return match;
      if (ended || performance.now() > until) throw new Error(`no ${pattern} in:\n${text}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, 5000);
        waiting.add(wake);
      });
    }
  }
  return {
    shown: () => text,
    mark: () => text.length,
    type,
    shows,
    async run(line) {
      const number = ++lines;
      const from = text.length;
      await type(`printf 'begin-%s\\n' ${number}; ${line}; printf 'end-%s\\n' ${number}\r`);
      const [, printed = ""] = await shows(new RegExp(`begin-${number}\\n([^]*?)end-${number}\\n`), from);
      return printed;
    },
    exit: terminal.exit,
  };
}
