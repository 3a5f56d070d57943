// `sealtty open`: the page, served to this machine only, with the guest of the command line.

import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { type GuestAddress, parseAddress } from "../address.ts";
import { checkHostSettings } from "../dial.ts";
import { vncAccess } from "../hosts/vnc.ts";
import {
  DEFAULT_PAGE_PORT,
  type PageServer,
  type PageServerOptions,
  startPageServer,
} from "../local-page-server.ts";
import { COMMON_OPTIONS, type Command, type Input, OBFUSCATE_OPTION, onlyGuest, usage } from "../options.ts";
import { collateralAsText, ownerCollateral } from "../owner-collateral.ts";
import { readPageFiles } from "../page-files.ts";
import { jsonLine, printable } from "../printable.ts";
import { PageMemory } from "../page-memory.ts";
import { PagePort } from "../page-port.ts";
import { encodingOf, obfuscationOf } from "../option-values.ts";
import { readIdentity, readPolicy, sayingSkipped, userOf } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Identity, Services } from "../services.ts";

/** A second guest beside the first: tried in turn when the default port is taken. */
const PORTS_TRIED = 10;

export const openCommand: Command = {
  name: "open",
  summary: "serve the console page to this machine only, and open it in the browser",
  operands: "GUEST",
  options: [
    ...COMMON_OPTIONS.filter(({ name }) => name !== "timeout"),
    OBFUSCATE_OPTION,
    {
      name: "port",
      value: "PORT",
      help: `port on localhost; default: this guest's last, at first ${DEFAULT_PAGE_PORT}; 0 for any`,
    },
    {
      name: "localhost",
      help: "the link is http://localhost:PORT itself, for passkeys and keys of the browser; your other keys do not sign there",
    },
    { name: "no-open", help: "print the link, start no browser" },
  ],
  notes: [
    "The link's address is new each time, so that nothing can wait there that another program left: see docs/identity.md.",
    "The link works once. Ctrl-C ends the server; the page then cannot sign in or, through it, reach the guest.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    if (input.rest !== undefined) throw usage(openCommand, "open runs no command");
    const guest = onlyGuest(openCommand, input);
    const reporter = new Reporter(services, input);
    const address = parseAddress(guest);
    const { text, policy } = await readPolicy(input, input.alias ?? guest, services);
    await checkHostSettings(address, services.environment); // the page dials; by then nobody looks here
    const vncPassword =
      address.kind === "vnc" && (await vncAccess(services.environment, address.place)).password !== undefined;
    const user = userOf(input, services);
    const asked = portOf(input);
    const lastPort = new PagePort(address.text, services);
    const before = asked === undefined ? await lastPort.recall() : undefined;
    const { identity, others } = await keysFor(input, services);
    if (input.has("localhost") && identityNamed(input))
      reporter.warn(
        "sealtty: the page at localhost never signs with the key that you named: leave --localhost out for that",
      );
    const memory = await PageMemory.of(policy.name, address.text, services);
    const opens = !input.has("no-open");
    const options: PageServerOptions = {
      port: asked ?? before ?? DEFAULT_PAGE_PORT,
      files: await readPageFiles(path.join(services.programDirectory, "..", "page")),
      guest: {
        address: address.text,
        ...directOf(address, vncPassword),
        policyText: text,
        simulated: input.has("simulated"),
        user,
        identity: policy.name,
        encoding: encodingOf(input),
        obfuscate: obfuscationOf(input, "adaptive"),
        collateral: collateralAsText(await ownerCollateral(input, services)),
      },
      startAt: input.has("localhost") ? "kept" : "fresh",
      memory,
      identity,
      otherIdentities: others,
      dial: sayingFailures(
        () => services.dial(address),
        (line) => reporter.say(line),
      ),
      onFreshAsked: (url) =>
        void announce(url, opens, services, reporter).catch((error: unknown) => reporter.failure(error)),
      onStranger: () =>
        reporter.warn(
          "sealtty: somebody came with a link that is wrong or was used before; if that was not you, start anew",
        ),
    };
    if (input.has("simulated"))
      warnOfSimulated("SIMULATED EVIDENCE is accepted: it proves nothing about the machine", reporter);
    const server = await startSomewhere(options, asked === undefined, reporter);
    try {
      if (asked === undefined && before === undefined) await lastPort.remember(server.port);
      await announce(server.url, opens, services, reporter);
      await ended(services);
      return 0;
    } finally {
      await server.close();
      await memory.written;
    }
  },
};

/** On the command line itself, not in guests.toml. */
function identityNamed(input: Input): boolean {
  const said = input.said ?? input;
  return said.text("identity") !== undefined || said.text("certificate") !== undefined;
}

/** The key that the user named, with which the page signs in; and all others that it may offer. */
async function keysFor(
  input: Input,
  services: Services,
): Promise<{ readonly identity: Identity | undefined; readonly others: readonly Identity[] }> {
  const identity = await readIdentity(input, services, false);
  if (identity !== undefined) return { identity, others: identity.others ?? [] };
  try {
    // Nobody is asked for what may not be needed.
    const certificateSkipped = sayingSkipped(input, services);
    const first = await services.loadIdentity(undefined, { silent: true, certificateSkipped });
    return { identity, others: [first, ...(first.others ?? [])] };
  } catch (error) {
    if (error instanceof SealttyError && error.code === "bad-config") return { identity, others: [] };
    throw error;
  }
}

/** The page learns 120 characters of why a pipe did not open; here there is room for the whole, once for each reason. */
export function sayingFailures(dial: () => Promise<Pipe>, say: (line: string) => void): () => Promise<Pipe> {
  let said: string | undefined;
  return async () => {
    try {
      const pipe = await dial();
      said = undefined;
      return pipe;
    } catch (error) {
      const message = error instanceof SealttyError ? printable(error.message) : "the pipe failed";
      if (message !== said) say(`sealtty: ${message}`);
      said = message;
      throw error;
    }
  };
}

/** `ws:` the page opens by itself, even to QEMU; the rest goes through this program, and what has a password of the host's. */
export function directOf(
  address: GuestAddress,
  vncPassword: boolean,
): { readonly directUrl: string | undefined; readonly directVnc: boolean } {
  const vnc = address.kind === "vnc" && !vncPassword;
  const place = vnc ? address.place : address;
  const direct = place.kind === "web-socket" && new URL(place.url).protocol === "ws:";
  return direct ? { directUrl: place.url, directVnc: vnc } : { directUrl: undefined, directVnc: false };
}

/** @throws SealttyError `bad-config`. */
export function portOf(input: Input): number | undefined {
  const text = input.text("port");
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) > 65535) {
    throw new SealttyError("bad-config", "--port takes a number from 0 to 65535");
  }
  return Number(text);
}

/** @param anyNear - the port was not asked for by name: one beside it will do, and is said. */
export async function startSomewhere(
  options: PageServerOptions,
  anyNear: boolean,
  reporter: Reporter,
): Promise<PageServer> {
  for (let offset = 0; ; offset++) {
    try {
      const server = await startPageServer({
        ...options,
        port: options.port === 0 ? 0 : options.port + offset,
      });
      if (offset > 0) {
        reporter.say(
          options.startAt === "kept"
            ? `sealtty: port ${options.port} is taken; on port ${server.port} the browser has nothing of what it keeps for that one, its keys neither`
            : `sealtty: port ${options.port} is taken; the page is on port ${server.port}`,
        );
      }
      return server;
    } catch (error) {
      const taken =
        error instanceof SealttyError &&
        (error.cause as NodeJS.ErrnoException | undefined)?.code === "EADDRINUSE";
      if (!taken || !anyNear || offset + 1 >= PORTS_TRIED) throw error;
    }
  }
}

/** To whoever reads along, a script included: the page's own bar is seen by nobody else. */
export function warnOfSimulated(warning: string, reporter: Reporter): void {
  reporter.event("simulated", { warning });
  reporter.warn(`sealtty: ${warning}`);
}

export async function announce(
  url: string,
  openIt: boolean,
  services: Services,
  reporter: Reporter,
): Promise<void> {
  if (reporter.json) await print(services.stdout, `${jsonLine({ event: "open", url })}\n`);
  else await print(services.stdout, `Open: ${url}\n`);
  if (openIt && services.openBrowser(url)) reporter.say("sealtty: opening the browser");
}

/** Resolves with the signal that asks this program to end. */
export function ended(services: Services): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      services.onSignal(signal, () => resolve(signal));
  });
}
