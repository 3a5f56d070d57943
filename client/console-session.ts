// One console from the first dial to its end, top to bottom: connect, appraise, sign in, open, pump.

import type { Clock } from "../protocol/clock.ts";
import type { Policy } from "../protocol/attestation/policy/model.ts";
import type { AppraisedClaims, VerifiedGuest } from "../protocol/attestation/verified-guest.ts";
import type { SignatureVerifier } from "../protocol/crypto/signatures.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type {
  AttestationEvent,
  AttestedGuest,
  Channel,
  ChannelRequest,
  ConnectionState,
  ConnectionStats,
  ConnectOptions,
  Guest,
  UserAuth,
  UserAuthFields,
} from "../protocol/session/api.ts";
import type { PageConfig } from "./page-config.ts";
import type { FrozenChoices, GuestChanged } from "./frozen-dialog.ts";
import { CLOSED_OVER_CHANGES, exitWords, failureOf, stepOf, type PageState } from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import { type SeenStore, type SinceSeen, sinceSeen, valuesToKeep } from "./seen-store.ts";

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
  dial(config: PageConfig): Promise<Pipe>;
  sign(fields: UserAuthFields): Promise<Uint8Array>;
}

/** The terminal as the session sees it. */
export interface TerminalPort {
  readonly columns: number;
  readonly rows: number;
  /** `parsed` is called once the terminal has worked the bytes off: only then is credit given back. */
  write(bytes: Uint8Array, parsed: () => void): void;
  onInput(listener: (bytes: Uint8Array) => void): void;
  onResize(listener: (columns: number, rows: number) => void): void;
  /** Takes no more input, and switches off what the session left on. */
  finish(): void;
}

export interface SessionViews {
  show(state: PageState): void;
  showPolicy(policy: Policy): void;
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
  showWentOn(refused: boolean): void;
  showStats(stats: ConnectionStats): void;
  /** Hostile bytes: to be shown escaped only, and outside the terminal. */
  showHostNoise(noise: Uint8Array): void;
  /** Only ever called after the appraisal passed. */
  mountTerminal(): TerminalPort;
  warnInputStuck(stuck: boolean): void;
}

const APPRAISAL_MS = 60_000;
const STATS_EVERY_MS = 1000;
/** Keys and terminal answers that wait for the guest; a paste is at most 1 MiB. */
export const MAX_WAITING_INPUT = 4 * 1024 * 1024;

export interface ConsoleSession {
  /** Opens another session on the same attested connection. Only after `ended` with `canOpenAgain`. */
  openAgain(): void;
  /** Closes the connection. Idempotent. */
  close(): Promise<void>;
}

export function startConsoleSession(
  parts: SessionParts,
  config: PageConfig,
  views: SessionViews,
): ConsoleSession {
  let attested: AttestedGuest | undefined;
  let guest: Guest | undefined;
  let verified: VerifiedGuest | undefined; // whose claims are shown
  let connectionOver = false;
  let closedByUs = false;
  let channelLive = false;
  let attempt = 1;
  let ended: Extract<PageState, { kind: "ended" }> | undefined;
  let line: PageState = { kind: "live" }; // the channel's, frozen or not
  const freeze: Freeze = { frozen: false, count: 0 };

  const showLine = (state: PageState): void => {
    line = state;
    if (!freeze.frozen || state.kind === "ended") views.show(state);
    const canAsk = !connectionOver && !freeze.frozen && state.kind !== "reconnecting";
    views.offerRecheck(canAsk ? guest?.reattest.bind(guest) : undefined);
  };

  const onState = (state: ConnectionState): void => {
    if (closedByUs) return;
    if (guest !== undefined) {
      if (!channelLive) return;
      if (state.phase === "reconnecting") {
        showLine({ kind: "reconnecting", reason: plainText(state.reason, 200) });
      } else if (state.phase === "attested") {
        showLine({ kind: "live" });
      }
      return;
    }
    if (attested !== undefined) return;
    if (state.phase === "reconnecting")
      views.show({ kind: "connecting", step: "dialing", attempt: ++attempt });
    if (state.phase === "dialing") attempt = state.attempt;
    const step = stepOf(state);
    if (step !== undefined)
      views.show({ kind: "connecting", step, attempt: step === "dialing" ? attempt : 1 });
  };

  const remember = (claims: AppraisedClaims): void =>
    parts.seen.remember(config.identity, config.address, valuesToKeep(claims), parts.wallTime());

  const onAttestation = (event: AttestationEvent): void => {
    if (closedByUs) return;
    if (event.kind === "renewed") {
      verified = event.verified;
      views.showVerified(verified.claims);
      return remember(verified.claims);
    }
    if (event.kind === "unavailable") return views.showUnavailable(event.reason, event.inARow);
    freeze.frozen = true;
    freeze.count++;
    views.show({ kind: "frozen" });
    views.offerRecheck(undefined);
    views.freeze(event, { close: closeFrozen, goOn: () => goOn(event) });
  };

  const closeFrozen = (): void => {
    if (!connectionOver) {
      views.show({
        kind: "ended",
        words: "You closed it: the guest was no longer the one that you connected to.",
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
    if (guest === undefined || connectionOver) return closeFrozen();
    freeze.frozen = false;
    guest.goOn();
    // Old claims are not shown as if they stood again: where there are no newer ones, the next renewal brings them.
    if (event.refusal === undefined && guest.verified !== verified) {
      verified = guest.verified;
      views.showVerified(verified.claims);
      remember(verified.claims);
    }
    views.showWentOn(event.refusal !== undefined);
    showLine(line);
  };

  /** @returns false where the user saw a change and did not want to go on. */
  const comparedWithBefore = async (claims: AppraisedClaims): Promise<boolean> => {
    const before = parts.seen.recall(config.identity, config.address);
    const since = before && sinceSeen(before, valuesToKeep(claims));
    if (since !== undefined && since.lasting.length > 0 && !(await views.askAboutChanges(since)))
      return false;
    if (since !== undefined) views.showSeen(since);
    remember(claims);
    return true;
  };

  const run = async (): Promise<void> => {
    const policy = parts.parsePolicy(config.policyText);
    views.showPolicy(policy);
    attested = await parts.connect({
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
      timeout: APPRAISAL_MS,
      encoding: config.encoding,
      onState,
      onAttestation,
      onHostNoise: (noise) => views.showHostNoise(noise),
    });
    if (closedByUs) return;
    verified = attested.verified;
    views.showVerified(verified.claims);
    pollStats(attested);
    if (!(await comparedWithBefore(verified.claims))) {
      connectionOver = true;
      views.show({ kind: "failed", failure: CLOSED_OVER_CHANGES });
      await attested.close();
      return;
    }
    if (closedByUs) return;
    views.show({ kind: "signing-in", user: config.user, method: config.auth });
    guest = await attested.authenticate(userAuth(config, parts));
    if (closedByUs) return;
    void guest.closed.then(() => {
      connectionOver = true;
      views.offerRecheck(undefined);
      if (ended?.canOpenAgain === true && !closedByUs) showLine({ ...ended, canOpenAgain: false });
    });
    await runChannel(guest);
  };

  const runChannel = async (open: Guest): Promise<void> => {
    ended = undefined;
    const terminal = views.mountTerminal();
    const channel = await open.openChannel(channelRequest(config, terminal));
    channelLive = true;
    showLine({ kind: "live" });
    try {
      await pump(channel, terminal, freeze, views.warnInputStuck.bind(views));
      const exit = exitWords(await channel.exit);
      ended = { kind: "ended", ...exit, canOpenAgain: !connectionOver };
      showLine(ended);
    } finally {
      channelLive = false;
      views.warnInputStuck(false);
      terminal.finish();
    }
  };

  const pollStats = (from: AttestedGuest): void => {
    views.showStats(from.stats);
    parts.clock.after(STATS_EVERY_MS, () => {
      if (!connectionOver && !closedByUs) pollStats(from);
    });
  };

  const fail = (error: unknown): void => {
    if (closedByUs) return;
    const hadTerminal = guest !== undefined;
    connectionOver = true;
    views.show(failureState(error, attested !== undefined, hadTerminal, config.user));
    void attested?.close().catch(() => undefined);
  };

  run().catch(fail);

  return {
    openAgain() {
      if (guest === undefined || connectionOver || channelLive) return;
      runChannel(guest).catch(fail);
    },
    async close() {
      closedByUs = true;
      await (guest ?? attested)?.close();
    },
  };
}

function userAuth(config: PageConfig, parts: SessionParts): UserAuth {
  if (config.auth === "none") return { method: "none", user: config.user };
  if (config.publicKey === undefined)
    throw new SealttyError("bad-config", "No public key for the SSH key sign-in");
  return {
    method: "ssh-key",
    user: config.user,
    publicKey: config.publicKey,
    sign: (fields) => parts.sign(fields),
  };
}

/** With a key the user is known and gets a shell; without one the guest's own login program asks, inside the channel. */
function channelRequest(config: PageConfig, { columns, rows }: TerminalPort): ChannelRequest {
  const pty = { term: "xterm-256color", columns, rows };
  if (config.auth === "none") return { kind: "login", ...pty };
  return { kind: "shell", command: [], ...pty, environment: {} };
}

/** While the guest is not the one the user knows, what is typed for it goes nowhere, not even later. */
interface Freeze {
  frozen: boolean;
  /** How often it was frozen: what waited since before that is left out. */
  count: number;
}

/** Connects channel and terminal until the output has ended and was parsed. */
async function pump(
  channel: Channel,
  terminal: TerminalPort,
  freeze: Readonly<Freeze>,
  warnStuck: (stuck: boolean) => void,
): Promise<void> {
  let waiting = 0;
  let writes: Promise<void> = Promise.resolve();
  terminal.onInput((bytes) => {
    if (freeze.frozen) return;
    // A guest that asks its terminal questions and never reads the answers must not fill our memory.
    if (waiting + bytes.length > MAX_WAITING_INPUT) {
      warnStuck(true);
      return;
    }
    waiting += bytes.length;
    const typedAt = freeze.count;
    writes = writes
      .then(() => (freeze.count === typedAt ? channel.write(bytes) : undefined))
      .then(() => {
        waiting -= bytes.length;
        if (waiting === 0) warnStuck(false);
      })
      .catch(() => undefined); // the reading side reports why the channel ended
  });
  terminal.onResize((columns, rows) => channel.resize(columns, rows));

  let unparsed = 0;
  let allParsed: (() => void) | undefined;
  for (;;) {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) break;
    unparsed += chunk.length;
    // Not awaited: the credit that `consumed` gives back is the limit on what the terminal holds.
    terminal.write(chunk, () => {
      unparsed -= chunk.length;
      channel.stdout.consumed(chunk.length);
      if (unparsed === 0) allParsed?.();
    });
  }
  if (unparsed > 0) {
    await new Promise<void>((resolve) => {
      allParsed = resolve;
    });
  }
}

function failureState(error: unknown, attested: boolean, hadTerminal: boolean, user: string): PageState {
  const failure = failureOf(error, attested);
  if (failure.code === "evidence-refused") return { kind: "refused", failure };
  if (failure.code === "user-refused") return { kind: "user-refused", failure, user: plainText(user, 64) };
  return hadTerminal ? { kind: "lost", failure } : { kind: "failed", failure };
}
