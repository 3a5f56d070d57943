// The page's line to the local server that delivered it: the configuration once, then signatures by the user's key.

import { SealttyError } from "../protocol/errors.ts";
import type { UserAuthFields } from "../protocol/session/api.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { objectOf, parsePageConfig, type PageConfig } from "./page-config.ts";

export interface ServerLink {
  readonly config: PageConfig;
  /**
   * @param publicKey - which of the command's keys.
   * @throws SealttyError `user-refused` where the key's owner or agent said no, `device-unavailable` where the server is gone.
   */
  sign(fields: UserAuthFields, publicKey: Uint8Array): Promise<Uint8Array>;
  /** What the command remembers for this page; absent where the browser is to. */
  readonly memory?: Pick<Storage, "getItem" | "setItem"> | undefined;
  /** From the kept page: the command says the fresh page's link to its user. */
  askForFresh(): void;
}

/** The token was used before, is wrong, or the server is gone: the three look the same from here. */
export class LinkRefused extends Error {
  override readonly name = "LinkRefused";
}

const ANSWER_MS = 10_000;
/** Bytes of one message; the server ends the line at half a MiB. */
const MAX_REMEMBERED = 384 * 1024;

/** @throws LinkRefused; SealttyError `bad-config`. */
export async function openServerLink(url: string, token: string): Promise<ServerLink> {
  const socket = new WebSocket(url);
  const first = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.close();
      reject(new LinkRefused("no answer"));
    }, ANSWER_MS);
    socket.addEventListener("open", () => socket.send(token));
    socket.addEventListener(
      "message",
      (event: MessageEvent<unknown>) => {
        clearTimeout(timer);
        resolve(String(event.data));
      },
      { once: true },
    );
    socket.addEventListener("close", () => {
      clearTimeout(timer);
      reject(new LinkRefused("closed"));
    });
  });
  return new SocketServerLink(socket, parsePageConfig(first));
}

class SocketServerLink implements ServerLink {
  readonly config: PageConfig;
  readonly memory: ServerLink["memory"];
  readonly #socket: WebSocket;
  readonly #waiting = new Map<
    number,
    { resolve(sshsig: Uint8Array): void; reject(error: SealttyError): void }
  >();
  #nextId = 1;

  constructor(socket: WebSocket, config: PageConfig) {
    this.#socket = socket;
    this.config = config;
    this.memory = config.memory && this.#remembering(new Map(config.memory));
    socket.addEventListener("message", (event: MessageEvent<unknown>) => this.#receive(String(event.data)));
    socket.addEventListener("close", () => {
      for (const each of this.#waiting.values()) each.reject(serverGone());
      this.#waiting.clear();
    });
  }

  sign(fields: UserAuthFields, publicKey: Uint8Array): Promise<Uint8Array> {
    if (this.#socket.readyState !== WebSocket.OPEN) return Promise.reject(serverGone());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(
        JSON.stringify({
          type: "sign",
          id,
          publicKey: toBase64(publicKey),
          handshakeHash: toBase64(fields.handshakeHash),
          evidenceDigest: toBase64(fields.evidenceDigest),
          user: fields.user,
          service: fields.service,
        }),
      );
    });
  }

  askForFresh(): void {
    if (this.#socket.readyState === WebSocket.OPEN)
      this.#socket.send(JSON.stringify({ type: "ask-for-fresh" }));
  }

  #remembering(items: Map<string, string>): Pick<Storage, "getItem" | "setItem"> {
    return {
      getItem: (name) => items.get(name) ?? null,
      setItem: (name, value) => {
        const message = new TextEncoder().encode(JSON.stringify({ type: "remember", name, value }));
        if (message.length > MAX_REMEMBERED) throw new RangeError("too long to be remembered");
        items.set(name, value);
        if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(new TextDecoder().decode(message));
      },
    };
  }

  #receive(json: string): void {
    try {
      const answer = objectOf(JSON.parse(json), "answer");
      const waiting = typeof answer["id"] === "number" ? this.#waiting.get(answer["id"]) : undefined;
      if (waiting === undefined) return;
      this.#waiting.delete(answer["id"] as number);
      if (answer["type"] === "signed" && typeof answer["sshsig"] === "string") {
        waiting.resolve(fromBase64(answer["sshsig"]));
      } else {
        const why = typeof answer["message"] === "string" ? answer["message"] : "no reason given";
        waiting.reject(new SealttyError("user-refused", `Your key did not sign: ${why}`));
      }
    } catch {
      this.#socket.close(); // not our server's language: every wait is rejected by the close
    }
  }
}

function serverGone(): SealttyError {
  return new SealttyError(
    "device-unavailable",
    "The sealtty command that served this page has ended, and your key with it",
  );
}
