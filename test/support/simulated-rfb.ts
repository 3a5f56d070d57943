// An RFB server on a simulated display and input device: what QEMU's own does, by hand, on a pipe in memory.

import { concat } from "../../protocol/bytes.ts";
import type { Picture } from "../../protocol/modem/picture.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { desktopSize, opened, raw, type Rect, update } from "./rfb-server.ts";
import type { SimulatedDisplay, SimulatedInput } from "./simulated-vnc.ts";

const POINTER_TYPE = -257;
const EXTENDED_KEYS = -258;
/** Bytes of a client's message by its first byte; of 2 (encodings) and 255 (QEMU's) there is more to know. */
const LENGTHS: Readonly<Record<number, number>> = { 0: 20, 3: 10, 4: 8, 5: 6, 255: 12 };

export interface RfbHabits {
  readonly pointerIsAbsolute: boolean;
  /** Whether it knows QEMU's key events. Yes unless said. */
  readonly extendedKeys?: boolean;
}

type Asked = "nothing" | "changes" | "all";

/** Serves one client until its pipe ends. @returns what ends it. */
export async function serveRfb(
  pipe: Pipe,
  display: SimulatedDisplay,
  input: SimulatedInput,
  { pointerIsAbsolute, extendedKeys = true }: RfbHabits,
): Promise<void> {
  const screen = display.clientScreen();
  const keys = input.clientKeys();
  let sent: Picture | undefined; // as the client has it
  let asked: Asked = "nothing";
  let changed = false;
  let told = false;
  const say = (rects: readonly Rect[]): void => void pipe.send(update(...rects)).catch(() => {});
  const answer = (wanted: Asked): void => {
    asked = wanted;
    const picture = screen.picture();
    if (asked === "nothing" || (asked === "changes" && !changed)) return;
    const resized = sent !== undefined && (sent.width !== picture.width || sent.height !== picture.height);
    const rects = resized ? [desktopSize(picture.width, picture.height)] : changedRows(picture, asked, sent);
    if (!told) {
      rects.push({ x: pointerIsAbsolute ? 1 : 0, y: 0, width: 0, height: 0, encoding: POINTER_TYPE });
      if (extendedKeys) rects.push({ x: 0, y: 0, width: 0, height: 0, encoding: EXTENDED_KEYS });
    }
    told = true;
    changed = false;
    asked = "nothing";
    sent = resized
      ? { width: picture.width, height: picture.height, pixels: new Uint8Array(picture.pixels.length) }
      : { ...picture, pixels: picture.pixels.slice() };
    say(rects);
  };
  screen.listen(
    () => {
      changed = true;
      answer(asked);
    },
    () => void pipe.close(),
  );
  const first = screen.picture();
  await pipe.send(opened(first.width, first.height));
  let waiting: Uint8Array = new Uint8Array(0);
  let opening = 12 + 1 + 1; // version, security, shared
  for await (const chunk of pipe.incoming) {
    waiting = concat(waiting, chunk);
    const over = Math.min(opening, waiting.length);
    opening -= over;
    waiting = waiting.subarray(over);
    while (waiting.length > 0) {
      const view = new DataView(waiting.buffer, waiting.byteOffset, waiting.length);
      const kind = waiting[0] as number;
      const length =
        kind === 2 ? (waiting.length < 4 ? 4 : 4 + 4 * view.getUint16(2)) : (LENGTHS[kind] as number);
      if (waiting.length < length) break;
      waiting = waiting.slice(length);
      if (kind === 3) {
        answer(view.getUint8(1) === 1 ? "changes" : "all");
      } else if (kind === 5) {
        keys.send([{ kind: "pointer", mask: view.getUint8(1), x: view.getUint16(2), y: view.getUint16(4) }]);
      } else if (kind === 255) {
        keys.send([{ kind: "key", down: view.getUint16(2) === 1, code: view.getUint32(8) }]);
      } else if (kind === 4) {
        const code = US_KEYS.get(view.getUint32(4));
        if (code !== undefined) keys.send([{ kind: "key", down: view.getUint8(1) === 1, code }]);
        display.touched();
      }
    }
  }
}

const keysFrom = (first: number, symbols: string) =>
  Array.from(symbols, (symbol, i) => [symbol.charCodeAt(0), first + i] as const);

/** A US keyboard by symbol, as far as a test types on it. */
const US_KEYS = new Map<number, number>([
  ...keysFrom(2, "1234567890-="),
  ...keysFrom(16, "qwertyuiop[]"),
  ...keysFrom(30, "asdfghjkl;'`"),
  ...keysFrom(43, "\\zxcvbnm,./"),
  ...Array.from({ length: 10 }, (_, i) => [0xffbe + i, 59 + i] as const),
  ...[71, 72, 73].map((code, i) => [0xffb7 + i, code] as const),
  ...[75, 76, 77].map((code, i) => [0xffb4 + i, code] as const),
  ...[79, 80].map((code, i) => [0xffb1 + i, code] as const),
]);

function changedRows(picture: Picture, asked: "changes" | "all", sent: Picture | undefined): Rect[] {
  const { width, height, pixels } = picture;
  if (asked === "all" || sent === undefined) return [raw(0, 0, width, height, pixels)];
  const rects: Rect[] = [];
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width * 3, (y + 1) * width * 3);
    const before = sent.pixels.subarray(y * width * 3, (y + 1) * width * 3);
    if (Buffer.compare(row, before) !== 0) rects.push(raw(0, y, width, 1, row));
  }
  return rects;
}
