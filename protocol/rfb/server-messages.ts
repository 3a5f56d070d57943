// What a VNC server says once the screen is open: RFC 6143 §7.6, with the encodings that we ask for and no other.

import { Reader } from "../bytes.ts";
import { MAX_RFB_CUT_TEXT } from "../limits.ts";
import { DESKTOP_SIZE, EXTENDED_KEYS, POINTER_TYPE, RAW } from "./client-messages.ts";
import { rfbFault } from "./fault.ts";
import type { Framebuffer } from "./framebuffer.ts";
import type { Parser } from "./intake.ts";

const UPDATE = 0;
const COLOUR_MAP = 1;
const BELL = 2;
const CUT_TEXT = 3;
const PIXEL = 4;

/** What a server turned out to be able to do. */
export interface RfbServerFindings {
  /** Undefined until it said so, which QEMU alone does: it may be either. */
  pointerIsAbsolute: boolean | undefined;
  /** It takes scancodes (QEMU's key events). */
  extendedKeys: boolean;
}

/**
 * Never ends by itself; pixels go into `screen` and nowhere else.
 * @param onUpdate - an update is whole. @param onUpdate.resized - it had a new size: the last one counts.
 * @throws SealttyError `transport-lost` on what a server must not say.
 */
export function* serverMessages(
  screen: Framebuffer,
  findings: RfbServerFindings,
  onUpdate: (resized: boolean) => void,
): Parser<never> {
  for (;;) {
    const type = (yield { kind: "take", length: 1 })[0];
    if (type === UPDATE) {
      onUpdate(yield* update(screen, findings));
    } else if (type === COLOUR_MAP) {
      // Not for true colours, but one may be on its way before ours are set.
      const head = new Reader(yield { kind: "take", length: 5 }, "A colour map");
      head.bytes(3);
      yield { kind: "pass", length: 6 * head.u16(), to: ignore };
    } else if (type === CUT_TEXT) {
      const head = new Reader(yield { kind: "take", length: 7 }, "A cut text");
      head.bytes(3);
      const length = head.u32();
      if (length > MAX_RFB_CUT_TEXT) throw rfbFault("sent a clipboard that is too long");
      yield { kind: "pass", length, to: ignore }; // whatever the host has in it is nothing of ours
    } else if (type !== BELL) {
      throw rfbFault(`sent a message that nobody asked for (type ${String(type)})`);
    }
  }
}

/** @returns whether it had a new size. */
function* update(screen: Framebuffer, findings: RfbServerFindings): Parser<boolean> {
  const head = new Reader(yield { kind: "take", length: 3 }, "An update");
  head.bytes(1);
  let resized = false;
  for (let left = head.u16(); left > 0; left--) {
    const fields = new Reader(yield { kind: "take", length: 12 }, "A rectangle");
    const [x, y, width, height] = [fields.u16(), fields.u16(), fields.u16(), fields.u16()];
    const encoding = fields.u32() | 0; // signed
    if (encoding === RAW) {
      const to = screen.writer({ x, y, width, height });
      yield { kind: "pass", length: width * height * PIXEL, to };
    } else if (encoding === DESKTOP_SIZE) {
      screen.resize(width, height);
      resized = true;
    } else if (encoding === POINTER_TYPE) {
      findings.pointerIsAbsolute = x === 1;
    } else if (encoding === EXTENDED_KEYS) {
      findings.extendedKeys = true;
    } else {
      throw rfbFault(`sent a rectangle in an encoding that nobody asked for (${encoding})`);
    }
  }
  return resized;
}

function ignore(): void {}
