// STAND-INS, not the programs themselves, of Cloud Hypervisor's serial socket and of the vsock of Firecracker and Cloud
// Hypervisor. Behaviour as read in cloud-hypervisor ae44c2971 (serial_manager.rs) and firecracker 81b38b9da (docs/vsock.md).

import net from "node:net";
import { once } from "node:events";
import type { Pipe } from "../../../protocol/pipe.ts";
import { SocketPipe } from "../../../node/socket-pipe.ts";
import { StandInDevice } from "./device.ts";

const READ = 64;
const RING = 1024 * 1024;

/** `--serial socket=PATH`: the latest client wins, input in reads of 64 bytes, a read of one LF becomes CR, a replay ring. */
export class CloudHypervisorSerial {
  readonly device: StandInDevice;
  readonly #server: net.Server;
  #client: net.Socket | undefined;
  #ring: Uint8Array[] = [];
  #ringBytes = 0;
  clients = 0;

  constructor(serve: (pipe: Pipe) => Promise<unknown>) {
    this.device = new StandInDevice(serve);
    this.device.detached = (bytes) => this.#keep(bytes);
    this.#server = net.createServer((socket) => this.#take(socket));
  }

  async listen(path: string): Promise<void> {
    this.#server.listen(path);
    await once(this.#server, "listening");
  }

  async close(): Promise<void> {
    this.#client?.destroy();
    await this.device.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(socket: net.Socket): void {
    this.clients++;
    this.#client?.destroy(); // shut down for the newcomer
    this.#client = socket;
    socket.on("error", () => undefined);
    for (const kept of this.#ring.splice(0)) socket.write(kept);
    this.#ringBytes = 0;
    this.device.onOutput = (bytes) => void socket.write(bytes);
    socket.on("readable", () => this.#readInput(socket));
    socket.once("close", () => {
      if (this.#client !== socket) return;
      this.#client = undefined;
      this.device.onOutput = undefined;
    });
  }

  #readInput(socket: net.Socket): void {
    while (socket.readableLength > 0 && socket === this.#client) {
      const bytes = socket.read(Math.min(READ, socket.readableLength)) as Buffer | null;
      if (bytes === null) return;
      // Made for Windows' SAC console; it hits whoever sends one LF alone, and whoever's last byte of 64·n + 1 is an LF.
      void this.device.write(bytes.length === 1 && bytes[0] === 0x0a ? Uint8Array.of(0x0d) : bytes);
    }
    if (socket.readableLength === 0) socket.read(0);
  }

  #keep(bytes: Uint8Array): void {
    this.#ring.push(bytes);
    this.#ringBytes += bytes.length;
    while (this.#ringBytes > RING) this.#ringBytes -= (this.#ring.shift() as Uint8Array).length;
  }
}

/** The socket of `vsock`: `CONNECT PORT` and LF, `OK HOSTPORT` and LF, then bytes; cut where nobody listens in the guest. */
export class HybridVsock {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #hostPort = 1_073_741_824;
  connections = 0;

  /** @param listeners - what listens on which port in the guest. */
  constructor(listeners: ReadonlyMap<number, (pipe: Pipe) => Promise<unknown>>) {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => this.#sockets.delete(socket));
      let line = "";
      const onReadable = (): void => {
        for (
          let byte = socket.read(1) as Buffer | null;
          byte !== null;
          byte = socket.read(1) as Buffer | null
        ) {
          line += byte.toString("latin1");
          if (!line.endsWith("\n")) {
            if (line.length > 32) return void socket.destroy();
            continue;
          }
          socket.off("readable", onReadable);
          const serve = listeners.get(Number(/^CONNECT ([0-9]+)\n$/i.exec(line)?.[1]));
          if (serve === undefined) return void socket.destroy();
          this.connections++;
          socket.write(`OK ${this.#hostPort++}\n`);
          void serve(new SocketPipe(socket, "the stand-in's vsock")).catch(() => undefined);
          return;
        }
      };
      socket.on("readable", onReadable);
    });
  }

  async listen(path: string): Promise<void> {
    this.#server.listen(path);
    await once(this.#server, "listening");
  }

  /** What a restored snapshot does to the connections there are. */
  reset(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
