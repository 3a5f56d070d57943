// cp's command line: what is a guest's and what is not; its line of progress; what it tells.
import { describe, expect, test } from "vitest";
import { relay } from "../../cli/api/files/copy.ts";
import { CopyReport } from "../../cli/files/copy-report.ts";
import { FilesChannel } from "../../cli/api/files/files-channel.ts";
import { CopyWatch } from "../../cli/api/files/copy-watch.ts";
import { rootName } from "../../cli/api/files/copying.ts";
import { parseOperand } from "../../cli/files/operands.ts";
import { duration, progressLine, size } from "../../cli/files/progress.ts";
import { jsonPath, shownPath } from "../../cli/files/shown-path.ts";
import { WritableSink } from "../../cli/api/files/writable-sink.ts";
import type { CopyTrouble, CopyTroubleCode } from "../../cli/api/types.ts";
import { troubleWords } from "../../node/files/trouble.ts";
import { Reporter } from "../../cli/report.ts";
import { createHash } from "node:crypto";
import { PassThrough, Writable } from "node:stream";
import { FilesDecoder } from "../../protocol/files/decoder.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import { encodeFilesMessage } from "../../protocol/files/messages-codec.ts";
import { fakeCli } from "./fake-cli.ts";

const guest = (address: string, path: string, user?: string) => ({
  kind: "guest",
  guest: address,
  user,
  path,
});

describe("operands", () => {
  test.each([
    ["-", { kind: "stdio" }],
    ["file", { kind: "local", path: "file" }],
    ["./a:b", { kind: "local", path: "./a:b" }],
    ["/a:b", { kind: "local", path: "/a:b" }],
    ["dir/x:y", { kind: "local", path: "dir/x:y" }],
    ["./-", { kind: "local", path: "./-" }],
    ["db1:/etc/hosts", guest("db1", "/etc/hosts")],
    ["db1:", guest("db1", "")],
    ["db1.example-2_b:x:y", guest("db1.example-2_b", "x:y")],
    ["root@db1:~/x", guest("db1", "~/x", "root")],
    [":/etc", guest("unix:/g", "/etc")],
    [":", guest("unix:/g", "")],
    ["[unix:/run/x.sock]:/etc", guest("unix:/run/x.sock", "/etc")],
    ["[tcp:[::1]:7000]:a:b", guest("tcp:[::1]:7000", "a:b")],
    ["[ws://127.0.0.1:7000/]:", guest("ws://127.0.0.1:7000/", "")],
    ["[db1]:x", guest("db1", "x")],
    ["[abc", { kind: "local", path: "[abc" }],
    ["[a]b", { kind: "local", path: "[a]b" }],
    ["db1:new\nline", guest("db1", "new\nline")],
  ])("%j", (text, expected) => {
    expect(parseOperand(text, "unix:/g")).toEqual(expected);
  });
  test.each([
    ["", /is empty/],
    ["unix:/a:b:/c", /\[ADDRESS\]:PATH/],
    ["ws://h:1/:/etc", /\[ADDRESS\]:PATH/],
    ["tcp:h:1:/etc", /\[ADDRESS\]:PATH/],
    ["UNIX:x", /\[ADDRESS\]:PATH/],
    ["kubevirt:a/b:/c", /\[ADDRESS\]:PATH/],
    ["a b:c", /write \.\/NAME/],
    ["-x:c", /write \.\/NAME/],
    [`db1:${"x".repeat(4096)}`, /more than 4095 bytes/],
    ["a\0b", /NUL/],
  ])("%j is refused", (text, words) => {
    expect(() => parseOperand(text, "unix:/g")).toThrow(words);
  });
  test(":PATH needs --guest", () => {
    expect(() => parseOperand(":x", undefined)).toThrow(/--guest ADDRESS, which was not given/);
  });
  test.each([
    ["a", "a"],
    ["/a/b/", "b"],
    ["a//", "a"],
    ["a/.", ""],
    ["a/..", ""],
    [".", ""],
    ["..", ""],
    ["/", ""],
    ["", ""],
    ["~", ""],
    ["./~", "~"],
    ["~/x", "x"],
    ["...", "..."],
  ])("the name of %j is %j", (path, name) => {
    expect(rootName(path)).toBe(name);
  });
});

describe("the line of progress", () => {
  const state = {
    bytes: 50 * 1024 * 1024,
    files: 3,
    total: { files: 12, bytes: 200 * 1024 * 1024 },
    rate: 1024 * 1024,
    name: "a/name",
  };
  test("tells share, sums, rate and time left", () => {
    expect(progressLine(state, 100)).toBe(
      "a/name   25%  50.0 MiB of 200 MiB  3 of 12 files  1.0 MiB/s  2:30 left",
    );
    expect(progressLine({ ...state, total: undefined }, 100)).toBe("a/name  50.0 MiB  3 files  1.0 MiB/s");
    expect(progressLine({ ...state, bytes: 300 * 1024 * 1024 }, 100)).toContain("100%");
  });
  test.each([20, 40, 60, 66, 70, 80])("fits into %i columns; the name gives way first", (columns) => {
    const line = progressLine({ ...state, name: "a/very/long/path/to/some/file.with.a.name" }, columns);
    expect(Array.from(line).length).toBeLessThanOrEqual(columns);
    expect(line).toMatch(/ 25%.*1\.0 MiB\/s/);
    expect(line).not.toMatch(/\b(?:le|lef|file|Mi)$/);
    if (columns > 68) expect(line).toMatch(/^….*name {2}/);
  });
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [150 * 1024, "150 KiB"],
    [1024 ** 4 * 7.25, "7.3 TiB"],
    [2 ** 60, "1024 PiB"],
  ])("%i bytes are %s", (bytes, text) => expect(size(bytes)).toBe(text));
  test.each([
    [0.2, "0:01"],
    [59.5, "1:00"],
    [3600, "1:00:00"],
    [1e9, "99:59:59"],
  ])("%d seconds are %s", (seconds, text) => expect(duration(seconds)).toBe(text));
});

const RESULT = {
  files: 1,
  directories: 0,
  links: 0,
  bytes: 4096,
  sha256: undefined,
  failed: 0,
  gaveUp: false,
} as const;

function trouble(code: CopyTroubleCode, path: Uint8Array, where: CopyTrouble["where"]): CopyTrouble {
  return { code, path, words: troubleWords(code, "source"), where };
}

describe("what is told", () => {
  function report(...switches: string[]) {
    const cli = fakeCli();
    const has = (name: string): boolean => switches.includes(name);
    return { cli, report: new CopyReport(cli.services, new Reporter(cli.services, { has, count: () => 0 })) };
  }
  test("a name that holds anything is one line", () => {
    const { cli, report: told } = report();
    told.trouble(trouble("not-found", Buffer.from("x\n\x1b[2J\u202e"), "in the guest"));
    told.trouble(trouble("no-permission", Buffer.from([0x41, 0xff, 0x0a]), "here"));
    told.end(undefined);
    expect(cli.errors()).toBe(
      "sealtty: in the guest: x\ufffd\ufffd[2J\ufffd: there is no such file or directory\nsealtty: A\\xff\\x0a: no permission\n",
    );
  });
  test("a pattern that a guest did not expand: what to do instead; any other name, and this machine's: nothing of that", () => {
    const { cli, report: told } = report();
    told.trouble(trouble("not-found", Buffer.from("logs/*.log"), "in the guest"));
    told.trouble(trouble("not-found", Buffer.from("x.log"), "in the guest"));
    told.trouble(trouble("no-permission", Buffer.from("*"), "in the guest"));
    told.trouble(trouble("not-found", Buffer.from("*.log"), "here"));
    told.end(undefined);
    const [first, ...others] = cli.errors().trimEnd().split("\n");
    expect(first).toMatch(
      /^sealtty: in the guest: logs\/\*\.log: there is no such file or directory; a guest expands no patterns: .*-r/,
    );
    expect(others).toHaveLength(3);
    for (const other of others) expect(other).not.toContain("pattern");
  });
  test("of a thousand troubles a hundred are told, and how many more", () => {
    const { cli, report: told } = report("quiet");
    for (let i = 0; i < 1000; i++) told.trouble(trouble("not-found", Buffer.from(`f${i}`), "here"));
    told.end(undefined);
    expect(cli.errors().trimEnd().split("\n")).toHaveLength(101);
    expect(cli.errors()).toContain("and 900 more");
  });
  test("nothing is drawn where there is no terminal, with -q and with --json", () => {
    for (const switches of [[], ["quiet"], ["json"]]) {
      const { cli, report: told } = report(...switches);
      expect(told.progress.shown).toBe(false);
      told.end(RESULT);
      expect(cli.errors()).not.toContain("\r");
    }
  });
  test("paths for JSON keep their bytes", () => {
    expect(jsonPath(Buffer.from("ä\n"))).toEqual({ path: "ä\n" });
    expect(jsonPath(Buffer.from([0xff, 0x41]))).toEqual({ path: "\\xffA", pathBase64: "/0E=" });
    expect(shownPath(Buffer.from("tab\t"))).toBe("tab\ufffd");
  });
});

describe("standard output as a target", () => {
  const time = { seconds: 0, nanoseconds: 0 };
  const root: FilesMessage = { type: "root", index: 0 };
  const file = (size?: number, sparse = false): FilesMessage => ({
    type: "file",
    name: new Uint8Array(0),
    attributes: { mode: 0, accessed: time, modified: time },
    size,
    sparse,
    asks: false,
  });
  const data = (text: string): FilesMessage => ({ type: "data", bytes: Buffer.from(text) });
  const end = (text: string): FilesMessage => ({
    type: "end",
    digest: createHash("sha256").update(text).digest(),
  });
  async function take(...messages: FilesMessage[]): Promise<{ sink: WritableSink; out: string }> {
    const stdout = new PassThrough();
    const chunks: Buffer[] = [];
    stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    const sink = new WritableSink(stdout, Buffer.from("x"), {});
    for (const message of messages) await sink.take(message);
    return { sink, out: Buffer.concat(chunks).toString() };
  }
  test("gets the content, holes as zeros", async () => {
    const { sink, out } = await take(
      root,
      file(9, true),
      data("abc"),
      { type: "hole", length: 6 },
      end(`abc${"\0".repeat(6)}`),
      { type: "done" },
    );
    expect(sink.done).toBe(true);
    expect(out).toBe(`abc${"\0".repeat(6)}`);
  });
  test.each([
    ["another digest", [root, file(), data("abc"), end("abd")], /another SHA-256/],
    ["more than announced", [root, file(2), data("abc")], /more of a file than it announced/],
    ["two files", [root, file(), end(""), file()], /not asked for/],
    ["two sources", [root, file(), end(""), root], /not asked for/],
    [
      "a directory",
      [
        root,
        {
          type: "directory",
          name: new Uint8Array(0),
          attributes: { mode: 0, accessed: time, modified: time },
        },
      ],
      /not asked for/,
    ],
    ["an end in the middle", [root, file(), data("x"), { type: "done" }], /in the middle/],
    ["data of no file", [root, data("x")], /data of no file/],
    [
      "a hole where none was announced",
      [root, file(9), { type: "hole", length: 6 }],
      /a hole in a file that has none/,
    ],
  ] as [string, FilesMessage[], RegExp][])("refuses %s", async (_, messages, words) => {
    await expect(take(...messages)).rejects.toThrow(words);
  });
  test("gets nothing more once the copy was ended, however long a hole the guest announced", async () => {
    const sink: WritableSink = new WritableSink(
      new Writable({
        highWaterMark: 1,
        write(chunk: Buffer, _, done) {
          taken += chunk.length;
          if (taken >= 1024 * 1024) sink.abort();
          setImmediate(done);
        },
      }),
      Buffer.from("x"),
      {},
    );
    let taken = 0;
    for (const message of [root, file(undefined, true)]) await sink.take(message);
    await expect(sink.take({ type: "hole", length: 2 ** 40 })).rejects.toThrow(
      "was ended before it was whole",
    );
    expect(taken).toBe(1024 * 1024);
  });
});

describe("from guest to guest", () => {
  /** A guest's end: says what it is given, and takes what it is told. */
  function fakeEnd(...says: readonly Uint8Array[]): { link: FilesChannel; told: () => FilesMessage[] } {
    const left = [...says];
    const got: FilesMessage[] = [];
    const decoder = new FilesDecoder();
    let over = (): void => {};
    const ended = new Promise<undefined>((resolve) => {
      over = () => resolve(undefined);
    });
    const stdout = {
      read: async () => left.shift() ?? (await ended),
      consumed: () => {},
    };
    const link = new FilesChannel({
      stdout,
      stderr: { read: async () => undefined, consumed: () => {} },
      async write(bytes) {
        got.push(...decoder.push(bytes));
      },
      end: () => over(),
      resize: () => {},
      signal: () => {},
      hangUp: () => over(),
      exit: ended.then(() => ({ kind: "exited", status: 0 })),
    });
    return { link, told: () => got };
  }

  test.each([
    ["one file", false, "named", ""],
    ["a tree", true, "named", ""],
    ["a tree whose links are all followed", true, "always", "x"],
  ] as const)(
    "a link that nobody asked for, from %s, does not reach the target's",
    async (_, recursive, links, name) => {
      const flags = { recursive, preserve: false, resume: false, intoDirectory: false, count: false };
      const time = { seconds: 0, nanoseconds: 0 };
      const link: FilesMessage = {
        type: "link",
        name: Buffer.from(name),
        target: Buffer.from(".ssh"),
        attributes: { mode: 0o777, accessed: time, modified: time },
      };
      const from = fakeEnd(encodeFilesMessage({ type: "root", index: 0 }), encodeFilesMessage(link));
      const to = fakeEnd();
      const read = { type: "start", role: "source", flags, links, paths: [Buffer.from("a")] } as const;
      const names = [Buffer.from("a")];
      const write = { type: "start", role: "sink", flags, links, target: Buffer.from("b"), names } as const;
      await expect(
        relay({ link: from.link, start: read }, { link: to.link, start: write }, new CopyWatch({})),
      ).rejects.toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
      expect(to.told().map(({ type }) => type)).toEqual(["start", "root"]);
      to.link.hangUp();
    },
  );
});

describe("on a terminal", () => {
  test("a line of progress is drawn, gives way to other lines, and stays at the end", () => {
    const cli = fakeCli();
    let now = 0;
    let tick: () => void = () => {};
    const clock = {
      now: () => now,
      after: (_: number, callback: () => void) => {
        tick = callback;
        return () => {
          tick = () => {};
        };
      },
      soon: (callback: () => void) => callback(),
    };
    const stderr = Object.assign(cli.services.stderr, { isTTY: true, columns: 90 });
    const services = { ...cli.services, stderr, clock };
    const told = new CopyReport(services, new Reporter(services, undefined));
    const { onTotal, onProgress } = told.options;
    onTotal?.({ files: 2, bytes: 4096 });
    const path = Buffer.from("dir/f\x1b[2J");
    onProgress?.({ bytes: 0, path });
    onProgress?.({ bytes: 1024, path });
    now = 1000;
    tick();
    expect(cli.errors()).toContain(
      "\rdir/f\ufffd[2J   25%  1.0 KiB of 4.0 KiB  0 of 2 files  1.0 KiB/s  0:03 left\x1b[K",
    );
    told.trouble(trouble("not-found", Buffer.from("x"), "here"));
    expect(cli.errors()).toMatch(/\r\x1b\[Ksealtty: x: there is no such file or directory\r\n$/);
    onProgress?.({ bytes: 4096, path });
    told.end(RESULT);
    expect(cli.errors()).toMatch(/100% {2}4\.0 KiB of 4\.0 KiB[^\n]*\x1b\[K\r\n$/);
    const { length } = cli.errors();
    tick();
    expect(cli.errors()).toHaveLength(length);
  });
});
