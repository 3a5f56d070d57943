// This terminal as the guest's: keys and escapes in, output and size changes out, until the remote program ends.

import type { Readable } from "node:stream";
import { PullReader } from "../node/pull-reader.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { OutputMark, RemoteTerminal, ScreenInfo, Viewer } from "./api/types.ts";
import type { AttestationWatch } from "./attestation-watch.ts";
import { DetachKeys, type EscapeEvent, EscapeKeys, escapeName, parseEscapeCharacter } from "./escape-keys.ts";
import { EXIT_OURS, EXIT_OUTPUT_CLOSED, exitFields, signalStatus } from "./exit-status.ts";
import type { Kept } from "./kept-session.ts";
import type { Input } from "./options.ts";
import { OutputClosed, writeTo } from "./output.ts";
import { printable } from "./printable.ts";
import { RawTerminal } from "./raw-terminal.ts";
import type { RecordingFile } from "./recording-file.ts";
import { ReplayAnswers } from "./replay-answers.ts";
import type { Reporter } from "./report.ts";
import type { Surroundings } from "./services.ts";
import { inputFailure } from "./standard-input.ts";

/** Typed and not yet taken by the connection. Below it keys are always read, so that ~. works while the guest does not answer. */
const MAX_TYPED = 1024 * 1024;
/** For the guest to say that we left; it notices by itself, too. */
const DETACH_WAIT = 1000;
/** For the terminal to answer the last question in old output. */
const ANSWER_WAIT = 200;

/** @returns the byte, or null for none. @throws SealttyError `bad-config`. */
export function escapeOption(input: Input): number | null {
  const text = input.text("escape");
  const character = text === undefined ? 0x7e : parseEscapeCharacter(text);
  if (character === undefined) {
    throw new SealttyError("bad-config", "--escape takes one character, ^ and a letter, or none");
  }
  return character;
}

export function gapWords(lost: number): string {
  return `sealtty: ${lost} bytes of output are gone: the session printed more than it keeps while nobody took it`;
}

/** Said once, where a session was come back to. */
export const UNSURE_INPUT =
  "sealtty: it is not known whether the last keys that were typed before reached the program, and they are not sent again: look before you type them anew";

/** Said where a session ends by a hang-up that was not ours. */
export const HUNG_UP_ELSEWHERE =
  "sealtty: this session was hung up in the guest, and not from here: by sealtty sessions --kill, or by ~. of another client attached to it";

function screenWords({ begin, lines, cut, columns, rows }: ScreenInfo, size: RawTerminal["size"]): string {
  let words = `sealtty: older output is gone; the screen comes back with ${lines} lines above it`;
  if (cut > 0) words += `, ${cut} more were too much to send`;
  if (begin > 0) words += "; the guest has lost what was printed earlier, so parts of it may be missing";
  if (columns !== size.columns || rows !== size.rows)
    words += `; it was made for ${columns} columns and ${rows} rows`;
  return words;
}

export interface Running {
  readonly attestation: {
    readonly watch: Pick<AttestationWatch, "askPerson" | "sayNext" | "frozen" | "thawed" | "goOn">;
    readonly askAgain: () => Promise<void>;
  };
  /** Of a session that outlives this program: the same terminal. */
  readonly kept?: Pick<Kept, "terminal" | "news"> & { readonly detachKeys: Uint8Array | undefined };
  /** Has begun. */
  readonly recording?: RecordingFile | undefined;
}

/** @returns the exit status. @throws SealttyError where the connection ended before the program did. */
export async function runTerminal(
  program: RemoteTerminal,
  terminal: RawTerminal,
  escapeCharacter: number | null,
  services: Surroundings,
  reporter: Reporter,
  { attestation: { watch, askAgain }, kept, recording }: Running,
): Promise<number> {
  const { stdin, stdout } = services;
  const detachKeys = kept?.detachKeys === undefined ? undefined : new DetachKeys(kept.detachKeys);
  const session = kept?.terminal;
  const readOnly = session?.mode === "read-only";
  const keys = new EscapeKeys(terminal.hasKeyboard ? escapeCharacter : null, kept !== undefined, readOnly);
  const old = new ReplayAnswers(session?.replays ?? false);
  const offs: (() => void)[] = [];
  const ended = new Promise<number>((resolve, reject) => {
    let hungUp = false; // by this program
    const stop = (status: number): void => {
      hungUp = true;
      program.hangUp();
      resolve(status);
    };
    /** This program ends; a session that outlives it does not. */
    const leave = (status: number): void => {
      if (session === undefined) return stop(status);
      const left = sending.then(() => session.detach());
      void Promise.race([left, after(services, DETACH_WAIT)]).then(() => resolve(status));
    };
    const key = escapeCharacter === null ? undefined : escapeName(escapeCharacter);
    if (terminal.hasKeyboard && key !== undefined && !reporter.batch) {
      watch.askPerson(() => {
        freezes++;
        reporter.warn(
          `sealtty: nothing is sent or shown, and what you type now is dropped; Enter ${key}. ends, Enter ${key}G goes on if you know why`,
        );
      });
    }
    let typed = 0;
    let freezes = 0; // what was queued before one is dropped as well
    let sending = Promise.resolve();
    const send = (bytes: Uint8Array): void => {
      // Typed at a guest that is not the one meant: dropped for good, and never sent later by going on.
      if (watch.frozen || readOnly || bytes.length === 0) return;
      const before = freezes;
      typed += bytes.length;
      if (typed > MAX_TYPED) stdin.pause();
      sending = sending
        .then(async () => {
          if (before !== freezes) return;
          await watch.thawed; // typed right behind the go-on
          if (before === freezes) await typeInto(program, bytes);
        })
        .then(() => {
          typed -= bytes.length;
          if (typed <= MAX_TYPED) stdin.resume();
        });
    };
    const act = (event: EscapeEvent): void => {
      if ("send" in event) send(event.send);
      else if (event.action === "disconnect" && readOnly) leave(0);
      else if (event.action === "disconnect") stop(EXIT_OURS);
      else if (event.action === "detach") leave(0);
      else if (event.action === "help") for (const line of keys.help()) reporter.say(line);
      else if (event.action === "attest") {
        watch.sayNext();
        askAgain().catch(() => undefined); // the program's end tells
      } else if (event.action === "go-on") {
        if (!watch.goOn()) reporter.say("sealtty: nothing is frozen");
      } else {
        terminal.suspend();
        program.resize(terminal.size.columns, terminal.size.rows);
      }
    };
    const typedBytes = (bytes: Uint8Array): void => {
      const { send: rest, detach } = detachKeys?.push(bytes) ?? { send: bytes, detach: false };
      for (const event of keys.push(rest)) act(event);
      if (detach) leave(0);
    };
    const onData = (chunk: Uint8Array): void => typedBytes(old.filter(chunk));
    if (session !== undefined) {
      if (session.inputUnsure) {
        reporter.event("input-unsure", {});
        reporter.say(UNSURE_INPUT);
      }
      let others = 0;
      kept?.news.watchViewers(({ viewers }) => {
        reporter.event("viewers", { viewers });
        if (viewers.length - 1 !== others) reporter.say(`sealtty: ${viewerWords(viewers)}`);
        others = viewers.length - 1;
      });
    }
    const shown = (chunk: Uint8Array): void => {
      recording?.output(chunk);
      terminal.watch(chunk);
    };
    const mark = (mark: OutputMark): void => {
      if (mark.kind === "new") {
        offs.push(services.clock.after(ANSWER_WAIT, () => typedBytes(old.end())));
      } else if (mark.kind === "gap") {
        const { lost } = mark;
        recording?.mark(gapWords(lost));
        reporter.event("gap", { lost });
        reporter.say(gapWords(lost));
      } else {
        const { columns, rows, lines, cut, begin, end } = mark;
        recording?.screen(columns, rows);
        reporter.event("screen", { columns, rows, lines, cut, begin, end });
        reporter.say(screenWords(mark, terminal.size));
        terminal.clear();
      }
    };
    const onEnd = (): void => {
      if (readOnly) return; // nothing was typed that could end
      void sending.then(() => program.input.end());
    };
    stdin.on("data", onData);
    const onError = (cause: Error): void => {
      if (readOnly) return; // nothing was typed that could be lost
      const failure = inputFailure(cause, stdin);
      if (failure === undefined) return onEnd();
      hungUp = true;
      if (session === undefined) program.hangUp(); // an end of its input would say that this was all
      reject(failure);
    };
    stdin.once("end", onEnd);
    stdin.once("error", onError);
    offs.push(() => {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      stdin.off("error", onError);
      stdin.pause();
    });
    for (const signal of ["SIGTERM", "SIGHUP"] as const) {
      offs.push(services.onSignal(signal, () => leave(signalStatus(signal))));
    }
    // In raw mode ^C is a byte for the guest; without a terminal it is a signal for it.
    offs.push(services.onSignal("SIGINT", () => program.kill("SIGINT")));
    Promise.all([
      program.exit,
      show(program.output, kept?.news.marks ?? [], {
        ready: () => watch.thawed,
        mark,
        bytes(chunk) {
          shown(chunk);
          return writeTo(stdout, chunk);
        },
      }),
    ]).then(
      ([exit]) => {
        recording?.exit(exit);
        reporter.event("exit", exitFields(exit));
        if (session !== undefined && !hungUp && exit.signal === "SIGHUP") reporter.say(HUNG_UP_ELSEWHERE);
        resolve(exit.status);
      },
      (error: unknown) => {
        if (error instanceof OutputClosed) leave(EXIT_OUTPUT_CLOSED);
        else if (session === undefined) reject(error);
        else {
          session.ended.then(
            (end) => {
              // Our own DETACH resolves elsewhere. A read-only attachment that hangs up only leaves.
              if (end.kind === "exit" || end.by === "elsewhere") reject(error);
              else leave(0);
            },
            () => reject(error),
          );
        }
      },
    );
  });
  terminal.enter((columns, rows) => {
    program.resize(columns, rows);
    recording?.resize(columns, rows);
  });
  try {
    return await ended;
  } finally {
    terminal.leave();
    for (const off of offs) off();
  }
}

/** Resolves once the connection took them, or is over: its end is told elsewhere. */
function typeInto({ input }: RemoteTerminal, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (input.writable) input.write(bytes, () => resolve());
    else resolve();
  });
}

/**
 * In its order: bytes, and between them what stands at a mark.
 * @param marks - of bytes that are not read yet; taken from here.
 */
async function show(
  output: Readable,
  marks: OutputMark[],
  to: {
    /** Awaited before anything is shown. */
    ready(): Promise<void>;
    mark(mark: OutputMark): void;
    bytes(chunk: Uint8Array): Promise<void>;
  },
): Promise<void> {
  const reader = new PullReader(output);
  let at = 0; // of `rest`
  for (;;) {
    let rest = await reader.read();
    if (rest !== undefined) await to.ready();
    for (let mark = marks[0]; mark !== undefined; mark = marks[0]) {
      const before = rest?.subarray(0, mark.at - at);
      if (rest !== undefined && mark.at > at + rest.length) break;
      if (before !== undefined && before.length > 0) await to.bytes(before);
      at += before?.length ?? 0;
      rest = rest?.subarray(before?.length);
      marks.shift();
      to.mark(mark);
    }
    if (rest === undefined) return;
    if (rest.length > 0) await to.bytes(rest);
    at += rest.length;
  }
}

function viewerWords(viewers: readonly Viewer[]): string {
  const others = viewers.filter((viewer) => !viewer.own);
  if (others.length === 0) return "nobody else is attached any more";
  const names = others.map(
    ({ user, mode }) => `${printable(user, 64)}${mode === "read-only" ? " (read-only)" : ""}`,
  );
  return `attached besides you: ${names.join(", ")}`;
}

function after(services: Surroundings, ms: number): Promise<void> {
  return new Promise((resolve) => void services.clock.after(ms, resolve));
}
