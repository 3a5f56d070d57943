// The half of sealttyd that has rights: it never reads a byte of the host's console, and does for the front, which does,
// only what operations.ts lists. A front that the host took over gets evidence, login prompts, and programs of users
// whose keys have signed in since the start: nothing else. (OpenSSH calls this part the monitor, too.)

import fs from "node:fs";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { decodeAux, encodeAux } from "../../protocol/attestation/aux.ts";
import { decodeEvidence } from "../../protocol/attestation/evidence.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { mayListen, mayOpen } from "../../protocol/forward/permission.ts";
import type { KeyGrant } from "../../protocol/user-auth/verify-user.ts";
import { isTerminalRequest } from "../../protocol/session/open-request.ts";
import { allowsKind, isExpired } from "../../protocol/user-auth/restrictions.ts";
import { StaleAuxError } from "../evidence/collect.ts";
import { Mutex } from "../evidence/mutex.ts";
import type { Asked, Begun } from "../audit/programs.ts";
import type { KeeperPlace } from "../keeper/pass.ts";
import { auditName, helperService, type OwnPrivileged } from "../privileged.ts";
import type { Recording } from "../recording/recording.ts";
import type { Account } from "../sessions/account.ts";
import { giveTerminal } from "../sessions/pty-process.ts";
import { type StartedProgram, runOnStreams, runOnTerminal } from "../sessions/running-program.ts";
import { type Launch, shieldedStdio } from "../sessions/launch.ts";
import { shareOwner } from "../sessions/program-shares.ts";
import {
  MONITOR_NOTICES,
  OPERATIONS,
  endedBody,
  quoteAnswer,
  readAuthorize,
  readQuote,
  grantBody,
  type HelperCall,
  type HelperRequest,
  type NamedUser,
  keeperBody,
  readFlag,
  readHelper,
  readNamedUser,
  readRecord,
  type RecordCall,
  readStart,
  type StartCall,
  type StartedAnswer,
  startedBody,
} from "./operations.ts";
import { ownSignals, type SignalSender, SignalShares } from "./signal-shares.ts";
import { StreamOffers, type ThreeSockets } from "./stream-offers.ts";

/** Sign-ins that may be remembered, which last as long as their connections; the one that was used longest ago goes. */
const MAX_GRANTS = 4096;
/** Likewise, of quotes until it is known what was sent around them, and of what was sent until somebody signs in on it. */
const MAX_QUOTES = 64;
const MAX_ATTESTED = 1024;
/** Questions to the device at a time, of one front: an honest one asks one after the other (server/evidence/collect.ts). */
const MAX_EVIDENCE_ASKED = 8;
/** As a listener of a user's names its own (server/streams/user-socket.ts): no other is fetched from. */
const LISTENERS_SOCKET = /^\/(?:[^/]+\/)*sealtty-[A-Za-z0-9]{6}\/s$/;
const TERMINAL = /^\/dev\/pts\/\d{1,10}$/;
/** Linux: major numbers of the slaves of ptys (devices.txt). */
const PTY_MAJORS = { first: 136, last: 143 } as const;

export interface MonitorOptions {
  readonly privileged: OwnPrivileged;
  /** The front's: what it may give a program to run on has to be its own. */
  readonly front: Pick<Account, "uid" | "gid">;
  /** For sockets that the front connects to. Root's: nobody else writes there. */
  readonly directory: string;
  /** Makes the console's device the front's. @throws SealttyError `device-unavailable`. */
  giveDevice(): void;
  /** @param start - where none runs; else undefined says so. */
  findKeeper(start: boolean, front: Peer): Promise<KeeperPlace | undefined>;
  /** The keeper takes nothing of it any more. */
  frontEnded(front: Peer): void;
}

/** Who asks: what it had started is told to it, and nobody else has a say in that. */
export interface Peer {
  readonly kind: "front" | "keeper";
  notify(operation: number, body: Uint8Array): void;
}

/** Of the keeper: terminals for sessions, and who is meant by those that a front names. */
const KEEPERS: ReadonlySet<number> = new Set([OPERATIONS.start, OPERATIONS.record, OPERATIONS.who]);

export class Monitor {
  readonly #options: MonitorOptions;
  /** Who has shown a key that is theirs, by ticket; in order of use. */
  readonly #grants = new Map<number, SignedIn>();
  readonly #quotes = new Set<string>(); // SHA-256, hex; oldest first
  readonly #attested = new Set<string>(); // SHA-256 of encoded evidence around one of them, on which nobody signed in yet
  #nextTicket = 1;
  readonly #programs = new Map<number, Running>();
  /** Places of programs, each given back once the program has ended and nobody holds its outputs. */
  readonly #places = new Map<number, { over: boolean; ended: boolean; release(): void }>();
  readonly #recordings = new Map<number, { readonly recording: Recording; readonly of: Peer }>();
  readonly #offers: StreamOffers;
  readonly #evidence = new Mutex();
  readonly #evidenceAsked = new WeakMap<Peer, number>();
  readonly #signals = new SignalShares(nodeClock);
  readonly #ended = new WeakSet<Peer>();

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#offers = new StreamOffers(options.directory, options.front);
  }

  /** @throws SealttyError: its code and words go to the front's log. */
  async call(operation: number, body: Uint8Array, peer: Peer): Promise<Uint8Array> {
    const { privileged } = this.#options;
    const { provider } = privileged;
    this.#requireThere(peer);
    if (
      KEEPERS.has(operation) ? operation === OPERATIONS.who && peer.kind === "front" : peer.kind === "keeper"
    )
      throw new SealttyError("peer-misbehaved", "Not this process's to ask");
    switch (operation) {
      case OPERATIONS.who:
        return grantBody(this.#whoIs(readNamedUser(body)));
      case OPERATIONS.keeper:
        return keeperBody(await this.#options.findKeeper(this.#mayStart(readFlag(body)), peer));
      case OPERATIONS.authorize:
        return await this.#authorize(body, peer);
      case OPERATIONS.start:
        return startedBody(await this.#start(readStart(body), peer));
      case OPERATIONS.helper:
        return startedBody(await this.#startHelper(readHelper(body), peer));
      case OPERATIONS.record:
        await this.#record(readRecord(body), peer);
        return new Uint8Array(0);
      case OPERATIONS.streams:
        requireEmpty(body);
        return utf8(await this.#offers.make());
      case OPERATIONS.prepareAux:
        requireEmpty(body);
        return await this.#onEvidence(peer, async () => encodeAux(await provider.prepareAux()));
      case OPERATIONS.quote: {
        const { binder, aux } = readQuote(body);
        const parts = decodeAux(provider.type, aux);
        try {
          const quote = await this.#onEvidence(peer, () => provider.quote(binder, parts));
          this.#requireThere(peer);
          remember(this.#quotes, digestOf(quote), MAX_QUOTES);
          return quoteAnswer(quote);
        } catch (error) {
          if (error instanceof StaleAuxError) return quoteAnswer(undefined);
          throw error;
        }
      }
      case OPERATIONS.attested: {
        // Whose quote it is not, its evidence is not this machine's: a signature on it was made for another one.
        if (this.#quotes.delete(digestOf(decodeEvidence(body).quote)))
          remember(this.#attested, digestOf(body), MAX_ATTESTED);
        return new Uint8Array(0);
      }
      case OPERATIONS.probe:
        requireEmpty(body);
        await this.#onEvidence(peer, () => provider.probe());
        return new Uint8Array(0);
      case OPERATIONS.commonParts:
        return encodeAux(await privileged.commonParts(body));
      case OPERATIONS.device:
        requireEmpty(body);
        this.#options.giveDevice();
        return new Uint8Array(0);
      default:
        throw new SealttyError("peer-misbehaved", "Unknown operation");
    }
  }

  /** For a program that is gone: nothing; where too many come of one share: hang-ups alone. */
  signal(program: number, name: string, peer: Peer): void {
    const running = this.#programs.get(program);
    if (running?.of === peer) running.program.signal(name, () => this.#signals.mayCost(running.sender));
  }

  signedOff(ticket: number): void {
    this.#grants.delete(ticket);
  }

  forget(program: number, peer: Peer): void {
    const running = this.#programs.get(program);
    if (running !== undefined && running.of !== peer) return;
    running?.program.forget();
    this.#programs.delete(program);
    this.#leave(program, "over");
  }

  /** It is gone, and with it every terminal of its; programs without one are told in the same way. */
  hangUpAll(peer: Peer): void {
    this.#ended.add(peer);
    for (const [number, { program, of }] of [...this.#programs]) {
      if (of !== peer) continue;
      program.hangUp();
      this.#programs.delete(number);
      this.#leave(number, "over"); // nobody will say so
    }
    for (const [number, { recording, of }] of [...this.#recordings]) {
      if (of !== peer) continue;
      this.#recordings.delete(number);
      recording.outputEnded();
    }
    if (peer.kind === "keeper") return;
    this.#options.frontEnded(peer);
    this.#offers.withdrawAll();
    // Whoever signed in did so over a connection that is gone.
    this.#grants.clear();
    this.#attested.clear();
    this.#quotes.clear();
  }

  /** @throws SealttyError `user-refused` for a front that has nobody who could keep a session. */
  #mayStart(start: boolean): boolean {
    const now = Date.now();
    const { loginAllowed } = this.#options.privileged;
    const anybody =
      loginAllowed || [...this.#grants.values()].some(({ restrictions }) => !isExpired(restrictions, now));
    if (start && !anybody) throw new SealttyError("user-refused", "Nobody has signed in so");
    return start;
  }

  /** For the keeper, of whom a front names: what stands behind its word. */
  #whoIs({ name, ticket }: NamedUser): KeyGrant | undefined {
    if (ticket === undefined) return undefined;
    const user = this.#grants.get(ticket);
    if (user === undefined || user.name !== name || isExpired(user.restrictions, Date.now()))
      return undefined;
    this.#use(ticket, user);
    return user;
  }

  /** What was asked for before it ended is not done for the next one. @throws SealttyError `transport-lost`. */
  #requireThere(peer: Peer): void {
    if (this.#ended.has(peer)) throw new SealttyError("transport-lost", "Whoever asked has ended");
  }

  /** One after the other, as the device takes them; what is not begun when its front ends never is. @throws SealttyError */
  async #onEvidence<T>(peer: Peer, ask: () => Promise<T>): Promise<T> {
    const asked = this.#evidenceAsked.get(peer) ?? 0;
    if (asked >= MAX_EVIDENCE_ASKED)
      throw new SealttyError("limit-exceeded", "So much is asked of the evidence device already");
    this.#evidenceAsked.set(peer, asked + 1);
    try {
      return await this.#evidence.run(async () => {
        this.#requireThere(peer);
        return await ask();
      });
    } finally {
      this.#evidenceAsked.set(peer, (this.#evidenceAsked.get(peer) ?? 1) - 1);
    }
  }

  async #authorize(body: Uint8Array, peer: Peer): Promise<Uint8Array> {
    const { fields, publicKey, sshsig } = readAuthorize(body);
    // Without evidence of ours it was made for another machine, or was played again: once for each.
    const evidence = toHex(fields.evidenceDigest);
    if (!this.#attested.delete(evidence)) return grantBody(undefined);
    const grant = await this.#options.privileged.verifyUserKey(fields, publicKey, sshsig);
    this.#requireThere(peer);
    if (grant === undefined) {
      remember(this.#attested, evidence, MAX_ATTESTED); // for the user's next key
      return grantBody(undefined);
    }
    const ticket = this.#nextTicket++;
    this.#use(ticket, { name: fields.user, method: "ssh-key", ...grant, ticket });
    const [oldest] = this.#grants.keys();
    if (this.#grants.size > MAX_GRANTS && oldest !== undefined) this.#grants.delete(oldest);
    return grantBody({ ...grant, ticket });
  }

  #use(ticket: number, user: SignedIn): void {
    this.#grants.delete(ticket);
    this.#grants.set(ticket, user);
  }

  async #start({ user: named, request, path }: StartCall, peer: Peer): Promise<StartedAnswer> {
    const service = auditName(request);
    const user = this.#userFor(named, service);
    const { launch, terminal } = await this.#watched(user, service, async () => {
      const { kind } = request;
      const allowed = user.method === "none" ? kind === "login" : allowsKind(user.restrictions, kind);
      if (!allowed) throw new SealttyError("user-refused", "This user or key may not have that");
      return await this.#options.privileged.plan(user, request);
    });
    if ((terminal === undefined) === isTerminalRequest(request))
      throw new SealttyError("peer-misbehaved", "The program and what it is to run on do not fit");
    if (peer.kind === "keeper" && terminal === undefined)
      throw new SealttyError("peer-misbehaved", "A session has a terminal");
    return await this.#begin({ user, service, launch, terminal }, path, peer);
  }

  async #startHelper({ user: named, helper, path }: HelperCall, peer: Peer): Promise<StartedAnswer> {
    const service = helperService(helper);
    const user = this.#userFor(named, service);
    const launch = await this.#watched(user, service, async () => {
      if (user.method === "none" || !mayHelp(user, helper))
        throw new SealttyError("user-refused", "This user or key may not forward, or not there");
      return await this.#options.privileged.planHelper(user, helper);
    });
    return await this.#begin({ user, service, launch }, path, peer);
  }

  /** A program of the front's own user could look into the front: keys of connections are there. */
  #refuseFront({ account }: Launch): void {
    if (account?.uid === this.#options.front.uid && account.uid !== process.getuid?.())
      throw new SealttyError("user-refused", "Nobody logs in as the user of sealttyd's own half");
  }

  /** Whatever it throws is written down. */
  async #watched<T>(user: AuthenticatedUser, service: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      this.#options.privileged.witnesses.programs.refused(user, service, error);
      throw error;
    }
  }

  /** Written down first, then started; and not before the front has shown where it is to run. */
  async #begin(asked: Asked, path: string, peer: Peer): Promise<StartedAnswer> {
    const { user, service, launch, terminal } = asked;
    const { witnesses, shares } = this.#options.privileged;
    const { programs } = witnesses;
    let release = (): void => {};
    let begun: Begun | undefined;
    const begin = (start: () => StartedProgram): readonly [Begun, StartedProgram] => {
      this.#requireThere(peer);
      begun = programs.begin(asked);
      return [begun, start()];
    };
    try {
      this.#refuseFront(launch);
      const owner = await shareOwner(user, launch);
      release = shares.take(owner);
      const started =
        terminal === undefined
          ? await this.#onStreams(path, (stdio) =>
              begin(() => runOnStreams(launch, shieldedStdio(stdio)).program),
            )
          : this.#onTerminal(path, (slave) =>
              begin(() => {
                giveTerminal(slave, launch.account, this.#options.front);
                return runOnTerminal(launch, slave);
              }),
            );
      const sender = { owner, own: user.method === "none" ? ownSignals() : undefined };
      return this.#keep(started, { sender, untilEnd: terminal !== undefined, release, of: peer });
    } catch (error) {
      release();
      if (begun === undefined) programs.refused(user, service, error);
      else begun.failed(error);
      throw error;
    }
  }

  #keep(
    [begun, program]: readonly [Begun, StartedProgram],
    { sender, untilEnd, release, of }: Place,
  ): StartedAnswer {
    const { program: number, recording } = begun;
    this.#programs.set(number, { program, sender, of });
    this.#places.set(number, { over: untilEnd, ended: false, release });
    if (recording !== undefined) this.#recordings.set(number, { recording, of });
    void program.ended.then((end) => {
      if (untilEnd) this.#programs.delete(number);
      this.#leave(number, "ended");
      begun.ended(end.status);
      of.notify(MONITOR_NOTICES.ended, endedBody({ program: number, ...end }));
    });
    const recorded = recording !== undefined;
    const { recordings } = this.#options.privileged.witnesses;
    return { program: number, recorded, notice: recorded ? recordings.notice : undefined };
  }

  /** The front's word for what a terminal showed: it can leave out and make up, but changes nothing that is written. */
  async #record(call: RecordCall, peer: Peer): Promise<void> {
    const found = this.#recordings.get(call.program);
    if (found?.of !== peer) throw notItsOwn("recording");
    const { recording } = found;
    if (call.kind === "output") {
      try {
        await recording.output(call.bytes);
      } catch (error) {
        this.#programs.get(call.program)?.program.hangUp(); // whatever the front makes of the answer
        throw error;
      }
    } else if (call.kind === "resize") recording.resize(call.columns, call.rows);
    else {
      this.#recordings.delete(call.program);
      recording.outputEnded();
    }
  }

  /** @throws SealttyError `user-refused`: written down without a name, for which there is only the front's word. */
  #userFor(named: NamedUser, service: string): AuthenticatedUser {
    try {
      return this.#userOf(named);
    } catch (error) {
      const unknown: AuthenticatedUser = { name: "", method: "none" };
      this.#options.privileged.witnesses.programs.refused(unknown, service, error);
      throw error;
    }
  }

  /** The front's word, that nobody holds its outputs, does not give back the place of a program that runs. */
  #leave(program: number, what: "over" | "ended"): void {
    const place = this.#places.get(program);
    if (place === undefined) return;
    place[what] = true;
    if (!place.over || !place.ended) return;
    this.#places.delete(program);
    place.release();
  }

  /** @throws SealttyError `user-refused` where nobody has signed in with this user and key, or no more. */
  #userOf({ name, ticket }: NamedUser): AuthenticatedUser {
    if (ticket === undefined) return { name, method: "none" };
    const user = this.#grants.get(ticket);
    if (user === undefined || user.name !== name || isExpired(user.restrictions, Date.now()))
      throw new SealttyError("user-refused", "Nobody has signed in so");
    this.#use(ticket, user);
    return user;
  }

  /** Only a terminal that the front itself made: asked of what was opened, so that the name may mean another one meanwhile. */
  #onTerminal<T>(path: string, start: (slave: number) => T): T {
    if (!TERMINAL.test(path)) throw notItsOwn("terminal");
    const slave = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NOFOLLOW);
    try {
      const { uid, rdev } = fs.fstatSync(slave);
      const major = (rdev >>> 8) & 0xfff; // Linux's makedev()
      if (uid !== this.#options.front.uid || major < PTY_MAJORS.first || major > PTY_MAJORS.last)
        throw notItsOwn("terminal");
      return start(slave);
    } finally {
      fs.closeSync(slave);
    }
  }

  async #onStreams<T>(path: string, start: (stdio: ThreeSockets) => T): Promise<T> {
    const offer = this.#offers.take(path);
    if (offer === undefined) throw notItsOwn("socket");
    try {
      return start(await offer.sockets);
    } finally {
      offer.withdraw(); // the program has its own by now
    }
  }
}

interface Running {
  readonly program: StartedProgram;
  readonly sender: SignalSender;
  readonly of: Peer;
}

interface Place {
  readonly sender: SignalSender;
  readonly of: Peer;
  /** Nobody will say that its outputs were closed. */
  readonly untilEnd: boolean;
  readonly release: () => void;
}

type SignedIn = Extract<AuthenticatedUser, { method: "ssh-key" }>;

function mayHelp({ restrictions }: SignedIn, helper: HelperRequest): boolean {
  switch (helper.kind) {
    case "connect":
      return mayOpen(restrictions, { kind: "unix", path: helper.socket });
    case "ssh":
      return mayOpen(restrictions, { kind: "service", name: "ssh" });
    case "listen":
      return mayListen(restrictions, { kind: "unix", path: helper.socket });
    case "fetch":
      return LISTENERS_SOCKET.test(helper.socket) && mayListen(restrictions, { kind: "unix", path: "" });
  }
}

const digestOf = (bytes: Uint8Array): string => toHex(nodeSuite.sha256(bytes));

function remember(set: Set<string>, entry: string, atMost: number): void {
  set.add(entry);
  const [oldest] = set;
  if (set.size > atMost && oldest !== undefined) set.delete(oldest);
}

const notItsOwn = (what: string): SealttyError =>
  new SealttyError("peer-misbehaved", `The ${what} that was named is not the front's own`);

function requireEmpty(body: Uint8Array): void {
  if (body.length > 0) throw new SealttyError("peer-misbehaved", "This call takes nothing");
}
