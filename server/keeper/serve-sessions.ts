// The keeper's side: sessions live here, and a front attaches its clients to them. It believes a front nothing about users but
// what the monitor says of their sign-ins; what a front does with an attachment is its clients' word, as far as anybody can tell.

import type { Duplex } from "node:stream";
import { u32, u8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type {
  AttachmentEvents,
  AttachRefusal,
  SessionAttachment,
} from "../../protocol/session/guest-sessions.ts";
import { ATTACH_OK, KILL_OK, KILL_UNKNOWN, keptBody } from "../../protocol/session/session-messages.ts";
import { Link } from "../monitor/link.ts";
import { type NamedUser, readNumber, readSignal } from "../monitor/operations.ts";
import type { SessionRegistry } from "../sessions/registry.ts";
import { isSignalOfClients } from "../../protocol/session/messages.ts";
import {
  ATTACHMENT_NOTICES,
  CALLS,
  exitBody,
  KEEPER_NOTICES,
  pairBody,
  readAnswerBody,
  readAsked,
  readPair,
  readResize,
  readWrite,
  TEXT_PIECE,
} from "./wire.ts";

const EMPTY = new Uint8Array(0);
/** More than all clients of a front can have; each that was left by its session, and not yet by the front, is a few words. */
const MAX_HELD = 4096;

interface Held {
  /** Undefined once its session has left it: it must not hold that in memory. */
  attachment: SessionAttachment | undefined;
  readonly exit: SessionAttachment["exit"];
  /** Whoever waits for the program's end is told that nobody will say it. */
  readonly left: Promise<undefined>;
  readonly leave: () => void;
  live: boolean;
  /** Each is answered before the next. */
  readonly busy: Set<"read" | "write">;
  /** What is left to fetch of a screen. */
  text: Uint8Array;
}

export interface KeeperOptions {
  readonly sessions: SessionRegistry;
  /** @throws SealttyError `user-refused` where nobody has signed in so (any more). */
  readonly whoIs: (user: NamedUser) => Promise<AuthenticatedUser>;
}

/** One front: until its stream ends. Resolves once all that it had attached is left. */
export function serveSessions(stream: Duplex, { sessions, whoIs }: KeeperOptions): Promise<void> {
  const held = new Map<number, Held>();
  /** Of attachments that are being made. */
  const early = new Map<number, { live: boolean }>();
  let over = false;
  const isGone = (): boolean => over || stream.destroyed;
  const of = (number: number): Held => {
    const found = held.get(number);
    if (found === undefined) throw new SealttyError("peer-misbehaved", "No such attachment");
    return found;
  };

  /** @throws SealttyError as `whoIs`, or `transport-lost` where nobody waits for what was asked any more. */
  async function nameOf(user: NamedUser): Promise<AuthenticatedUser> {
    const found = await whoIs(user);
    if (isGone()) throw new SealttyError("transport-lost", "The front that asked is gone");
    return found;
  }

  async function attach(
    number: number,
    isNew: boolean,
    make: (events: AttachmentEvents) => Promise<SessionAttachment | AttachRefusal>,
  ): Promise<Uint8Array> {
    if (held.has(number) || early.has(number))
      throw new SealttyError("peer-misbehaved", "An attachment's number was used again");
    if (held.size + early.size >= MAX_HELD)
      throw new SealttyError("limit-exceeded", "Too many attachments that nobody leaves");
    const state = { live: true };
    early.set(number, state);
    let own: Held | undefined;
    let isOver = false; // the session's word
    const letGo = (): void => {
      isOver = true;
      if (own === undefined) return;
      own.attachment = undefined;
      own.text = EMPTY;
    };
    const tellViewers = (): void => {
      if (own?.attachment === undefined || over) return;
      const { viewers } = own.attachment;
      link.notify(KEEPER_NOTICES.viewers, keptBody({ type: "viewers", channel: number, state: viewers }));
    };
    const events: AttachmentEvents = {
      isLive: () => (own ?? state).live,
      fenced() {
        letGo();
        link.notify(KEEPER_NOTICES.fenced, u32(number));
      },
      forgotten(lost) {
        letGo();
        link.notify(KEEPER_NOTICES.forgotten, pairBody(number, lost));
      },
      viewersChanged: tellViewers,
    };
    try {
      const attached = await make(events);
      if ("code" in attached) return keptBody({ type: "attached", channel: number, code: attached.code });
      if (isGone()) {
        if (isNew) attached.hangUp(); // its client never learned its name
        attached.leave();
        return EMPTY; // nobody hears it
      }
      own = heldOf(attached, state.live);
      held.set(number, own);
      if (isOver) letGo();
      tellViewers(); // before the answer: the front has them when it has the attachment
      return keptBody({ type: "attached", channel: number, code: ATTACH_OK, place: attached.place });
    } finally {
      early.delete(number);
    }
  }

  /** @throws SealttyError `peer-misbehaved` where one of the kind is not answered yet: they would hold memory. */
  async function alone<T>(own: Held, kind: "read" | "write", step: () => Promise<T>): Promise<T> {
    if (own.busy.has(kind))
      throw new SealttyError("peer-misbehaved", `An attachment's ${kind} before the last`);
    own.busy.add(kind);
    try {
      return await step();
    } finally {
      own.busy.delete(kind);
    }
  }

  async function read(own: Held): Promise<Uint8Array> {
    const next = await own.attachment?.read();
    if (next === undefined) return readAnswerBody({ kind: "end" });
    if (next instanceof Uint8Array) return readAnswerBody({ kind: "bytes", bytes: next });
    if ("lost" in next) return readAnswerBody({ kind: "lost", lost: next.lost });
    if (own.attachment === undefined) return readAnswerBody({ kind: "end" }); // nobody shows it, and it is large
    const { text, ...screen } = next.screen;
    own.text = text;
    return readAnswerBody({ kind: "screen", screen, length: text.length });
  }

  async function call(operation: number, body: Uint8Array): Promise<Uint8Array> {
    switch (operation) {
      case CALLS.open: {
        const { user, message } = readAsked("keep", body);
        const who = await nameOf(user);
        return await attach(message.channel, true, (events) =>
          sessions.open(who, message.request, message, events),
        );
      }
      case CALLS.attach: {
        const { user, message } = readAsked("attach", body);
        const who = await nameOf(user);
        return await attach(message.channel, false, async (events) =>
          sessions.attach(who, message.session, message, events),
        );
      }
      case CALLS.list: {
        const { user, message } = readAsked("list", body);
        const listed = sessions.list(await nameOf(user), message.proofs);
        return keptBody({ type: "sessions", question: message.question, sessions: listed });
      }
      case CALLS.kill: {
        const { user, message } = readAsked("kill", body);
        const killed = sessions.kill(await nameOf(user), message.session);
        return keptBody({
          type: "killed",
          question: message.question,
          code: killed ? KILL_OK : KILL_UNKNOWN,
        });
      }
      case CALLS.read: {
        const own = of(readNumber(body));
        return await alone(own, "read", () => read(own));
      }
      case CALLS.text: {
        const own = of(readNumber(body));
        const piece = own.text.subarray(0, TEXT_PIECE);
        own.text = own.text.subarray(piece.length);
        return piece;
      }
      case CALLS.write: {
        const { attachment, bytes } = readWrite(body);
        const own = of(attachment);
        const taken = await alone(own, "write", async () => await own.attachment?.write(bytes));
        return u8(taken === true ? 1 : 0);
      }
      case CALLS.exit: {
        const { exit, left } = of(readNumber(body));
        return exitBody(await Promise.race([exit, left]));
      }
      default:
        throw new SealttyError("peer-misbehaved", "Unknown call");
    }
  }

  /** What comes for one that was left, crossed its end on the way. */
  function notice(operation: number, body: Uint8Array): void {
    switch (operation) {
      case ATTACHMENT_NOTICES.confirm:
        return held.get(readNumber(body))?.attachment?.confirm();
      case ATTACHMENT_NOTICES.endInput:
        return held.get(readNumber(body))?.attachment?.endInput();
      case ATTACHMENT_NOTICES.resize: {
        const { attachment, columns, rows } = readResize(body);
        return held.get(attachment)?.attachment?.resize(columns, rows);
      }
      case ATTACHMENT_NOTICES.signal: {
        const { program: attachment, name } = readSignal(body);
        if (!isSignalOfClients(name)) throw new SealttyError("peer-misbehaved", "Unknown signal");
        return held.get(attachment)?.attachment?.signal(name);
      }
      case ATTACHMENT_NOTICES.hangUp:
        return held.get(readNumber(body))?.attachment?.hangUp();
      case ATTACHMENT_NOTICES.leave: {
        const number = readNumber(body);
        const left = held.get(number);
        held.delete(number);
        return left?.leave();
      }
      case ATTACHMENT_NOTICES.live: {
        const { attachment, value } = readPair(body);
        const own = held.get(attachment) ?? early.get(attachment);
        if (own !== undefined) own.live = value === 1;
        return;
      }
      default:
        throw new SealttyError("peer-misbehaved", "Unknown notice");
    }
  }

  let link!: Link;
  return new Promise<void>((resolve) => {
    link = new Link(stream, {
      onCall: call,
      onNotice: notice,
      onEnd() {
        over = true;
        for (const { leave } of held.values()) leave();
        held.clear();
        resolve();
      },
    });
  });
}

function heldOf(attachment: SessionAttachment, live: boolean): Held {
  let tell = (): void => {};
  const left = new Promise<undefined>((resolve) => {
    tell = () => resolve(undefined);
  });
  const own: Held = {
    attachment,
    exit: attachment.exit,
    left,
    leave() {
      own.attachment?.leave();
      tell();
    },
    live,
    busy: new Set(),
    text: EMPTY,
  };
  return own;
}
