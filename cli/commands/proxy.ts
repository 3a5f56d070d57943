// `sealtty proxy`: standard input and output become a connection to somewhere in the guest, for ssh's ProxyCommand.

import { SealttyError } from "../../protocol/errors.ts";
import { isServiceName, placeWords, type StreamPlace } from "../../protocol/forward/target.ts";
import type { Channel, ReceiveStream } from "../../protocol/session/channel-api.ts";
import { discard } from "../forward/carry.ts";
import { peerPlace } from "../forward/specs.ts";
import { handHostKeys } from "../host-keys-handed.ts";
import { hostKeysOf } from "../../protocol/attestation/ssh-host-keys.ts";
import { EXIT_OUTPUT_CLOSED, exitFields, signalStatus } from "../exit-status.ts";
import { obfuscationOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, usage } from "../options.ts";
import { OutputClosed, pump } from "../output.ts";
import { escapeBytes } from "../printable.ts";
import { authenticate, reach } from "../reach.ts";
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
      const guest = await authenticate(reached);
      const channel = await guest.openChannel({ kind: "stream", target: place }).catch((error: unknown) => {
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
      return await runProxy(channel, place, services, reporter, reached.watch.frozen);
    } finally {
      takeBack();
      reached.explain.end();
      await reached.attested.close().catch(() => undefined);
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
  throw usage(proxyCommand, `${JSON.stringify(text)} is neither HOST:PORT nor unix:PATH nor ssh`);
}

async function runProxy(
  channel: Channel,
  place: StreamPlace,
  services: Services,
  reporter: Reporter,
  frozen: Promise<SealttyError>,
): Promise<number> {
  const offs: (() => void)[] = [];
  // ssh ends its proxy by SIGHUP: the guest must hear of it, or the other end would wait for half an hour.
  const interrupted = new Promise<number>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      offs.push(
        services.onSignal(signal, () => {
          channel.hangUp();
          resolve(signalStatus(signal));
        }),
      );
    }
  });
  const changed = frozen.then((error): never => {
    channel.hangUp();
    throw error;
  });
  // Of a service: what its program says where it does not come about. Of anything else there is none.
  const said = place.kind === "service" ? wordsOf(channel.stderr, reporter) : discard(channel.stderr);
  const finished = Promise.all([channel.exit, pump(channel.stdout, services.stdout)]).then(
    async ([exit]) => {
      reporter.event("exit", exitFields(exit));
      await said;
      if (place.kind === "service" && exit.kind === "exited" && isNotStarted(exit.status)) {
        throw new SealttyError(
          "program-failed",
          `the guest could not run its program for ${place.name}; see [forward] ${place.name} in its sealttyd.toml (sealttyd --check, in the guest)`,
        );
      }
      if (place.kind === "service" || (exit.kind === "exited" && exit.status === 0)) return 0;
      throw new SealttyError("program-failed", `the guest's connection to ${placeWords(place)} broke`);
    },
    (error: unknown) => {
      if (!(error instanceof OutputClosed)) throw error;
      channel.hangUp();
      return EXIT_OUTPUT_CLOSED;
    },
  );
  offs.push(feed(channel, services));
  try {
    return await Promise.race([finished, interrupted, changed]);
  } finally {
    for (const off of offs) off();
  }
}

/** As shells have it: the program is not there, or cannot be run. */
const isNotStarted = (status: number): boolean => status === 126 || status === 127;

/** Of a program that has nothing to say, at most. */
const MAX_SAID = 4096;

/** Says what comes, line by line. Never rejects. */
async function wordsOf(stream: ReceiveStream, reporter: Reporter): Promise<void> {
  let text = "";
  const bytes = { left: MAX_SAID };
  try {
    for (let chunk = await stream.read(); chunk !== undefined; chunk = await stream.read()) {
      stream.consumed(chunk.length);
      text += Buffer.from(chunk.subarray(0, bytes.left)).toString("latin1");
      bytes.left -= Math.min(bytes.left, chunk.length);
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) sayOfGuest(line, reporter);
    }
  } catch {
    // the connection's own end says why
  }
  sayOfGuest(text, reporter);
}

function sayOfGuest(line: string, reporter: Reporter): void {
  if (line.trim() !== "")
    reporter.say(`sealtty: the guest's program says: ${escapeBytes(Buffer.from(line, "latin1"))}`);
}
