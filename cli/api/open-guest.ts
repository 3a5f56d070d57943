// A guest whose user is in, as the API and the command line have it: everything that is opened in it is opened here.

import type { Writable } from "node:stream";
import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import type { Clock } from "../../protocol/clock.ts";
import { asError, SealttyError } from "../../protocol/errors.ts";
import type { Guest as ProtocolGuest } from "../../protocol/session/api.ts";
import type { Channel, ChannelRequest } from "../../protocol/session/channel-api.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import type { TerminalRequest } from "../../protocol/session/session-api.ts";
import type { IncomingStream, Listener } from "../../protocol/session/stream-api.ts";
import type { ListenPlace } from "../../protocol/forward/target.ts";
import type { ChangeWatch } from "./change-watch.ts";
import { Copying, type CopySource, type CopyTarget } from "./files/copying.ts";
import { Forwarder } from "./forward/forwarder.ts";
import { keptTerminal, proofsOf, sessionOf, summaryOf } from "./kept-terminal.ts";
import {
  ATTACH_OPTIONS,
  COPY_OPTIONS,
  EXEC_OPTIONS,
  FORWARD_OPTIONS,
  isObject,
  KEEP_OPTIONS,
  misuse,
  requireOptions,
  SHELL_OPTIONS,
  STREAM_OPTIONS,
} from "./misuse.ts";
import { listenPlaceOf, peerOrSocks, streamPlaceOf } from "./places.ts";
import { PromptsChannel } from "./prompts-channel.ts";
import { type Owner, remoteProcess, remoteTerminal } from "./remote-program.ts";
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

/** What copies and forwards are made of. For cli/api alone: commands and programs have Guest's methods. */
export interface ChannelSource {
  openChannel(request: ChannelRequest): Promise<Channel>;
  listen(place: ListenPlace, onIncoming: (stream: IncomingStream) => void): Promise<Listener>;
}

export interface Connection {
  readonly guest: ProtocolGuest;
  /** Hex. */
  readonly key: string;
  readonly clock: Clock;
  readonly change: ChangeWatch;
  /** Ends it. Never rejects. */
  close(): Promise<void>;
}

export class OpenGuest implements Guest {
  readonly closed: Promise<string>;
  readonly owner: Owner;
  readonly channels: ChannelSource;
  readonly #connection: Connection;
  #forwarder: Forwarder | undefined;
  #over = false;

  constructor(connection: Connection) {
    this.#connection = connection;
    const { guest, change, clock } = connection;
    this.closed = guest.closed;
    change.watch(() => void this.close());
    change.entered(() => {
      guest.goOn();
      return guest.verified.claims;
    });
    this.owner = {
      clock,
      onChanged: (fail) => change.watch(fail),
      explain: (error) => change.error ?? asError(error),
    };
    this.channels = {
      openChannel: (request) => this.#explained(guest.openChannel(request)),
      listen: (place, onIncoming) => this.#explained(guest.listen(place, onIncoming)),
    };
    void guest.closed.then(() => this.#end());
  }

  get claims(): AppraisedClaims {
    return this.#connection.guest.verified.claims;
  }

  get key(): string {
    return this.#connection.key;
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
    const opening = this.#connection.guest.openSession({
      request,
      sizing,
      ...(idleSeconds === undefined ? {} : { idleSeconds }),
      ...(screenLines === undefined ? {} : { screenLines }),
    });
    return keptTerminal(await this.#explained(opening), options, this.owner, this.key);
  }

  async attach(name: SessionName, options: AttachOptions): Promise<KeptTerminal> {
    const session = sessionOf(name, this.key);
    requireOptions("attach()", options, ATTACH_OPTIONS);
    const { columns, rows, screenLines, mode = "read-write" } = options;
    const opening = this.#connection.guest.attach({
      session,
      mode,
      from: 0,
      columns,
      rows,
      ...(screenLines === undefined ? {} : { screenLines }),
    });
    return keptTerminal(await this.#explained(opening), options, this.owner, this.key);
  }

  async listSessions(known: readonly SessionName[] = []): Promise<readonly SessionSummary[]> {
    const listed = await this.#explained(this.#connection.guest.listSessions(proofsOf(known, this.key)));
    return listed.map(summaryOf);
  }

  async endSession(session: SessionName): Promise<boolean> {
    return await this.#explained(this.#connection.guest.killSession(sessionOf(session, this.key)));
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
    return new PromptsChannel(await this.channels.openChannel({ kind: "prompts" }), this.owner);
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
    return this.#explained(this.#reattest());
  }

  async close(): Promise<void> {
    this.#end();
    await this.#connection.close();
  }

  async #reattest(): Promise<void> {
    const { guest, change } = this.#connection;
    await guest.reattest();
    const { question } = change;
    if (question !== undefined) await Promise.race([question, guest.closed]);
    if (this.#over) throw connectionOver();
  }

  #end(): void {
    this.#over = true;
    this.#forwarder?.end();
  }

  #forwards(): Forwarder {
    if (this.#over) throw this.owner.explain(connectionOver());
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

  /** What fails meanwhile because the guest is another one, fails with that. */
  async #explained<T>(opening: Promise<T>): Promise<T> {
    let off = (): void => {};
    const changed = new Promise<never>((_, reject) => {
      off = this.owner.onChanged(reject);
    });
    try {
      return await Promise.race([opening, changed]);
    } catch (error) {
      throw this.owner.explain(error);
    } finally {
      off();
    }
  }
}

function connectionOver(): SealttyError {
  return new SealttyError("transport-lost", "The connection is over");
}

function requireWords(command: unknown): void {
  if (Array.isArray(command) && command.length > 0 && command.every((word) => typeof word === "string"))
    return;
  throw new SealttyError(
    "api-misuse",
    'A command is a list of words, as in ["ls", "-l"]; for a line of a shell: ["sh", "-c", "ls -l | wc -l"]',
  );
}

/** @throws SealttyError `api-misuse`. */
function terminalRequest(options: ShellOptions | KeepOptions): TerminalRequest {
  const { columns, rows, term = "xterm-256color", login = false, command = [], env, cwd } = options;
  const screen = { term, columns, rows };
  if (login) {
    if (options.command !== undefined || env !== undefined || cwd !== undefined)
      throw new SealttyError("api-misuse", "The guest's login program takes no command, env or cwd");
    return { kind: "login", ...screen };
  }
  if (command.length !== 0) requireWords(command);
  return { kind: "shell", command, ...screen, ...placeOf(options) };
}

function placeOf({ env = {}, cwd }: Pick<ExecOptions, "env" | "cwd">) {
  // Without what it was: there may be secrets in it.
  if (!isObject(env) || Object.values(env).some((value) => typeof value !== "string"))
    throw new SealttyError("api-misuse", 'env is an object whose values are texts, as in { LC_ALL: "C" }');
  if (cwd !== undefined && typeof cwd !== "string")
    throw misuse("cwd is the path of a directory of the guest", cwd);
  return { environment: env, ...(cwd === undefined ? {} : { directory: cwd }) };
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
