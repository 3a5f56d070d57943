// `sealtty master`: keeps one connection to a guest, for `sealtty exec --master`.

import { SealttyError } from "../../protocol/errors.ts";
import { MasterLink } from "../master/master-link.ts";
import { IDLE_OPTION, keepersOf, masterPlace } from "../master/place.ts";
import { MasterServer, noSocket } from "../master/serve-master.ts";
import { obfuscationOf, secondsOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { jsonLine } from "../printable.ts";
import { enter, reach } from "../reach.ts";
import { print, Reporter, type Talk } from "../report.ts";
import type { Services } from "../services.ts";

const DEFAULT_IDLE_MS = 600_000;

export const masterCommand: Command = {
  name: "master",
  summary: "keep a connection to a guest, for exec --master",
  operands: "GUEST [--check | --stop]",
  brief: "GUEST",
  options: [
    ...KEYED_OPTIONS,
    OBFUSCATE_OPTION,
    IDLE_OPTION,
    { name: "check", help: "say whether one is kept, and how many programs run over it" },
    { name: "stop", help: "end it; what runs over it is hung up" },
    { name: "all", help: "with --check or --stop: each to this address, whatever its policy, user and key" },
  ],
  notes: [
    "exec --master starts it by itself, in the background. It serves you alone, and only commands with the same address, policy",
    "(by its content), user, key and connection options: anything else gets a connection, and an appraisal, of its own.",
    "Where a host's pipe has one place, the kept connection holds it: other commands wait until it was idle, or is stopped.",
    "It has no terminal to ask for a passphrase: load a key that has one into ssh-agent.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const guest = onlyGuest(masterCommand, input);
    if (input.has("check") && input.has("stop"))
      throw usage(masterCommand, "--check and --stop exclude each other");
    if (input.has("check") || input.has("stop")) return ask(guest, input, services);
    if (input.has("all")) throw usage(masterCommand, "--all goes with --check or --stop");
    return keep(guest, input, services);
  },
};

async function ask(guest: string, input: Input, services: Services): Promise<number> {
  const reporter = new Reporter(services, input);
  const all = input.has("all");
  const sockets = all
    ? await keepersOf(guest, services.environment)
    : [masterPlace(guest, input, false, services).socket];
  const links = await Promise.allSettled(
    sockets.map((socket) => MasterLink.reach(socket, reporter, services.clock)),
  );
  const found = links.flatMap((link) =>
    link.status === "fulfilled" && link.value !== undefined ? [link.value] : [],
  );
  const refused = links.find((link) => link.status === "rejected");
  if (found.length === 0 && refused === undefined) {
    const others = all ? 0 : (await keepersOf(guest, services.environment)).length;
    const next =
      others > 0
        ? `${others} with others ${others === 1 ? "does" : "do"}: add --all`
        : "exec --master, or sealtty master, starts it";
    throw new SealttyError(
      "transport-lost",
      `nobody keeps a connection to ${guest}${all ? "" : " with these options"}; ${next}`,
    );
  }
  const stop = input.has("stop");
  for (const link of found) {
    const status = await link.ask(stop ? "stop" : "check");
    const { pid, running, idleSeconds, lostSeconds } = status;
    const lost = lostSeconds === undefined ? "" : `, the guest has not answered for ${lostSeconds} s`;
    const words = stop
      ? `ended process ${pid}${running === 0 ? "" : `; ${running} that ran over it ${running === 1 ? "was" : "were"} hung up`}`
      : `process ${pid}, ${running} running, ${running === 0 ? `idle for ${idleSeconds} s` : "busy"}${lost}`;
    await print(
      services.stdout,
      reporter.json ? `${jsonLine({ event: "master", ...status })}\n` : `${words}\n`,
    );
  }
  if (refused !== undefined) throw refused.reason; // the others were asked all the same
  return 0;
}

async function keep(guestName: string, input: Input, services: Services): Promise<number> {
  const own = new Reporter(services, input);
  const server = new MasterServer(services, secondsOf(input, "idle") ?? DEFAULT_IDLE_MS);
  const { socket } = masterPlace(guestName, input, false, services);
  const listening = await server.listen(socket).catch((cause: unknown) => {
    throw noSocket(cause);
  });
  if (!listening) {
    own.say("sealtty: a connection like this one is kept already");
    return 0;
  }
  own.event("listens", {});
  const both = talkOf(own, server);
  const ended = new Promise<"signal">((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      services.onSignal(name, () => resolve("signal"));
  });
  try {
    const reached = await Promise.race([
      reach(guestName, input, services, own, {
        key: true,
        shaping: obfuscationOf(input, "off"),
        talk: both,
        keeper: socket,
      }),
      ended,
      server.done,
    ]);
    if (typeof reached === "string") return 0;
    try {
      const guest = await enter(reached);
      const { name: policy } = reached.policy;
      own.say(`sealtty: keeping a connection to ${guestName}; exec --master and sealtty-exec take it`);
      server.keep({ guest, policy, askedForEvidence: () => reached.watch.sayNext() });
      const why = await Promise.race([
        server.done,
        ended,
        new Promise<SealttyError>((resolve) => void reached.change.watch(resolve)),
        guest.closed.then(
          (reason) => new SealttyError("transport-lost", `The connection is over: ${reason}`),
        ),
      ]);
      if (typeof why !== "string") throw why;
      own.say(`sealtty: ended (${why})`);
      return 0;
    } finally {
      await reached.end();
    }
  } catch (error) {
    await server.fail(error);
    throw error;
  } finally {
    await server.close();
  }
}

/** To whoever started this, and to all who use it. */
function talkOf(own: Talk, others: MasterServer): Talk {
  return {
    say: (text) => [own, others].forEach((each) => each.say(text)),
    warn: (text) => [own, others].forEach((each) => each.warn(text)),
    detail: (text) => [own, others].forEach((each) => each.detail(text)),
    event(text, fields) {
      if (text === "state" && fields["phase"] === "reconnecting") others.connectionIs("lost");
      if (text === "state" && fields["phase"] === "attested") others.connectionIs("there");
      for (const each of [own, others]) each.event(text, fields);
    },
  };
}
