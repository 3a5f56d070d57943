// `import { connect } from "sealtty"`. docs/api.md

import { SealttyError } from "../../protocol/errors.ts";
import type { AttestationEvent, ConnectionState } from "../../protocol/session/api.ts";
import { changedError } from "../attestation-watch.ts";
import { guestOptions, logIn, readPolicyFile } from "../guest-options.ts";
import { machine } from "../machine.ts";
import { DEFAULT_TIMEOUT_MS } from "../option-values.ts";
import type { Machine } from "../services.ts";
import { type Owner, remoteProcess, remoteTerminal } from "./remote-program.ts";
import type { ConnectOptions, ExecOptions, Guest, ShellOptions } from "./types.ts";

export { SealttyError } from "../../protocol/errors.ts";
export type * from "./types.ts";

/**
 * Reaches a guest, appraises its evidence against the policy, and logs the user in; before that nothing secret was sent.
 * @throws SealttyError with a `code`: `evidence-refused`, `user-refused`, `guest-silent`, `bad-policy`, …
 */
export function connect(options: ConnectOptions): Promise<Guest> {
  return connectFrom(machine, options);
}

/** @param from - the machine to reach it from: a test has another. */
export async function connectFrom(from: Machine, options: ConnectOptions): Promise<Guest> {
  const { guest: address, policy: named } = checkedOptions(options);
  const { policy } =
    typeof named === "string"
      ? await readPolicyFile(named, address, from)
      : { policy: from.parsePolicy(named.text) };
  const identity = await from.loadIdentity(options.identity, { silent: true });
  const change = new ChangeWatch();
  const settings = {
    guest: address,
    identity: policy.name,
    collateral: options.collateral,
    acceptSimulated: options.simulated ?? false,
    timeout: options.timeout ?? DEFAULT_TIMEOUT_MS,
    encoding: options.encoding ?? "auto",
  };
  const listeners = {
    onState: (state: ConnectionState) => options.onState?.(state),
    onAttestation: (event: AttestationEvent) => change.event(event),
  };
  const attested = await from.connect({
    ...(await guestOptions(settings, listeners, from)),
    policy,
    shaping: options.obfuscate ?? "off",
  });
  const close = (): Promise<void> => attested.close().catch(() => undefined);
  try {
    const guest = await logIn(attested, options.user ?? from.localUser, identity, () => {});
    // Nobody is here to say that a change is their own, as with `sealtty exec`.
    change.watch(() => void close());
    const owner: Owner = {
      clock: from.clock,
      onChanged: (fail) => change.watch(fail),
      explain: (error) => change.error ?? asError(error),
    };
    const explained = async <T>(opening: Promise<T>): Promise<T> => {
      let off = (): void => {};
      const changed = new Promise<never>((_, reject) => {
        off = change.watch(reject);
      });
      try {
        return await Promise.race([opening, changed]);
      } catch (error) {
        throw owner.explain(error);
      } finally {
        off();
      }
    };
    return {
      get claims() {
        return guest.verified.claims;
      },
      closed: guest.closed,
      async exec(command, own: ExecOptions = {}) {
        requireWords(command);
        own.signal?.throwIfAborted();
        const channel = await explained(guest.openChannel({ kind: "exec", command, ...placeOf(own) }));
        return remoteProcess(channel, own, owner);
      },
      async shell({ columns, rows, term = "xterm-256color", command = [], ...own }) {
        own.signal?.throwIfAborted();
        const request = { kind: "shell", command, term, columns, rows, ...placeOf(own) } as const;
        return remoteTerminal(await explained(guest.openChannel(request)), own, owner);
      },
      reattest: () => explained(guest.reattest()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const OPTIONS: Readonly<Record<keyof ConnectOptions, true>> = {
  guest: true,
  policy: true,
  user: true,
  identity: true,
  simulated: true,
  collateral: true,
  timeout: true,
  encoding: true,
  obfuscate: true,
  onState: true,
};

/** From JavaScript anything may come: a misspelt option that is left out in silence may be the one that mattered. */
function checkedOptions(options: ConnectOptions): ConnectOptions {
  for (const name of ["guest", "policy"] as const) {
    if (options[name] === undefined || options[name] === "")
      throw new SealttyError(
        "api-misuse",
        `connect() needs ${name}; it was ${JSON.stringify(options[name])}`,
      );
  }
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown !== undefined)
    throw new SealttyError(
      "api-misuse",
      `connect() has no option "${unknown}": ${Object.keys(OPTIONS).join(", ")}`,
    );
  return options;
}

function requireWords(command: unknown): void {
  if (Array.isArray(command) && command.length > 0 && command.every((word) => typeof word === "string"))
    return;
  throw new SealttyError(
    "api-misuse",
    'A command is a list of words, as in ["ls", "-l"]; for a line of a shell: ["sh", "-c", "ls -l | wc -l"]',
  );
}

function placeOf({ env = {}, cwd }: Pick<ExecOptions | ShellOptions, "env" | "cwd">) {
  return { environment: env, ...(cwd === undefined ? {} : { directory: cwd }) };
}

/** Tells everybody once that the guest is another one. A set, not a promise that all wait for: that would never forget them. */
class ChangeWatch {
  readonly #waiting = new Set<(error: SealttyError) => void>();
  #error: SealttyError | undefined;

  get error(): SealttyError | undefined {
    return this.#error;
  }

  /** @returns what takes it off again. */
  watch(fail: (error: SealttyError) => void): () => void {
    if (this.#error !== undefined) fail(this.#error);
    this.#waiting.add(fail);
    return () => this.#waiting.delete(fail);
  }

  event(event: AttestationEvent): void {
    if (event.kind !== "changed" || this.#error !== undefined) return;
    this.#error = changedError(event.reason, event.changes, event.refusal);
    for (const fail of this.#waiting) fail(this.#error);
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
