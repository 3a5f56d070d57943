// The tab with the guest's desktop: a connection to a VNC server in the guest when the user asks for one, and again by itself
// where the connection to the guest was lost under it.

import type { PeerPlace } from "../protocol/api/places.ts";
import { SealttyError } from "../protocol/errors.ts";
import { placeWords } from "../protocol/forward/target.ts";
import type { Guest } from "../protocol/session/api.ts";
import { ownTimer } from "./browser-clock.ts";
import { DesktopChannel } from "./desktop-channel.ts";
import { parseDesktopPlace } from "./desktop-place.ts";
import type { DesktopEnd, DesktopScreen } from "./desktop-screen.ts";
import { type DesktopSettings, DesktopView } from "./desktop-view.ts";
import { plainText } from "./plain-text.ts";

/** Bytes of either clipboard: the guest's in UTF-8, the user's in Latin-1. */
const MAX_DESKTOP_CLIPBOARD = 100 * 1024;
/** How long a server may say nothing that VNC's beginning needs; not while the user is asked. */
const SILENCE_MS = 20_000;
const MAX_REASON = 200;

const NEEDS_KEY =
  "The guest connects this page only for users who sign in with a key: the key in the bar has the ways that there are.";
const NO_PLACE =
  "That is no place in the guest. It is HOST:PORT, :DISPLAY (:1 is port 5901), or the absolute path of a unix socket.";
const CONNECTION_OVER =
  "The connection to the guest has ended. Once there is one again, the desktop comes back.";
const OVER_BEFORE = "The connection to the guest has ended before the desktop was there.";
const CHANGED =
  "The guest changed, or may have: the desktop was cut off, and what was typed and not sent never will be.";

const NOT_LOADED =
  "The page could not load what draws a desktop. Does the sealtty command that opened this page still run?";

type DesktopGuest = Pick<Guest, "openChannel">;

/** One connection to a desktop. */
interface Attempt {
  readonly place: PeerPlace;
  channel: DesktopChannel | undefined;
  screen: DesktopScreen | undefined;
  name: string;
  on: boolean;
  /** When the user last did something for it (performance.now()); undefined: it came by itself. */
  asked: number | undefined;
  stopSilence: (() => void) | undefined;
}

export class DesktopTab {
  readonly view: DesktopView;
  #guest: DesktopGuest | undefined;
  #keyed = false;
  #shown = false;
  #onShown: (() => void) | undefined; // who waits until it is looked at
  #wanted: PeerPlace | undefined; // connected as soon as there is a guest
  #attempt: Attempt | undefined; // the one that counts
  #clipboard: string | undefined;
  readonly #typingSince: (moment: number) => boolean;

  /** @param typingSince - whether the user is in the middle of typing what they began after that moment (performance.now()). */
  constructor(typingSince: (moment: number) => boolean) {
    this.#typingSince = typingSince;
    this.view = new DesktopView({
      connect: (place) => this.#asked(place),
      disconnect: () => this.#end("", false),
      credentials: (given) => this.#answer(given),
      settingsChanged: (settings) => this.#apply(settings),
      focusDesktop: () => this.#attempt?.screen?.focus({ preventScroll: true }),
      left: () => this.#attempt?.screen?.releaseKeys(),
      ctrlAltDelete: () => this.#attempt?.screen?.sendCtrlAltDel(),
      copyFromGuest: () => void this.#copyFromGuest(),
      sendToGuest: () => void this.#sendToGuest(),
    });
  }

  /** @param keyed - the user signed in with a key. */
  signedIn(guest: DesktopGuest, keyed: boolean): void {
    this.#guest = guest;
    this.#keyed = keyed;
    this.#connectIfWanted();
  }

  signedOut(): void {
    this.#guest = undefined;
    if (this.#attempt !== undefined) this.#cutOff();
  }

  /** The guest is another one, or may be. Who goes on with it connects anew. */
  freeze(): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    attempt.channel?.closeUnsent();
    this.#end(CHANGED, true);
  }

  show(shown: boolean): void {
    this.view.hidden = !shown;
    this.#shown = shown;
    if (!shown) return;
    this.#onShown?.();
    this.#onShown = undefined;
    this.#connectIfWanted();
  }

  #asked(place: string): void {
    const wanted = parseDesktopPlace(place);
    if (wanted === undefined) return this.view.off(NO_PLACE, true);
    this.#wanted = wanted;
    if (this.#guest === undefined) this.view.off(CONNECTION_OVER, true);
    else this.#connectIfWanted(performance.now());
  }

  #answer(given: { readonly username: string; readonly password: string }): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    attempt.asked = performance.now();
    attempt.screen?.sendCredentials(given);
  }

  /** Not behind another tab: nobody would see what it asks. */
  #connectIfWanted(asked?: number): void {
    const guest = this.#guest;
    const place = this.#wanted;
    if (guest === undefined || place === undefined || this.#attempt !== undefined || !this.#shown) return;
    if (!this.#keyed) return this.#end(NEEDS_KEY, true);
    const attempt: Attempt = {
      place,
      channel: undefined,
      screen: undefined,
      name: "",
      on: false,
      asked,
      stopSilence: undefined,
    };
    this.#attempt = attempt;
    this.view.connecting(`Connecting to ${placeWords(place)} in the guest…`);
    this.#run(attempt, guest).then(
      () => undefined, // how a screen ends, it tells
      (error: unknown) => {
        if (attempt === this.#attempt) this.#failed(error, attempt);
      },
    );
  }

  async #run(attempt: Attempt, guest: DesktopGuest): Promise<void> {
    const { place } = attempt;
    const counts = (): boolean => attempt === this.#attempt;
    const loaded = await import("./desktop-screen.ts").catch(() => undefined);
    if (!counts()) return;
    if (loaded === undefined) return this.#end(NOT_LOADED, true);
    const channel = new DesktopChannel(await guest.openChannel({ kind: "stream", target: place }), place);
    if (!counts()) return channel.close();
    attempt.channel = channel;
    const screen = loaded.openDesktopScreen(this.view.screen, channel, {
      connected: () => {
        if (counts()) this.#connected(attempt);
      },
      credentialsWanted: (user) => {
        if (!counts()) return;
        attempt.stopSilence?.();
        this.view.askForCredentials(user, this.#mayTakeFocus(attempt));
      },
      clipboard: (text) => {
        if (counts()) this.#offerCopy(text);
      },
      named: (name) => {
        attempt.name = name;
        this.#describe(attempt);
      },
      resized: () => this.#describe(attempt),
      ended: (end) => {
        if (counts()) this.#ended(end, attempt);
      },
    });
    attempt.screen = screen;
    attempt.stopSilence = ownTimer(SILENCE_MS, () => {
      if (counts()) this.#end(`${placeWords(place)} says nothing that a VNC server would.`, true);
    });
    await channel.run(
      async () => {
        await screen.drawn();
        // A desktop that nobody looks at takes nothing of the way there: its server waits.
        if (attempt.on && !this.#shown && counts())
          await new Promise<void>((resolve) => {
            this.#onShown = resolve;
          });
      },
      () => screen.turn(),
    );
  }

  #connected(attempt: Attempt): void {
    const { screen } = attempt;
    if (screen === undefined) return;
    attempt.stopSilence?.();
    attempt.on = true;
    const mayTakeFocus = this.#mayTakeFocus(attempt); // as it is before its form is gone
    this.view.connected();
    this.#describe(attempt);
    this.#apply(this.view.settings);
    if (mayTakeFocus) screen.focus({ preventScroll: true });
  }

  /** When it gets so far, the host chooses: the rest of a passphrase that is typed elsewhere meanwhile would go to the guest's screen. */
  #mayTakeFocus({ asked }: Attempt): boolean {
    return this.#shown && asked !== undefined && this.view.mayTakeFocus && !this.#typingSince(asked);
  }

  #describe(attempt: Attempt): void {
    if (attempt === this.#attempt && attempt.on && attempt.screen !== undefined)
      this.view.describe(attempt.name, attempt.screen.size);
  }

  #apply({ viewOnly, fit }: DesktopSettings): void {
    const attempt = this.#attempt;
    if (attempt?.screen === undefined || !attempt.on) return;
    attempt.screen.viewOnly = viewOnly;
    attempt.screen.scaleViewport = fit === "scaled";
    attempt.screen.resizeSession = fit === "follows";
  }

  #ended(end: DesktopEnd, { place }: Attempt): void {
    const where = placeWords(place);
    switch (end.kind) {
      case "over":
        return this.#end(`The VNC server at ${where} ended it.`, true);
      case "not-vnc":
        return this.#end(`What listens at ${where} is no VNC server. Is the port right?`, true);
      case "no-security-in-common":
        return this.#end(
          `The VNC server at ${where} wants TLS, or another way to sign in that this page has not. Inside this connection a server without it is as safe: for TigerVNC -SecurityTypes VncAuth, or None on a socket.`,
          true,
        );
      case "refused": {
        const reason = plainText(end.reason, MAX_REASON);
        return this.#end(
          `The VNC server did not let you in${reason === "" ? "" : `. It says: ${reason}`}.`,
          true,
        );
      }
      case "broken":
        return this.#end(unreadable(where), true);
    }
  }

  #failed(error: unknown, { place }: Attempt): void {
    const known = error instanceof SealttyError ? error : undefined;
    switch (known?.code) {
      case "user-refused":
      case "program-failed":
      case "limit-exceeded":
        return this.#end(`${placeWords(place)}: ${known.message}`, true);
      case undefined: // noVNC's, over what it was sent
        return this.#end(unreadable(placeWords(place)), true);
      default:
        return this.#cutOff();
    }
  }

  /** By the user, the server, or a fault: it does not come back by itself. */
  #end(words: string, trouble: boolean): void {
    this.#wanted = undefined;
    this.#drop();
    this.view.off(words, trouble);
  }

  /** The connection to the guest is over. What was not there yet does not come by itself. */
  #cutOff(): void {
    const { on } = this.#attempt ?? { on: false };
    if (!on) return this.#end(OVER_BEFORE, true);
    this.#drop();
    this.view.off(CONNECTION_OVER, true);
  }

  #drop(): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    this.#clipboard = undefined;
    attempt?.stopSilence?.();
    attempt?.screen?.disconnect();
    attempt?.channel?.close();
    this.#onShown?.(); // it goes on to its end
    this.#onShown = undefined;
  }

  /** The guest's clipboard stays here until the user asks for it. */
  #offerCopy(text: string): void {
    // It may end up in a terminal: no controls but TAB and line ends travel through ours.
    const clean = text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g, "");
    const fits = clean !== "" && new Blob([clean]).size <= MAX_DESKTOP_CLIPBOARD;
    this.#clipboard = fits ? clean : undefined;
    this.view.offerCopy(fits ? clean.length : undefined);
  }

  async #copyFromGuest(): Promise<void> {
    if (this.#clipboard === undefined) return;
    try {
      await navigator.clipboard.writeText(this.#clipboard);
      this.view.say("Copied: the guest's clipboard is yours now.");
    } catch {
      this.view.say("The browser did not allow copying.", true);
    }
  }

  async #sendToGuest(): Promise<void> {
    const screen = this.#attempt?.screen;
    let text: string;
    try {
      text = await navigator.clipboard.readText();
    } catch {
      return this.view.say("The browser did not allow reading your clipboard.", true);
    }
    if (screen === undefined || screen !== this.#attempt?.screen) return;
    if (text === "") return this.view.say("There is no text in your clipboard.", true);
    if (text.length > MAX_DESKTOP_CLIPBOARD)
      return this.view.say("Your clipboard is too long for this. Nothing was sent.", true);
    if (/[^\x00-\xff]/.test(text))
      return this.view.say(
        "Your clipboard has characters that VNC's has not (it is Latin-1). Nothing was sent.",
        true,
      );
    screen.clipboardPasteFrom(text);
    this.view.say("Your clipboard is the guest's now: paste it there.");
  }
}

function unreadable(where: string): string {
  return `What came from ${where} cannot be read as a desktop.`;
}
