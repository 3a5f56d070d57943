// `sealtty log`: the guest's kernel log since power-on, and as it comes.

import { SealttyError } from "../../protocol/errors.ts";
import { LatestRecords, MAX_HELD } from "../../protocol/kernel-log/latest-records.ts";
import { KernelLogDecoder, type KernelLogMessage } from "../../protocol/kernel-log/messages.ts";
import {
  LEVELS,
  type KernelRecord,
  type Level,
  parseKernelRecord,
} from "../../protocol/kernel-log/record.ts";
import { type Gap, RecordOrder } from "../../protocol/kernel-log/record-order.ts";
import { type Clocks, wallTimeOf } from "../../protocol/kernel-log/wall-time.ts";
import type { RemoteProcess } from "../api/types.ts";
import { KernelLogLines } from "../kernel-log-lines.ts";
import { type Command, type Input, KEYED_OPTIONS, onlyGuest } from "../options.ts";
import { writeTo } from "../output.ts";
import { jsonLine } from "../printable.ts";
import { Reporter, useColour } from "../report.ts";
import { complaintOf, serviceFailed, useService } from "../service-program.ts";
import type { Services, TerminalOutput } from "../services.ts";

const USUAL_LATEST = 100;
const MAX_LATEST = 100_000;

export const logCommand: Command = {
  name: "log",
  summary: "the guest's kernel log, since power-on and live",
  operands: "GUEST",
  options: [
    ...KEYED_OPTIONS,
    { name: "follow", short: "f", help: "go on with what comes, until Ctrl-C" },
    { name: "since-boot", help: "all since power-on that the kernel still has" },
    {
      name: "lines",
      short: "n",
      value: "N",
      help: `the latest N records of what there is (default ${USUAL_LATEST}; 0 with -f: only what is new)`,
    },
    {
      name: "level",
      value: "LEVEL",
      help: `only records as urgent as this or more: ${LEVELS.join(", ")}`,
      values: LEVELS,
    },
  ],
  notes: [
    "For users whom [services] kernel_log in the guest's sealttyd.toml names, with a key.",
    "Times are the guest's, in this machine's time zone. What could move the cursor is shown as U+FFFD; --json has it as \\uXXXX.",
    `With -n no more than ${MAX_HELD / 1024 / 1024} MiB of records are held: what does not fit is left out, the oldest first, and said to be.`,
    "The kernel keeps a ring: what it wrote over is gone, and said to be.",
    "Exit status: 0, 128+n for signal n, or 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const guestName = onlyGuest(logCommand, input);
    const wishes = wishesOf(input);
    const reporter = new Reporter(services, input);
    const service = { name: "kernel-log", follow: wishes.follow } as const;
    return await useService(guestName, service, { input, services, reporter }, (program) =>
      show(program, wishes, services, reporter),
    );
  },
};

interface Wishes {
  readonly follow: boolean;
  /** Of what is there at first, at most; undefined: all. */
  readonly latest: number | undefined;
  readonly level: Level;
}

function wishesOf(input: Input): Wishes {
  const lines = input.text("lines");
  const sinceBoot = input.has("since-boot");
  if (sinceBoot && lines !== undefined)
    throw new SealttyError("bad-config", "--since-boot and --lines exclude each other");
  if (lines !== undefined && (!/^\d{1,6}$/.test(lines) || Number(lines) > MAX_LATEST))
    throw new SealttyError("bad-config", `--lines takes a number from 0 to ${MAX_LATEST}`);
  const said = input.text("level") ?? "debug";
  const level = LEVELS.find((each) => each === said);
  if (level === undefined) throw new SealttyError("bad-config", `--level takes one of ${LEVELS.join(", ")}`);
  const latest = sinceBoot ? undefined : Number(lines ?? USUAL_LATEST);
  return { follow: input.has("follow"), latest, level };
}

async function show(
  program: RemoteProcess,
  wishes: Wishes,
  services: Services,
  reporter: Reporter,
): Promise<number> {
  const complaint = complaintOf(program);
  const decoder = new KernelLogDecoder();
  const printer = new Printer(wishes, services, reporter);
  for await (const piece of program.stdout as AsyncIterable<Buffer>)
    for (const message of decoder.push(piece)) await printer.take(message);
  const whole = decoder.end();
  const exit = await program.exit;
  if (whole && exit.status === 0) return 0;
  throw serviceFailed("The guest could not read its kernel's log", exit, await complaint);
}

export class Printer {
  readonly #wishes: Wishes;
  readonly #stdout: TerminalOutput;
  readonly #reporter: Reporter;
  readonly #colour: boolean;
  #clocks: Clocks = { uptime: 0, wall: 0 };
  #lines: KernelLogLines | undefined;
  /** The latest of what was there at first, records as they came; undefined where all is shown at once, or once they were. */
  #waiting: LatestRecords<Uint8Array | Gap> | undefined;
  readonly #order = new RecordOrder();

  constructor(wishes: Wishes, services: Pick<Services, "stdout" | "environment">, reporter: Reporter) {
    this.#wishes = wishes;
    this.#stdout = services.stdout;
    this.#reporter = reporter;
    this.#colour = useColour(services.stdout, services.environment);
    const { latest } = wishes;
    if (latest !== undefined)
      this.#waiting = new LatestRecords(latest, (entry) => ("lost" in entry ? 0 : entry.length));
  }

  /** Resolves once it can take more. @throws OutputClosed; SealttyError `peer-misbehaved`. */
  async take(message: KernelLogMessage): Promise<void> {
    switch (message.type) {
      case "clock":
        this.#clocks = message;
        this.#lines = new KernelLogLines(message, this.#colour);
        return;
      case "record":
        await this.#takeRecord(message.bytes);
        return;
      case "lost":
        return; // how many, the next record's number tells
      case "caught-up": {
        const waiting = this.#waiting;
        this.#waiting = undefined;
        if (waiting === undefined) return;
        if (waiting.tooMany > 0) this.#sayLeftOut(waiting.tooMany);
        for (const entry of waiting.held())
          await this.#print("lost" in entry ? entry : parseKernelRecord(entry));
        return;
      }
    }
  }

  async #takeRecord(bytes: Uint8Array): Promise<void> {
    const record = parseKernelRecord(bytes);
    const gap = this.#order.take(record.number);
    const shown = LEVELS.indexOf(record.level) <= LEVELS.indexOf(this.#wishes.level);
    if (this.#waiting !== undefined) {
      if (gap !== undefined) this.#waiting.push(gap);
      if (shown) this.#waiting.push(bytes);
      return;
    }
    if (gap !== undefined) await this.#print(gap);
    if (shown) await this.#print(record);
  }

  #sayLeftOut(count: number): void {
    this.#reporter.event("records-left-out", { count });
    this.#reporter.problem(
      `sealtty: the oldest ${count} of these records are left out: together they are more than ${MAX_HELD / 1024 / 1024} MiB. --since-boot shows all as they come`,
    );
  }

  async #print(entry: KernelRecord | Gap): Promise<void> {
    if ("lost" in entry) {
      this.#reporter.event("records-lost", { count: entry.lost, atStart: entry.atStart });
      const words = entry.atStart
        ? `the oldest ${entry.lost} records since power-on are gone: the kernel wrote over them`
        : `${entry.lost} records are lost here: the kernel wrote over them before they were read`;
      if (!this.#reporter.json) this.#reporter.problem(`sealtty: ${words}`);
      return;
    }
    const line = this.#reporter.json ? this.#json(entry) : (this.#lines?.of(entry) ?? "");
    await writeTo(this.#stdout, Buffer.from(line));
  }

  #json(record: KernelRecord): string {
    const { number, time, level, facility, continues, text, fields } = record;
    return `${jsonLine({
      event: "kernel-record",
      number,
      time,
      wall: new Date(wallTimeOf(record, this.#clocks)).toISOString(),
      level,
      facility,
      continues,
      text,
      fields: fields.map(([name, value]) => ({ name, value })),
    })}\n`;
  }
}
