// This terminal as the guest's: keys and escapes in, output and size changes out, until the remote program ends.

import { SealttyError } from "../protocol/errors.ts";
import type { Guest } from "../protocol/session/api.ts";
import type { Channel } from "../protocol/session/channel-api.ts";
import type { ScreenInfo, SessionChannel, Viewer } from "../protocol/session/session-api.ts";
import type { AttestationWatch } from "./attestation-watch.ts";
import { DetachKeys, type EscapeEvent, EscapeKeys, escapeName, parseEscapeCharacter } from "./escape-keys.ts";
import {
  EXIT_OURS,
  EXIT_OUTPUT_CLOSED,
  exitFields,
  exitOf,
  shellStatus,
  signalStatus,
} from "./exit-status.ts";
import type { Input } from "./options.ts";
import { OutputClosed, pump } from "./output.ts";
import { printable } from "./printable.ts";
import { RawTerminal } from "./raw-terminal.ts";
import type { RecordingFile } from "./recording-file.ts";
import { ReplayAnswers } from "./replay-answers.ts";
import type { Reporter } from "./report.ts";
import type { Surroundings } from "./services.ts";

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

/** A session that outlives this program. */
export interface Kept {
  readonly session: SessionChannel;
  readonly detachKeys: Uint8Array | undefined;
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

/** @returns the exit status. @throws SealttyError where the connection ended before the program did. */
export async function runTerminal(
  channel: Channel,
  terminal: RawTerminal,
  escapeCharacter: number | null,
  services: Surroundings,
  reporter: Reporter,
  {
    attestation: { guest, watch },
    kept,
    recording,
  }: {
    readonly attestation: {
      readonly guest: Pick<Guest, "reattest" | "goOn" | "frozen"> & {
        readonly verified: Pick<Guest["verified"], "claims">;
      };
      readonly watch: AttestationWatch;
    };
    readonly kept?: Kept | undefined;
    /** Has begun. */
    readonly recording?: RecordingFile | undefined;
  },
): Promise<number> {
  const { stdin, stdout } = services;
  const detachKeys = kept?.detachKeys === undefined ? undefined : new DetachKeys(kept.detachKeys);
  const session = kept?.session;
  const readOnly = session?.mode === "read-only";
  const keys = new EscapeKeys(terminal.hasKeyboard ? escapeCharacter : null, kept !== undefined, readOnly);
  const old = new ReplayAnswers(session !== undefined && session.nextOffset < session.replayEnd);
  const offs: (() => void)[] = [];
  const ended = new Promise<number>((resolve, reject) => {
    let hungUp = false; // by this program
    const stop = (status: number): void => {
      hungUp = true;
      channel.hangUp();
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
    void watch.frozen.then((error) => {
      if (session === undefined) channel.hangUp();
      reject(error);
    });
    let typed = 0;
    let freezes = 0; // what was queued before one is dropped as well
    let sending = Promise.resolve();
    const send = (bytes: Uint8Array): void => {
      // Typed at a guest that is not the one meant: dropped for good, and never sent later by going on.
      if (guest.frozen || readOnly || bytes.length === 0) return;
      const before = freezes;
      typed += bytes.length;
      if (typed > MAX_TYPED) stdin.pause();
      sending = sending
        .then(() => (before === freezes ? channel.write(bytes) : undefined))
        .then(() => {
          typed -= bytes.length;
          if (typed <= MAX_TYPED) stdin.resume();
        })
        .catch(() => undefined); // channel.exit tells
    };
    const act = (event: EscapeEvent): void => {
      if ("send" in event) send(event.send);
      else if (event.action === "disconnect" && readOnly) leave(0);
      else if (event.action === "disconnect") stop(EXIT_OURS);
      else if (event.action === "detach") leave(0);
      else if (event.action === "help") for (const line of keys.help()) reporter.say(line);
      else if (event.action === "attest") {
        watch.sayNext();
        void guest.reattest();
      } else if (event.action === "go-on") {
        if (!guest.frozen) return reporter.say("sealtty: nothing is frozen");
        guest.goOn();
        watch.tell(guest.verified.claims);
        reporter.say("sealtty: going on with the guest as it is now");
      } else {
        terminal.suspend();
        channel.resize(terminal.size.columns, terminal.size.rows);
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
      session.onGap = (lost) => {
        recording?.mark(gapWords(lost));
        reporter.event("gap", { lost });
        reporter.say(gapWords(lost));
      };
      session.onScreen = (screen) => {
        const { columns, rows, lines, cut, begin, end } = screen;
        recording?.screen(columns, rows);
        reporter.event("screen", { columns, rows, lines, cut, begin, end });
        reporter.say(screenWords(screen, terminal.size));
        terminal.clear();
      };
      let others = 0;
      session.onViewers = ({ viewers }) => {
        reporter.event("viewers", { viewers });
        if (viewers.length - 1 !== others) reporter.say(`sealtty: ${viewerWords(viewers)}`);
        others = viewers.length - 1;
      };
      if (session.viewers !== undefined && session.viewers.viewers.length > 1)
        session.onViewers(session.viewers);
    }
    let answering = false;
    const shown = (chunk: Uint8Array): void => {
      recording?.output(chunk);
      terminal.watch(chunk);
      if (answering || !old.replaying || session === undefined) return;
      if (session.nextOffset < session.replayEnd) return;
      answering = true;
      offs.push(services.clock.after(ANSWER_WAIT, () => typedBytes(old.end())));
    };
    const onEnd = (): void => {
      if (readOnly) return; // nothing was typed that could end
      void sending.then(() => channel.end());
    };
    stdin.on("data", onData);
    stdin.once("end", onEnd);
    stdin.once("error", onEnd);
    offs.push(() => {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      stdin.off("error", onEnd);
      stdin.pause();
    });
    for (const signal of ["SIGTERM", "SIGHUP"] as const) {
      offs.push(services.onSignal(signal, () => leave(signalStatus(signal))));
    }
    // In raw mode ^C is a byte for the guest; without a terminal it is a signal for it.
    offs.push(services.onSignal("SIGINT", () => channel.signal("SIGINT")));
    Promise.all([
      channel.exit,
      pump(channel.stdout, stdout, shown),
      pump(channel.stderr, services.stderr),
    ]).then(
      ([exit]) => {
        recording?.exit(exit);
        reporter.event("exit", exitFields(exitOf(exit)));
        if (session !== undefined && !hungUp && exit.kind === "signalled" && exit.signal === "SIGHUP")
          reporter.say(HUNG_UP_ELSEWHERE);
        resolve(shellStatus(exit));
      },
      (error: unknown) => {
        if (error instanceof OutputClosed) leave(EXIT_OUTPUT_CLOSED);
        else if (session === undefined) reject(error);
        else {
          session.ended.then(
            (end) => {
              // Our own DETACH resolves elsewhere. A read-only attachment that hangs up only leaves.
              if (end.kind === "exit" || end.by === "newer-attachment") reject(error);
              else leave(0);
            },
            () => reject(error),
          );
        }
      },
    );
  });
  terminal.enter((columns, rows) => {
    channel.resize(columns, rows);
    recording?.resize(columns, rows);
  });
  try {
    return await ended;
  } finally {
    terminal.leave();
    for (const off of offs) off();
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
