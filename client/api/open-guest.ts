// A guest whose user is in, as the browser's API has it.

import { requireOptions } from "../../protocol/api/misuse.ts";
import { streamPlaceOf } from "../../protocol/api/places.ts";
import { placeOf, requireWords, terminalRequest } from "../../protocol/api/requests.ts";
import { type Connection, WatchedGuest } from "../../protocol/api/watched-guest.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { EXEC_OPTIONS, SHELL_OPTIONS, STREAM_OPTIONS } from "./options.ts";
import { remoteProcess, remoteTerminal } from "./remote-program.ts";
import { remoteStream } from "./remote-stream.ts";
import type {
  ExecOptions,
  Guest,
  RemoteProcess,
  RemoteStream,
  RemoteTerminal,
  ShellOptions,
  StreamDestination,
  StreamOptions,
} from "./types.ts";

export class BrowserGuest implements Guest {
  readonly closed: Promise<string>;
  readonly #watched: WatchedGuest;

  constructor(connection: Connection) {
    this.#watched = new WatchedGuest(connection);
    this.closed = this.#watched.closed;
  }

  get claims(): AppraisedClaims {
    return this.#watched.claims;
  }

  get key(): string {
    return this.#watched.key;
  }

  async exec(command: readonly string[], options: ExecOptions = {}): Promise<RemoteProcess> {
    requireWords(command);
    requireOptions("exec()", options, EXEC_OPTIONS);
    const request = { kind: "exec", command, ...placeOf(options) } as const;
    options.signal?.throwIfAborted();
    return remoteProcess(await this.#watched.openChannel(request), options, this.#watched.owner);
  }

  async shell(options: ShellOptions): Promise<RemoteTerminal> {
    requireOptions("shell()", options, SHELL_OPTIONS);
    const request = terminalRequest(options);
    options.signal?.throwIfAborted();
    return remoteTerminal(await this.#watched.openChannel(request), options, this.#watched.owner);
  }

  async openStream(to: StreamDestination, options: StreamOptions = {}): Promise<RemoteStream> {
    const target = streamPlaceOf(to);
    requireOptions("openStream()", options, STREAM_OPTIONS);
    options.signal?.throwIfAborted();
    const channel = await this.#watched.openChannel({ kind: "stream", target });
    return remoteStream(channel, target, options, this.#watched.owner);
  }

  reattest(): Promise<void> {
    return this.#watched.reattest();
  }

  close(): Promise<void> {
    return this.#watched.close();
  }
}
