// How a guest is reached, for connect() and for the command line, which says in between what was verified.

import { errorCode } from "../../node/socket-pipe.ts";
import {
  attestGuest,
  connectionOf,
  type Listeners as HookListeners,
  type Reachable,
} from "../../protocol/api/attest.ts";
import type { Policy } from "../../protocol/attestation/policy.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { ShapingProfile } from "../../protocol/packets/shaping.ts";
import type { AttestedGuest, ConnectOptions, Guest, UserAuthFields } from "../../protocol/session/api.ts";
import { certifiedType } from "../../protocol/user-auth/certificate.ts";
import { keyTypeOf } from "../../protocol/user-auth/ssh-wire.ts";
import { parseAddress } from "../address.ts";
import { escapeBytes } from "../printable.ts";
import { collateralOf } from "../owner-collateral.ts";
import { readOwnerFile } from "../owner-file.ts";
import type { Identity, Machine } from "../services.ts";
import { OpenGuest } from "./open-guest.ts";

export type { Reachable } from "../../protocol/api/attest.ts";

const MAX_POLICY_FILE = 1024 * 1024;

export interface PolicyFile {
  readonly text: string;
  readonly policy: Policy;
}

/** @param guest - as the user named it, for the words. @throws SealttyError `bad-policy`. */
export async function readPolicyFile(
  path: string,
  guest: string,
  machine: Pick<Machine, "parsePolicy">,
): Promise<PolicyFile> {
  const text = await policyText(path, guest);
  try {
    return { text, policy: machine.parsePolicy(text) };
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "bad-policy") throw cause;
    throw new SealttyError("bad-policy", `${path}: ${cause.message.replace(/^Policy: /, "")}`, { cause });
  }
}

async function policyText(path: string, guest: string): Promise<string> {
  try {
    return Buffer.from(await readOwnerFile(path, "policy", MAX_POLICY_FILE)).toString("utf8");
  } catch (cause) {
    if (!(cause instanceof SealttyError)) throw cause;
    const make =
      errorCode(cause.cause) === "ENOENT"
        ? `, or make one with: sealtty inspect ${guest} --save-policy FILE`
        : "";
    throw new SealttyError("bad-policy", `${cause.message}${make}`, { cause });
  }
}

/** What the owner says about one guest, beside the policy. */
export interface GuestSettings {
  /** As `sealtty help` lists addresses. */
  readonly guest: string;
  /** The guest the user means (the policy's name); goes into the transcript. */
  readonly identity: string;
  /** Directory of collateral, beside what the guest sends and the cache. */
  readonly collateral: string | undefined;
  readonly acceptSimulated: boolean;
  /** Ms until the appraisal must be done. */
  readonly timeout: number;
  readonly encoding: ConnectOptions["encoding"];
}

export type Listeners = HookListeners & Pick<ConnectOptions, "onHostNoise">;

/** Everything of ConnectOptions but the policy. @throws SealttyError `bad-config`. */
export async function guestOptions(
  { guest, collateral, ...settings }: GuestSettings,
  { onState, onHostNoise }: Pick<Listeners, "onState" | "onHostNoise">,
  machine: Machine,
): Promise<Omit<ConnectOptions, "policy">> {
  const address = parseAddress(guest);
  return {
    ...settings,
    ...(onState === undefined ? {} : { onState }),
    ...(onHostNoise === undefined ? {} : { onHostNoise }),
    dial: () => machine.dial(address),
    suite: machine.suite,
    signatures: machine.signatures,
    clock: machine.clock,
    wallTime: () => machine.wallTime(),
    collateral: await collateralOf(collateral, machine.environment),
    address: address.text,
  };
}

/**
 * Whichever listener fails, the connection ends with what it threw.
 * @throws SealttyError `evidence-refused`, `guest-silent`, `bad-config`, …; `api-misuse` where a listener failed.
 */
export async function attest(
  settings: GuestSettings & { readonly policy: Policy; readonly shaping: ShapingProfile | undefined },
  listeners: Listeners,
  machine: Machine,
): Promise<Reachable> {
  const { policy, shaping, ...rest } = settings;
  const options = await guestOptions(rest, listeners, machine);
  return await attestGuest(
    (all) => machine.connect(all),
    { ...options, policy, ...(shaping === undefined ? {} : { shaping }) },
    listeners,
  );
}

/** @param guest - whose user is in. @throws SealttyError where a listener failed meanwhile. */
export function openGuest(reached: Reachable, guest: Guest, clock: Clock): OpenGuest {
  return new OpenGuest(connectionOf(reached, guest, clock));
}

/** The guest hears so many on one connection, and answers each refusal a second late. */
const MAX_KEYS_TRIED = 5;

/**
 * With one key after the other, as ssh does; what went wrong with the first is what the user is told.
 * @param identity - undefined: without a key. @param say - a sentence for whoever has to touch something.
 * @throws SealttyError `user-refused`.
 */
export async function logIn(
  attested: AttestedGuest,
  user: string,
  identity: Identity | undefined,
  say: (words: string) => void,
): Promise<Guest> {
  if (identity === undefined) return attested.authenticate({ method: "none", user });
  let first: unknown;
  const all = [identity, ...(identity.others ?? [])];
  const tried = all.slice(0, MAX_KEYS_TRIED);
  for (const each of tried) {
    if (each.touched === true) say(`touch your security key to sign in (${each.source})`);
    const sign = (fields: UserAuthFields): Promise<Uint8Array> => each.sign(fields);
    try {
      return await attested.authenticate({ method: "ssh-key", user, publicKey: each.publicKey, sign });
    } catch (error) {
      first ??= error;
      // The guest refused this key, or its agent did; after anything else no other key helps.
      const next =
        error instanceof SealttyError &&
        (error.code === "user-refused" || error.code === "device-unavailable");
      if (!next) throw error;
    }
  }
  throw tried.length > 1 ? withKeys(first, tried, all.length - tried.length) : first;
}

/** Of several keys the words for the first one alone would mislead. */
function withKeys(first: unknown, tried: readonly Identity[], left: number): unknown {
  if (!(first instanceof SealttyError) || first.code !== "user-refused") return first;
  const sources = tried.map(named).join(", ");
  const others =
    left === 0 ? "" : ` ${left} more ${left === 1 ? "was" : "were"} not tried: five are, at most.`;
  return new SealttyError(
    "user-refused",
    `${first.message} It refused each of these: ${sources}.${others} Name the right one with -i FILE.`,
    { cause: first },
  );
}

function named({ source, publicKey }: Identity): string {
  const key = escapeBytes(utf8(source));
  return certifiedType(keyTypeOf(publicKey) ?? "") === undefined ? key : `${key} with its certificate`;
}
