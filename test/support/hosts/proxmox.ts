// A STAND-IN of Proxmox VE, not the program itself: its API for a serial terminal, its web socket, and termproxy behind it.
// Behaviour as read in pve-xtermjs 89075b0 and 7801b96 (termproxy), qemu-server e6352be6 (`qm terminal`), pve-manager's API.

import { randomBytes } from "node:crypto";
import type { WebSocket } from "ws";
import type { Clock } from "../../../protocol/clock.ts";
import type { Pipe } from "../../../protocol/pipe.ts";
import { StandInDevice } from "./device.ts";
import { type Answer, type Asked, json, offers, type TlsFiles, type Upgrade, WebHost } from "./web-host.ts";

const CONNECT_WITHIN_MS = 10_000;
const SIGN_IN_WITHIN_MS = 10_000;
const IDLE_MS = 5 * 60_000;
/** termproxy's buffer of input that the pty did not take yet. */
const BUFFER = 4096;
/** What the pty's input queue takes at once. */
const PTY_ROOM = 1024;
const COOKED_MS = 50;

export interface ProxmoxSettings {
  readonly tls: TlsFiles;
  readonly clock: Clock;
  readonly node: string;
  readonly vmid: number;
  readonly token: string;
  readonly user: string;
  readonly password: string;
  /** Hosts from before tokens were taken at termproxy: their check of the ticket wants a plain user's name. */
  readonly old?: boolean;
  /** Of termproxy, in bytes; default 4096, as it is. */
  readonly buffer?: number;
  /** How long the pty stays cooked, ms. */
  readonly cooked?: number;
}

interface Terminal {
  readonly user: string;
  readonly ticket: string;
  readonly port: number;
  readonly from: number;
}

export class ProxmoxStandIn extends WebHost {
  readonly device: StandInDevice;
  readonly #settings: ProxmoxSettings;
  readonly #sessions = new Map<string, string>();
  readonly #terminals = new Map<number, Terminal>();
  /** The serial socket of QEMU takes one connection; the next ones wait for it to go. */
  readonly #waiting: Termproxy[] = [];
  #nextPort = 5900;
  attached: Termproxy | undefined;
  pings = 0;
  /** Heads of data messages that were read, and those that were cut in two and lost with what they stood for. */
  heads = 0;
  lostHeads = 0;

  constructor(settings: ProxmoxSettings, serve: (pipe: Pipe) => Promise<unknown>) {
    super(settings.tls);
    this.#settings = settings;
    this.device = new StandInDevice(serve);
  }

  get cooked(): number {
    return this.#settings.cooked ?? COOKED_MS;
  }

  get buffer(): number {
    return this.#settings.buffer ?? BUFFER;
  }

  get clock(): Clock {
    return this.#settings.clock;
  }

  protected answer({ method, url, headers, body }: Asked): Answer {
    const { user, password, node, vmid } = this.#settings;
    const form = new URLSearchParams(body);
    if (method === "POST" && url.pathname === "/api2/json/access/ticket") {
      if (form.get("username") !== user || form.get("password") !== password)
        return { status: 401, body: "" };
      const ticket = `PVE:${user}:${randomBytes(4).toString("hex")}::${randomBytes(256).toString("base64")}`;
      const csrf = `66A1B2C3:${randomBytes(32).toString("base64")}`;
      this.#sessions.set(ticket, csrf);
      return json(200, {
        data: { ticket, CSRFPreventionToken: csrf, username: user, cap: { vms: { "VM.Console": 1 } } },
      });
    }
    const who = this.#who(headers);
    if (who === undefined) return { status: 401, body: "" };
    if (
      method === "POST" &&
      who === user &&
      this.#sessions.get(cookieOf(headers)) !== headers["csrfpreventiontoken"]
    ) {
      return { status: 401, body: "" };
    }
    if (method !== "POST" || url.pathname !== `/api2/json/nodes/${node}/qemu/${vmid}/termproxy`)
      return { status: 501, body: "" };
    if (form.get("serial") !== "serial0") return json(500, { data: null });
    const terminal: Terminal = {
      user: who,
      ticket: `PVEVNC:${randomBytes(4).toString("hex")}::${randomBytes(256).toString("base64")}`,
      port: this.#nextPort++,
      from: this.clock.now(),
    };
    this.#terminals.set(terminal.port, terminal);
    return json(200, {
      data: { user: who, ticket: terminal.ticket, port: String(terminal.port), upid: "UPID:pve1:0001" },
    });
  }

  protected upgrade({ url, headers }: Omit<Asked, "body">): Upgrade {
    const { node, vmid } = this.#settings;
    if (this.#who(headers) === undefined) return { status: 401 };
    if (url.pathname !== `/api2/json/nodes/${node}/qemu/${vmid}/vncwebsocket`) return { status: 501 };
    const port = Number(url.searchParams.get("port"));
    const terminal = this.#terminals.get(port);
    if (terminal === undefined || url.searchParams.get("vncticket") !== terminal.ticket)
      return { status: 403 };
    this.#terminals.delete(port); // termproxy takes one connection
    if (this.clock.now() - terminal.from > CONNECT_WITHIN_MS) return { status: 500 };
    return {
      protocol: offers(headers).includes("binary") && "binary",
      serve: (socket) => {
        if (socket.protocol !== "binary") return socket.terminate(); // closed right after the upgrade
        Termproxy.serve(socket, this, terminal.user, terminal.ticket, this.#settings.old === true);
      },
    };
  }

  attach(terminal: Termproxy): void {
    if (this.attached !== undefined) return void this.#waiting.push(terminal);
    this.attached = terminal;
    this.device.onOutput = (bytes) => terminal.output(bytes);
    terminal.takesInput();
  }

  detach(terminal: Termproxy): void {
    const waiting = this.#waiting.indexOf(terminal);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    if (this.attached !== terminal) return;
    this.attached = undefined;
    this.device.onOutput = undefined;
    const next = this.#waiting.shift();
    if (next !== undefined) this.attach(next);
  }

  #who(headers: Asked["headers"]): string | undefined {
    const token = /^PVEAPIToken=(.+)$/.exec(headers.authorization ?? "")?.[1];
    if (token !== undefined) return token === this.#settings.token ? token.replace(/=.*$/, "") : undefined;
    return this.#sessions.has(cookieOf(headers)) ? this.#settings.user : undefined;
  }
}

function cookieOf(headers: Asked["headers"]): string {
  return decodeURIComponent(/(?:^|; )PVEAuthCookie=([^;]*)/.exec(headers.cookie ?? "")?.[1] ?? "");
}

/** termproxy, `qm terminal` and socat on the pty between them. */
export class Termproxy {
  readonly #socket: WebSocket;
  readonly #host: ProxmoxStandIn;
  #line = Buffer.alloc(0);
  #signedIn = false;
  #cooked = true;
  #attached = false;
  /** From the network, not yet in #buffer: what TCP holds. */
  readonly #network: Buffer[] = [];
  #buffer = Buffer.alloc(0);
  #remaining = 0;
  #draining = false;
  #cancelIdle: () => void = () => undefined;
  /** Bytes of input that were data, as the pty got them. */
  inputBytes = 0;

  static serve(...args: ConstructorParameters<typeof Termproxy>): Termproxy {
    return new Termproxy(...args);
  }

  constructor(socket: WebSocket, host: ProxmoxStandIn, user: string, ticket: string, old: boolean) {
    this.#socket = socket;
    this.#host = host;
    const late = host.clock.after(SIGN_IN_WITHIN_MS, () => socket.terminate());
    socket.on("message", (data) => {
      this.#notIdle();
      if (this.#signedIn) return this.#take(data as Buffer);
      this.#line = Buffer.concat([this.#line, data as Buffer]);
      const end = this.#line.indexOf(0x0a);
      if (end < 0) return;
      late();
      const right = this.#line.subarray(0, end).toString() === `${user}:${ticket}`;
      if (!right || (old && user.includes("!"))) return socket.terminate();
      this.#signedIn = true;
      this.#start(this.#line.subarray(end + 1));
    });
    socket.once("close", () => {
      late();
      this.#cancelIdle();
      host.detach(this);
    });
  }

  output(bytes: Uint8Array): void {
    this.#socket.send(bytes, { binary: true });
  }

  /** The host ends it, without a closing handshake. */
  cut(): void {
    this.#socket.terminate();
  }

  takesInput(): void {
    this.#attached = true;
    void this.#drain();
  }

  #start(rest: Buffer): void {
    // OK and the first words share a frame; the pty, cooked still, turns LF into CR LF.
    this.#socket.send(Buffer.from("OKstarting serial term"), { binary: true });
    this.#socket.send(Buffer.from("inal on interface serial0\r\n"), { binary: true });
    if (rest.length > 0) this.#take(rest);
    setTimeout(() => {
      this.#cooked = false; // socat made it raw, and connects to QEMU's socket
      if (this.#socket.readyState === this.#socket.OPEN) this.#host.attach(this);
    }, this.#host.cooked);
  }

  #notIdle(): void {
    this.#cancelIdle();
    this.#cancelIdle = this.#host.clock.after(IDLE_MS, () => this.#socket.terminate());
  }

  #take(data: Buffer): void {
    this.#network.push(data);
    void this.#drain();
  }

  /** Reads while there is room, then gives the pty what it takes: where the head of a message is cut, its place is lost. */
  async #drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    for (;;) {
      while (this.#network.length > 0 && this.#buffer.length < this.#host.buffer) {
        const next = this.#network[0] as Buffer;
        const room = this.#host.buffer - this.#buffer.length;
        this.#buffer = Buffer.concat([this.#buffer, next.subarray(0, room)]);
        if (next.length > room) this.#network[0] = next.subarray(room);
        else this.#network.shift();
      }
      // Until the buffer is empty, without reading more: so its end may lie anywhere in a message.
      while (this.#buffer.length > 0) {
        if (!this.#cooked && !this.#attached) break; // socat waits for QEMU; the pty is full
        if (this.#remaining === 0) {
          const length = this.#head();
          if (length === undefined) break;
          this.#remaining = length;
        }
        const data = this.#buffer.subarray(0, Math.min(this.#remaining, PTY_ROOM));
        this.#buffer = this.#buffer.subarray(data.length);
        this.#remaining -= data.length;
        if (data.length > 0) await this.#pty(data);
      }
      if (this.#network.length === 0 || (!this.#cooked && !this.#attached)) break;
    }
    this.#draining = false;
  }

  /** What a cooked pty does: echoes, and takes ^C, ^\ and ^Z for signals to `qm terminal`. */
  async #pty(data: Buffer): Promise<void> {
    if (!this.#cooked) {
      this.inputBytes += data.length;
      await this.#host.device.write(data);
      return;
    }
    this.output(Buffer.from(data.toString("latin1").replace(/\n/g, "\r\n"), "latin1"));
    if (/[\x03\x1c\x1a]/.test(data.toString("latin1"))) this.#socket.terminate();
  }

  /** The length of the next data message; takes resizes, pings and whatever else off the front. */
  #head(): number | undefined {
    while (this.#buffer.length >= 2) {
      const type = (this.#buffer[0] as number) - 0x30;
      if (type === 0) {
        this.#buffer = this.#buffer.subarray(2);
        const length = this.#number();
        if (length !== undefined) {
          this.#host.heads++;
          return length;
        }
        this.#host.lostHeads++;
      } else if (type === 1) {
        this.#buffer = this.#buffer.subarray(2);
        if (this.#number() !== undefined) this.#number();
      } else {
        if (type === 2) this.#host.pings++;
        this.#buffer = this.#buffer.subarray(1);
      }
    }
    // A ping is one byte, and waits for a second one to come.
    return undefined;
  }

  #number(): number | undefined {
    for (;;) {
      const colon = this.#buffer.indexOf(0x3a);
      if (colon >= 0) {
        const text = this.#buffer.subarray(0, colon).toString("latin1");
        this.#buffer = this.#buffer.subarray(colon + 1);
        return /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
      }
      if (this.#buffer.length <= 20) return undefined;
      this.#buffer = this.#buffer.subarray(20);
    }
  }
}
