// The client's end of the modem on a host's VNC server: the picture is what RFB shows, keys and pointer are RFB's events.
// docs/vnc.md. Nothing here adds trust: the server is the host's.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import type { Pipe } from "../pipe.ts";
import type { RfbInput } from "../rfb/client-messages.ts";
import type { RfbClient } from "../rfb/rfb-client.ts";
import { type ClientKeys, ClientModem, type ClientScreen } from "./client-modem.ts";
import { DEVICES } from "./devices.ts";
import type { InputEvent } from "./input-events.ts";
import { keysymOf } from "./keysyms.ts";
import type { Picture } from "./picture.ts";

/** From RFB's opening until both ends of the modem know of each other, ms: a keyboard's first word may take three seconds. */
const OPENS_WITHIN = 20_000;
/** What is pressed is released before the connection is closed, if that goes within so many ms. */
const RELEASES_WITHIN = 500;
const NO_PICTURE: Picture = { width: 0, height: 0, pixels: new Uint8Array(0) };

export interface ModemOverRfbOptions {
  readonly clock: Clock;
  /** Random, 0 to 65535. */
  readonly epoch: number;
  /** ms. */
  readonly opensWithin?: number;
}

/** A pipe to a guest, and what a person can be told of it. */
export interface VncPipe extends Pipe {
  readonly figures: ClientModem["figures"];
}

/** What the modem needs of an RFB client. */
export type RfbScreen = Pick<
  RfbClient,
  "framebuffer" | "pointerIsAbsolute" | "sendsScancodes" | "run" | "send" | "close"
>;

/**
 * @param rfb - has not run yet; belongs to the pipe, and is closed where this throws.
 * @throws SealttyError `transport-lost`, in words, where the connection ends, or the screen has nothing of a guest's in time.
 */
export async function openModemOverRfb(rfb: RfbScreen, options: ModemOverRfbOptions): Promise<VncPipe> {
  const { clock, epoch, opensWithin = OPENS_WITHIN } = options;
  const ends = new RfbEnds(rfb);
  let opened: () => void = () => {};
  const isOpen = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const modem = new ClientModem({ clock, epoch, opened, screen: ends, keys: ends });
  const running = ends.run();
  let cancel: () => void = () => {};
  const tooLong = new Promise<SealttyError>((resolve) => {
    cancel = clock.after(opensWithin, () => resolve(notOpened(rfb, modem)));
  });
  const failed = await Promise.race([isOpen, running, tooLong]);
  cancel();
  if (failed !== undefined) {
    await modem.close();
    await rfb.close();
    throw failed;
  }
  return {
    incoming: modem.incoming,
    get figures() {
      return modem.figures;
    },
    send: (chunk) => modem.send(chunk),
    async close() {
      await modem.close();
      let cancelWait: () => void = () => {};
      const releasedOrLate = new Promise<void>((resolve) => {
        cancelWait = clock.after(RELEASES_WITHIN, resolve);
      });
      await Promise.race([ends.sent, releasedOrLate]);
      cancelWait();
      await rfb.close();
      await running;
    },
  };
}

/** An RFB client as the modem's eye and hand. */
class RfbEnds implements ClientScreen, ClientKeys {
  readonly #rfb: RfbScreen;
  #shown = false;
  #seen: () => void = () => {};
  #lost: (cause?: unknown) => void = () => {};
  /** Settles once the server has taken what was sent last. */
  sent: Promise<void> = Promise.resolve();

  constructor(rfb: RfbScreen) {
    this.#rfb = rfb;
  }

  /** Before the first update there is a size, and nothing to see. */
  picture(): Picture {
    return this.#shown ? this.#rfb.framebuffer : NO_PICTURE;
  }

  listen(seen: () => void, lost: (cause?: unknown) => void): void {
    this.#seen = seen;
    this.#lost = lost;
  }

  send(events: readonly InputEvent[]): void {
    this.sent = this.#rfb.send(events.map(asRfb)).catch((cause: unknown) => {
      // More than the server took: that is lost on the way, as other events are. Whatever else it is, it is over.
      if (!(cause instanceof SealttyError) || cause.code !== "limit-exceeded") this.#lost(cause);
    });
  }

  /** @returns why it is over, once it is. */
  async run(): Promise<SealttyError> {
    let cause: unknown;
    try {
      await this.#rfb.run(() => {
        this.#shown = true;
        this.#seen();
      });
    } catch (error) {
      cause = error;
    }
    this.#lost(cause);
    if (cause instanceof SealttyError) return cause;
    return new SealttyError("transport-lost", "The host's VNC server ended the connection", { cause });
  }
}

function asRfb(event: InputEvent): RfbInput {
  if (event.kind === "pointer") return { kind: "pointer", buttons: event.mask, x: event.x, y: event.y };
  return { kind: "key", down: event.down, scancode: event.code, keysym: keysymOf(event.code) };
}

function notOpened(rfb: RfbScreen, modem: ClientModem): SealttyError {
  const { width, height } = rfb.framebuffer;
  const fail = (words: string): SealttyError =>
    new SealttyError("transport-lost", `The screen of ${width} × ${height} pixels ${words}`);
  switch (modem.sight) {
    case "scaled":
      return fail(
        "shows sealttyd's data, but scaled: have the host show the guest's screen as large as it is",
      );
    case "cut":
      return fail("shows sealttyd's data, but not all of it: have the host show the guest's whole screen");
    case "beacon":
      break;
    default:
      return fail(
        'shows nothing of sealttyd\'s: is it running in the guest, with type = "framebuffer" in [pipe]?',
      );
  }
  const device = modem.device ?? "keyboard"; // there is one where there is a beacon
  const { coding } = DEVICES[device];
  if (rfb.pointerIsAbsolute === true && coding === "relative")
    return fail("shows sealttyd, which listens to a mouse, but the host sends to a tablet");
  if (rfb.pointerIsAbsolute === false && coding === "absolute")
    return fail("shows sealttyd, which listens to a tablet, but the host sends to a mouse");
  return fail(`shows sealttyd, but nothing of what was sent reached its ${device}`);
}
