// A STAND-IN of KubeVirt's console subresource behind a cluster's API server, not the programs themselves. Behaviour as read in
// kubevirt d923fdb815 (async.go, api.go, websocket.go, console.go) and its issue #6493 (idle consoles are cut).

import type { WebSocket } from "ws";
import type { Clock } from "../../../protocol/clock.ts";
import type { Pipe } from "../../../protocol/pipe.ts";
import { StandInDevice } from "./device.ts";
import { type Answer, type Asked, json, offers, type TlsFiles, type Upgrade, WebHost } from "./web-host.ts";

/** Something in front of the API server (a load balancer, often) cuts a connection that says nothing for this long. */
export const IDLE_CUT_MS = 20_000;
const SUBPROTOCOL = "plain.kubevirt.io";
const BUFFER = 10_240;

export class KubevirtStandIn extends WebHost {
  readonly device: StandInDevice;
  readonly #clock: Clock;
  readonly #token: string;
  readonly #path: string;
  #client: WebSocket | undefined;
  clients = 0;
  idleCuts = 0;
  kicks = 0;
  textFrames = 0;
  /** Payload bytes of client frames so far. */
  bytesFromClient = 0;
  bytesToClient = 0;

  constructor(
    settings: { tls: TlsFiles; clock: Clock; token: string; namespace: string; name: string },
    serve: (pipe: Pipe) => Promise<unknown>,
  ) {
    super(settings.tls);
    this.#clock = settings.clock;
    this.#token = settings.token;
    this.#path =
      `/apis/subresources.kubevirt.io/v1/namespaces/${settings.namespace}` +
      `/virtualmachineinstances/${settings.name}/console`;
    this.device = new StandInDevice(serve);
  }

  protected answer(): Answer {
    return json(404, { kind: "Status", status: "Failure", code: 404 });
  }

  protected upgrade({ url, headers }: Omit<Asked, "body">): Upgrade {
    if (headers.authorization !== `Bearer ${this.#token}`) return { status: 401 };
    if (url.pathname !== this.#path) return { status: 404 };
    return {
      protocol: offers(headers).includes(SUBPROTOCOL) && SUBPROTOCOL,
      serve: (socket) => this.#take(socket),
    };
  }

  #take(socket: WebSocket): void {
    this.clients++;
    if (this.#client !== undefined) {
      this.kicks++;
      this.#client.terminate(); // no closing handshake
    }
    this.#client = socket;
    let cancelIdle: () => void = () => undefined;
    const heard = (): void => {
      cancelIdle();
      cancelIdle = this.#clock.after(IDLE_CUT_MS, () => {
        this.idleCuts++;
        socket.terminate();
      });
    };
    heard();
    socket.on("message", (data, isBinary) => {
      heard();
      if (!isBinary) return void this.textFrames++; // dropped, and nobody is told
      this.bytesFromClient += (data as Buffer).length;
      void this.device.write(data as Buffer);
    });
    this.device.onOutput = (bytes) => {
      heard();
      this.bytesToClient += bytes.length;
      for (let at = 0; at < bytes.length; at += BUFFER) {
        socket.send(bytes.subarray(at, at + BUFFER), { binary: true });
      }
    };
    socket.once("close", () => {
      cancelIdle();
      if (this.#client !== socket) return;
      this.#client = undefined;
      this.device.onOutput = undefined;
    });
  }
}
