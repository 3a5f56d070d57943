// `sealtty forward`: ports and sockets of this machine into the guest, and the other way, until it is told to end.

import { SealttyError } from "../../protocol/errors.ts";
import { placeWords } from "../../protocol/forward/target.ts";
import { Forwarder } from "../api/forward/forwarder.ts";
import type { OpenGuest } from "../api/open-guest.ts";
import type { Forward, ForwardOptions } from "../api/types.ts";
import { FORWARD_OPTIONS, type ForwardSpec, forwardSpecs } from "../forward/specs.ts";
import { obfuscationOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { enter, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";

/** Between two attempts to come back, ms: doubled up to the second. */
const FIRST_PAUSE = 1000;
const MAX_PAUSE = 30_000;
/** Whoever connects while there is no connection waits so long for one. */
const WAIT_FOR_GUEST = 60_000;

/** Nothing that waiting mends: to go on would only hide it. */
const FINAL: ReadonlySet<string> = new Set([
  "api-misuse",
  "bad-policy",
  "bad-config",
  "peer-misbehaved",
  "evidence-refused",
  "user-refused",
  "version-unknown",
]);

export const forwardCommand: Command = {
  name: "forward",
  summary: "ports and sockets here lead into the guest, or its own here",
  operands: "GUEST -L … -R … -D …",
  options: [...KEYED_OPTIONS, OBFUSCATE_OPTION, ...FORWARD_OPTIONS],
  notes: [
    "Each may come several times. Without BIND only this machine itself (the guest itself) can connect; * is every address.",
    "An IPv6 address stands in brackets. In place of [BIND:]PORT and of HOST:PORT a socket's path may stand.",
    "Names behind -L and -D are looked up in the guest. Port 0 takes any that is free, and says which.",
    "A key is needed, and [forward] allow = true in the guest. A connection that is lost is made again by itself.",
    "Exit status: 0 when told to end (Ctrl-C), 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const guestName = onlyGuest(forwardCommand, input);
    if (input.rest !== undefined) throw usage(forwardCommand, "forward takes no command");
    const specs = forwardSpecs(input);
    if (specs.length === 0) throw usage(forwardCommand, "name at least one of -L, -R and -D");
    const reporter = new Reporter(services, input);
    const told = new Told(services);
    const holder = new GuestHolder(services);
    const forwarder = new Forwarder(() => holder.guest()); // what listens here outlives a connection
    const listenHere = once(async () => {
      for (const spec of specs) {
        if (spec.kind === "remote") continue;
        const to = spec.kind === "local" ? spec.to : undefined;
        tell(spec, await forwarder.local(spec.listen, to, failing(reporter)), reporter);
      }
    });
    const session = {
      specs,
      guestName,
      input,
      services,
      reporter,
      holder,
      forwarder,
      listenHere,
      told: told.ended,
    };
    try {
      await Promise.race([runConnection(session), told.ended]); // the first one: its errors are the command's
      let pause = FIRST_PAUSE;
      while (!told.isEnded) {
        reporter.say("sealtty: the connection is lost; making a new one");
        await told.within(pause);
        if (told.isEnded) break;
        try {
          await Promise.race([runConnection(session), told.ended]);
          pause = FIRST_PAUSE;
        } catch (error) {
          if (!(error instanceof SealttyError) || FINAL.has(error.code)) throw error;
          reporter.say(`sealtty: ${error.code}: ${error.message}`);
          pause = Math.min(2 * pause, MAX_PAUSE);
        }
      }
      return 0;
    } finally {
      told.stop();
      forwarder.end();
    }
  },
};

interface ForwardSession {
  readonly specs: readonly ForwardSpec[];
  readonly guestName: string;
  readonly input: Input;
  readonly services: Services;
  readonly reporter: Reporter;
  readonly holder: GuestHolder;
  readonly forwarder: Forwarder;
  listenHere(): Promise<void>;
  readonly told: Promise<void>;
}

/** From a connection's beginning to its end, or until told to end. @throws SealttyError where none came about. */
async function runConnection(session: ForwardSession): Promise<void> {
  const { input, services, reporter, holder, forwarder, told } = session;
  const reached = await reach(session.guestName, input, services, reporter, {
    key: true,
    shaping: obfuscationOf(input, "off"),
  });
  const there: Forward[] = [];
  try {
    const guest = await enter(reached);
    for (const spec of session.specs) {
      if (spec.kind !== "remote") continue;
      const listening = forwarder.remote(guest, spec.listen, spec.to, failing(reporter));
      const forward = await listening.catch((error: unknown) => {
        if (!(error instanceof SealttyError)) throw error;
        throw new SealttyError(error.code, `-R ${error.message}`, { cause: error });
      });
      there.push(forward);
      tell(spec, forward, reporter);
    }
    holder.hold(guest);
    await session.listenHere();
    const changed = new Promise<never>((_, reject) => void reached.change.watch(reject));
    await Promise.race([told, guest.closed, changed]);
  } finally {
    holder.hold(undefined);
    for (const forward of there) forward.close();
    await reached.end();
  }
}

/** Says where it listens. */
function tell(spec: ForwardSpec, { address }: Forward, reporter: Reporter): void {
  const to = spec.kind === "dynamic" || spec.to === undefined ? undefined : placeWords(spec.to);
  const at = placeWords("path" in address ? { kind: "unix", ...address } : { kind: "tcp", ...address });
  reporter.event("listening", { kind: spec.kind, at, to });
  const there = to ?? "wherever its clients ask for (SOCKS)";
  reporter.say(
    spec.kind === "remote"
      ? `sealtty: the guest listens on ${at}, and from here goes to ${there}`
      : `sealtty: listening here on ${at}, and from the guest going to ${there}`,
  );
}

function failing(reporter: Reporter): ForwardOptions {
  return {
    onFailed(error, to) {
      const ours = error instanceof SealttyError;
      const words = ours ? error.message : "whoever connected has gone";
      reporter.event("forward-failed", { code: ours ? error.code : "transport-lost", message: words, to });
      const where = to === undefined ? "" : ` to ${to}`;
      if (ours) reporter.say(`sealtty: one connection${where} came to nothing: ${words}`);
      else reporter.detail(`sealtty: ${words}`);
    },
  };
}

/** The guest of the connection that stands, for those who connect. */
class GuestHolder {
  readonly #services: Services;
  #guest: OpenGuest | undefined;
  #waiting: ((guest: OpenGuest) => void)[] = [];

  constructor(services: Services) {
    this.#services = services;
  }

  hold(guest: OpenGuest | undefined): void {
    this.#guest = guest;
    if (guest === undefined) return;
    for (const go of this.#waiting.splice(0)) go(guest);
  }

  /** @throws SealttyError `transport-lost` where there is none for a minute. */
  guest(): Promise<OpenGuest> {
    if (this.#guest !== undefined) return Promise.resolve(this.#guest);
    return new Promise((resolve, reject) => {
      const go = (guest: OpenGuest): void => {
        cancel();
        resolve(guest);
      };
      const cancel = this.#services.clock.after(WAIT_FOR_GUEST, () => {
        this.#waiting = this.#waiting.filter((other) => other !== go);
        reject(new SealttyError("transport-lost", "there is no connection to the guest"));
      });
      this.#waiting.push(go);
    });
  }
}

/** Whether the user told it to end. */
class Told {
  readonly ended: Promise<void>;
  readonly #services: Services;
  readonly #offs: (() => void)[];
  #isEnded = false;

  constructor(services: Services) {
    this.#services = services;
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const { promise, resolve } = deferred();
    this.ended = promise;
    this.#offs = signals.map((signal) =>
      services.onSignal(signal, () => {
        this.#isEnded = true;
        resolve();
      }),
    );
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Resolves after `pause` ms, or when it is told to end. */
  async within(pause: number): Promise<void> {
    const { promise, resolve } = deferred();
    const cancel = this.#services.clock.after(pause, resolve);
    await Promise.race([promise, this.ended]);
    cancel();
  }

  stop(): void {
    for (const off of this.#offs) off();
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((yes) => {
    resolve = yes;
  });
  return { promise, resolve };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= work());
}
