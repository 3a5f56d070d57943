// How a guest is reached, whoever asks: the command line and the API say it in their words, and it ends here.

import { readFile } from "node:fs/promises";
import type { Policy } from "../protocol/attestation/policy.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { AttestedGuest, ConnectOptions, Guest, UserAuth } from "../protocol/session/api.ts";
import { parseAddress } from "./address.ts";
import { collateralOf } from "./owner-collateral.ts";
import type { Identity, Machine } from "./services.ts";

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
    return { text, policy: machine.parsePolicy(text) };
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

type Listeners = Pick<ConnectOptions, "onState" | "onHostNoise" | "onAttestation">;

/** Everything of ConnectOptions but the policy. @throws SealttyError `bad-config`. */
export async function guestOptions(
  { guest, collateral, ...settings }: GuestSettings,
  listeners: Listeners,
  machine: Machine,
): Promise<Omit<ConnectOptions, "policy">> {
  const address = parseAddress(guest);
  return {
    ...settings,
    ...listeners,
    dial: () => machine.dial(address),
    suite: machine.suite,
    signatures: machine.signatures,
    clock: machine.clock,
    wallTime: () => machine.wallTime(),
    collateral: await collateralOf(collateral, machine.environment),
    address: address.text,
  };
}

/** @param identity - undefined: without a key. @throws SealttyError `user-refused`. */
export function logIn(attested: AttestedGuest, user: string, identity: Identity | undefined): Promise<Guest> {
  const auth: UserAuth =
    identity === undefined
      ? { method: "none", user }
      : { method: "ssh-key", user, publicKey: identity.publicKey, sign: (fields) => identity.sign(fields) };
  return attested.authenticate(auth);
}
