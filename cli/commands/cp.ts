// `sealtty cp`: files and trees between this machine and a guest, or between two guests.

import { SealttyError } from "../../protocol/errors.ts";
import { MAX_FILES_ROOTS } from "../../protocol/limits.ts";
import { Copying, type CopySource, type CopyTarget } from "../api/files/copying.ts";
import type { OpenGuest } from "../api/open-guest.ts";
import type { CopyOptions, CopyResult } from "../api/types.ts";
import { EXIT_OUTPUT_CLOSED, signalStatus } from "../exit-status.ts";
import { requireAsGiven } from "../command-line-text.ts";
import { CopyReport } from "../files/copy-report.ts";
import { type GuestPath, type Operand, parseOperand } from "../files/operands.ts";
import { obfuscationOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, usage } from "../options.ts";
import { OutputClosed } from "../output.ts";
import { enter, type Reached, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const EXIT_SOME_FAILED = 1;

export const cpCommand: Command = {
  name: "cp",
  summary: "copy files and trees, to a guest, from it, or from one to another",
  operands: "SOURCE… TARGET",
  options: [
    ...KEYED_OPTIONS,
    OBFUSCATE_OPTION,
    { name: "guest", value: "ADDRESS", help: "the guest of every operand that begins with a colon" },
    {
      name: "target-policy",
      value: "FILE",
      help: "from guest to guest: the policy of the target's, where it is not that of --policy",
    },
    { name: "recursive", short: "r", help: "directories, too, with all that is in them" },
    { name: "preserve", short: "p", help: "permissions and times as they are at the source" },
    { name: "follow", short: "L", help: "copy what symbolic links lead to, wherever they are" },
    {
      name: "no-follow",
      short: "P",
      help: "copy symbolic links as links; default: only those named as SOURCE are followed (a port is part of the address)",
    },
    {
      name: "resume",
      help: "go on with what an earlier copy did not finish, and skip files that are there already",
    },
  ],
  notes: [
    "SOURCE and TARGET are paths of this machine, - (standard input or output), or a guest's:",
    "  NAME:PATH, [ADDRESS]:PATH (quoted, for zsh), or :PATH with --guest ADDRESS; a user goes before: USER@NAME:PATH.",
    "PATH is relative to the user's home, and begins there with ~/ as well. Patterns are not expanded in a guest.",
    "A key is needed. Several sources go into a directory that is there. Files appear under their names once whole.",
    "Exit status: 0 all is copied, 1 something is not (each said on standard error), 128+n where signal n ended it, 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const plan = planOf(input);
    const reporter = new Reporter(services, input);
    return await new CopyCommand(plan, input, services, reporter).run();
  },
};

interface Plan {
  readonly sources: readonly Operand[];
  readonly target: Operand;
  readonly from: GuestPath | undefined; // the sources' guest
  readonly to: GuestPath | undefined;
  readonly options: CopyOptions;
}

/** @throws SealttyError `bad-config`: nothing was asked of anybody by then. */
function planOf(input: Input): Plan {
  if (input.rest !== undefined && input.operands.length > 0)
    throw usage(cpCommand, "operands stand on both sides of --");
  const texts = input.rest ?? input.operands;
  const last = texts.at(-1);
  if (last === undefined || texts.length < 2)
    throw usage(cpCommand, "at least one SOURCE and a TARGET are needed");
  requireAsGiven(texts, "copy the directory that it is in, with -r");
  const named = input.text("guest");
  const sources = texts.slice(0, -1).map((text) => parseOperand(text, named));
  const target = parseOperand(last, named);
  const guests = sources.filter((source) => source.kind === "guest");
  const [from] = guests;
  const to = target.kind === "guest" ? target : undefined;
  if (from === undefined && to === undefined)
    throw usage(cpCommand, "neither side is a guest's: a guest's path is NAME:PATH or [ADDRESS]:PATH");
  if (from !== undefined && guests.length < sources.length)
    throw usage(cpCommand, "some sources are a guest's and some are not: copy them one after the other");
  if (from !== undefined && guests.some((each) => !isSame(each, from)))
    throw usage(cpCommand, "the sources are of several guests: copy them one after the other");
  if (sources.length > MAX_FILES_ROOTS)
    throw usage(cpCommand, `at most ${MAX_FILES_ROOTS} sources: name the directory that they are in`);
  if (sources.some(({ kind }) => kind === "stdio") && sources.length > 1)
    throw usage(cpCommand, "- is standard input, and goes with no other source");
  const recursive = input.has("recursive");
  if (target.kind === "stdio" && (sources.length > 1 || recursive))
    throw usage(cpCommand, "- is standard output, and takes one file");
  if (input.has("follow") && input.has("no-follow")) throw usage(cpCommand, "-L and -P exclude each other");
  const intoDirectory = sources.length > 1 || (target.kind !== "stdio" && target.path.endsWith("/"));
  const follow = input.has("follow") ? "always" : input.has("no-follow") ? "never" : "named";
  if (target.kind === "stdio" && follow === "never") throw usage(cpCommand, "- takes no link: leave -P out");
  if (from !== undefined && to !== undefined && isSame(from, to)) refuseIntoItself(sources, to);
  return {
    sources,
    target,
    from,
    to,
    options: {
      recursive,
      preserve: input.has("preserve"),
      follow,
      resume: input.has("resume"),
      intoDirectory,
    },
  };
}

function isSame(a: GuestPath, b: GuestPath): boolean {
  return a.guest === b.guest && a.user === b.user;
}

/** As far as names tell: links in the guest are not looked at. */
function refuseIntoItself(sources: readonly Operand[], to: GuestPath): void {
  const below = (path: string): string => `${path.replace(/\/+$/, "")}/`;
  if (sources.some((source) => source.kind === "guest" && below(to.path).startsWith(below(source.path))))
    throw usage(cpCommand, "the target lies within a source, or is it");
}

class CopyCommand {
  readonly #plan: Plan;
  readonly #input: Input;
  readonly #services: Services;
  readonly #reporter: Reporter;
  readonly #report: CopyReport;
  readonly #reached: Reached[] = [];
  readonly #offs: (() => void)[] = [];

  constructor(plan: Plan, input: Input, services: Services, reporter: Reporter) {
    this.#plan = plan;
    this.#input = input;
    this.#services = services;
    this.#reporter = reporter;
    this.#report = new CopyReport(services, reporter);
  }

  async run(): Promise<number> {
    let result: CopyResult | undefined;
    const ending = new AbortController();
    try {
      const interrupted = this.#interrupted();
      const { source, target } = this.#ends();
      const copying = new Copying(source, target, {
        ...this.#plan.options,
        ...this.#report.options,
        signal: ending.signal,
      });
      this.#offs.push(
        this.#services.onExit(() => copying.abort()),
        () => copying.abort(),
      );
      if (!copying.check()) return EXIT_SOME_FAILED; // what is wrong here is said before a guest is bothered
      const copied = this.#copy(copying);
      copied.catch(() => undefined); // an interruption may come first
      const outcome = await Promise.race([copied, interrupted]);
      if (typeof outcome === "number") return outcome;
      if (!outcome.gaveUp) result = outcome;
      for (const { attested } of this.#reached) {
        if (this.#reporter.verbosity > 0) this.#reporter.warnings(attested.verified.claims);
      }
      return outcome.gaveUp || outcome.failed > 0 ? EXIT_SOME_FAILED : 0;
    } catch (error) {
      if (error instanceof SealttyError && error.cause instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
      throw error;
    } finally {
      this.#report.end(result);
      ending.abort();
      for (const off of this.#offs) off();
      for (const reached of this.#reached) await reached.end();
    }
  }

  #ends(): { source: CopySource; target: CopyTarget } {
    const { sources, target } = this.#plan;
    const { stdin, stdout } = this.#services;
    const paths = sources.flatMap((source) => (source.kind === "stdio" ? [] : [source.path]));
    const [first] = sources;
    return {
      source:
        first === undefined || first.kind === "stdio"
          ? { kind: "stream", stream: stdin, called: "the standard input" }
          : { kind: first.kind === "guest" ? "guest" : "here", paths },
      target:
        target.kind === "stdio"
          ? { kind: "stream", stream: stdout }
          : { kind: target.kind === "guest" ? "guest" : "here", path: target.path },
    };
  }

  async #copy(copying: Copying): Promise<CopyResult> {
    const { from, to } = this.#plan;
    const source = from === undefined ? undefined : await this.#guest(from, undefined);
    if (to === undefined) return await copying.run({ from: source });
    const same = from !== undefined && isSame(from, to);
    const target = same ? source : await this.#guest(to, this.#input.text("target-policy"));
    return await copying.run({ from: source, to: target });
  }

  /** Attested, and the user in. @param policy - in place of --policy. */
  async #guest({ guest, user }: GuestPath, policy: string | undefined): Promise<OpenGuest> {
    const own: Readonly<Record<string, string | undefined>> = { login: user, policy };
    const input: Input = { ...this.#input, text: (name) => own[name] ?? this.#input.text(name) };
    const reached = await reach(guest, input, this.#services, this.#reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    this.#reached.push(reached);
    return await enter(reached);
  }

  #interrupted(): Promise<number> {
    return new Promise((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        this.#offs.push(this.#services.onSignal(signal, () => resolve(signalStatus(signal))));
    });
  }
}
