// One console from the first dial to its end, top to bottom: connect, appraise, sign in, open, pump.

import type { Clock } from "../protocol/clock.ts";
import type { Policy } from "../protocol/attestation/policy/model.ts";
import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { SignatureVerifier } from "../protocol/crypto/signatures.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type {
  AttestationEvent,
  AttestedGuest,
  Closing,
  ConnectionState,
  ConnectionStats,
  ConnectOptions,
  Guest,
  UserAuth,
  UserAuthFields,
} from "../protocol/session/api.ts";
import type { TerminalRequest, Viewer } from "../protocol/session/session-api.ts";
import { CHANGE_WORDS } from "./change-words.ts";
import { type Freeze, pump, type TerminalPort } from "./channel-pump.ts";
import { type KeptStore, openOrComeBack } from "./kept-session.ts";
import type { PageConfig } from "./page-config.ts";
import type { FrozenChoices } from "./frozen-dialog.ts";
import {
  CLOSED_OVER_CHANGES,
  exitWords,
  failureOf,
  kindOfChange,
  NOT_SIGNED_IN_IN_TIME,
  stepOf,
  type ChangeKind,
  type ConnectingAnew,
  type GuestChanged,
  type HandOver,
  type PageState,
} from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import {
  type SeenBefore,
  type SeenStore,
  type SinceSeen,
  sinceHandOver,
  sinceSeen,
  valuesToKeep,
} from "./seen-store.ts";
import { endOf, failureState, isNoTerminal, reconnecting, rejectable, type Stage } from "./session-ends.ts";

/** All that a session needs from outside, so that tests can script it. */
export interface SessionParts {
  connect(options: ConnectOptions): Promise<AttestedGuest>;
  /** @throws SealttyError `bad-policy`. */
  parsePolicy(text: string): Policy;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  readonly clock: Clock;
  /** Milliseconds since 1970, UTC. */
  wallTime(): number;
  readonly seen: SeenStore;
  /** Where the page finds its session again after a reload; absent: sessions end with their connection. */
  readonly kept?: KeptStore;
  dial(config: PageConfig): Promise<Pipe>;
  /** With the key of the session's configuration. */
  sign(fields: UserAuthFields): Promise<Uint8Array>;
}

export interface SessionViews {
  show(state: PageState): void;
  showPolicy(policy: Policy): void;
  /** Another connection is made: what was verified of the last one counts no more. */
  showNothingVerified(): void;
  /** Evidence passed: the first, or a later one. */
  showVerified(claims: AppraisedClaims): void;
  /** This guest was opened here before. */
  showSeen(since: SinceSeen): void;
  /** The policy is met, yet values that last are others than before. Resolves with whether to go on. */
  askAboutChanges(since: SinceSeen): Promise<boolean>;
  /** How to have the guest prove itself at once; undefined while nobody can be asked. */
  offerRecheck(recheck: (() => Promise<void>) | undefined): void;
  showUnavailable(reason: string, inARow: number): void;
  /** Covers the terminal until the user chose. */
  freeze(event: GuestChanged, choices: FrozenChoices): void;
  /** The user went on with a guest that changed: said for as long as the connection lives. */
  showWentOn(kind: ChangeKind): void;
  showStats(stats: ConnectionStats): void;
  /** Hostile bytes: to be shown escaped only, and outside the terminal. */
  showHostNoise(noise: Uint8Array): void;
  /** Only ever called after the appraisal passed. */
  mountTerminal(): TerminalPort;
  warnInputStuck(stuck: boolean): void;
  /** The user is in: for all that the page opens beside the terminal. @returns whether there is anything the user may answer. */
  signedIn?(guest: Guest, config: PageConfig): Promise<boolean>;
  /** The connection is over. */
  signedOut?(): void;
  /** Who is attached to the session, this page included. */
  showViewers?(viewers: readonly Viewer[]): void;
  /** A screen came in place of output that is gone: what came back, and what could not. */
  sayRestored?(words: string): void;
}

const APPRAISAL_MS = 60_000;
/** After a hand-over: a system may check its disks before it starts anything. */
export const SYSTEM_STARTS_MS = 600_000;
/**
 * The guest keeps a connection without a user for two minutes from the handshake on (docs/protocol.md §8.2), of which
 * evidence may have taken APPRAISAL_MS. After a longer wait for the user's answer the connection is made anew.
 */
export const ANSWER_WITHIN_MS = 60_000;
const STATS_EVERY_MS = 1000;

export interface ConsoleSession {
  /** Opens another session on the same attested connection. Only after `ended` with `canOpenAgain`. */
  openAgain(): void;
  /** Closes the connection. Idempotent. */
  close(how?: Closing): Promise<void>;
}

/** What is known of one connection apart from its guest. */
interface Connection {
  /** Why it is not the first. */
  readonly because: ConnectingAnew | undefined;
  /** Its evidence passed. */
  attested: AttestedGuest | undefined;
  attempt: number;
  /** Why its line is down just now. */
  lost: string | undefined;
  /** Why it is over: rejects `over`. */
  closedFor: string | undefined;
  readonly over: Promise<never>;
}

/** @param after - the connection before handed over: what the guest had shown then. */
export function startConsoleSession(
  parts: SessionParts,
  config: PageConfig,
  views: SessionViews,
  after?: HandOver,
): ConsoleSession {
  let connection: Connection | undefined; // the one that counts
  let guest: Guest | undefined;
  let connectionOver = false;
  let closedByUs = false;
  const givenUp = new AbortController();
  let stage: Stage | undefined;
  const freeze: Freeze = { frozen: false, count: 0 };

  const offerRecheck = (): void => {
    const canAsk = !connectionOver && !freeze.frozen && connection?.lost === undefined;
    views.offerRecheck(canAsk ? guest?.reattest.bind(guest) : undefined);
  };

  /** Shows the stage, or that its line is down. */
  const enter = (next: Stage): void => {
    stage = next;
    const over = next.kind === "ended";
    const lost = over ? undefined : connection?.lost;
    if (!freeze.frozen || over) views.show(lost === undefined ? next : reconnecting(next, lost));
    offerRecheck();
  };

  const onState = (of: Connection, state: ConnectionState): void => {
    if (of.attested === undefined) {
      if (state.phase === "dialing") of.attempt = state.attempt;
      const because = of.because === undefined ? {} : { because: of.because };
      const step = stepOf(state);
      if (state.phase === "reconnecting")
        views.show({ kind: "connecting", step: "dialing", attempt: ++of.attempt, ...because });
      else if (step !== undefined)
        views.show({ kind: "connecting", step, attempt: step === "dialing" ? of.attempt : 1, ...because });
      return;
    }
    if (state.phase === "reconnecting") of.lost = plainText(state.reason, 200);
    else if (state.phase === "attested") of.lost = undefined;
    else return;
    if (stage === undefined || stage.kind === "ended") offerRecheck();
    else enter(stage);
  };

  const remember = (claims: AppraisedClaims): void =>
    parts.seen.remember(config.identity, config.address, valuesToKeep(claims), parts.wallTime());

  const onAttestation = (event: AttestationEvent): void => {
    if (event.kind === "renewed") {
      views.showVerified(event.verified.claims);
      return remember(event.verified.claims);
    }
    if (event.kind === "unavailable") return views.showUnavailable(event.reason, event.inARow);
    freeze.frozen = true;
    freeze.count++;
    views.show({ kind: "frozen" });
    views.offerRecheck(undefined);
    views.freeze(event, { close: () => closeFrozen(event), goOn: () => goOn(event) });
  };

  const closeFrozen = (event: GuestChanged): void => {
    if (!connectionOver) {
      views.show({
        kind: "ended",
        words: CHANGE_WORDS[kindOfChange(event)].closed,
        clean: false,
        canOpenAgain: false,
        canConnectAgain: true,
      });
    }
    connectionOver = true;
    closedByUs = true;
    void guest?.close().catch(() => undefined);
  };

  const goOn = (event: GuestChanged): void => {
    if (closedByUs) return;
    if (guest === undefined || connectionOver) return closeFrozen(event);
    freeze.frozen = false;
    guest.goOn();
    const kind = kindOfChange(event);
    if (kind === "changed") {
      views.showVerified(guest.verified.claims); // of what is there now: the user accepted it
      remember(guest.verified.claims);
    }
    views.showWentOn(kind);
    if (stage !== undefined) enter(stage);
  };

  let expected: (SeenBefore & { readonly since: SinceSeen }) | undefined; // what the user said yes to

  /** Is it the guest that was seen before? The user is asked where values that last changed; but once for the same ones. */
  const comparedWithBefore = async (claims: AppraisedClaims): Promise<"go-on" | "not-expected" | "late"> => {
    const values = valuesToKeep(claims);
    const before = expected ?? after ?? parts.seen.recall(config.identity, config.address);
    // Also where the user said yes to other values since the hand-over: no other boot takes that one's place unasked.
    const since = before && (after === undefined ? sinceSeen : sinceHandOver)(before, values);
    if (since !== undefined && since.lasting.length > 0) {
      const askedAt = parts.wallTime(); // a clock that stood still while the machine slept would not know
      if (!(await views.askAboutChanges(since))) return "not-expected";
      const answeredAt = parts.wallTime();
      expected = { at: answeredAt, values, since };
      const late = Math.abs(answeredAt - askedAt) > ANSWER_WITHIN_MS;
      if (late || connection?.closedFor !== undefined) {
        remember(claims);
        return "late";
      }
    }
    const toTell = expected?.since ?? since;
    if (toTell !== undefined) views.showSeen(toTell);
    remember(claims);
    return "go-on";
  };

  /** Resolves once the evidence passed. */
  const connectTo = async (policy: Policy, because?: ConnectingAnew): Promise<AttestedGuest> => {
    const { promise: over, reject } = rejectable();
    const made: Connection = {
      because,
      over,
      attested: undefined,
      attempt: 1,
      lost: undefined,
      closedFor: undefined,
    };
    connection = made;
    const heard =
      <Value>(take: (value: Value) => void) =>
      (value: Value): void => {
        if (closedByUs || connection !== made) return; // another one counts by now
        try {
          take(value);
        } catch (error) {
          fault(error);
        }
      };
    made.attested = await parts.connect({
      dial: () => parts.dial(config),
      suite: parts.suite,
      signatures: parts.signatures,
      clock: parts.clock,
      wallTime: () => parts.wallTime(),
      collateral: config.collateral,
      address: config.address,
      identity: config.identity,
      policy,
      acceptSimulated: config.simulated,
      timeout: because === "hand-over" ? SYSTEM_STARTS_MS : APPRAISAL_MS,
      signal: givenUp.signal,
      encoding: config.encoding,
      shaping: config.obfuscate,
      onState: heard((state) => {
        if (state.phase === "closed") {
          made.closedFor = state.reason;
          reject(endOf(state.reason));
        }
        onState(made, state);
      }),
      onAttestation: heard(onAttestation),
      onHostNoise: heard((noise) => views.showHostNoise(noise)),
    });
    return made.attested;
  };

  /** @returns nothing where the user did not go on. */
  const attestedGuest = async (policy: Policy): Promise<AttestedGuest | undefined> => {
    for (let because: ConnectingAnew | undefined = after && "hand-over"; ; because = "late-answer") {
      const attested = await connectTo(policy, because);
      if (closedByUs) {
        await attested.close();
        return undefined;
      }
      views.showVerified(attested.verified.claims);
      pollStats(attested);
      const compared = await comparedWithBefore(attested.verified.claims);
      if (closedByUs) return undefined;
      if (compared === "go-on") return attested;
      if (compared === "not-expected") {
        connectionOver = true;
        views.show({ kind: "failed", failure: CLOSED_OVER_CHANGES });
        await attested.close();
        return undefined;
      }
      connection = undefined;
      void attested.close().catch(() => undefined);
      views.showNothingVerified();
    }
  };

  const run = async (): Promise<void> => {
    const policy = parts.parsePolicy(config.policyText);
    views.showPolicy(policy);
    const attested = await attestedGuest(policy);
    if (attested === undefined || connection === undefined) return;
    enter({ kind: "signing-in", user: config.user, method: config.auth });
    // Also while the user's key is asked, which may take its time: the end of the connection is said at once.
    guest = await Promise.race([attested.authenticate(userAuth(config, parts)), connection.over]);
    if (closedByUs) return;
    void guest.closed.then((reason) => {
      connectionOver = true;
      views.offerRecheck(undefined);
      if (!closedByUs) views.signedOut?.();
      if (stage?.kind !== "ended" || closedByUs) return;
      const ended = stage.canOpenAgain ? { ...stage, canOpenAgain: false } : stage;
      if (reason === "handed-over") showHandedOver(ended);
      else if (stage.canOpenAgain) enter(ended);
    });
    await runChannel(guest, (open) => views.signedIn?.(open, config) ?? Promise.resolve(false));
  };

  /** @param signedIn - for the first terminal of a connection. */
  const runChannel = async (open: Guest, signedIn?: (open: Guest) => Promise<boolean>): Promise<void> => {
    const mounted = views.mountTerminal();
    enter({ kind: "opening" });
    const opening = openOrComeBack(open, channelRequest(config, mounted), mounted, {
      config,
      kept: parts.kept,
      showViewers: (viewers) => views.showViewers?.(viewers),
      sayRestored: (words) => views.sayRestored?.(words),
    });
    const mayAnswer = signedIn?.(open);
    const opened = await opening.catch(async (error: unknown) => {
      if (!isNoTerminal(error) || (await mayAnswer) !== true) throw error;
      enter({ kind: "prompts", failure: failureOf(error, true) });
      return undefined;
    });
    if (opened === undefined) {
      await connection?.over;
      return;
    }
    const { channel, terminal } = opened;
    enter({ kind: "live" });
    try {
      await pump(channel, terminal, freeze, views.warnInputStuck.bind(views));
      const exit = exitWords(await channel.exit);
      parts.kept?.forget(config);
      enter({ kind: "ended", ...exit, canOpenAgain: !connectionOver });
    } finally {
      views.warnInputStuck(false);
      terminal.finish();
    }
  };

  const pollStats = (from: AttestedGuest): void => {
    views.showStats(from.stats);
    parts.clock.after(STATS_EVERY_MS, () => {
      if (!connectionOver && !closedByUs && connection?.attested === from) pollStats(from);
    });
  };

  /** What changed and was not chosen about stays frozen; and only who had proved itself is believed that it hands over. */
  const showHandedOver = (otherwise: PageState): void => {
    const verified = guest?.verified ?? connection?.attested?.verified;
    if (verified === undefined || freeze.frozen) return views.show(otherwise);
    const before = { at: parts.wallTime(), values: valuesToKeep(verified.claims) };
    views.show({ kind: "handed-over", before, otherwise });
  };

  const fail = (error: unknown): void => {
    if (closedByUs) return;
    connectionOver = true;
    views.signedOut?.();
    const attested = connection?.attested;
    const signInLapsed = stage?.kind === "signing-in" && connection?.closedFor === "not-authenticated";
    const hadSession = stage?.kind === "live" || stage?.kind === "ended";
    const state = signInLapsed
      ? ({ kind: "failed", failure: NOT_SIGNED_IN_IN_TIME } as const)
      : failureState(error, attested !== undefined, hadSession, config.user);
    if (error instanceof SealttyError && error.code === "handed-over") showHandedOver(state);
    else views.show(state);
    void attested?.close().catch(() => undefined);
  };

  /** What fails in a view was not said, be it that the guest changed: nothing goes on behind that. */
  const fault = (error: unknown): void => {
    const open = guest ?? connection?.attested;
    try {
      fail(error);
    } finally {
      closedByUs = true;
      givenUp.abort();
      void open?.close().catch(() => undefined);
    }
  };

  run().catch(fail);

  return {
    openAgain() {
      if (guest === undefined || connectionOver || stage?.kind !== "ended") return;
      runChannel(guest).catch(fail);
    },
    async close(how) {
      closedByUs = true;
      givenUp.abort(); // where it is not there yet, nothing dials on for it
      await (guest ?? connection?.attested)?.close(how);
    },
  };
}

function userAuth(config: PageConfig, parts: SessionParts): UserAuth {
  if (config.auth === "none") return { method: "none", user: config.user };
  if (config.publicKey === undefined) throw new SealttyError("bad-config", "No public key to sign in with");
  return {
    method: "ssh-key",
    user: config.user,
    publicKey: config.publicKey,
    sign: (fields) => parts.sign(fields),
  };
}

/** With a key the user is known and gets a shell; without one the guest's own login program asks, inside the channel. */
function channelRequest(config: PageConfig, { columns, rows }: TerminalPort): TerminalRequest {
  const pty = { term: "xterm-256color", columns, rows };
  if (config.auth === "none") return { kind: "login", ...pty };
  return { kind: "shell", command: [], ...pty, environment: {} };
}
