// From a command line to an attested guest: policy, address, identity, connection, in this order.

import type { Policy } from "../protocol/attestation/policy.ts";
import type { Clock } from "../protocol/clock.ts";
import { SealttyError } from "../protocol/errors.ts";
import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import type { ShapingProfile } from "../protocol/packets/shaping.ts";
import { type GuestAddress, parseAddress } from "./address.ts";
import { AttestationWatch } from "./attestation-watch.ts";
import {
  attest,
  guestOptions,
  type GuestSettings,
  type Listeners,
  logIn,
  openGuest,
  type PolicyFile,
  type Reachable,
  readPolicyFile,
} from "./api/reaching.ts";
import type { OpenGuest } from "./api/open-guest.ts";
import type { ConnectionState, EvidenceEvent, GuestChange } from "./api/types.ts";
import { keepersOf } from "./master/place.ts";
import { namedGuest } from "./named-guest.ts";
import { encodingOf, timeoutOf } from "./option-values.ts";
import type { Input } from "./options.ts";
import { escapeBytes, printable } from "./printable.ts";
import { Reporter, type Talk } from "./report.ts";
import { keepLook, lookBack } from "./seen-guests.ts";
import type { Identity, Services } from "./services.ts";

/** A person waits this long without being told why. */
const EXPLAIN_AFTER_MS = 2000;

/** @throws SealttyError `bad-policy`, also where none was named: a guest is never believed without one. */
export function readPolicy(input: Input, guest: string, services: Services): Promise<PolicyFile> {
  const path = input.text("policy");
  if (path !== undefined) return readPolicyFile(path, guest, services);
  throw new SealttyError(
    "bad-policy",
    "no --policy FILE was given, and without one nothing says which guest to believe; make one, on a network " +
      `and host that you trust, with: sealtty inspect ${guest} --save-policy FILE`,
  );
}

/** @param required - take a default key where none was named: the guest opens nothing like this without one. */
export async function readIdentity(
  input: Input,
  services: Services,
  required: boolean,
): Promise<Identity | undefined> {
  const path = input.text("identity");
  const certificate = input.text("certificate");
  if (path === undefined && certificate === undefined && !required) return undefined;
  return services.loadIdentity(path, {
    certificate,
    silent: input.has("batch"),
    certificateSkipped: sayingSkipped(input, services),
  });
}

/** Once for each certificate; not with -q. */
export function sayingSkipped(input: Input, services: Services): (why: string) => void {
  const reporter = new Reporter(services, input);
  return (why) => reporter.say(`sealtty: warning: ${why}; the key is tried without it`);
}

function saidUser(input: Input, services: Services): string {
  return input.text("login") ?? services.localUser;
}

/** Who signs in with a key. @throws SealttyError `bad-config` on what no guest calls a user. */
export function userOf(input: Input, services: Services): string {
  const user = saidUser(input, services);
  if (isUserName(user)) return user;
  throw new SealttyError(
    "bad-config",
    `${JSON.stringify(printable(user, 80))} is no name of a user; give -l USER`,
  );
}

export type ReachOptions = Awaited<ReturnType<typeof guestOptions>> & { readonly explain: Explainer };

/** Everything of ConnectOptions but the policy: for who connects by itself, as `inspect` does. */
export async function connectOptions(
  input: Input,
  address: GuestAddress,
  identity: string,
  services: Services,
  reporter: Talk,
): Promise<ReachOptions> {
  const { settings, listeners, explain } = settingsOf(input, address, identity, services, reporter);
  return { ...(await guestOptions(settings, listeners, services)), explain };
}

function settingsOf(
  input: Input,
  address: GuestAddress,
  identity: string,
  services: Services,
  reporter: Talk,
): { settings: GuestSettings; listeners: Listeners; explain: Explainer; watch: AttestationWatch } {
  const explain = new Explainer(services, reporter);
  const watch = new AttestationWatch(reporter);
  const settings = {
    guest: address.text,
    identity,
    collateral: input.text("collateral"),
    acceptSimulated: input.has("simulated"),
    timeout: timeoutOf(input),
    encoding: encodingOf(input),
  };
  const listeners = {
    onState: (state: ConnectionState) => explain.state(state),
    onHostNoise: (noise: Uint8Array) => explain.noise(noise),
    onEvidence: (event: EvidenceEvent) => watch.event(event),
    onChanged: (change: GuestChange) => watch.changed(change),
  };
  return { settings, listeners, explain, watch };
}

export interface Reached extends Reachable {
  readonly policy: Policy;
  /** The policy as its file has it, and the address as it went into the transcript: whom was believed, by what. */
  readonly believed: { readonly address: string; readonly policyText: string };
  readonly identity: Identity | undefined;
  readonly user: string;
  /** Tells the user about states from now on. */
  readonly explain: Explainer;
  /** Tells the user what re-attestation says. */
  readonly watch: AttestationWatch;
  readonly clock: Clock;
  /** The user is in: from now on this is how the guest was seen before. */
  keepLook(): Promise<void>;
  /** The command is over: nothing more is said, and the connection ends. Never rejects. */
  end(): Promise<void>;
}

/**
 * Connects and appraises, and says what was verified. Nothing secret was sent when it resolves.
 * @param needs.key - take a default key where none was named. @param needs.login - false: nobody is logged in, and no key is
 * read, nor asked for its passphrase. @param needs.verdict - false: the caller tells the claims.
 * @param needs.keeper - the socket of this very process, which keeps the connection. @param needs.talk - hears of states and of evidence in place of the reporter.
 */
export async function reach(
  guestOrName: string,
  said: Input,
  own: Services,
  reporter: Reporter,
  needs: {
    readonly key?: boolean;
    readonly login?: boolean;
    readonly verdict?: boolean;
    readonly shaping?: ShapingProfile;
    readonly talk?: Talk;
    readonly keeper?: string;
  } = {},
): Promise<Reached> {
  const { guest, input, services } = await namedGuest(guestOrName, said, own);
  const address = parseAddress(guest);
  const { policy, text: policyText } = await readPolicy(input, input.alias ?? guest, services);
  const login = needs.login ?? true;
  const identity = login ? await readIdentity(input, services, needs.key ?? false) : undefined; // a missing key is said before the guest is bothered
  const user = identity === undefined ? saidUser(input, services) : userOf(input, services);
  const talk = needs.talk ?? reporter;
  const { settings, listeners, explain, watch } = settingsOf(input, address, policy.name, services, talk);
  try {
    const reachable = await attest(
      { ...settings, policy, shaping: needs.shaping },
      listeners,
      services,
    ).catch(async (error: unknown) => {
      throw await withKeeper(error, guest, services, needs.keeper);
    });
    const { attested } = reachable;
    const { claims } = attested.verified;
    watch.told(claims);
    if (needs.verdict ?? true) reporter.verified(claims, policy.name);
    reporter.lookedBack(await lookBack(policy.name, address.text, claims, services));
    return {
      ...reachable,
      policy,
      believed: { address: address.text, policyText },
      identity,
      user,
      explain,
      watch,
      clock: services.clock,
      keepLook: () => keepLook(policy.name, address.text, claims, services),
      async end() {
        explain.end();
        await attested.close().catch(() => undefined);
      },
    };
  } finally {
    explain.settled();
  }
}

/** Many pipes of hosts have one place, which a connection that this user keeps may have. */
async function withKeeper(
  error: unknown,
  guest: string,
  { environment }: Services,
  own: string | undefined,
): Promise<unknown> {
  if (!(error instanceof SealttyError) || error.code !== "guest-silent") return error;
  const others = (await keepersOf(guest, environment)).filter((socket) => socket !== own);
  if (others.length === 0) return error;
  return new SealttyError(
    error.code,
    `${error.message} A sealtty master of yours keeps a connection to this very address: use it (exec --master), or end it with: sealtty master ${guest} --stop --all`,
    { cause: error },
  );
}

/** The user is in, and what the command opens is the API's. */
export async function enter(reached: Reached): Promise<OpenGuest> {
  const { attested, user, identity, explain } = reached;
  const guest = await logIn(attested, user, identity, (words) => explain.say(words));
  await reached.keepLook();
  return openGuest(reached, guest, reached.clock);
}

/** Says what is being waited for, once it takes a while; later, that a connection is lost and back. */
export class Explainer {
  readonly #services: Pick<Services, "clock">;
  readonly #reporter: Talk;
  #cancel: (() => void) | undefined;
  #noiseBytes = 0;
  #saidLost = false;
  #over = false;

  constructor(services: Pick<Services, "clock">, reporter: Talk) {
    this.#services = services;
    this.#reporter = reporter;
  }

  get noiseBytes(): number {
    return this.#noiseBytes;
  }

  state(state: ConnectionState): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#over) return;
    this.#reporter.event("state", { ...state });
    if (this.#saidLost && (state.phase === "attested" || state.phase === "closed")) {
      this.#saidLost = false;
      if (state.phase === "attested") this.#reporter.say("sealtty: the connection is back");
    }
    const words = wordsFor(state);
    this.#reporter.detail(`sealtty: ${state.phase}`);
    if (words === undefined) return;
    this.#cancel = this.#services.clock.after(EXPLAIN_AFTER_MS, () => {
      if (state.phase === "reconnecting") this.#saidLost = true;
      this.#reporter.say(`sealtty: ${words}`);
    });
  }

  noise(noise: Uint8Array): void {
    this.#noiseBytes += noise.length;
    this.#reporter.detail(`sealtty: the host's pipe said: ${escapeBytes(noise)}`);
  }

  say(words: string): void {
    this.#reporter.say(`sealtty: ${words}`);
  }

  /** The connection stands, or failed: nothing is being waited for. */
  settled(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** The command is over. */
  end(): void {
    this.settled();
    this.#over = true;
  }
}

function wordsFor(state: ConnectionState): string | undefined {
  switch (state.phase) {
    case "dialing":
      return (state.attempt ?? 1) > 1 ? `opening the pipe (attempt ${state.attempt})…` : "opening the pipe…";
    case "waiting-for-guest":
      return "the pipe is open; waiting for sealttyd in the guest to answer…";
    case "handshaking":
      return "agreeing on keys…";
    case "collecting-evidence":
      return "the guest is having its evidence signed…";
    case "appraising":
      return "appraising the evidence…";
    case "reconnecting":
      return `the connection is lost (${state.reason}); trying again for up to 10 minutes, nothing you typed is lost (Ctrl-C, or Enter ~. in a terminal, gives up)`;
    case "attested":
    case "closed":
      return undefined;
  }
}
