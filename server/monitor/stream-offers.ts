// Sockets on which the front brings the streams of a program without a terminal.
//
// The monitor listens and the front connects, never the other way: a name of the front's could lead to a socket where
// root's word counts.

import fs from "node:fs";
import net from "node:net";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Account } from "../sessions/account.ts";

const OFFER_LASTS_MS = 20_000;
const MAX_OFFERS = 256;

export class StreamOffers {
  readonly #directory: string;
  readonly #front: Pick<Account, "uid">;
  readonly #offers = new Map<string, Offer>();

  /** @param directory - root's: nobody else writes there. @param front - who may connect. */
  constructor(directory: string, front: Pick<Account, "uid">) {
    this.#directory = directory;
    this.#front = front;
  }

  /** @returns its path. @throws SealttyError `limit-exceeded`, `device-unavailable`. */
  async make(): Promise<string> {
    if (this.#offers.size >= MAX_OFFERS) throw new SealttyError("limit-exceeded", "Too many programs begin");
    const path = `${this.#directory}/${toHex(nodeSuite.randomBytes(12))}`;
    const offer = await listenForStreams(path, this.#front, () => this.#offers.delete(path));
    this.#offers.set(path, offer);
    return path;
  }

  /** Each once. @returns undefined where there is none. */
  take(path: string): Offer | undefined {
    const offer = this.#offers.get(path);
    this.#offers.delete(path);
    return offer;
  }

  withdrawAll(): void {
    for (const offer of this.#offers.values()) offer.withdraw();
  }
}

/** Standard input, output and error. */
export type ThreeSockets = readonly [net.Socket, net.Socket, net.Socket];

interface Offer {
  /** @throws SealttyError where they did not come in time. */
  readonly sockets: Promise<ThreeSockets>;
  /** Closes whatever is left of it. */
  withdraw(): void;
}

async function listenForStreams(
  path: string,
  front: Pick<Account, "uid">,
  onWithdrawn: () => void,
): Promise<Offer> {
  const sockets: net.Socket[] = [];
  // Paused: what comes early is the program's to read.
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  let refuse: (error: SealttyError) => void = () => {};
  const come = new Promise<ThreeSockets>((resolve, reject) => {
    refuse = reject;
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      sockets.push(socket);
      const [stdin, stdout, stderr] = sockets;
      if (stdin === undefined || stdout === undefined || stderr === undefined) return;
      server.close(); // removes the file
      resolve([stdin, stdout, stderr]);
    });
  });
  come.catch(() => {}); // nobody may ever ask
  const withdraw = (): void => {
    stopWaiting();
    server.close();
    for (const socket of sockets) socket.destroy();
    refuse(new SealttyError("device-unavailable", "A program's streams did not come in time"));
    onWithdrawn();
  };
  const stopWaiting = nodeClock.after(OFFER_LASTS_MS, withdraw);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      withdraw();
      reject(new SealttyError("device-unavailable", "Cannot listen for a program's streams", { cause }));
    });
    server.listen({ path }, resolve);
  });
  fs.chmodSync(path, 0o600);
  fs.chownSync(path, front.uid, fs.statSync(path).gid); // the directory is root's: nobody else can have put it there
  return { sockets: come, withdraw };
}
