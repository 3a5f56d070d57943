// TLS on a pipe whose peers have agreed to it in the clear, as VeNCrypt's do: a Pipe again.

import net from "node:net";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { errorCode, SocketPipe } from "./socket-pipe.ts";

export interface TlsOptions {
  /** Nobody shows a certificate, and nobody is kept from standing between: against who only listens. TLS 1.2. */
  readonly anonymous?: boolean;
  /** Name or address to expect in the certificate. */
  readonly serverName: string;
  /** PEM certificates to trust in place of the system's. */
  readonly ca?: string | Buffer;
}

/** Neither side has a key of its own. OpenSSL counts that as level 0. */
const ANONYMOUS = {
  ciphers: "ADH-AES256-GCM-SHA384:ADH-AES128-GCM-SHA256:AECDH-AES256-SHA:@SECLEVEL=0",
  maxVersion: "TLSv1.2",
  rejectUnauthorized: false, // there is nothing to check
} as const;

/**
 * An end of `pipe` is an end of what comes back: Node does not say whether TLS's own goodbye was before it.
 * @param pipe - nothing of TLS was read or sent yet; closed with the pipe that comes back, and on failure.
 * @param what - names the link in errors. @throws SealttyError `transport-lost`.
 */
export async function startTls(pipe: Pipe, what: string, options: TlsOptions): Promise<Pipe> {
  const { serverName, ca } = options;
  const outside = new PipeDuplex(pipe);
  const socket = tls.connect({
    socket: outside,
    ...(options.anonymous === true ? ANONYMOUS : { rejectUnauthorized: true }), // whatever the environment says
    ...(net.isIP(serverName) === 0 ? { servername: serverName } : { host: serverName }),
    ...(ca === undefined ? {} : { ca }),
  });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("The connection ended")));
    });
  } catch (cause) {
    socket.destroy();
    await pipe.close();
    const code = errorCode(cause);
    throw new SealttyError(
      "transport-lost",
      `No TLS with ${what}${code === undefined ? "" : ` (${code})`}. Check its certificate and its name.`,
      { cause },
    );
  }
  const inside = new SocketPipe(socket, what);
  return {
    incoming: untilFailed(inside.incoming, outside),
    send: (chunk) => inside.send(chunk),
    async close() {
      await inside.close();
      await pipe.close();
    },
  };
}

/** Node's TLS takes a stream that broke for one that ended. */
async function* untilFailed(
  incoming: AsyncIterable<Uint8Array>,
  outside: PipeDuplex,
): AsyncGenerator<Uint8Array> {
  yield* incoming;
  if (outside.failure !== undefined) throw outside.failure;
}

class PipeDuplex extends Duplex {
  /** How reading the pipe failed, where it did. */
  failure: Error | undefined;
  readonly #pipe: Pipe;
  readonly #incoming: AsyncIterator<Uint8Array>;

  constructor(pipe: Pipe) {
    super();
    this.#pipe = pipe;
    this.#incoming = pipe.incoming[Symbol.asyncIterator]();
  }

  override _read(): void {
    void this.#readOne();
  }
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    void settle(this.#pipe.send(chunk), done);
  }
  override _final(done: (error?: Error | null) => void): void {
    void settle(this.#pipe.close(), done);
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void settle(this.#pipe.close(), () => done(error));
  }

  async #readOne(): Promise<void> {
    try {
      const { done, value } = await this.#incoming.next();
      this.push(done === true ? null : value);
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error("The pipe broke", { cause: error });
      this.destroy(this.failure);
    }
  }
}

/** A promise's outcome as a stream wants it. */
async function settle(promise: Promise<void>, done: (error?: Error | null) => void): Promise<void> {
  let failure: Error | undefined;
  try {
    await promise;
  } catch (error) {
    failure = error instanceof Error ? error : new Error("The pipe broke", { cause: error });
  }
  done(failure);
}
