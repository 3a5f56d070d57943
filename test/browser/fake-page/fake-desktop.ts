// A scripted VNC server at the far end of a channel (RFC 6143): it paints when it is asked, and keeps what it is told.

import { concat, u16, u32, u8, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { ExitStatus, OwnChannel } from "../../../protocol/session/channel-api.ts";
import { FakeStream } from "../../support/fake-stream.ts";

export const DESKTOP = { width: 800, height: 500 };
const NAME = "db-primary:1 \u202e(operator)\u0007";
const NO_BYTES = new Uint8Array(0);

/** Of a client's message by its first byte: undefined until that is known. */
function lengthOf(message: Uint8Array): number | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  switch (message[0]) {
    case 0:
      return 20;
    case 2:
      return message.length < 4 ? undefined : 4 + 4 * view.getUint16(2);
    case 3:
      return 10;
    case 4:
      return 8;
    case 5:
      return 6;
    case 6:
      return message.length < 8 ? undefined : 8 + view.getUint32(4);
    case 251:
      return message.length < 8 ? undefined : 8 + 16 * (message[6] as number);
    default:
      throw new Error(`The desktop was told ${message[0]}`);
  }
}

export class FakeDesktop {
  readonly keys: [number, boolean][] = [];
  readonly cuts: string[] = [];
  readonly sizesWanted: [number, number][] = [];
  encodings: number[] = [];
  buttons = 0; // pressed at some time
  updates = 0;
  readonly #mode: string;
  readonly #stdout = new FakeStream();
  #read: Uint8Array = NO_BYTES;
  #stage: "version" | "security" | "password" | "init" | "on" = "version";
  #end: { resolve(exit: ExitStatus): void; reject(error: Error): void } | undefined;
  hangUps = 0;
  unsent = 0;

  /** @param mode - what goes wrong; "" is nothing. */
  constructor(mode: string) {
    this.#mode = mode;
    if (mode.startsWith("silent")) return; // until the test says its first words
    this.#say(mode === "ssh" ? "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" : "RFB 003.008\n");
  }

  get credit(): number {
    return this.#stdout.credit;
  }

  get #asks(): boolean {
    return this.#mode.endsWith("password");
  }

  channel(): OwnChannel {
    const exit = new Promise<ExitStatus>((resolve, reject) => {
      this.#end = { resolve, reject };
    });
    exit.catch(() => undefined);
    const stderr = new FakeStream();
    stderr.end();
    return {
      stdout: this.#stdout,
      stderr,
      write: async (bytes) => this.#take(bytes),
      end: () => undefined,
      resize: () => undefined,
      signal: () => undefined,
      hangUp: () => void this.hangUps++,
      hangUpUnsent: () => void this.unsent++,
      exit,
    };
  }

  /** As a server that ends. */
  end(): void {
    this.#stdout.end();
    this.#end?.resolve({ kind: "exited", status: 0 });
  }

  fail(error: SealttyError): void {
    this.#stdout.fail(error);
    this.#end?.reject(error);
  }

  /** The first words of a silent one. */
  begin(): void {
    this.#say("RFB 003.008\n");
  }

  bytes(bytes: Uint8Array): void {
    this.#stdout.push(bytes);
  }

  /** What somebody in the guest cut or copied. */
  cut(text: string): void {
    const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
    this.bytes(concat(u8(3), new Uint8Array(3), u32(bytes.length), bytes));
  }

  /** One rectangle: a window on a background of that colour. */
  paint(red: number, green: number, blue: number): void {
    const { width, height } = DESKTOP;
    const pixels = new Uint8Array(width * height * 4);
    for (let at = 0, y = 0; y < height; y++)
      for (let x = 0; x < width; x++, at += 4) {
        const inside = x > 120 && x < 560 && y > 80 && y < 380;
        pixels.set(inside ? (y < 104 ? [46, 92, 140, 0] : [250, 250, 246, 0]) : [red, green, blue, 0], at);
      }
    this.updates++;
    this.bytes(concat(u8(0), u8(0), u16(1), u16(0), u16(0), u16(width), u16(height), u32(0), pixels));
  }

  #say(text: string): void {
    this.bytes(utf8(text));
  }

  #take(bytes: Uint8Array): void {
    this.#read = concat(this.#read, bytes);
    while (this.#step());
  }

  #taken(length: number): Uint8Array | undefined {
    if (this.#read.length < length) return undefined;
    const taken = this.#read.subarray(0, length);
    this.#read = this.#read.subarray(length);
    return taken;
  }

  /** @returns whether there may be more. */
  #step(): boolean {
    switch (this.#stage) {
      case "version": {
        if (this.#taken(12) === undefined) return false;
        const types = this.#mode === "tls" ? [19] : this.#asks ? [19, 2] : [1];
        this.bytes(concat(u8(types.length), Uint8Array.from(types)));
        this.#stage = "security";
        return true;
      }
      case "security":
        if (this.#taken(1) === undefined) return false;
        this.#stage = this.#asks ? "password" : "init";
        this.bytes(this.#asks ? new Uint8Array(16).fill(7) : u32(0));
        return true;
      case "password": {
        const answer = this.#taken(16);
        if (answer === undefined) return false;
        this.bytes(concat(u32(1), u32(23), utf8("Authentication\u0007 failure")));
        this.end();
        return false;
      }
      case "init": {
        if (this.#taken(1) === undefined) return false;
        const name = utf8(NAME);
        const side = this.#mode === "huge" ? 60_000 : undefined;
        const format = Uint8Array.of(32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0);
        const { width, height } = DESKTOP;
        this.bytes(concat(u16(side ?? width), u16(side ?? height), format, u32(name.length), name));
        this.#stage = "on";
        return true;
      }
      case "on": {
        if (this.#read.length === 0) return false;
        const length = lengthOf(this.#read);
        const message = length === undefined ? undefined : this.#taken(length);
        if (message !== undefined) this.#told(message);
        return message !== undefined;
      }
    }
  }

  #told(message: Uint8Array): void {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    if (message[0] === 2)
      this.encodings = Array.from({ length: view.getUint16(2) }, (_, i) => view.getInt32(4 + 4 * i));
    else if (message[0] === 3 && message[1] === 0) this.paint(20, 90, 60);
    else if (message[0] === 4) this.keys.push([view.getUint32(4), message[1] === 1]);
    else if (message[0] === 5) this.buttons |= message[1] as number;
    else if (message[0] === 6) this.cuts.push(String.fromCharCode(...message.subarray(8)));
    else if (message[0] === 251) this.sizesWanted.push([view.getUint16(2), view.getUint16(4)]);
  }
}

/** What the guest says where it makes no connection. */
export function desktopRefusal(mode: string): SealttyError | undefined {
  if (mode === "nothing")
    return new SealttyError(
      "program-failed",
      "Nobody listens there in the guest. Check the port or path, and that the service runs.",
    );
  if (mode === "denied")
    return new SealttyError(
      "user-refused",
      "The guest does not forward this for this user. Its owner allows it by [forward] allow = true in sealttyd.toml, for users with a key; the key's own options or the instance document may forbid it, and a socket may have permissions.",
    );
  return undefined;
}
