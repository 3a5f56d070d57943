// Messages about listening in the guest, 25 to 29. docs/protocol.md §8.10

import { type Reader, concat, u16, u32, u8 } from "../bytes.ts";
import { type ListenPlace, listenBody, readListenPlace } from "./target.ts";

export const LISTEN_OK = 0;
export const LISTEN_NOT_ALLOWED = 1;
export const LISTEN_TOO_MANY = 2;
export const LISTEN_FAILED = 3;
export const LISTEN_IN_USE = 4;

export type ForwardMessage =
  | { readonly type: "listen"; readonly listener: number; readonly place: ListenPlace }
  /** `port` with code 0, and only then: the one that is listened on; 0 for a socket's path. */
  | { readonly type: "listening"; readonly listener: number; readonly code: number; readonly port?: number }
  | { readonly type: "unlisten"; readonly listener: number }
  /** Somebody connected. It waits until the client opens it (§8.3, kind 3) or dismisses it. */
  | { readonly type: "incoming"; readonly listener: number; readonly incoming: number }
  | { readonly type: "dismiss"; readonly incoming: number };

export const FORWARD_TYPES = {
  listen: 25,
  listening: 26,
  unlisten: 27,
  incoming: 28,
  dismiss: 29,
} as const satisfies Record<ForwardMessage["type"], number>;

export function isForwardMessage<T extends { readonly type: string }>(
  message: T | ForwardMessage,
): message is ForwardMessage {
  return Object.hasOwn(FORWARD_TYPES, message.type);
}

export function forwardBody(message: ForwardMessage): Uint8Array {
  switch (message.type) {
    case "listen":
      return concat(u32(message.listener), listenBody(message.place));
    case "listening": {
      const head = concat(u32(message.listener), u8(message.code));
      return message.port === undefined ? head : concat(head, u16(message.port));
    }
    case "unlisten":
      return u32(message.listener);
    case "incoming":
      return concat(u32(message.listener), u32(message.incoming));
    case "dismiss":
      return u32(message.incoming);
  }
}

/** @returns undefined where the type is none of these. @throws SealttyError `peer-misbehaved` on any other shape. */
export function readForwardMessage(type: number, reader: Reader): ForwardMessage | undefined {
  switch (type) {
    case FORWARD_TYPES.listen:
      return { type: "listen", listener: reader.u32(), place: readListenPlace(reader) };
    case FORWARD_TYPES.listening: {
      const listener = reader.u32();
      const code = reader.u8();
      if (code !== LISTEN_OK) return { type: "listening", listener, code };
      return { type: "listening", listener, code, port: reader.u16() };
    }
    case FORWARD_TYPES.unlisten:
      return { type: "unlisten", listener: reader.u32() };
    case FORWARD_TYPES.incoming:
      return { type: "incoming", listener: reader.u32(), incoming: reader.u32() };
    case FORWARD_TYPES.dismiss:
      return { type: "dismiss", incoming: reader.u32() };
    default:
      return undefined;
  }
}
