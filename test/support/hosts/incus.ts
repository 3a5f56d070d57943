// A STAND-IN of Incus's console API for virtual machines, not the program itself. Behaviour as read in incus be7afc5df3
// (instance_console.go, ws/mirror.go).

import { randomBytes, randomUUID } from "node:crypto";
import type { WebSocket } from "ws";
import type { Pipe } from "../../../protocol/pipe.ts";
import { StandInDevice } from "./device.ts";
import { type Answer, type Asked, json, type TlsFiles, type Upgrade, WebHost } from "./web-host.ts";

const RING = 1024 * 1024;
const RESET = Buffer.from("\x1bc");

interface Operation {
  readonly id: string;
  readonly dataSecret: string;
  readonly controlSecret: string;
  data: WebSocket | undefined;
  control: WebSocket | undefined;
}

export class IncusStandIn extends WebHost {
  readonly device: StandInDevice;
  readonly #instance: string;
  readonly #project: string;
  #operation: Operation | undefined;
  /** The chardev is a ring while nobody is attached; the host reads it into its console log, and no client ever gets it. */
  consoleLog: Uint8Array[] = [];
  #logBytes = 0;
  detachments = 0;
  attachments = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    settings: { tls?: TlsFiles; project: string; instance: string },
    serve: (pipe: Pipe) => Promise<unknown>,
  ) {
    super(settings.tls);
    this.#instance = settings.instance;
    this.#project = settings.project;
    this.device = new StandInDevice(serve);
    this.device.detached = (bytes) => this.#log(bytes);
  }

  /** Resolves once `count` clients have been detached in all. */
  async detached(count: number): Promise<void> {
    while (this.detachments < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The host ends the console: a text frame says so. */
  sayEnd(): void {
    this.#operation?.data?.send("", { binary: false });
  }

  protected answer({ method, url, body }: Asked): Answer {
    if (method !== "POST" || url.pathname !== `/1.0/instances/${this.#instance}/console`)
      return failed(404, "Instance not found");
    if (url.searchParams.get("project") !== this.#project) return failed(404, "Instance not found");
    const { type, force } = JSON.parse(body) as { type?: string; force?: boolean };
    if (type !== "console") return failed(400, `Unknown console type "${type}"`);
    if (this.#operation !== undefined) {
      if (force !== true) {
        return failed(500, "This console is already connected. Force is required to take it over.");
      }
      this.#cancel(this.#operation);
    }
    const operation: Operation = {
      id: randomUUID(),
      dataSecret: randomBytes(32).toString("hex"),
      controlSecret: randomBytes(32).toString("hex"),
      data: undefined,
      control: undefined,
    };
    this.#operation = operation;
    const fds = { "0": operation.dataSecret, control: operation.controlSecret };
    return json(202, {
      type: "async",
      status: "Operation created",
      status_code: 100,
      operation: `/1.0/operations/${operation.id}`,
      error_code: 0,
      error: "",
      metadata: { id: operation.id, class: "websocket", description: "Showing console", metadata: { fds } },
    });
  }

  protected upgrade({ url }: Omit<Asked, "body">): Upgrade {
    const operation = this.#operation;
    if (operation === undefined || url.pathname !== `/1.0/operations/${operation.id}/websocket`)
      return { status: 404 };
    const secret = url.searchParams.get("secret");
    if (secret === operation.controlSecret) {
      return {
        protocol: false,
        serve: (socket) => {
          operation.control = socket;
          socket.once("close", () => this.#cancel(operation));
        },
      };
    }
    if (secret !== operation.dataSecret) return { status: 403 };
    return { protocol: false, serve: (socket) => this.#mirror(operation, socket) };
  }

  #mirror(operation: Operation, socket: WebSocket): void {
    operation.data = socket;
    this.attachments++;
    let ended = false;
    socket.on("message", (data, isBinary) => {
      if (!isBinary) ended = true; // the end of this direction; nobody is told
      if (!ended) void this.device.write(data as Buffer);
    });
    this.device.onOutput = (bytes) => {
      // A client that is gone is noticed by writing to it; until then only the control socket tells.
      if (socket.readyState !== socket.OPEN) {
        this.#log(bytes);
        return this.#cancel(operation);
      }
      socket.send(bytes, { binary: true });
    };
  }

  /** Detaches: ESC c goes to the *guest*, and the ring comes back. */
  #cancel(operation: Operation): void {
    if (this.#operation !== operation) return;
    this.#operation = undefined;
    const wasAttached = operation.data !== undefined;
    operation.data?.terminate();
    operation.control?.terminate();
    this.device.onOutput = undefined;
    if (!wasAttached) return;
    void this.device.write(RESET);
    this.detachments++;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #log(bytes: Uint8Array): void {
    this.consoleLog.push(bytes);
    this.#logBytes += bytes.length;
    while (this.#logBytes > RING) this.#logBytes -= (this.consoleLog.shift() as Uint8Array).length;
  }
}

function failed(code: number, error: string): Answer {
  return json(code, {
    type: "error",
    status: "",
    status_code: 0,
    operation: "",
    error_code: code,
    error,
    metadata: null,
  });
}
