// `sealtty cp`: files and trees between this machine and a guest, or between two guests.

import fs from "node:fs";
import { countFiles } from "../../node/files/count.ts";
import { FilesSink, type SinkCounts } from "../../node/files/sink.ts";
import { FilesSource, type SourceRoot } from "../../node/files/source.ts";
import { FileTrouble, troubleOf } from "../../node/files/trouble.ts";
import type { SendBytes } from "../../node/files/outbox.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { FilesMessage, LinkRule, StartFlags } from "../../protocol/files/messages.ts";
import { MAX_FILES_ROOTS } from "../../protocol/limits.ts";
import type { Guest } from "../../protocol/session/api.ts";
import { EXIT_OUTPUT_CLOSED, signalStatus } from "../exit-status.ts";
import { CopyReport } from "../files/copy-report.ts";
import { download, type LocalSink, relay, upload } from "../files/copy.ts";
import { FilesChannel } from "../files/files-channel.ts";
import { type GuestPath, type Operand, parseOperand, rootName } from "../files/operands.ts";
import { StdoutSink } from "../files/stdout-sink.ts";
import { obfuscationOf } from "../option-values.ts";
import { type Command, type Input, KEYED_OPTIONS, OBFUSCATE_OPTION, usage } from "../options.ts";
import { OutputClosed } from "../output.ts";
import { authenticate, type Reached, reach } from "../reach.ts";
import { Reporter } from "../report.ts";
import type { Services } from "../services.ts";

const EXIT_SOME_FAILED = 1;

type Start = FilesMessage & { readonly type: "start" };

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
      help: "copy symbolic links as links; default: only those named as SOURCE are followed",
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
    "Exit status: 0 all is copied, 1 something is not (each said on standard error), 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const plan = planOf(input);
    const reporter = new Reporter(services, input);
    return await new Copying(plan, input, services, reporter).run();
  },
};

interface Plan {
  readonly sources: readonly Operand[];
  readonly target: Operand;
  readonly from: GuestPath | undefined; // the sources' guest
  readonly to: GuestPath | undefined;
  readonly links: LinkRule;
  readonly flags: Omit<StartFlags, "count">;
}

/** @throws SealttyError `bad-config`: nothing was asked of anybody by then. */
function planOf(input: Input): Plan {
  if (input.rest !== undefined && input.operands.length > 0)
    throw usage(cpCommand, "operands stand on both sides of --");
  const texts = input.rest ?? input.operands;
  const last = texts.at(-1);
  if (last === undefined || texts.length < 2)
    throw usage(cpCommand, "at least one SOURCE and a TARGET are needed");
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
  const links = input.has("follow") ? "always" : input.has("no-follow") ? "never" : "named";
  if (target.kind === "stdio" && links === "never") throw usage(cpCommand, "- takes no link: leave -P out");
  if (from !== undefined && to !== undefined && isSame(from, to)) refuseIntoItself(sources, to);
  return {
    sources,
    target,
    from,
    to,
    links,
    flags: { recursive, preserve: input.has("preserve"), resume: input.has("resume"), intoDirectory },
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

class Copying {
  readonly #plan: Plan;
  readonly #input: Input;
  readonly #services: Services;
  readonly #reporter: Reporter;
  readonly #report: CopyReport;
  readonly #reached: Reached[] = [];
  readonly #links: FilesChannel[] = [];
  readonly #offs: (() => void)[] = [];
  #sink: LocalSink | undefined;
  #answer: SendBytes = () => Promise.resolve(); // the sink's, once there is a guest

  constructor(plan: Plan, input: Input, services: Services, reporter: Reporter) {
    this.#plan = plan;
    this.#input = input;
    this.#services = services;
    this.#reporter = reporter;
    this.#report = new CopyReport(services, reporter);
  }

  async run(): Promise<number> {
    const { sources, target } = this.#plan;
    let good = false;
    let counts: SinkCounts | undefined;
    try {
      const interrupted = this.#interrupted();
      const here = sources.flatMap((source) => (source.kind === "local" ? [Buffer.from(source.path)] : []));
      if (!this.#mayBegin(here)) return EXIT_SOME_FAILED;
      const copied = this.#copy(here);
      copied.catch(() => undefined); // an interruption may come first
      const outcome = await Promise.race([copied, interrupted]);
      if (typeof outcome === "number") return outcome;
      counts = outcome;
      good = counts !== undefined;
      for (const { attested } of this.#reached) {
        if (this.#reporter.verbosity > 0) this.#reporter.warnings(attested.verified.claims);
      }
      if (counts === undefined || this.#report.failed > 0) return EXIT_SOME_FAILED;
      return counts.failed > 0 ? EXIT_SOME_FAILED : 0;
    } catch (error) {
      if (error instanceof OutputClosed && target.kind === "stdio") return EXIT_OUTPUT_CLOSED;
      throw error;
    } finally {
      this.#report.end(good, counts);
      this.#sink?.abort();
      for (const off of this.#offs) off();
      if (!good) for (const link of this.#links) link.hangUp();
      for (const { explain, attested } of this.#reached) {
        explain.end();
        await attested.close().catch(() => undefined);
      }
    }
  }

  /** What is wrong here is said before a guest is bothered. @returns false where nothing could be copied. */
  #mayBegin(here: readonly Buffer[]): boolean {
    const { target, flags, sources, links } = this.#plan;
    const troubled = here.filter((path) => {
      try {
        const stats = links === "never" ? fs.lstatSync(path) : fs.statSync(path);
        if (stats.isDirectory() && !flags.recursive) throw new FileTrouble("is-directory");
        return false;
      } catch (error) {
        const trouble = troubleOf(error);
        if (here.length === 1) this.#report.trouble(trouble.code, path, "");
        return true;
      }
    });
    if (here.length === 1 && troubled.length === 1) return false;
    if (target.kind === "stdio") {
      const [source] = sources;
      const shown = Buffer.from(source?.kind === "guest" ? source.path : "");
      this.#sink = new StdoutSink(this.#services.stdout, shown, this.#report.events);
    } else if (target.kind === "local") {
      const path = Buffer.from(target.path);
      const sink = new FilesSink(
        { ...flags, links, target: path, names: this.#names() },
        (bytes) => this.#answer(bytes),
        this.#report.events,
      );
      try {
        sink.open();
      } catch (error) {
        if (!(error instanceof FileTrouble)) throw error;
        this.#report.trouble(error.code, path, "");
        return false;
      }
      this.#sink = sink;
    }
    const sink = this.#sink;
    if (sink !== undefined) this.#offs.push(this.#services.onExit(() => sink.abort()));
    return true;
  }

  #names(): Buffer[] {
    return this.#plan.sources.map((source) =>
      Buffer.from(source.kind === "stdio" ? "" : rootName(source.path)),
    );
  }

  async #copy(here: readonly Buffer[]): Promise<SinkCounts | undefined> {
    const { sources, links, flags, from, to } = this.#plan;
    const report = this.#report;
    const count = { ...flags, count: report.wantsTotal };
    const paths = sources.flatMap((source) => (source.kind === "guest" ? [Buffer.from(source.path)] : []));
    const read: Start = { type: "start", role: "source", flags: count, links, paths };
    const target = Buffer.from(to?.path ?? "");
    const write: Start = {
      type: "start",
      role: "sink",
      flags: { ...flags, count: false },
      links,
      target,
      names: this.#names(),
    };
    if (from !== undefined && to !== undefined) {
      const guest = await this.#guest(from, undefined);
      const other = isSame(from, to) ? guest : await this.#guest(to, this.#input.text("target-policy"));
      const [source, sink] = [await this.#open(guest), await this.#open(other)];
      return await this.#watched(relay({ link: source, start: read }, { link: sink, start: write }, report));
    }
    if (from !== undefined && this.#sink !== undefined) {
      const link = await this.#open(await this.#guest(from, undefined));
      this.#answer = link.send;
      return await this.#watched(download(link, this.#sink, read, report));
    }
    if (to === undefined) throw new SealttyError("api-misuse", "A copy without a guest");
    const link = await this.#open(await this.#guest(to, this.#input.text("target-policy")));
    const roots: SourceRoot[] =
      here.length === 0 ? [{ stream: this.#services.stdin }] : here.map((path) => ({ path }));
    if (report.wantsTotal && here.length > 0) report.expect(countFiles(here, flags.recursive));
    const source = new FilesSource({ ...flags, links }, link.send, report.events);
    return await this.#watched(upload(link, source, roots, write, report));
  }

  /** Attested, and the user in. @param policy - in place of --policy. */
  async #guest({ guest, user }: GuestPath, policy: string | undefined): Promise<Guest> {
    const own: Readonly<Record<string, string | undefined>> = { login: user, policy };
    const input: Input = { ...this.#input, text: (name) => own[name] ?? this.#input.text(name) };
    const reached = await reach(guest, input, this.#services, this.#reporter, {
      key: true,
      shaping: obfuscationOf(input, "off"),
    });
    this.#reached.push(reached);
    return await authenticate(reached);
  }

  async #open(guest: Guest): Promise<FilesChannel> {
    const link = new FilesChannel(await guest.openChannel({ kind: "files" }));
    this.#links.push(link);
    return link;
  }

  /** A guest that changed meanwhile ends it. */
  #watched<T>(work: Promise<T>): Promise<T> {
    const changed = this.#reached.map(async ({ watch }): Promise<never> => {
      throw await watch.frozen;
    });
    for (const each of changed) each.catch(() => undefined);
    return Promise.race([work, ...changed]);
  }

  #interrupted(): Promise<number> {
    return new Promise((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        this.#offs.push(this.#services.onSignal(signal, () => resolve(signalStatus(signal))));
    });
  }
}
