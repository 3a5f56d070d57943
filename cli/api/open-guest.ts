// A guest whose user is in, as the API and the command line have it: everything that is opened in it is opened here.

import type { Writable } from "node:stream";
import { isObject, misuse, requireOptions } from "../../protocol/api/misuse.ts";
import { listenPlaceOf, peerOrSocks, streamPlaceOf } from "../../protocol/api/places.ts";
import type { Owner } from "../../protocol/api/program-end.ts";
import { placeOf, requireWords, terminalRequest } from "../../protocol/api/requests.ts";
import { type Connection, WatchedGuest } from "../../protocol/api/watched-guest.ts";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { PromptsChannel } from "../../protocol/prompts/prompts-channel.ts";
import type { Guest as ProtocolGuest } from "../../protocol/session/api.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import { escapeBytes } from "../printable.ts";
import type { ChannelSource } from "./channel-source.ts";
import { Copying, type CopySource, type CopyTarget } from "./files/copying.ts";
import { Forwarder } from "./forward/forwarder.ts";
import { keptTerminal, proofsOf, sessionOf, summaryOf } from "./kept-terminal.ts";
import {
  ATTACH_OPTIONS,
  COPY_OPTIONS,
  EXEC_OPTIONS,
  FORWARD_OPTIONS,
  KEEP_OPTIONS,
  SHELL_OPTIONS,
  STREAM_OPTIONS,
} from "./misuse.ts";
import { remoteProcess, remoteTerminal } from "./remote-program.ts";
import { duplexOf } from "./remote-stream.ts";
import type {
  AttachOptions,
  CopyOptions,
  CopyResult,
  Destination,
  ExecOptions,
  Forward,
  ForwardOptions,
  Guest,
  KeepOptions,
  KeptTerminal,
  ListenAddress,
  RemoteProcess,
  RemoteStream,
  RemoteTerminal,
  SessionName,
  SessionSummary,
  ShellOptions,
  StreamDestination,
  StreamOptions,
} from "./types.ts";

export class OpenGuest implements Guest {
  readonly closed: Promise<string>;
  readonly owner: Owner;
  readonly channels: ChannelSource;
  readonly #guest: ProtocolGuest;
  readonly #watched: WatchedGuest;
  #forwarder: Forwarder | undefined;

  constructor(connection: Connection) {
    const { guest } = connection;
    this.#guest = guest;
    const watched = new WatchedGuest(connection, () => this.#forwarder?.end());
    this.#watched = watched;
    this.closed = watched.closed;
    this.owner = watched.owner;
    this.channels = {
      openChannel: (request) => watched.openChannel(request),
      listen: (place, onIncoming) => watched.explained(guest.listen(place, onIncoming)),
    };
  }

  get claims(): AppraisedClaims {
    return this.#watched.claims;
  }

  get key(): string {
    return this.#watched.key;
  }

  async exec(command: readonly string[], own: ExecOptions = {}): Promise<RemoteProcess> {
    requireWords(command);
    requireOptions("exec()", own, EXEC_OPTIONS);
    own.signal?.throwIfAborted();
    const channel = await this.channels.openChannel({ kind: "exec", command, ...placeOf(own) });
    return remoteProcess(channel, own, this.owner);
  }

  async shell(options: ShellOptions): Promise<RemoteTerminal> {
    requireOptions("shell()", options, SHELL_OPTIONS);
    const request = terminalRequest(options);
    options.signal?.throwIfAborted();
    return remoteTerminal(await this.channels.openChannel(request), options, this.owner);
  }

  async keepShell(options: KeepOptions): Promise<KeptTerminal> {
    requireOptions("keepShell()", options, KEEP_OPTIONS);
    const request = terminalRequest(options);
    const { sizing = "smallest", idleSeconds, screenLines } = options;
    const opening = this.#guest.openSession({
      request,
      sizing,
      ...(idleSeconds === undefined ? {} : { idleSeconds }),
      ...(screenLines === undefined ? {} : { screenLines }),
    });
    return keptTerminal(await this.#watched.explained(opening), options, this.owner, this.key);
  }

  async attach(name: SessionName, options: AttachOptions): Promise<KeptTerminal> {
    const session = sessionOf(name, this.key);
    requireOptions("attach()", options, ATTACH_OPTIONS);
    const { columns, rows, screenLines, mode = "read-write" } = options;
    const opening = this.#guest.attach({
      session,
      mode,
      from: 0,
      columns,
      rows,
      ...(screenLines === undefined ? {} : { screenLines }),
    });
    return keptTerminal(await this.#watched.explained(opening), options, this.owner, this.key);
  }

  async listSessions(known: readonly SessionName[] = []): Promise<readonly SessionSummary[]> {
    const listed = await this.#watched.explained(this.#guest.listSessions(proofsOf(known, this.key)));
    return listed.map(summaryOf);
  }

  async endSession(session: SessionName): Promise<boolean> {
    return await this.#watched.explained(this.#guest.killSession(sessionOf(session, this.key)));
  }

  async put(
    sources: string | readonly string[] | AsyncIterable<Uint8Array>,
    target: string,
    options: CopyOptions = {},
  ): Promise<CopyResult> {
    const from: CopySource = isPaths(sources)
      ? { kind: "here", paths: listOf(sources) }
      : { kind: "stream", stream: requireStream(sources), called: "the stream that was to be copied" };
    return await this.#copy("put()", from, { kind: "guest", path: target }, options, { to: this });
  }

  async get(
    sources: string | readonly string[],
    target: string | Writable,
    options: CopyOptions = {},
  ): Promise<CopyResult> {
    const from = { kind: "guest", paths: requirePaths(sources) } as const;
    const to: CopyTarget =
      typeof target === "string"
        ? { kind: "here", path: target }
        : { kind: "stream", stream: requireWritable(target) };
    return await this.#copy("get()", from, to, options, { from: this });
  }

  async copyTo(
    other: Guest,
    sources: string | readonly string[],
    target: string,
    options: CopyOptions = {},
  ): Promise<CopyResult> {
    if (!(other instanceof OpenGuest))
      throw new SealttyError("api-misuse", "copyTo() copies to a guest that connect() gave");
    const to = { kind: "guest", path: target } as const;
    const from = { kind: "guest", paths: requirePaths(sources) } as const;
    return await this.#copy("copyTo()", from, to, options, { from: this, to: other });
  }

  async openStream(to: StreamDestination, options: StreamOptions = {}): Promise<RemoteStream> {
    const target = streamPlaceOf(to);
    requireOptions("openStream()", options, STREAM_OPTIONS);
    options.signal?.throwIfAborted();
    const channel = await this.channels.openChannel({ kind: "stream", target });
    return duplexOf(channel, target, options, this.owner);
  }

  async forwardLocal(
    listen: ListenAddress,
    to: Destination | "socks",
    options: ForwardOptions = {},
  ): Promise<Forward> {
    const [place, peer] = [listenPlaceOf(listen), peerOrSocks(to)];
    requireOptions("forwardLocal()", options, FORWARD_OPTIONS);
    return await this.#forwards().local(place, peer, options);
  }

  async forwardRemote(
    listen: ListenAddress,
    to: Destination | "socks",
    options: ForwardOptions = {},
  ): Promise<Forward> {
    const [place, peer] = [listenPlaceOf(listen), peerOrSocks(to)];
    requireOptions("forwardRemote()", options, FORWARD_OPTIONS);
    return await this.#forwards().remote(this, place, peer, options);
  }

  /** What the guest asks for while it boots. For the command line alone: a person stands behind it, or a file of a person's. */
  async openPrompts(): Promise<PromptsChannel> {
    const channel = await this.channels.openChannel({ kind: "prompts" });
    return new PromptsChannel(channel, { ...this.owner, escape: escapeBytes });
  }

  /** What takes root's rights, as a program with its own end. For the command line alone, so far. */
  async service(
    service: ServiceRequest,
    own: Pick<ExecOptions, "stdin" | "signal"> = {},
  ): Promise<RemoteProcess> {
    own.signal?.throwIfAborted();
    return remoteProcess(await this.channels.openChannel({ kind: "service", service }), own, this.owner);
  }

  reattest(): Promise<void> {
    return this.#watched.reattest();
  }

  close(): Promise<void> {
    return this.#watched.close();
  }

  #forwards(): Forwarder {
    this.#watched.requireOpen();
    return (this.#forwarder ??= new Forwarder(() => Promise.resolve(this)));
  }

  async #copy(
    call: string,
    from: CopySource,
    to: CopyTarget,
    options: CopyOptions,
    guests: { readonly from?: OpenGuest; readonly to?: OpenGuest },
  ): Promise<CopyResult> {
    requireOptions(call, options, COPY_OPTIONS);
    options.signal?.throwIfAborted();
    const copying = new Copying(from, to, options);
    copying.check();
    return await copying.run(guests);
  }
}

type Paths = string | readonly string[];

function isPaths(sources: Paths | AsyncIterable<Uint8Array>): sources is Paths {
  return typeof sources === "string" || Array.isArray(sources);
}

function requirePaths(sources: Paths): readonly string[] {
  if (isPaths(sources)) return listOf(sources);
  throw misuse("What is copied is a path, or a list of paths", sources);
}

function requireStream(sources: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  // Bytes themselves can be iterated as well, and give numbers.
  if (
    isObject(sources) &&
    !ArrayBuffer.isView(sources) &&
    (Symbol.asyncIterator in sources || Symbol.iterator in sources)
  )
    return sources;
  throw misuse("What is copied is a path, a list of paths, or a stream of bytes", sources);
}

function requireWritable(target: Writable): Writable {
  if (isObject(target) && typeof target.write === "function") return target;
  throw misuse("What is copied goes to a path, or into a stream (Writable)", target);
}

function listOf(sources: string | readonly string[]): readonly string[] {
  return typeof sources === "string" ? [sources] : sources;
}
