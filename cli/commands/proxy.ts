// `sealtty proxy`: standard input and output become a connection to somewhere in the guest, for ssh's ProxyCommand.

import { SealttyError } from "../../protocol/errors.ts";
import { isServiceName, placeWords, type StreamPlace } from "../../protocol/forward/target.ts";
import type { RemoteStream } from "../api/types.ts";
import { peerPlace } from "../forward/specs.ts";
import { handHostKeys } from "../host-keys-handed.ts";
import { hostKeysOf } from "../../protocol/attestation/ssh-host-keys.ts";
import { EXIT_OUTPUT_CLOSED, exitFields, signalStatus } from "../exit-status.ts";
import { obfuscationOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, usage } from "../options.ts";
import { OutputClosed, pour } from "../output.ts";
import { escapeBytes } from "../printable.ts";
import { enter, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { feed } from "../standard-input.ts";

export const proxyCommand: Command = {
  name: "proxy",
  summary: "standard input and output lead to a port or socket in the guest",
  operands: "GUEST [HOST:PORT|unix:PATH|ssh]",
  brief: "GUEST [HOST:PORT]",
  options: [...KEYED_OPTIONS, OBFUSCATE_OPTION],
  notes: [
    "For ssh -o ProxyCommand='sealtty proxy GUEST …'; sealtty config-ssh writes that down for you.",
    "Without a place, or with ssh: the service ssh of the guest's configuration, or else its port 22. Names are looked up in the guest.",
    "A key is needed, and [forward] allow = true in the guest.",
    "Exit status: 0 where both sides ended in order, 255 for sealtty's errors and for a connection that broke.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const { guestName, place } = operandsOf(input);
    const reporter = new Reporter(services, input);
    const reached = await reach(guestName, input, services, reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    let takeBack = (): void => {};
    try {
      // Before the service's first word: then ssh asks for the host key.
      takeBack = await handHostKeys(hostKeysOf(reached.attested), reached.believed, services);
      const guest = await enter(reached);
      const said = new WordsOf(reporter);
      const to = place.kind === "service" ? { service: place.name } : place;
      const stream = await guest
        .openStream(to, { onStderr: (bytes) => said.take(bytes) })
        .catch((error: unknown) => {
          if (!(error instanceof SealttyError)) throw error;
          const service =
            place.kind === "service" && error.code === "program-failed"
              ? ` (${place.name} is what [forward] ${place.name} = […] in sealttyd.toml runs, or else port 22 of the guest)`
              : "";
          throw new SealttyError(error.code, `${placeWords(place)}: ${error.message}${service}`, {
            cause: error,
          });
        });
      reporter.event("connected", { to: placeWords(place) });
      return await runProxy(stream, said, services, reporter);
    } finally {
      takeBack();
      await reached.end();
    }
  },
};

function operandsOf(input: Input): { guestName: string; place: StreamPlace } {
  const [guestName, where, ...extra] = input.operands;
  if (guestName === undefined || guestName === "") throw usage(proxyCommand, "GUEST is missing");
  if (extra.length > 0 || input.rest !== undefined) throw usage(proxyCommand, "too much behind the place");
  return { guestName, place: placeOf(where ?? "ssh") };
}

function placeOf(text: string): StreamPlace {
  const place =
    peerPlace(text) ?? (isServiceName(text) ? ({ kind: "service", name: text } as const) : undefined);
  if (place !== undefined) return place;
  throw usage(
    proxyCommand,
    `${JSON.stringify(text)} is neither HOST:PORT nor unix:PATH (or a path from the root) nor ssh`,
  );
}

async function runProxy(
  stream: RemoteStream,
  said: WordsOf,
  services: Services,
  reporter: Reporter,
): Promise<number> {
  const offs: (() => void)[] = [];
  // ssh ends its proxy by SIGHUP: the guest must hear of it, or the other end would wait for half an hour.
  const interrupted = new Promise<number>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      offs.push(
        services.onSignal(signal, () => {
          stream.destroy();
          resolve(signalStatus(signal));
        }),
      );
    }
  });
  const exited = stream.exit.then((exit) => {
    reporter.event("exit", exitFields(exit));
    said.end();
  });
  exited.catch(() => undefined); // the stream's own error tells
  const closed = new Promise<void>((resolve, reject) => {
    stream.once("close", () => (stream.errored === null ? resolve() : reject(stream.errored)));
  });
  closed.catch(() => undefined); // told below
  const finished = pour(stream, services.stdout, () => undefined).then(
    async () => {
      await exited;
      await closed; // its output ended: whether in order, is known now
      return 0;
    },
    (error: unknown) => {
      stream.destroy();
      if (!(error instanceof OutputClosed)) throw error;
      return EXIT_OUTPUT_CLOSED;
    },
  );
  offs.push(feed(stream, services, (error) => stream.destroy(error)));
  try {
    return await Promise.race([finished, interrupted]);
  } finally {
    for (const off of offs) off();
  }
}

/** Of a program that has nothing to say, at most. */
const MAX_SAID = 4096;

/** Says what comes, line by line. */
class WordsOf {
  readonly #reporter: Reporter;
  #text = "";
  #left = MAX_SAID;

  constructor(reporter: Reporter) {
    this.#reporter = reporter;
  }

  take(bytes: Uint8Array): void {
    const taken = Buffer.from(bytes.subarray(0, this.#left));
    this.#left -= taken.length;
    const lines = (this.#text + taken.toString("latin1")).split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) sayOfGuest(line, this.#reporter);
  }

  end(): void {
    sayOfGuest(this.#text, this.#reporter);
    this.#text = "";
  }
}

function sayOfGuest(line: string, reporter: Reporter): void {
  if (line.trim() !== "")
    reporter.say(`sealtty: the guest's program says: ${escapeBytes(Buffer.from(line, "latin1"))}`);
}
