// noVNC as this page lets it in: a chunk of its own, loaded when a desktop is first asked for. It draws and takes keys; which
// server, when, and in what words it ends are the tab's.

import RFB from "@novnc/novnc";
import { SealttyError } from "../protocol/errors.ts";
import { browserClock } from "./browser-clock.ts";
import type { DesktopChannel } from "./desktop-channel.ts";

/** 8K. A pixel takes eight bytes here. */
const MAX_DESKTOP_PIXELS = 7680 * 4320;
/**
 * Pixels that may change by what the library is given at a time (DesktopChannel): it stops for nothing in between, and sixteen bytes move a
 * whole screen. An honest server's are few times the screen's.
 */
const MAX_WORK = 8 * MAX_DESKTOP_PIXELS;
/** A screen of another size is copied, there and back. */
const RESIZE_WORK = 2;
/** The page's other parts have their turn after so long, ms: the terminal is one of them. */
const TURN_MS = 50;
const clock = browserClock();

export type DesktopEnd =
  | { readonly kind: "over" } // the server's end, or ours
  | { readonly kind: "not-vnc" }
  | { readonly kind: "no-security-in-common" }
  | { readonly kind: "refused"; readonly reason: string } // the password, say; the server's words
  | { readonly kind: "broken"; readonly details: string };

export interface DesktopEvents {
  connected(): void;
  /** @param user - it asks for a name as well. */
  credentialsWanted(user: boolean): void;
  clipboard(text: string): void;
  named(name: string): void;
  /** Of its own accord, or as it was asked to. */
  resized(): void;
  /** Once. */
  ended(end: DesktopEnd): void;
}

const NONE = 1;
const VNC_PASSWORD = 2;
const RSA_AES = 6;
/**
 * Not VeNCrypt: the library would take it where a server names it first, as TigerVNC does beside its password, and then has no TLS
 * for it. Nor those whose key exchange lets the server say how much we compute.
 */
const SECURITY: readonly number[] = [NONE, VNC_PASSWORD, RSA_AES];

/**
 * Best first: copy, Tight, ZRLE, Hextile, raw. No video, and nothing else that would need the browser's decoders but JPEG; not RRE, of which
 * twelve bytes fill a screen, unseen here.
 */
const ENCODINGS: readonly number[] = [1, 7, 16, 5, 0];
/** Size and its change, last rectangle, QEMU's keys and LEDs, fences, continuous updates, name, pointer's shape, more buttons. */
const EXTENSIONS: readonly number[] = [
  -223, -308, -224, -258, -261, -312, -313, -307, 0x574d5664, -239, -316,
];
const QUALITY_0 = -32;
const COMPRESSION_0 = -256;

class Screen extends RFB {
  failure: string | undefined;
  onResize: (() => void) | undefined;
  #work = 0; // pixels, since the library was given something
  #turnEnds = 0;

  /** Resolves once nothing waits to be drawn. */
  async drawn(): Promise<void> {
    await this._display.flush();
  }

  /** To be awaited after each piece that the library was given: others have their turn where it took long. */
  async turn(): Promise<void> {
    this.#work = 0;
    if (clock.now() < this.#turnEnds) return;
    await new Promise<void>((resolve) => clock.soon(resolve));
    this.#turnEnds = clock.now() + TURN_MS;
  }

  #works(pixels: number): void {
    this.#work += pixels;
    if (this.#work > MAX_WORK)
      throw new SealttyError("limit-exceeded", "It draws more at a time than can be shown here");
  }

  /** The library would take whatever it knows, asked for or not, and wherever it lies. */
  protected override _handleRect(): boolean {
    const { x, y, width, height, encoding } = this._FBU;
    if (EXTENSIONS.includes(encoding)) return super._handleRect();
    if (!ENCODINGS.includes(encoding)) return this._fail("An encoding that nobody asked for");
    if (x + width > this._fbWidth || y + height > this._fbHeight)
      return this._fail("A rectangle outside of the desktop");
    const done = super._handleRect();
    if (done) this.#works(width * height);
    return done;
  }

  /** The extended form was not asked for, and what it unpacks to has no bound. */
  protected override _handleServerCutText(): boolean {
    const head = 7;
    if (this._sock.rQwait("ServerCutText header", head, 1)) return false;
    if (((this._sock.rQpeekBytes(head)[3] ?? 0) & 0x80) !== 0)
      return this._fail("A clipboard that nobody asked for");
    return super._handleServerCutText();
  }

  /** The keyboard goes elsewhere: keys that are down here would stay down there. */
  releaseKeys(): void {
    this._keyboard._allKeysUp();
  }

  get size(): { readonly width: number; readonly height: number } {
    return { width: this._fbWidth, height: this._fbHeight };
  }

  /** Also where it is over already. */
  override disconnect(): void {
    if (!this.#isOver) super.disconnect();
  }

  get #isOver(): boolean {
    return this._rfbConnectionState === "disconnecting" || this._rfbConnectionState === "disconnected";
  }

  /** As the library's, which writes the reason (the server's words may be in it) to the browser's log and nowhere else. */
  protected override _fail(details: string): false {
    if (this._rfbConnectionState === "disconnected") return false;
    this.failure ??= details;
    this._rfbCleanDisconnect = false;
    if (this._rfbConnectionState !== "disconnecting") this._updateConnectionState("disconnecting");
    this._updateConnectionState("disconnected");
    return false;
  }

  /** Before anything is allocated. */
  protected override _resize(width: number, height: number): void {
    if (width * height > MAX_DESKTOP_PIXELS)
      throw new SealttyError(
        "limit-exceeded",
        `A desktop of ${width} × ${height} is more than is shown here`,
      );
    if (width !== this._fbWidth || height !== this._fbHeight)
      this.#works(RESIZE_WORK * (width * height + this._fbWidth * this._fbHeight));
    super._resize(width, height);
    this.onResize?.();
  }

  /** The library's would also ask for video, and for the clipboard of the guest's whenever there is another one. */
  protected override _sendEncodings(): void {
    RFB.messages.clientEncodings(this._sock, [
      ...ENCODINGS,
      QUALITY_0 + this.qualityLevel,
      COMPRESSION_0 + this.compressionLevel,
      ...EXTENSIONS,
    ]);
  }

  protected override _isSupportedSecurityType(type: number): boolean {
    return SECURITY.includes(type);
  }
}

export type { Screen as DesktopScreen };

/** Draws into `place` until its channel ends. */
export function openDesktopScreen(
  place: HTMLElement,
  channel: DesktopChannel,
  events: DesktopEvents,
): Screen {
  const screen = new Screen(place, channel, { shared: true });
  screen.background = "transparent";
  screen.onResize = () => events.resized();
  let refused: string | undefined;
  let over = false;
  screen.addEventListener("connect", () => events.connected());
  screen.addEventListener("credentialsrequired", ({ detail }) =>
    events.credentialsWanted(detail.types.includes("username")),
  );
  // The way to the server is the guest's own, behind its evidence: its key says nothing that this does not.
  screen.addEventListener("serververification", () => screen.approveServer());
  screen.addEventListener("securityfailure", ({ detail }) => (refused = detail.reason ?? ""));
  screen.addEventListener("clipboard", ({ detail }) => events.clipboard(detail.text));
  screen.addEventListener("desktopname", ({ detail }) => events.named(detail.name));
  screen.addEventListener("disconnect", () => {
    if (!over) events.ended(endOf(screen.failure, refused));
    over = true;
  });
  return screen;
}

function endOf(failure: string | undefined, refused: string | undefined): DesktopEnd {
  if (refused !== undefined) return { kind: "refused", reason: refused };
  if (failure === undefined || failure.startsWith("Connection closed")) return { kind: "over" };
  if (failure.startsWith("Invalid server version")) return { kind: "not-vnc" };
  if (/^Unsupported (?:security types|auth scheme)/.test(failure)) return { kind: "no-security-in-common" };
  return { kind: "broken", details: failure };
}
