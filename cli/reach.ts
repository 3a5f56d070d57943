// From a command line to an attested guest: policy, address, identity, connection, in this order.

import { readFile } from "node:fs/promises";
import type { Policy } from "../protocol/attestation/policy.ts";
import { SealttyError } from "../protocol/errors.ts";
import { SHAPING_PROFILES, type ShapingProfile } from "../protocol/packets/shaping.ts";
import type {
  AttestedGuest,
  ConnectionState,
  ConnectOptions,
  Guest,
  UserAuthFields,
} from "../protocol/session/api.ts";
import { type GuestAddress, parseAddress } from "./address.ts";
import { AttestationWatch } from "./attestation-watch.ts";
import type { Input } from "./options.ts";
import { ownerCollateral } from "./owner-collateral.ts";
import { escapeBytes } from "./printable.ts";
import type { Reporter } from "./report.ts";
import { keepLook, lookBack } from "./seen-guests.ts";
import type { Identity, Services } from "./services.ts";

const MAX_POLICY_FILE = 1024 * 1024;
const DEFAULT_TIMEOUT_S = 30;
/** A person waits this long without being told why. */
const EXPLAIN_AFTER_MS = 2000;

export interface PolicyFile {
  readonly text: string;
  readonly policy: Policy;
}

/** @throws SealttyError `bad-policy`, also where none was named: a guest is never believed without one. */
export async function readPolicy(input: Input, guest: string, services: Services): Promise<PolicyFile> {
  const path = input.text("policy");
  if (path === undefined) {
    throw new SealttyError(
      "bad-policy",
      "no --policy FILE was given, and without one nothing says which guest to believe; make one, on a network " +
        `and host that you trust, with: sealtty inspect ${guest} --save-policy FILE`,
    );
  }
  let text: string;
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_POLICY_FILE)
      throw new SealttyError(
        "bad-policy",
        `${path} is larger than 1 MiB; name a policy, which is a few lines`,
      );
    text = bytes.toString("utf8");
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new SealttyError("bad-policy", `cannot read the policy ${path}: ${whyUnreadable(code, guest)}`, {
      cause,
    });
  }
  try {
    return { text, policy: services.parsePolicy(text) };
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "bad-policy") throw cause;
    throw new SealttyError("bad-policy", `${path}: ${cause.message.replace(/^Policy: /, "")}`, { cause });
  }
}

function whyUnreadable(code: string | undefined, guest: string): string {
  if (code === "ENOENT") {
    return `there is no such file; check the path, or make one with: sealtty inspect ${guest} --save-policy FILE`;
  }
  if (code === "EACCES") return "this user may not read it; change its permissions";
  if (code === "EISDIR") return "it is a directory; name the file in it";
  return `${code ?? "unknown error"}; check the path`;
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
  return services.loadIdentity(path, { certificate, silent: input.has("batch") });
}

export function userOf(input: Input, services: Services): string {
  return input.text("login") ?? services.localUser;
}

export function encodingOf(input: Input): ConnectOptions["encoding"] {
  const encoding = input.text("encoding") ?? "auto";
  if (encoding === "auto" || encoding === "binary" || encoding === "armour") return encoding;
  throw new SealttyError("bad-config", "--encoding takes auto, binary or armour");
}

/** @param otherwise - where the user did not say. */
export function obfuscationOf(input: Input, otherwise: ShapingProfile): ShapingProfile {
  const named = input.text("obfuscate");
  if (named === undefined) return otherwise;
  const profile = SHAPING_PROFILES.find((known) => known === named);
  if (profile !== undefined) return profile;
  throw new SealttyError("bad-config", "--obfuscate takes strict, adaptive or off");
}

export function timeoutOf(input: Input): number {
  const text = input.text("timeout");
  if (text === undefined) return DEFAULT_TIMEOUT_S * 1000;
  const seconds = Number(text);
  if (!/^[0-9]+(\.[0-9]+)?$/.test(text) || seconds <= 0 || seconds > 86_400) {
    throw new SealttyError("bad-config", "--timeout takes seconds, more than 0 and at most 86400");
  }
  return seconds * 1000;
}

export type ReachOptions = Omit<ConnectOptions, "policy"> & {
  readonly explain: Explainer;
  readonly watch: AttestationWatch;
};

/** Everything of ConnectOptions but the policy. */
export async function connectOptions(
  input: Input,
  address: GuestAddress,
  identity: string,
  services: Services,
  reporter: Reporter,
): Promise<ReachOptions> {
  const collateral = await ownerCollateral(input, services);
  const explain = new Explainer(services, reporter);
  const watch = new AttestationWatch(reporter);
  return {
    dial: () => services.dial(address),
    suite: services.suite,
    signatures: services.signatures,
    clock: services.clock,
    wallTime: () => services.wallTime(),
    collateral,
    address: address.text,
    identity,
    acceptSimulated: input.has("simulated"),
    timeout: timeoutOf(input),
    encoding: encodingOf(input),
    onState: (state) => explain.state(state),
    onHostNoise: (noise) => explain.noise(noise),
    onAttestation: (event) => watch.event(event),
    explain,
    watch,
  };
}

export interface Reached {
  readonly attested: AttestedGuest;
  readonly policy: Policy;
  readonly identity: Identity | undefined;
  readonly user: string;
  /** Tells the user about states from now on. */
  readonly explain: Explainer;
  /** Tells the user what re-attestation says. */
  readonly watch: AttestationWatch;
  /** The user is in: from now on this is how the guest was seen before. */
  keepLook(): Promise<void>;
}

/**
 * Connects and appraises, and says what was verified. Nothing secret was sent when it resolves.
 * @param needs.key - take a default key where none was named. @param needs.verdict - false: the caller tells the claims.
 */
export async function reach(
  guest: string,
  input: Input,
  services: Services,
  reporter: Reporter,
  needs: { readonly key?: boolean; readonly verdict?: boolean; readonly shaping?: ShapingProfile } = {},
): Promise<Reached> {
  const address = parseAddress(guest);
  const { policy } = await readPolicy(input, guest, services);
  const identity = await readIdentity(input, services, needs.key ?? false); // a missing key is said before the guest is bothered
  const { explain, watch, ...options } = await connectOptions(
    input,
    address,
    policy.name,
    services,
    reporter,
  );
  try {
    const attested = await services.connect({
      ...options,
      policy,
      ...(needs.shaping === undefined ? {} : { shaping: needs.shaping }),
    });
    const { claims } = attested.verified;
    watch.told(claims);
    if (needs.verdict ?? true) reporter.verified(claims, policy.name);
    reporter.lookedBack(await lookBack(policy.name, address.text, claims, services));
    return {
      attested,
      policy,
      identity,
      user: userOf(input, services),
      explain,
      watch,
      keepLook: () => keepLook(policy.name, address.text, claims, services),
    };
  } finally {
    explain.settled();
  }
}

export async function authenticate(reached: Reached): Promise<Guest> {
  const { identity, user, attested } = reached;
  const guest =
    identity === undefined
      ? await attested.authenticate({ method: "none", user })
      : await authenticateByKey(attested, user, [identity, ...(identity.others ?? [])], reached.explain);
  await reached.keepLook();
  return guest;
}

/** The guest hears so many on one connection, and answers each refusal a second late. */
const MAX_KEYS_TRIED = 5;

/** One after the other, as ssh does; what went wrong with the first is what the user is told. */
async function authenticateByKey(
  attested: AttestedGuest,
  user: string,
  identities: readonly Identity[],
  explain: Explainer,
): Promise<Guest> {
  let first: unknown;
  for (const identity of identities.slice(0, MAX_KEYS_TRIED)) {
    if (identity.touched === true) explain.say(`touch your security key to sign in (${identity.source})`);
    const sign = (fields: UserAuthFields): Promise<Uint8Array> => identity.sign(fields);
    try {
      return await attested.authenticate({ method: "ssh-key", user, publicKey: identity.publicKey, sign });
    } catch (error) {
      first ??= error;
      // The guest refused this key, or its agent did; after anything else no other key helps.
      const next =
        error instanceof SealttyError &&
        (error.code === "user-refused" || error.code === "device-unavailable");
      if (!next) throw error;
    }
  }
  throw first;
}

/** Says what is being waited for, once it takes a while; later, that a connection is lost and back. */
export class Explainer {
  readonly #services: Services;
  readonly #reporter: Reporter;
  #cancel: (() => void) | undefined;
  #noiseBytes = 0;
  #saidLost = false;
  #over = false;

  constructor(services: Services, reporter: Reporter) {
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
      return state.attempt > 1 ? `opening the pipe (attempt ${state.attempt})…` : "opening the pipe…";
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
