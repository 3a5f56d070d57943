// `sealtty demo` (`npm start`): a guest with simulated evidence, a host that looks at everything, and the page. Proves nothing.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { SealttyError } from "../../protocol/errors.ts";
import { parseAddress } from "../address.ts";
import { DemoChildren } from "../demo-children.ts";
import { DEFAULT_PAGE_PORT, type HostViewFrame } from "../local-page-server.ts";
import { COMMON_OPTIONS, type Command, usage } from "../options.ts";
import { readPageFiles } from "../page-files.ts";
import { jsonLine } from "../printable.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { newSshKey } from "../ssh-key-file.ts";
import { announce, ended, portOf, startSomewhere, warnOfSimulated } from "./open.ts";

const INSTANCE = "demo";
const START_MS = 15_000;
/** Shown to a page that opens its drawer late. */
const FRAMES_KEPT = 200;
const MAX_TAP_LINE = 64 * 1024;

export const demoCommand: Command = {
  name: "demo",
  hidden: true,
  summary: "a guest, a nosy host and the page on this machine, with simulated evidence",
  operands: "",
  options: [
    ...COMMON_OPTIONS.filter(({ name }) => name === "json" || name === "verbose" || name === "quiet"),
    {
      name: "port",
      value: "PORT",
      help: `port of the page on localhost; default ${DEFAULT_PAGE_PORT}, 0 for any`,
    },
    { name: "no-open", help: "print the link, start no browser" },
  ],
  exits: "ssh-like",
  async run(input, services) {
    if (input.operands.length > 0 || input.rest !== undefined)
      throw usage(demoCommand, "demo takes no operands");
    const reporter = new Reporter(services, input);
    const files = await readPageFiles(path.join(services.programDirectory, "..", "page"));
    const asked = ended(services); // before there is anything to leave behind
    const directory = await mkdtemp(path.join(tmpdir(), "sealtty-demo-"));
    const children = new DemoChildren();
    try {
      const made = await writeFiles(directory, services);
      const program = (name: string): string => path.join(services.programDirectory, `${name}.js`);
      children.start("sealttyd", program("sealttyd"), ["--config", made.config]).output.resume();
      const relay = children.start(
        "sealtty-relay",
        program("sealtty-relay"),
        ["--listen", "127.0.0.1:0", "--guest", `demo=unix:${made.socket}`, "--tap-fd", "3"],
        true,
      );
      children.watch(directory);
      const hostView = readTap(relay.tap);
      const started = await Promise.race([relayAddress(relay.output), children.failed, asked]);
      if (!started.startsWith("ws:")) return 0; // ^C already
      const address = parseAddress(started);
      const opens = !input.has("no-open");
      const server = await startSomewhere(
        {
          port: portOf(input) ?? DEFAULT_PAGE_PORT,
          files,
          guest: {
            address: address.text,
            directUrl: started,
            policyText: made.policyText,
            simulated: true,
            user: services.localUser,
            identity: INSTANCE,
            encoding: "auto",
            obfuscate: "off", // so that the host's view shows what a keystroke looks like
          },
          identity: await services.loadIdentity(made.key),
          dial: () => services.dial(address),
          hostView,
          onFreshAsked: (url) => void announce(url, opens, services, reporter),
        },
        portOf(input) === undefined,
        reporter,
      );
      try {
        warnOfSimulated(
          "SIMULATED EVIDENCE: this demonstration shows how it works and proves nothing.",
          reporter,
        );
        await announce(server.url, opens, services, reporter);
        const options = `--simulated --policy ${quoted(made.policy)}`;
        const bin = `node ${quoted(program("sealtty"))}`;
        const lines = [
          `Guest: ${started}`,
          "In another terminal:",
          `  ${bin} connect ${started} ${options} -i ${quoted(made.key)}`,
          `  ${bin} exec ${started} ${options} -i ${quoted(made.key)} -- uname -a`,
          `  ${bin} inspect ${started} ${options}`,
          "Ctrl-C ends everything.",
        ];
        if (reporter.json) {
          const fields = {
            guest: started,
            policy: made.policy,
            identity: made.key,
            user: services.localUser,
          };
          await print(services.stdout, `${jsonLine({ event: "demo", ...fields })}\n`);
        } else await print(services.stdout, `${lines.join("\n")}\n`);
        await Promise.race([asked, children.failed]);
        return 0;
      } finally {
        await server.close();
      }
    } finally {
      await children.end();
      await rm(directory, { recursive: true, force: true });
    }
  },
};

async function writeFiles(directory: string, services: Services) {
  const at = (name: string): string => path.join(directory, name);
  const shell = services.environment["SHELL"] ?? "";
  const key = newSshKey(services.suite, "sealtty-demo");
  const policyText = `version = 1\nname = "${INSTANCE}"\nminimumAssurance = "simulated"\n\n[simulated]\ninstance = "${INSTANCE}"\n`;
  const made = {
    config: at("sealttyd.toml"),
    socket: at("console.sock"),
    policy: at("policy.toml"),
    key: at("id_ed25519"),
    policyText,
  };
  const config = [
    "[pipe]",
    'type = "unix"',
    `path = ${JSON.stringify(made.socket)}`,
    "[evidence]",
    'type = "simulated"',
    `instance = "${INSTANCE}"`,
    "i_know_this_proves_nothing = true",
    "[users]",
    `authorized_keys = ${JSON.stringify(at("authorized_keys"))}`,
    'names = ["*"]', // the key is this user's own, too
    `shell = [${JSON.stringify(shell.startsWith("/") ? shell : "/bin/bash")}]`,
    "[forward]",
    "allow = true",
    "[daemon]",
    'user = "root"', // all of it is this user's own, on this machine
    "",
  ];
  await chmod(directory, 0o700);
  await writeFile(made.config, config.join("\n"), { mode: 0o600 });
  await writeFile(made.policy, policyText, { mode: 0o600 });
  await writeFile(made.key, key.privateFile, { mode: 0o600 });
  await writeFile(at("authorized_keys"), key.publicLine, { mode: 0o600 });
  return made;
}

/** The relay's first line names its address. */
async function relayAddress(output: Readable): Promise<string> {
  const timer = setTimeout(() => output.destroy(), START_MS);
  try {
    for await (const line of createInterface({ input: output })) {
      const address = /^listening (ws:\/\/127\.0\.0\.1:[0-9]+\/demo)$/.exec(line)?.[1];
      if (address !== undefined) return address;
    }
  } finally {
    clearTimeout(timer);
    output.resume();
  }
  throw new SealttyError("timeout", "The relay did not start in time.");
}

/** What the host saw: the last frames at once, then each as it comes. */
function readTap(tap: Readable): (listener: (frame: HostViewFrame) => void) => () => void {
  const listeners = new Set<(frame: HostViewFrame) => void>();
  const kept: HostViewFrame[] = [];
  const lines = createInterface({ input: tap });
  lines.on("error", () => undefined);
  lines.on("line", (line) => {
    const frame = parseTapLine(line);
    if (frame === undefined) return;
    kept.push(frame);
    if (kept.length > FRAMES_KEPT) kept.shift();
    for (const listener of listeners) listener(frame);
  });
  return (listener) => {
    for (const frame of kept) listener(frame);
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
}

function parseTapLine(line: string): HostViewFrame | undefined {
  if (line.length > MAX_TAP_LINE) return undefined;
  try {
    const { direction, bytes, at } = JSON.parse(line) as Record<string, unknown>;
    if (direction !== "to-guest" && direction !== "to-client") return undefined;
    if (typeof bytes !== "string" || typeof at !== "number") return undefined;
    return { direction, bytes: new Uint8Array(Buffer.from(bytes, "base64")), at };
  } catch {
    return undefined;
  }
}

function quoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
