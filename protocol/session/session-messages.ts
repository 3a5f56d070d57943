// Messages about sessions that outlive connections, 13 and up. docs/protocol.md §8.7

import { type Reader, concat, lv16, u16, u32, u64, u8, utf8 } from "../bytes.ts";
import { MAX_SCREEN_LINES, MAX_SESSION_TITLE, MAX_SESSIONS, MAX_USER_NAME, MAX_VIEWERS } from "../limits.ts";
import { isTerminalRequest, openBody, readChannel, readOpen, readSide } from "./open-request.ts";
import {
  type AttachMode,
  CLIENT_ID_LENGTH,
  SESSION_ID_LENGTH,
  SESSION_SECRET_LENGTH,
  type SessionName,
  type SessionSummary,
  type Sizing,
  type TerminalRequest,
  type Viewer,
  type Viewers,
} from "./session-api.ts";

export const ATTACH_OK = 0;
export const ATTACH_NOT_ALLOWED = 1;
export const ATTACH_TOO_MANY = 2;
export const ATTACH_FAILED = 3;
/** No such session, not this user's, or a wrong secret: one answer for all three. */
export const ATTACH_UNKNOWN = 4;
/** The session never printed as much as the client says it saw. */
export const ATTACH_NO_SUCH_OFFSET = 5;

export const KILL_OK = 0;
export const KILL_UNKNOWN = 1;

export const DETACH_ASKED = 0;
export const DETACH_FENCED = 1;
/** The session ended, and output that this attachment had not taken is gone. */
export const DETACH_LOST = 2;

/** Where an attachment begins. */
export interface AttachedPlace {
  readonly session: SessionName; // with the secret only in the answer to KEEP
  readonly epoch: number;
  /** Bytes of this client's input that the session has taken. */
  readonly input: number;
  /** Offset of the first output byte that comes. */
  readonly from: number;
  /** Bytes that were asked for and are gone. */
  readonly lost: number;
  /** What the session had printed when it was attached to. */
  readonly end: number;
}

export type KeptMessage =
  | {
      readonly type: "keep";
      readonly channel: number;
      readonly client: Uint8Array;
      readonly sizing: Sizing;
      /** Wait for somebody at most so long; 0: as long as the guest's configuration says, which is never exceeded. */
      readonly idleSeconds: number;
      readonly screenLines: number | undefined;
      readonly request: TerminalRequest;
    }
  | {
      readonly type: "attach";
      readonly channel: number;
      readonly session: SessionName;
      readonly client: Uint8Array;
      readonly mode: AttachMode;
      readonly offset: number;
      readonly columns: number;
      readonly rows: number;
      readonly screenLines: number | undefined;
    }
  | {
      readonly type: "attached";
      readonly channel: number;
      readonly code: number;
      /** With code 0, and only then. */
      readonly place?: AttachedPlace;
    }
  /** Once so many bytes of this attachment's input were taken. */
  | { readonly type: "detach"; readonly channel: number; readonly input: number }
  | { readonly type: "detached"; readonly channel: number; readonly why: number }
  | { readonly type: "viewers"; readonly channel: number; readonly state: Viewers }
  /** Without a key a client proves with secrets which sessions are its own. */
  | { readonly type: "list"; readonly question: number; readonly proofs: readonly SessionName[] }
  | { readonly type: "sessions"; readonly question: number; readonly sessions: readonly SessionSummary[] }
  | { readonly type: "kill"; readonly question: number; readonly session: SessionName }
  | { readonly type: "killed"; readonly question: number; readonly code: number };

export const KEPT_TYPES = {
  keep: 13,
  attach: 14,
  attached: 15,
  detach: 16,
  detached: 17,
  viewers: 18,
  list: 19,
  sessions: 20,
  kill: 21,
  killed: 22,
} as const satisfies Record<KeptMessage["type"], number>;

const MODES = ["read-write", "read-only"] as const;
const SIZINGS = ["smallest", "latest"] as const;
const NO_BYTES = new Uint8Array(0);

export function isKeptMessage<T extends { readonly type: string }>(
  message: T | KeptMessage,
): message is KeptMessage {
  return Object.hasOwn(KEPT_TYPES, message.type);
}

export function keptBody(message: KeptMessage): Uint8Array {
  switch (message.type) {
    case "keep":
      return concat(
        u32(message.channel),
        message.client,
        u8(SIZINGS.indexOf(message.sizing)),
        u32(message.idleSeconds),
        screenBody(message.screenLines),
        openBody(message.request),
      );
    case "attach":
      return concat(
        u32(message.channel),
        nameBody(message.session),
        message.client,
        u8(MODES.indexOf(message.mode)),
        u64(message.offset),
        u16(message.columns),
        u16(message.rows),
        screenBody(message.screenLines),
      );
    case "attached": {
      const { place } = message;
      const head = concat(u32(message.channel), u8(message.code));
      if (place === undefined) return head;
      const { epoch, input, from, lost, end } = place;
      return concat(head, nameBody(place.session), u32(epoch), u64(input), u64(from), u64(lost), u64(end));
    }
    case "detach":
      return concat(u32(message.channel), u64(message.input));
    case "detached":
      return concat(u32(message.channel), u8(message.why));
    case "viewers": {
      const { columns, rows, viewers } = message.state;
      return concat(
        u32(message.channel),
        u16(columns),
        u16(rows),
        u8(viewers.length),
        ...viewers.flatMap(({ epoch, mode, own, user }) => [
          u32(epoch),
          u8(MODES.indexOf(mode)),
          u8(own ? 1 : 0),
          lv16(utf8(user)),
        ]),
      );
    }
    case "list":
      return concat(u32(message.question), u8(message.proofs.length), ...message.proofs.map(nameBody));
    case "sessions":
      return concat(
        u32(message.question),
        u8(message.sessions.length),
        ...message.sessions.flatMap((each) => [
          each.id,
          u8(each.running ? 1 : 0),
          u32(each.ageSeconds),
          u32(each.idleSeconds),
          u16(each.columns),
          u16(each.rows),
          u8(each.viewers),
          lv16(utf8(each.title)),
        ]),
      );
    case "kill":
      return concat(u32(message.question), nameBody(message.session));
    case "killed":
      return concat(u32(message.question), u8(message.code));
  }
}

/** @returns undefined where the type is none of these. @throws SealttyError `peer-misbehaved` on any other shape. */
export function readKeptMessage(type: number, reader: Reader): KeptMessage | undefined {
  switch (type) {
    case KEPT_TYPES.keep: {
      const channel = readChannel(reader);
      const client = reader.bytes(CLIENT_ID_LENGTH).slice();
      const sizing = SIZINGS[reader.u8()] ?? reader.fail("asks for an unknown way of sizing");
      const idleSeconds = reader.u32();
      const screenLines = readScreenLines(reader);
      const request = readOpen(reader);
      if (!isTerminalRequest(request)) reader.fail("asks to keep a program without a terminal");
      return { type: "keep", channel, client, sizing, idleSeconds, screenLines, request };
    }
    case KEPT_TYPES.attach:
      return {
        type: "attach",
        channel: readChannel(reader),
        session: readName(reader),
        client: reader.bytes(CLIENT_ID_LENGTH).slice(),
        mode: readMode(reader),
        offset: reader.u64(),
        columns: readSide(reader),
        rows: readSide(reader),
        screenLines: readScreenLines(reader),
      };
    case KEPT_TYPES.attached: {
      const channel = readChannel(reader);
      const code = reader.u8();
      if (code !== ATTACH_OK) return { type: "attached", channel, code };
      return { type: "attached", channel, code, place: readPlace(reader) };
    }
    case KEPT_TYPES.detach:
      return { type: "detach", channel: readChannel(reader), input: reader.u64() };
    case KEPT_TYPES.detached:
      return { type: "detached", channel: readChannel(reader), why: reader.u8() };
    case KEPT_TYPES.viewers: {
      const channel = readChannel(reader);
      const columns = readSide(reader);
      const rows = readSide(reader);
      const viewers = many(reader, MAX_VIEWERS, () => readViewer(reader));
      return { type: "viewers", channel, state: { columns, rows, viewers } };
    }
    case KEPT_TYPES.list:
      return {
        type: "list",
        question: reader.u32(),
        proofs: many(reader, MAX_SESSIONS, () => readName(reader)),
      };
    case KEPT_TYPES.sessions:
      return {
        type: "sessions",
        question: reader.u32(),
        sessions: many(reader, MAX_SESSIONS, () => readSummary(reader)),
      };
    case KEPT_TYPES.kill:
      return { type: "kill", question: reader.u32(), session: readName(reader) };
    case KEPT_TYPES.killed:
      return { type: "killed", question: reader.u32(), code: reader.u8() };
    default:
      return undefined;
  }
}

function nameBody({ id, secret }: SessionName): Uint8Array {
  return concat(id, lv16(secret ?? NO_BYTES));
}

function readName(reader: Reader): SessionName {
  const id = reader.bytes(SESSION_ID_LENGTH).slice();
  const secret = reader.lv16(SESSION_SECRET_LENGTH).slice();
  if (secret.length !== 0 && secret.length !== SESSION_SECRET_LENGTH)
    reader.fail("has a secret of an impossible length");
  return { id, secret: secret.length === 0 ? undefined : secret };
}

/** @param lines - above the screen; undefined: no screen at all. */
function screenBody(lines: number | undefined): Uint8Array {
  return u16(lines === undefined ? 0 : lines + 1);
}

function readScreenLines(reader: Reader): number | undefined {
  const wanted = reader.u16();
  if (wanted > MAX_SCREEN_LINES + 1) reader.fail("asks for more lines than there can be");
  return wanted === 0 ? undefined : wanted - 1;
}

function readMode(reader: Reader): AttachMode {
  return MODES[reader.u8()] ?? reader.fail("asks for an unknown mode");
}

function readFlag(reader: Reader): boolean {
  const flag = reader.u8();
  if (flag > 1) reader.fail("has a flag that is neither 0 nor 1");
  return flag === 1;
}

function readPlace(reader: Reader): AttachedPlace {
  return {
    session: readName(reader),
    epoch: reader.u32(),
    input: reader.u64(),
    from: reader.u64(),
    lost: reader.u64(),
    end: reader.u64(),
  };
}

function readViewer(reader: Reader): Viewer {
  return {
    epoch: reader.u32(),
    mode: readMode(reader),
    own: readFlag(reader),
    user: reader.text16(MAX_USER_NAME),
  };
}

function readSummary(reader: Reader): SessionSummary {
  return {
    id: reader.bytes(SESSION_ID_LENGTH).slice(),
    running: readFlag(reader),
    ageSeconds: reader.u32(),
    idleSeconds: reader.u32(),
    columns: readSide(reader),
    rows: readSide(reader),
    viewers: reader.u8(),
    title: reader.text16(MAX_SESSION_TITLE),
  };
}

function many<T>(reader: Reader, most: number, read: () => T): T[] {
  const count = reader.u8();
  if (count > most) reader.fail("lists too much");
  return Array.from({ length: count }, read);
}
