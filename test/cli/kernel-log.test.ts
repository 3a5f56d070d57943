// What `sealtty log` shows of records: as lines, safe for a terminal; gaps; the latest; events.

import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { Printer } from "../../cli/commands/log.ts";
import { KernelLogLines } from "../../cli/kernel-log-lines.ts";
import { Reporter } from "../../cli/report.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { type KernelRecord, parseKernelRecord } from "../../protocol/kernel-log/record.ts";
import { wallTimeOf } from "../../protocol/kernel-log/wall-time.ts";
import { eventProblem } from "../support/json-events.ts";

const CLOCKS = { uptime: 5_000_000, wall: Date.parse("2026-11-26T17:48:30.000Z") };
const record = (text: string): KernelRecord => parseKernelRecord(utf8(text));

describe("a line", () => {
  test("has the day and minute where they are new, else how much later it came", () => {
    const lines = new KernelLogLines(CLOCKS, false);
    expect(lines.of(record("6,0,1000000,-;one"))).toMatch(/^\[\w{3}\d\d \d\d:\d\d\] one\n$/);
    expect(lines.of(record("6,1,1000131,-;two"))).toBe("[  +0.000131] two\n");
    expect(lines.of(record("6,2,1000130,-;before"))).toBe("[  -0.000001] before\n");
    expect(lines.of(record("6,3,61000130,-;three"))).toMatch(/^\[\w{3}\d\d \d\d:\d\d\] three\n$/);
    expect(wallTimeOf(record("6,0,1000000,-;"), CLOCKS)).toBe(CLOCKS.wall - 4000);
  });
  test("moves no cursor and turns no text around; more lines of a record stand below the first", () => {
    const lines = new KernelLogLines(CLOCKS, false);
    const shown = lines.of(record("6,0,0,-;\\x1b[2J\\x07a\\x09b\\xe2\\x80\\xae\\x0asecond\\x0d\\xc2\\x9b"));
    const [first = "", second = ""] = shown.split("\n");
    expect(first.slice(first.indexOf("\ufffd"))).toBe("\ufffd[2J\ufffda    b\ufffd");
    expect(second.trim()).toBe("second\ufffd\ufffd");
    expect(second.indexOf("second")).toBe(first.indexOf("\ufffd"));
  });
  test("is coloured by its level, where colours are wanted", () => {
    const lines = new KernelLogLines(CLOCKS, true);
    expect(lines.of(record("3,0,0,-;bad"))).toContain("\x1b[1m\x1b[31mbad");
    expect(lines.of(record("6,1,0,-;good"))).toMatch(/ good\n$/);
  });
});

/** @returns what was written to both outputs. */
async function shown(
  wishes: Partial<ConstructorParameters<typeof Printer>[0]>,
  texts: readonly string[],
  json = false,
  clocks = CLOCKS,
): Promise<{ out: string; error: string }> {
  const roomy = { highWaterMark: 64 * 1024 * 1024 }; // nobody reads until all was taken
  const [stdout, stderr] = [new PassThrough(roomy), new PassThrough(roomy)];
  const services = { stdout, stderr, environment: {} };
  const reporter = new Reporter(services, { has: (option) => json && option === "json", count: () => 0 });
  const printer = new Printer(
    { follow: false, latest: undefined, level: "debug", ...wishes },
    services,
    reporter,
  );
  await printer.take({ type: "clock", ...clocks });
  for (const text of texts)
    await printer.take(
      text === "caught-up" || text === "lost" ? { type: text } : { type: "record", bytes: utf8(text) },
    );
  const all = (stream: PassThrough): string => String((stream.read() as Buffer | null) ?? "");
  return { out: all(stdout), error: all(stderr) };
}
const plain = (number: number, level = 6): string => `${level},${number},${number},-;text ${number}`;
const textsOf = (out: string): string[] => [...out.matchAll(/text \d+/g)].map(([text]) => text);

describe("the log", () => {
  test("says how many are missing, and where: at the start, and between", async () => {
    const { out, error } = await shown({}, [plain(7), plain(8), "lost", plain(12), "caught-up"]);
    expect(textsOf(out)).toEqual(["text 7", "text 8", "text 12"]);
    expect(error.split("\n")).toEqual([
      "sealtty: the oldest 7 records since power-on are gone: the kernel wrote over them",
      "sealtty: 3 records are lost here: the kernel wrote over them before they were read",
      "",
    ]);
  });
  test("the latest of what was there, and all that comes later", async () => {
    const many = Array.from({ length: 500 }, (_, number) => plain(number));
    const { out, error } = await shown({ latest: 3 }, [...many, "caught-up", plain(500), plain(501)]);
    expect(textsOf(out)).toEqual([497, 498, 499, 500, 501].map((number) => `text ${number}`));
    expect(error).toBe("");
    const none = await shown({ latest: 0 }, [...many, "caught-up", plain(500)]);
    expect(textsOf(none.out)).toEqual(["text 500"]);
  });
  test("only what is urgent enough; what was left out for that is not lost", async () => {
    const { out, error } = await shown({ level: "warn" }, [
      plain(0),
      plain(1, 4),
      plain(2, 3),
      plain(3),
      plain(4, 0),
    ]);
    expect(textsOf(out)).toEqual(["text 1", "text 2", "text 4"]);
    expect(error).toBe("");
  });
  test("with --json each is an event as documented", async () => {
    const { out, error } = await shown({}, [plain(1), "6,2,2,-;\\x1b\n SUBSYSTEM=pci\n", "caught-up"], true);
    const problems = [
      ...out
        .trim()
        .split("\n")
        .map((line) => eventProblem(line, "stdout")),
      ...error
        .trim()
        .split("\n")
        .map((line) => eventProblem(line, "stderr")),
    ];
    expect(problems).toEqual([undefined, undefined, undefined]);
    expect(JSON.parse(out.trim().split("\n")[1] ?? "")).toMatchObject({
      text: "\x1b",
      fields: [{ name: "SUBSYSTEM", value: "pci" }],
    });
    expect(JSON.parse(error)).toEqual({ event: "records-lost", count: 1, atStart: true });
  });
  test("of the latest no more is held than 16 MiB: the oldest go, and that is said", async () => {
    const long = (number: number): string => `6,${number},${number},-;text ${number} ${"x".repeat(8000)}`;
    const size = utf8(long(1000)).length;
    const fit = Math.floor((16 * 1024 * 1024) / size);
    const many = Array.from({ length: fit + 7 }, (_, i) => long(1000 + i));
    const wishes = { latest: 5000 };
    const { out, error } = await shown(wishes, [...many, "caught-up", plain(1000 + many.length)]);
    const texts = textsOf(out);
    expect(texts).toHaveLength(fit + 1);
    expect(texts.at(0)).toBe("text 1007");
    expect(texts.at(-1)).toBe(`text ${1000 + many.length}`);
    expect(error).toMatch(/^sealtty: the oldest 8 of these records are left out: .* 16 MiB\./); // and the gap at the start
    const json = await shown(wishes, [...many, "caught-up"], true);
    expect(eventProblem(json.error.trim(), "stderr")).toBeUndefined();
    expect(JSON.parse(json.error)).toEqual({ event: "records-left-out", count: 8 });
  });
  test("what was not wished for is not left out", async () => {
    const many = Array.from({ length: 3000 }, (_, number) => `6,${number},0,-;${"x".repeat(8000)}`);
    expect((await shown({ latest: 10 }, [...many, "caught-up"])).error).toBe("");
  });
  test("a time that no calendar has is not a guest's", async () => {
    const last = `6,0,${Number.MAX_SAFE_INTEGER},-;x`;
    for (const json of [true, false])
      await expect(shown({}, [last], json, { uptime: 0, wall: 8.64e15 })).rejects.toMatchObject({
        code: "peer-misbehaved",
      });
    expect((await shown({}, [last], true, { uptime: 0, wall: 8e15 })).out).toContain('"wall":"+25');
  });
  test("records that go back are not a kernel's", async () => {
    await expect(shown({}, [plain(5), plain(4)])).rejects.toMatchObject({ code: "peer-misbehaved" });
  });
});
