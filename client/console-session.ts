// One console from the first dial to its end, top to bottom: connect, appraise, sign in, open, pump.

import type { Clock } from "../protocol/clock.ts";
import type { Policy } from "../protocol/attestation/policy.ts";
import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { SignatureVerifier } from "../protocol/crypto/signatures.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import type {
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
import { exitWords, failureOf, stepOf, type PageState } from "./page-state.ts";
import { plainText } from "./plain-text.ts";

/** All that a session needs from outside, so that tests can script it. */
export interface SessionParts {
  connect(options: ConnectOptions): Promise<AttestedGuest>;
  /** @throws SealttyError `bad-policy`. */
  parsePolicy(text: string): Policy;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  readonly clock: Clock;
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
  showVerified(claims: AppraisedClaims): void;
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
  let connectionOver = false;
  let closedByUs = false;
  let channelLive = false;
  let attempt = 1;
  let ended: Extract<PageState, { kind: "ended" }> | undefined;

  const onState = (state: ConnectionState): void => {
    if (closedByUs) return;
    if (guest !== undefined) {
      if (!channelLive) return;
      if (state.phase === "reconnecting") {
        views.show({ kind: "reconnecting", reason: plainText(state.reason, 200) });
      } else if (state.phase === "attested") {
        views.show({ kind: "live" });
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

  const run = async (): Promise<void> => {
    const policy = parts.parsePolicy(config.policyText);
    views.showPolicy(policy);
    attested = await parts.connect({
      dial: () => parts.dial(config),
      suite: parts.suite,
      signatures: parts.signatures,
      clock: parts.clock,
      address: config.address,
      identity: config.identity,
      policy,
      acceptSimulated: config.simulated,
      timeout: APPRAISAL_MS,
      encoding: config.encoding,
      onState,
      onHostNoise: (noise) => views.showHostNoise(noise),
    });
    if (closedByUs) return;
    views.showVerified(attested.verified.claims);
    pollStats(attested);
    views.show({ kind: "signing-in", user: config.user, method: config.auth });
    guest = await attested.authenticate(userAuth(config, parts));
    if (closedByUs) return;
    void guest.closed.then(() => {
      connectionOver = true;
      if (ended?.canOpenAgain === true) views.show({ ...ended, canOpenAgain: false });
    });
    await runChannel(guest);
  };

  const runChannel = async (open: Guest): Promise<void> => {
    ended = undefined;
    const terminal = views.mountTerminal();
    const channel = await open.openChannel(channelRequest(config, terminal));
    channelLive = true;
    views.show({ kind: "live" });
    try {
      await pump(channel, terminal, views.warnInputStuck.bind(views));
      const exit = exitWords(await channel.exit);
      ended = { kind: "ended", ...exit, canOpenAgain: !connectionOver };
      views.show(ended);
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

/** Connects channel and terminal until the output has ended and was parsed. */
async function pump(
  channel: Channel,
  terminal: TerminalPort,
  warnStuck: (stuck: boolean) => void,
): Promise<void> {
  let waiting = 0;
  let writes: Promise<void> = Promise.resolve();
  terminal.onInput((bytes) => {
    // A guest that asks its terminal questions and never reads the answers must not fill our memory.
    if (waiting + bytes.length > MAX_WAITING_INPUT) {
      warnStuck(true);
      return;
    }
    waiting += bytes.length;
    writes = writes
      .then(() => channel.write(bytes))
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
