// Incus: an operation opens the console of a virtual machine, two web sockets carry it. docs/hosts.md

import type { WebSocketPipe } from "../../node/web-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { GuestAddress } from "../address.ts";
import { apiBase, callApi, type HostApi, openApiSocket, tlsOf } from "./host-api.ts";
import { HostSettings } from "./settings.ts";
import type { Environment } from "./settings.ts";

export type IncusAddress = Extract<GuestAddress, { kind: "incus" }>;

const DEFAULT_SOCKET = "/var/lib/incus/unix.socket";
const SECRET = { limit: 128, pattern: /^[0-9A-Za-z_-]+$/ } as const;
const OPERATION = {
  path: ["operation"],
  limit: 256,
  pattern: /^\/1\.0\/operations\/[0-9a-f-]{1,64}(?:\?project=[\w.-]{1,63})?$/,
} as const;
const ADVICE = {
  400: "Check that the instance runs.",
  403: "The server does not know this client: SEALTTY_INCUS_CERT_FILE and _KEY_FILE (incus config trust add).",
  404: "Check project and name of the instance (incus list --all-projects).",
  500: "If another client holds the console, end it there, or take it over with SEALTTY_INCUS_FORCE=1.",
} as const;

/** Everything that is read before anything is dialled. @throws SealttyError `bad-config`. */
export async function incusAccess(
  environment: Environment,
): Promise<{ readonly api: HostApi; readonly force: boolean }> {
  const settings = new HostSettings(environment, "SEALTTY_INCUS");
  const server = settings.text("SERVER");
  const api: HostApi =
    server === undefined
      ? {
          what: "Incus",
          base: new URL("http://localhost"),
          socketPath: settings.text("SOCKET") ?? DEFAULT_SOCKET,
          settings:
            "SEALTTY_INCUS_SOCKET names another socket, SEALTTY_INCUS_SERVER a server (docs/hosts.md).",
        }
      : { what: "Incus", base: apiBase(server, "SEALTTY_INCUS_SERVER"), ...(await tlsOf(settings)) };
  return { api, force: settings.flag("FORCE") };
}

/** @throws SealttyError `bad-config`, `transport-lost`. */
export async function dialIncus(address: IncusAddress, environment: Environment): Promise<Pipe> {
  const { api, force } = await incusAccess(environment);
  const project = encodeURIComponent(address.project);
  const answer = await callApi(api, {
    method: "POST",
    path: `/1.0/instances/${encodeURIComponent(address.instance)}/console?project=${project}`,
    // Width and height are a pty's on the host, which nothing of ours looks at.
    json: { type: "console", width: 80, height: 24, force },
    advice: ADVICE,
    reasonAt: ["error"],
  });
  const operation = answer.text(OPERATION).replace(/\?.*$/, "");
  const secretOf = (name: string): string =>
    answer.text({ path: ["metadata", "metadata", "fds", name], ...SECRET });
  const open = (name: string): Promise<WebSocketPipe> =>
    openApiSocket(api, `${operation}/websocket?secret=${secretOf(name)}`, {
      protocols: [],
      textEnds: true,
      adviceByStatus: ADVICE,
    });
  // Incus learns from the control socket alone that a client is gone: without it a console stays taken.
  const control = await open("control");
  try {
    return new IncusPipe(await open("0"), control);
  } catch (error) {
    await control.close();
    throw error;
  }
}

class IncusPipe implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #data: WebSocketPipe;
  readonly #control: WebSocketPipe;

  constructor(data: WebSocketPipe, control: WebSocketPipe) {
    this.#data = data;
    this.#control = control;
    this.incoming = data.incoming;
    void this.#watch();
  }

  send(chunk: Uint8Array): Promise<void> {
    return this.#data.send(chunk);
  }

  async close(): Promise<void> {
    await Promise.all([this.#data.close(), this.#control.close()]);
  }

  /** Nothing is said on the control socket; its end is that of the operation. */
  async #watch(): Promise<void> {
    try {
      for await (const _ of this.#control.incoming);
    } catch {
      // lost: the same
    }
    await this.#data.close();
  }
}
