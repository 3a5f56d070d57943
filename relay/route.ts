// Many clients on one guest's pipe: whole frames only, told apart by the connection id in their clear header.
//
// Nothing here is trusted by anybody: a wrong route delays a frame or shows ciphertext to one more party, no more.

import { frameHead } from "../protocol/frames/frame-body.ts";
import { type DecodedFrame, FrameDecoder } from "../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../protocol/frames/frame-encoder.ts";
import { MAX_ARMOUR_BODY, RAW_ABOVE } from "../protocol/limits.ts";
import { GuestSocket, type GuestTarget } from "./guest-socket.ts";
import {
  CLIENT_QUEUE_HIGH,
  CLIENT_QUEUE_LOW,
  MAX_CLIENT_NOISE,
  MAX_CLIENTS_PER_GUEST,
  MAX_CLIENTS_PER_ID,
  MAX_IDS_PER_CLIENT,
  MAX_WAITING_FOR_CLIENT,
} from "./limits.ts";

/** A client as the route needs it; relay/web-socket-server.ts makes one from a web socket. */
export interface ClientLink {
  /** Bytes handed over and not yet taken by the network. */
  readonly waiting: number;
  send(bytes: Uint8Array): void;
  /** Stop and go on reading from this client. */
  pause(): void;
  resume(): void;
  cut(reason: string): void;
}

export type Direction = "to-guest" | "to-client";
/** What a nosy host sees. @param client - counts from 0 in order of arrival; -1 where no client uses the frame's id. */
export type Tap = (direction: Direction, bytes: Uint8Array, client: number) => void;

export interface RouteCounters {
  framesToGuest: number;
  framesToClients: number;
  /** Frames for an id that no client uses. */
  unroutable: number;
  /** From clients: while the guest's pipe was away, or of a size the protocol forbids. */
  dropped: number;
  noiseFromGuest: number;
  clientsCut: number;
  guestConnections: number;
}

interface Client {
  readonly index: number;
  readonly link: ClientLink;
  readonly decoder: FrameDecoder;
  /** In order of last use: the first was not heard for longest. */
  readonly ids: Map<number, true>;
  queue: Uint8Array[];
  queued: number; // bytes
  paused: boolean;
  noise: number; // bytes since the last frame
}

export class GuestRoute {
  readonly counters: RouteCounters = {
    framesToGuest: 0,
    framesToClients: 0,
    unroutable: 0,
    dropped: 0,
    noiseFromGuest: 0,
    clientsCut: 0,
    guestConnections: 0,
  };
  readonly #guest: GuestSocket;
  readonly #tap: Tap | undefined;
  readonly #clients = new Set<Client>();
  /** Newest user of an id first. Bounded by clients × ids per client. */
  readonly #users = new Map<number, Client[]>();
  #decoder = new FrameDecoder();
  #nextIndex = 0;
  #pumping = false;

  constructor(target: GuestTarget, log: (line: string) => void, tap?: Tap) {
    this.#tap = tap;
    this.#guest = new GuestSocket(target, {
      onConnected: () => {
        this.counters.guestConnections++;
        this.#decoder = new FrameDecoder(); // half a frame of the old pipe is worth nothing
        log("guest pipe connected");
        this.#startPump();
      },
      onLost: (reason) => log(`guest pipe lost (${reason}), trying again`),
      onAbsent: (reason) =>
        log(`no guest there yet (${reason}), trying again; check its address and that its machine runs`),
      onBytes: (chunk) => this.#fromGuest(chunk),
    });
  }

  get guestConnected(): boolean {
    return this.#guest.connected;
  }
  get clientCount(): number {
    return this.#clients.size;
  }
  /** For tests: entries of the routing table. */
  get idCount(): number {
    return this.#users.size;
  }

  /** @returns what to call with the client's bytes and at its end; undefined where there are too many clients. */
  add(link: ClientLink): { receive(chunk: Uint8Array): void; left(): void } | undefined {
    if (this.#clients.size >= MAX_CLIENTS_PER_GUEST) return undefined;
    const client: Client = {
      index: this.#nextIndex++,
      link,
      decoder: new FrameDecoder(),
      ids: new Map(),
      queue: [],
      queued: 0,
      paused: false,
      noise: 0,
    };
    this.#clients.add(client);
    return { receive: (chunk) => this.#fromClient(client, chunk), left: () => this.#remove(client) };
  }

  close(): void {
    this.#guest.close();
    for (const client of this.#clients) client.link.cut("relay ends");
    this.#clients.clear();
    this.#users.clear();
  }

  #fromClient(client: Client, chunk: Uint8Array): void {
    if (!this.#clients.has(client)) return;
    const { frames, noise } = client.decoder.push(chunk, performance.now());
    client.noise = frames.length > 0 ? 0 : client.noise + noise.length;
    if (client.noise > MAX_CLIENT_NOISE) return this.#cut(client, "sends no frames");
    for (const frame of frames) {
      const head = frameHead(frame.body);
      const encoded = head && reencoded(frame, RAW_ABOVE);
      if (head === undefined || encoded === undefined || !this.#guest.connected) {
        this.counters.dropped++;
        continue;
      }
      this.#learn(head.id, client);
      client.queue.push(encoded);
      client.queued += encoded.length;
    }
    if (client.queued > CLIENT_QUEUE_HIGH && !client.paused) {
      client.paused = true;
      client.link.pause();
    }
    this.#startPump();
  }

  /** The newest user of an id comes first; an older one keeps its place beside it, so that nobody takes an id away by using it once. Two that keep using it can: that delays its owner, no more. */
  #learn(id: number, client: Client): void {
    const users = this.#users.get(id);
    client.ids.delete(id);
    client.ids.set(id, true);
    if (users === undefined) this.#users.set(id, [client]);
    else if (users[0] !== client) {
      const others = users.filter((user) => user !== client);
      for (const gone of others.splice(MAX_CLIENTS_PER_ID - 1)) gone.ids.delete(id);
      this.#users.set(id, [client, ...others]);
    }
    if (client.ids.size > MAX_IDS_PER_CLIENT) {
      const [oldest] = client.ids.keys();
      if (oldest !== undefined) this.#forget(oldest, client);
    }
  }

  #forget(id: number, client: Client): void {
    client.ids.delete(id);
    const left = this.#users.get(id)?.filter((user) => user !== client) ?? [];
    if (left.length === 0) this.#users.delete(id);
    else this.#users.set(id, left);
  }

  #fromGuest(chunk: Uint8Array): void {
    const { frames, noise } = this.#decoder.push(chunk, performance.now());
    this.counters.noiseFromGuest += noise.length; // kernel messages, getty: nobody's business here
    for (const frame of frames) {
      const head = frameHead(frame.body);
      const encoded = head && reencoded(frame, Number.POSITIVE_INFINITY);
      if (head === undefined || encoded === undefined) continue;
      const users = this.#users.get(head.id);
      this.#tap?.("to-client", encoded, users?.[0]?.index ?? -1);
      if (users === undefined) {
        this.counters.unroutable++;
        continue;
      }
      for (const client of [...users]) {
        if (client.link.waiting + encoded.length > MAX_WAITING_FOR_CLIENT) {
          this.#cut(client, "reads too slowly");
          continue;
        }
        client.link.send(encoded);
        this.counters.framesToClients++;
      }
    }
  }

  #startPump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    void this.#pump();
  }

  /** One frame of each client in turn, as fast as the guest takes them. */
  async #pump(): Promise<void> {
    for (;;) {
      let sent = false;
      for (const client of [...this.#clients]) {
        const frame = client.queue.shift();
        if (frame === undefined) continue;
        sent = true;
        client.queued -= frame.length;
        if (client.paused && client.queued < CLIENT_QUEUE_LOW) {
          client.paused = false;
          client.link.resume();
        }
        this.#tap?.("to-guest", frame, client.index);
        if (await this.#guest.write(frame)) this.counters.framesToGuest++;
        else this.counters.dropped++;
      }
      if (!sent) break;
    }
    this.#pumping = false;
  }

  #cut(client: Client, reason: string): void {
    this.counters.clientsCut++;
    client.link.cut(reason);
    this.#remove(client);
  }

  #remove(client: Client): void {
    if (!this.#clients.delete(client)) return;
    client.queue = [];
    client.queued = 0;
    for (const id of [...client.ids.keys()]) this.#forget(id, client);
  }
}

/** @returns undefined where the protocol allows no such frame in this direction. */
function reencoded(frame: DecodedFrame, limit: number): Uint8Array | undefined {
  const most = frame.encoding === "armour" ? Math.min(limit, MAX_ARMOUR_BODY) : limit;
  return frame.body.length > most ? undefined : encodeFrame(frame.body, frame.encoding);
}
