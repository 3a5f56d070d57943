// What the front and the keeper of sessions say to each other, over a link as between sealttyd's halves. What clients ask about
// sessions is said in the protocol's own messages (docs/protocol.md §8.7), the channel's number being the attachment's here.

import { Reader, concat, lv32, u32, u64, u8 } from "../../protocol/bytes.ts";
import { MAX_SCREEN_BYTES, MAX_TERMINAL_SIDE } from "../../protocol/limits.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import {
  type KeptMessage,
  keptBody,
  KEPT_TYPES,
  readKeptMessage,
} from "../../protocol/session/session-messages.ts";
import type { SessionScreen } from "../../protocol/session/session-api.ts";
import { type NamedUser, readUser, userBody } from "../monitor/operations.ts";

/** Calls of the front. */
export const CALLS = { open: 1, attach: 2, list: 3, kill: 4, read: 5, text: 6, write: 7, exit: 8 } as const;
/** Notices of the front, each about an attachment. */
export const ATTACHMENT_NOTICES = {
  confirm: 1,
  endInput: 2,
  resize: 3,
  signal: 4,
  hangUp: 5,
  leave: 6,
  /** Whether its connection was heard of late. */
  live: 7,
} as const;
/** Notices of the keeper. */
export const KEEPER_NOTICES = { fenced: 1, forgotten: 2, viewers: 3 } as const;

/** Bytes of a screen's text that one call gives: a link's frame holds a little more than a mebibyte. */
export const TEXT_PIECE = 256 * 1024;
/** An attachment's read gives less. */
const MAX_PIECE = 64 * 1024;
/** What one record of a client's stream holds is less. */
const MAX_INPUT = 256 * 1024;

type Of<T extends KeptMessage["type"]> = Extract<KeptMessage, { type: T }>;

/** Of one kind, to its exact end. @throws SealttyError `peer-misbehaved`. */
export function readKept<T extends KeptMessage["type"]>(type: T, body: Uint8Array): Of<T> {
  const reader: Reader = new Reader(body, `Message ${type} between front and keeper`);
  return keptOf(type, reader);
}

function keptOf<T extends KeptMessage["type"]>(type: T, reader: Reader): Of<T> {
  const message = readKeptMessage(KEPT_TYPES[type], reader);
  reader.end();
  if (message?.type !== type) return reader.fail("is of an unknown kind");
  return message as Of<T>;
}

/** Whose it is, and what is asked: the keeper asks the monitor what stands behind the name. */
export function askedBody(user: NamedUser, message: KeptMessage): Uint8Array {
  return concat(userBody(user), keptBody(message));
}

export function readAsked<T extends KeptMessage["type"]>(
  type: T,
  body: Uint8Array,
): { readonly user: NamedUser; readonly message: Of<T> } {
  const reader: Reader = new Reader(body, `Call ${type} of the front`);
  const user = readUser(reader);
  return { user, message: keptOf(type, reader) };
}

/** What an attachment reads next. */
export type ReadAnswer =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "lost"; readonly lost: number }
  /** Its text is fetched behind it. */
  | { readonly kind: "screen"; readonly screen: Omit<SessionScreen, "text">; readonly length: number }
  | { readonly kind: "end" };

const READ_KINDS = ["bytes", "lost", "screen", "end"] as const;

export function readAnswerBody(answer: ReadAnswer): Uint8Array {
  const kind = u8(READ_KINDS.indexOf(answer.kind));
  switch (answer.kind) {
    case "bytes":
      return concat(kind, lv32(answer.bytes));
    case "lost":
      return concat(kind, u64(answer.lost));
    case "screen": {
      const { screen, length } = answer;
      const { begin, end, columns, rows, lines, cut } = screen;
      return concat(kind, u64(begin), u64(end), u32(columns), u32(rows), u32(lines), u32(cut), u32(length));
    }
    case "end":
      return kind;
  }
}

export function readReadAnswer(body: Uint8Array): ReadAnswer {
  const reader: Reader = new Reader(body, "Answer to a read");
  const kind = READ_KINDS[reader.u8()];
  let answer: ReadAnswer;
  switch (kind) {
    case "bytes":
      answer = { kind, bytes: reader.lv32(MAX_PIECE).slice() };
      break;
    case "lost":
      answer = { kind, lost: reader.u64() };
      break;
    case "screen": {
      const [begin, end] = [reader.u64(), reader.u64()];
      const [columns, rows, lines, cut] = [reader.u32(), reader.u32(), reader.u32(), reader.u32()];
      const length = reader.u32();
      if (length > MAX_SCREEN_BYTES) reader.fail("has too long a screen");
      answer = { kind, screen: { begin, end, columns, rows, lines, cut }, length };
      break;
    }
    case "end":
      answer = { kind };
      break;
    default:
      return reader.fail("is of an unknown kind");
  }
  reader.end();
  return answer;
}

export function writeBody(attachment: number, bytes: Uint8Array): Uint8Array {
  return concat(u32(attachment), lv32(bytes));
}

export function readWrite(body: Uint8Array): { readonly attachment: number; readonly bytes: Uint8Array } {
  const reader: Reader = new Reader(body, "Call to write");
  const attachment = reader.u32();
  const bytes = reader.lv32(MAX_INPUT).slice();
  reader.end();
  return { attachment, bytes };
}

export function resizeBody(attachment: number, columns: number, rows: number): Uint8Array {
  return concat(u32(attachment), u32(columns), u32(rows));
}

export function readResize(body: Uint8Array): {
  readonly attachment: number;
  readonly columns: number;
  readonly rows: number;
} {
  const reader: Reader = new Reader(body, "Notice of a size");
  const [attachment, columns, rows] = [reader.u32(), reader.u32(), reader.u32()];
  reader.end();
  if (![columns, rows].every((side) => side >= 1 && side <= MAX_TERMINAL_SIDE))
    reader.fail("has an impossible size");
  return { attachment, columns, rows };
}

/** An attachment, and a number whose meaning the notice says. */
export function pairBody(attachment: number, value: number): Uint8Array {
  return concat(u32(attachment), u64(value));
}

export function readPair(body: Uint8Array): { readonly attachment: number; readonly value: number } {
  const reader: Reader = new Reader(body, "Notice about an attachment");
  const attachment = reader.u32();
  const value = reader.u64();
  reader.end();
  return { attachment, value };
}

/** As SIGNAL's own: a signal's name, or a status. Undefined: nobody will tell any more. */
export function exitBody(status: ExitStatus | undefined): Uint8Array {
  if (status === undefined) return u8(0);
  return status.kind === "exited"
    ? concat(u8(1), u32(status.status))
    : concat(u8(2), lv32(new TextEncoder().encode(status.signal)));
}

export function readExit(body: Uint8Array): ExitStatus | undefined {
  const reader: Reader = new Reader(body, "Answer about an end");
  const kind = reader.u8();
  let status: ExitStatus | undefined;
  if (kind === 1) status = { kind: "exited", status: reader.u32() };
  else if (kind === 2) status = { kind: "signalled", signal: new TextDecoder().decode(reader.lv32(32)) };
  else if (kind !== 0) reader.fail("is of an unknown kind");
  reader.end();
  return status;
}
