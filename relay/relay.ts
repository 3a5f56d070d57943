// A relay as one object: for relay/main.ts, for tests, and for whoever embeds one.

import type { GuestTarget } from "./guest-socket.ts";
import { GuestRoute, type RouteCounters, type Tap } from "./route.ts";
import { startWebSocketServer } from "./web-socket-server.ts";

export interface RelayOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** By name: the path of its web socket is /NAME. */
  readonly guests: ReadonlyMap<string, GuestTarget>;
  readonly allowOrigins: readonly string[];
  readonly log?: (line: string) => void;
}

export interface Relay {
  readonly host: string;
  readonly port: number;
  counters(): Readonly<
    Record<string, RouteCounters & { clients: number; ids: number; guestConnected: boolean }>
  >;
  close(): Promise<void>;
}

/** @param extra - `tap` sees every frame in both directions: the nosy host of the demo. @throws SealttyError `device-unavailable`. */
export async function startRelay(options: RelayOptions, extra: { readonly tap?: Tap } = {}): Promise<Relay> {
  const log = options.log ?? (() => undefined);
  const routes = new Map<string, GuestRoute>();
  for (const [name, target] of options.guests) {
    routes.set(name, new GuestRoute(target, (line) => log(`${name}: ${line}`), extra.tap));
  }
  const closeRoutes = (): void => {
    for (const route of routes.values()) route.close();
  };
  try {
    const server = await startWebSocketServer({
      ...options.listen,
      allowOrigins: options.allowOrigins,
      routes,
      log,
    });
    return {
      host: server.host,
      port: server.port,
      counters: () =>
        Object.fromEntries(
          [...routes].map(([name, route]) => [
            name,
            {
              ...route.counters,
              clients: route.clientCount,
              ids: route.idCount,
              guestConnected: route.guestConnected,
            },
          ]),
        ),
      async close() {
        closeRoutes();
        await server.close();
      },
    };
  } catch (error) {
    closeRoutes();
    throw error;
  }
}
