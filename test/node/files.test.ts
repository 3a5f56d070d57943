// Both ends of a copy in this process: what is copied is the same, and whatever one end says, the other writes nowhere else.
import { createHash, randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { countFiles } from "../../node/files/count.ts";
import { Directory } from "../../node/files/directory.ts";
import { partName } from "../../node/files/part-file.ts";
import { FilesSink, type SinkOptions } from "../../node/files/sink.ts";
import { FilesSource, RESUME_FROM, type SourceOptions } from "../../node/files/source.ts";
import type { FileTrouble } from "../../node/files/trouble.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { FilesDecoder } from "../../protocol/files/decoder.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import { encodeFilesMessage } from "../../protocol/files/messages-codec.ts";
import { MAX_FILES_DEPTH } from "../../protocol/limits.ts";
import { seeded, testSeed } from "../support/seeded.ts";

let directory: string;
const at = (...names: string[]): string => path.join(directory, ...names);
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-files-"));
  fs.mkdirSync(at("from"));
  fs.mkdirSync(at("to"));
});
afterEach(() => {
  execFileSync("chmod", ["-R", "u+rwX", directory]);
  fs.rmSync(directory, { recursive: true, force: true });
});

const SINK: Omit<SinkOptions, "target" | "names"> = {
  recursive: true,
  links: "named",
  preserve: false,
  resume: false,
  intoDirectory: false,
};
const SOURCE: SourceOptions = { recursive: true, links: "named", resume: false };

interface Outcome {
  readonly sink: FilesSink;
  readonly source: FilesSource;
  /** "code path", at either end. */
  readonly troubles: string[];
  /** SHA-256 by path, at the sink. */
  readonly digests: Map<string, string>;
  /** Bytes of DATA that crossed. */
  readonly carried: number;
  readonly messages: number;
}

/** @param onMessage - what the source sends, before the sink has it. */
async function copy(
  sources: readonly string[],
  target: string,
  own: Partial<SinkOptions & SourceOptions> = {},
  onMessage: (message: FilesMessage) => void = () => {},
): Promise<Outcome> {
  const troubles: string[] = [];
  const trouble = ({ code }: FileTrouble, shown: Buffer): void =>
    void troubles.push(`${code} ${shown.toString()}`);
  const digests = new Map<string, string>();
  const toSink = new FilesDecoder();
  const toSource = new FilesDecoder();
  let carried = 0;
  let messages = 0;
  const names = sources.map((source) => Buffer.from(path.basename(source)));
  const sink = new FilesSink(
    { ...SINK, target: Buffer.from(target), names, ...own },
    async (bytes) => {
      for (const message of toSource.push(bytes)) source.receive(message);
    },
    { trouble, file: (shown, _, digest) => void digests.set(shown.toString(), digest.toString("hex")) },
  );
  sink.open();
  const source: FilesSource = new FilesSource(
    { ...SOURCE, ...own },
    async (bytes) => {
      for (const message of toSink.push(bytes)) {
        messages++;
        if (message.type === "data") carried += message.bytes.length;
        onMessage(message);
        await sink.take(message);
      }
    },
    { trouble },
  );
  try {
    await source.run(sources.map((source) => ({ path: Buffer.from(source) })));
  } finally {
    sink.abort();
  }
  return { sink, source, troubles, digests, carried, messages };
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Every entry below, with kind, mode and content. */
function listing(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (below: Buffer): void => {
    for (const name of fs.readdirSync(below, { encoding: "buffer" })) {
      const full = Buffer.concat([below, Buffer.from("/"), name]);
      const key = full.toString("latin1").slice(Buffer.from(root).length);
      const stats = fs.lstatSync(full);
      const mode = (stats.mode & 0o7777).toString(8);
      if (stats.isSymbolicLink()) found[key] = `link ${fs.readlinkSync(full)}`;
      else if (stats.isFile()) found[key] = `file ${mode} ${sha256(fs.readFileSync(full))}`;
      else {
        found[key] = `directory ${mode}`;
        walk(full);
      }
    }
  };
  walk(Buffer.from(root));
  return found;
}
/** Hidden names of unfinished files, anywhere below. */
const unfinished = (): string[] =>
  Object.keys(listing(directory)).filter((name) => name.endsWith(".sealtty-part"));

describe("a copy is the same", () => {
  test("of a tree with all that names, modes, times and content may be", async () => {
    const random = seeded(testSeed());
    const names = ["plain", "with blank", "new\nline", "-rf", "~", "quote'\"", "\x1b[31m", "äöü", "..x"];
    const bytes = [Buffer.from([0xff, 0xfe, 0x41]), ...names.map((name) => Buffer.from(name))];
    const fill = (below: string, depth: number): void => {
      for (const name of bytes) {
        const full = Buffer.concat([Buffer.from(`${below}/`), name]);
        if (random.chance(0.3) && depth < 3) {
          fs.mkdirSync(full);
          if (name[0] !== 0xff) fill(full.toString(), depth + 1);
          fs.chmodSync(full, 0o700 | random.below(0o100));
        } else if (random.chance(0.1)) fs.symlinkSync(Buffer.from("no/where\n"), full);
        else {
          fs.writeFileSync(full, random.bytes(random.chance(0.1) ? 200_000 : random.below(3000)));
          fs.chmodSync(full, 0o400 | random.below(0o400));
        }
        if (!fs.lstatSync(full).isSymbolicLink())
          fs.utimesSync(full, random.below(2e9), random.below(2e9) + 0.25);
      }
    };
    fill(at("from"), 0);
    fs.utimesSync(at("from"), 5.5, 6.5); // microseconds are kept, nanoseconds are not
    const { sink, troubles, digests } = await copy([at("from")], at("new"), { preserve: true });
    expect(troubles, `seed ${random.seed}`).toEqual([]);
    expect(listing(at("new")), `seed ${random.seed}`).toEqual(listing(at("from")));
    const times = (root: string): string =>
      execFileSync("find", [root, "!", "-type", "l", "-printf", "%T@ %P\\0"])
        .toString("latin1")
        .split("\0")
        .sort()
        .join("\n");
    expect(times(at("new"))).toBe(times(at("from")));
    expect(sink.done).toBe(true);
    expect(digests.size).toBe(sink.counts.files);
  });
  test("without -p new files have the source's permissions within the umask, old ones keep theirs", async () => {
    fs.writeFileSync(at("from", "a"), "new");
    fs.chmodSync(at("from", "a"), 0o6777);
    fs.writeFileSync(at("from", "b"), "new");
    fs.writeFileSync(at("to", "b"), "old and longer");
    fs.chmodSync(at("to", "b"), 0o640);
    await copy([at("from", "a"), at("from", "b")], at("to"));
    expect(fs.statSync(at("to", "a")).mode & 0o7777).toBe(0o777 & ~process.umask());
    expect(fs.statSync(at("to", "b")).mode & 0o7777).toBe(0o640);
    expect(fs.readFileSync(at("to", "b"), "utf8")).toBe("new");
  });
  test("a new directory keeps the group that the one above hands down", async () => {
    fs.mkdirSync(at("from", "d"), { mode: 0o755 });
    fs.chmodSync(at("to"), 0o2775);
    await copy([at("from", "d")], at("to"));
    const made = path.join(at("to"), "made by hand");
    fs.mkdirSync(made);
    expect(fs.statSync(at("to", "d")).mode & 0o2000).toBe(fs.statSync(made).mode & 0o2000);
  });
  test("holes stay holes, and content next to them is content", async () => {
    const file = fs.openSync(at("from", "s"), "w");
    const size = 24 * 1024 * 1024 + 5;
    fs.ftruncateSync(file, size);
    fs.writeSync(file, "here", 8 * 1024 * 1024 - 2);
    fs.writeSync(file, "end", size - 3);
    fs.closeSync(file);
    const { carried, digests } = await copy([at("from", "s")], at("to", "s"));
    expect(sha256(fs.readFileSync(at("to", "s")))).toBe(sha256(fs.readFileSync(at("from", "s"))));
    expect(digests.get(at("to", "s"))).toBe(sha256(fs.readFileSync(at("from", "s"))));
    expect(carried).toBeLessThan(100_000);
    expect(fs.statSync(at("to", "s")).blocks).toBeLessThan(1000);
    fs.truncateSync(at("from", "s"), 16 * 1024 * 1024); // ends in a hole
    await copy([at("from", "s")], at("to", "s"));
    expect(fs.statSync(at("to", "s")).size).toBe(16 * 1024 * 1024);
  });
  test("of thousands of small files there is no answer to wait for", async () => {
    for (let i = 0; i < 1000; i++) fs.writeFileSync(at("from", String(i)), "x".repeat(i % 50));
    let answers = 0;
    const { sink, messages } = await copy([at("from")], at("to"), {}, () => answers++);
    expect(sink.counts).toMatchObject({ files: 1000, directories: 1, failed: 0 });
    expect(answers).toBe(messages); // FINISHED alone came back: the source would have refused anything else
    expect(countFiles([Buffer.from(at("to"))], true)).toEqual({ files: 1000, bytes: sink.counts.bytes });
  });
  test("of files whose size nobody knows before, as in /proc", async () => {
    await copy(["/proc/self/limits"], at("to", "limits"));
    expect(fs.readFileSync(at("to", "limits"), "utf8")).toContain("Max open files");
  });
  test("of a stream", async () => {
    const toSink = new FilesDecoder();
    const sink = new FilesSink(
      { ...SINK, target: Buffer.from(at("to", "s")), names: [Buffer.alloc(0)] },
      async () => {},
    );
    sink.open();
    const source = new FilesSource(SOURCE, async (bytes) => {
      for (const message of toSink.push(bytes)) await sink.take(message);
    });
    const stream = (async function* () {
      yield Buffer.from("one ");
      yield Buffer.alloc(200_000, "x");
    })();
    await source.run([{ stream, called: "a stream" }]);
    expect(fs.statSync(at("to", "s")).size).toBe(200_004);
    expect(sink.done).toBe(true);
  });
  test("of a stream that fails, or gives no bytes: said by its name, in the words of what it failed with", async () => {
    async function failing(part: unknown): Promise<unknown> {
      const stream = (async function* () {
        yield part as Uint8Array;
        throw new Error("the database went away");
      })();
      const source = new FilesSource(SOURCE, async () => {});
      return await source.run([{ stream, called: "a stream" }]).catch((error: unknown) => error);
    }
    expect(await failing(Buffer.from("one"))).toMatchObject({
      code: "device-unavailable",
      message: "Cannot read a stream: the database went away",
    });
    expect(await failing("text")).toMatchObject({
      code: "api-misuse",
      message: "a stream gives something else than bytes (Uint8Array)",
    });
  });
});

describe("where it goes", () => {
  beforeEach(() => {
    fs.writeFileSync(at("from", "f"), "content");
    fs.mkdirSync(at("from", "d"));
    fs.writeFileSync(at("from", "d", "g"), "deep");
  });
  test("into a directory that is there, else under the name that was given", async () => {
    await copy([at("from", "f")], at("to"));
    await copy([at("from", "f")], at("to", "other"));
    await copy([at("from", "d")], at("to"));
    await copy([at("from", "d")], at("to", "e"));
    expect(Object.keys(listing(at("to"))).sort()).toEqual(["/d", "/d/g", "/e", "/e/g", "/f", "/other"]);
  });
  test("a source without a name puts its content there", async () => {
    await copy([at("from", ".")], at("to"), { names: [Buffer.alloc(0)] });
    await copy([at("from", ".")], at("new"), { names: [Buffer.alloc(0)] });
    expect(Object.keys(listing(at("to"))).sort()).toEqual(["/d", "/d/g", "/f"]);
    expect(listing(at("new"))).toEqual(listing(at("to")));
  });
  test.each([
    ["a directory that is not there", "none/f", {}, "not-found"],
    ["two sources, no directory", "to/x", { names: [Buffer.from("a"), Buffer.from("b")] }, "not-found"],
    ["two sources, a file", "from/f", { names: [Buffer.from("a"), Buffer.from("b")] }, "two-sources"],
    ["a slash behind a file", "from/f/", {}, "not-directory"],
    ["a slash behind nothing", "to/x/", {}, "not-found"],
    ["below a file", "from/f/x", {}, "not-directory"],
    ["nothing's parent", "to/none/..", {}, "not-found"],
  ] as const)("%s: refused before anything is asked", (_, target, own, code) => {
    const options = {
      ...SINK,
      names: [Buffer.from("f")],
      ...own,
      target: Buffer.from(`${directory}/${target}`),
    };
    expect(() => new FilesSink(options, async () => {}).open()).toThrow(expect.objectContaining({ code }));
  });
  test("a device is not replaced, a dangling link not followed", () => {
    fs.symlinkSync("nowhere", at("to", "dangling"));
    const open = (target: string): void =>
      new FilesSink(
        { ...SINK, target: Buffer.from(target), names: [Buffer.from("f")] },
        async () => {},
      ).open();
    expect(() => open("/dev/null")).toThrow(expect.objectContaining({ code: "special" }));
    expect(() => open(at("to", "dangling"))).toThrow(expect.objectContaining({ code: "dangling-link" }));
  });
  test("a link that was named as the target is followed, and stays", async () => {
    fs.writeFileSync(at("to", "real"), "old");
    fs.symlinkSync("real", at("to", "link"));
    await copy([at("from", "f")], at("to", "link"));
    expect(fs.readFileSync(at("to", "real"), "utf8")).toBe("content");
    expect(fs.readlinkSync(at("to", "link"))).toBe("real");
  });
  test("where no link is followed, neither is the target: it is replaced, and one to a directory refused", async () => {
    fs.writeFileSync(at("to", "real"), "old");
    fs.mkdirSync(at("to", "d"));
    for (const [name, target] of [
      ["link", "real"],
      ["dangling", "nowhere"],
      ["into", "d"],
    ] as const) {
      fs.symlinkSync(target, at("to", name));
    }
    for (const name of ["link", "dangling"]) {
      await copy([at("from", "f")], at("to", name), { links: "never" });
      expect(fs.lstatSync(at("to", name)).isFile()).toBe(true);
    }
    expect(fs.readFileSync(at("to", "real"), "utf8")).toBe("old");
    await expect(copy([at("from", "f")], at("to", "into"), { links: "never" })).rejects.toThrow("loop");
    await copy([at("from", "f")], `${at("to", "into")}/`, { links: "never" });
    expect(fs.readdirSync(at("to", "d"))).toEqual(["f"]);
  });
  test("links: named ones are followed, or none, or all; a circle ends", async () => {
    fs.symlinkSync("f", at("from", "l"));
    fs.symlinkSync("..", at("from", "d", "up"));
    await copy([at("from", "l")], at("to", "1"));
    expect(fs.lstatSync(at("to", "1")).isFile()).toBe(true);
    await copy([at("from", "l")], at("to", "2"), { links: "never" });
    expect(fs.readlinkSync(at("to", "2"))).toBe("f");
    await copy([at("from")], at("to", "3"));
    expect(fs.readlinkSync(at("to", "3", "d", "up"))).toBe("..");
    const { troubles } = await copy([at("from")], at("to", "4"), { links: "always" });
    expect(fs.lstatSync(at("to", "4", "l")).isFile()).toBe(true);
    expect(troubles).toEqual([`loop ${at("from", "d", "up")}`]);
  });
});

describe("what goes wrong with one file is told, and the others are copied", () => {
  test("sources that vanished, are special, or are directories without -r", async () => {
    fs.writeFileSync(at("from", "good"), "good");
    execFileSync("mkfifo", [at("from", "pipe")]);
    const sources = [at("from", "none"), at("from"), at("from", "pipe"), "/dev/null", at("from", "good")];
    const { troubles, sink, source } = await copy(sources, at("to"), { recursive: false });
    expect(troubles.map((line) => line.split(" ")[0])).toEqual([
      "not-found",
      "is-directory",
      "special",
      "special",
    ]);
    expect(source.failed).toBe(4);
    expect(sink.counts).toMatchObject({ files: 1, failed: 0 });
    expect(fs.readdirSync(at("to"))).toEqual(["good"]);
  });
  test("a file that vanishes, and one that becomes shorter, while the tree is walked", async () => {
    for (const name of ["a", "b", "c"]) fs.writeFileSync(at("from", name), Buffer.alloc(300_000, name));
    const order: string[] = [];
    const { troubles } = await copy([at("from")], at("to"), {}, (message) => {
      if (message.type !== "file") return;
      order.push(Buffer.from(message.name).toString());
      const rest = ["a", "b", "c"].filter((name) => !order.includes(name));
      if (order.length === 1) fs.truncateSync(at("from", order[0] as string), 100);
      if (order.length === 2) for (const name of rest) fs.rmSync(at("from", name));
    });
    expect(troubles).toContain(`changed ${at("from", order[0] as string)}`);
    expect(fs.existsSync(at("to", "from", order[0] as string))).toBe(false);
    expect(fs.existsSync(at("to", "from", order[1] as string))).toBe(true);
    expect(unfinished()).toEqual([]);
  });
  test("something in the way: a directory of a file, a file of a directory, a link of a directory", async () => {
    fs.mkdirSync(at("from", "dir"));
    fs.writeFileSync(at("from", "dir", "x"), "x");
    fs.mkdirSync(at("from", "linked"));
    fs.writeFileSync(at("from", "linked", "x"), "x");
    fs.writeFileSync(at("from", "file"), "file");
    fs.mkdirSync(at("to", "from", "file"), { recursive: true });
    fs.writeFileSync(at("to", "from", "dir"), "in the way");
    fs.mkdirSync(at("outside"));
    fs.symlinkSync(at("outside"), at("to", "from", "linked"));
    const { troubles, sink } = await copy([at("from")], at("to"));
    expect(troubles.sort()).toEqual([
      `in-the-way ${at("to", "from", "dir")}`,
      `is-directory ${at("to", "from", "file")}`,
      `loop ${at("to", "from", "linked")}`,
    ]);
    expect(sink.counts).toMatchObject({ files: 0, failed: 3 });
    expect(fs.readdirSync(at("outside"))).toEqual([]);
  });
  test("too deep a tree ends at its bound", async () => {
    let below = at("from");
    for (let i = 0; i < MAX_FILES_DEPTH + 3; i++) below = path.join(below, "d");
    fs.mkdirSync(below, { recursive: true });
    const { troubles, sink } = await copy([at("from")], at("to"));
    expect(troubles).toHaveLength(1);
    expect(troubles[0]).toMatch(/^too-deep /);
    expect(sink.counts.directories).toBe(MAX_FILES_DEPTH);
  });
  test("what arrives changed has no name in the end", async () => {
    fs.writeFileSync(at("from", "f"), Buffer.alloc(100_000, 1));
    fs.writeFileSync(at("to", "f"), "old");
    const { troubles } = await copy([at("from", "f")], at("to"), {}, (message) => {
      if (message.type === "data") message.bytes[5] = 0xee;
    });
    expect(troubles).toEqual([`wrong-digest ${at("to", "f")}`]);
    expect(fs.readFileSync(at("to", "f"), "utf8")).toBe("old");
    expect(unfinished()).toEqual([]);
  });
});

describe("a copy that was cut", () => {
  const BIG = randomBytes(3 * RESUME_FROM);
  const big = (): Buffer => Buffer.from(BIG);
  /** Ends in the middle of the first file. */
  async function cut(resume: boolean): Promise<void> {
    fs.writeFileSync(at("from", "f"), big());
    let pieces = 0;
    const copying = copy([at("from", "f")], at("to"), { resume }, (message) => {
      if (message.type === "data" && ++pieces === 20) throw new Error("cut");
    });
    await expect(copying).rejects.toThrow("Nobody takes");
  }
  const part = (): string => at("to", partName(Buffer.from("f"), undefined).toString());

  test("leaves nothing", async () => {
    await cut(false);
    expect(fs.readdirSync(at("to"))).toEqual([]);
  });
  test("with --resume goes on where it was, with the same result", async () => {
    await cut(true);
    expect(fs.readdirSync(at("to"))).toEqual([".f.sealtty-part"]);
    const { size } = fs.statSync(part());
    expect(size).toBeGreaterThan(RESUME_FROM / 2);
    const { carried, sink } = await copy([at("from", "f")], at("to"), { resume: true });
    expect(carried).toBe(3 * RESUME_FROM - size);
    expect(sink.counts.bytes).toBe(3 * RESUME_FROM);
    expect(fs.readFileSync(at("to", "f")).equals(big())).toBe(true);
    expect(unfinished()).toEqual([]);
  });
  test.each([
    ["another content", () => fs.writeFileSync(part(), Buffer.alloc(2000, 1))],
    ["more than the file has", () => fs.appendFileSync(part(), Buffer.alloc(4 * RESUME_FROM))],
    ["a second name elsewhere", () => fs.linkSync(part(), at("victim"))],
    [
      "a link",
      () => {
        fs.writeFileSync(at("victim"), "victim");
        fs.rmSync(part());
        fs.symlinkSync(at("victim"), part());
      },
    ],
  ])("an unfinished file with %s is not gone on with", async (_, change) => {
    await cut(true);
    change();
    const victim = fs.existsSync(at("victim")) ? fs.readFileSync(at("victim")) : undefined;
    const { carried } = await copy([at("from", "f")], at("to"), { resume: true });
    expect(carried).toBe(3 * RESUME_FROM);
    expect(fs.readFileSync(at("to", "f")).equals(big())).toBe(true);
    if (victim !== undefined) expect(fs.readFileSync(at("victim")).equals(victim)).toBe(true);
  });
  test("with --resume what is there already is not sent again, unless it is another", async () => {
    fs.writeFileSync(at("from", "f"), big());
    await copy([at("from", "f")], at("to"));
    const again = await copy([at("from", "f")], at("to"), { resume: true });
    expect([again.carried, again.sink.counts.files]).toEqual([0, 1]);
    const other = big();
    other.writeUInt8(other.readUInt8(0) ^ 1, 0);
    fs.writeFileSync(at("to", "f"), other);
    const changed = await copy([at("from", "f")], at("to"), { resume: true });
    expect(changed.carried).toBe(3 * RESUME_FROM);
    expect(fs.readFileSync(at("to", "f")).equals(big())).toBe(true);
    expect(unfinished()).toEqual([]);
  });
  test("with --resume a hole at the end of what was cut is gone on with, too", async () => {
    const file = fs.openSync(at("from", "f"), "w");
    fs.writeSync(file, "begin");
    fs.ftruncateSync(file, 4 * RESUME_FROM);
    fs.writeSync(file, "end", 4 * RESUME_FROM - 3);
    fs.closeSync(file);
    let holes = 0;
    const copying = copy([at("from", "f")], at("to"), { resume: true }, (message) => {
      if (message.type === "hole" && ++holes === 10) throw new Error("cut");
    });
    await expect(copying).rejects.toThrow("Nobody takes");
    await copy([at("from", "f")], at("to"), { resume: true });
    expect(sha256(fs.readFileSync(at("to", "f")))).toBe(sha256(fs.readFileSync(at("from", "f"))));
  });
  test("a name that leaves no room for more has an unfinished one all the same", () => {
    const long = Buffer.alloc(255, "n");
    expect(partName(long, undefined).length).toBeLessThanOrEqual(255);
    expect(partName(long, "0123456789ab").length).toBeLessThanOrEqual(255);
    expect(partName(long, undefined)).not.toEqual(partName(Buffer.alloc(254, "n"), undefined));
  });
});

describe("a source that lies writes nowhere but below the target", () => {
  const ATTRIBUTES = {
    mode: 0o644,
    accessed: { seconds: 0, nanoseconds: 0 },
    modified: { seconds: 0, nanoseconds: 0 },
  };
  const name = (text: string): Uint8Array => Buffer.from(text);
  const file = (text: string, size?: number): FilesMessage => ({
    type: "file",
    name: name(text),
    attributes: ATTRIBUTES,
    size,
    sparse: false,
    asks: false,
  });
  const dir = (text: string): FilesMessage => ({
    type: "directory",
    name: name(text),
    attributes: ATTRIBUTES,
  });
  const link = (text: string, target: string): FilesMessage => ({
    type: "link",
    name: name(text),
    target: name(target),
    attributes: ATTRIBUTES,
  });
  const data = (text: string): FilesMessage => ({ type: "data", bytes: name(text) });
  const end = (content: string): FilesMessage => ({
    type: "end",
    digest: createHash("sha256").update(content).digest(),
  });
  const up: FilesMessage = { type: "up" };
  const root = (index: number): FilesMessage => ({ type: "root", index });
  const done: FilesMessage = { type: "done" };

  const written = (content: string): FilesMessage[] => [file(""), data(content), end(content)];

  async function tell(messages: readonly FilesMessage[], own: Partial<SinkOptions> = {}): Promise<string[]> {
    const troubles: string[] = [];
    const options = { ...SINK, target: Buffer.from(at("to")), names: [Buffer.from("asked")], ...own };
    const sink = new FilesSink(options, async () => {}, { trouble: ({ code }) => void troubles.push(code) });
    sink.open();
    const decoder = new FilesDecoder();
    try {
      for (const message of messages) {
        for (const read of decoder.push(encodeFilesMessage(message))) await sink.take(read);
      }
    } finally {
      sink.abort();
    }
    return troubles;
  }
  const MISBEHAVED = expect.objectContaining({ code: "peer-misbehaved" });
  afterEach(() => {
    // Whatever a test expects besides: nothing is anywhere but below the target, and nothing half-written there.
    const elsewhere = Object.keys(listing(directory)).filter((each) => !/^\/(?:to|from$|outside)/.test(each));
    if (elsewhere.length > 0 || unfinished().length > 0)
      throw new Error(`It left ${[...elsewhere, ...unfinished()].join(", ")}`);
  });

  test.each([
    ["..", [root(0), dir(""), file("..")]],
    ["a way", [root(0), dir(""), file("../../x")]],
    ["absolute", [root(0), dir(""), dir("/etc")]],
    ["NUL", [root(0), dir(""), file("a\0b")]],
    ["a name for what was asked for by name", [root(0), file("authorized_keys")]],
    ["no name below", [root(0), dir(""), file("")]],
    ["nothing was asked", [file("")]],
    ["a second entry", [root(0), file(""), end(""), file("")]],
    ["the same source twice", [root(0), file(""), end(""), root(0)]],
    ["a source that was not asked for", [root(1), file("")]],
    ["up above the target", [root(0), dir(""), up, up]],
    ["a new source within a tree", [root(0), dir(""), root(0)]],
    ["an entry within a file", [root(0), dir(""), file("a"), file("b")]],
    ["up within a file", [root(0), dir(""), file("a"), up]],
    ["an end in the middle", [root(0), dir(""), done]],
    ["data of no file", [root(0), dir(""), data("x")]],
    ["an end of no file", [root(0), dir(""), end("")]],
    ["more than was announced", [root(0), file("", 3), data("four")]],
    ["a hole in what has none", [root(0), file("", 9), { type: "hole", length: 5 }]],
    ["a claim of nothing", [root(0), file("", 9), { type: "claim", digest: new Uint8Array(32) }]],
    [
      "a sink's words",
      [root(0), { type: "finished", files: 1, directories: 0, links: 0, bytes: 0, failed: 0 }],
    ],
    [
      "a start",
      [
        {
          type: "start",
          role: "source",
          flags: { ...SINK, count: false },
          links: "named",
          paths: [name("x")],
        },
      ],
    ],
    ["questions that nobody allowed", [root(0), { ...file("", 9), asks: true } as FilesMessage]],
  ] as const)("%s: refused", async (_, messages) => {
    await expect(tell(messages as readonly FilesMessage[])).rejects.toThrow(MISBEHAVED);
  });
  test("a directory where one file was asked for", async () => {
    await expect(tell([root(0), dir("")], { recursive: false })).rejects.toThrow(MISBEHAVED);
  });

  describe("a link that nobody asked for, where a second copy would follow it", () => {
    const victim = (): string => at("outside", "victim");
    beforeEach(() => {
      fs.mkdirSync(at("outside"));
      fs.writeFileSync(victim(), "mine");
    });
    const target = (): Partial<SinkOptions> => ({ target: Buffer.from(at("to", "report")) });
    test.each([
      ["one file", { recursive: false }],
      ["a tree", {}],
      ["one file, all links followed", { recursive: false, links: "always" }],
      ["a tree, all links followed", { links: "always" }],
    ] as const)("in place of %s", async (_, own) => {
      const options = { ...target(), ...own };
      await expect(tell([root(0), link("", "../outside/victim"), done], options)).rejects.toThrow(MISBEHAVED);
      expect(fs.readdirSync(at("to"))).toEqual([]);
      await tell([root(0), ...written("theirs"), done], options);
      expect(fs.readFileSync(victim(), "utf8")).toBe("mine");
      expect(fs.readFileSync(at("to", "report"), "utf8")).toBe("theirs");
    });
    test("in a tree whose links are all followed", async () => {
      const messages = [root(0), dir(""), link("x", victim()), up, done];
      await expect(tell(messages, { links: "always" })).rejects.toThrow(MISBEHAVED);
      expect(fs.readdirSync(at("to", "asked"))).toEqual([]);
    });
    test("one that was asked for: what comes the next time is no more its target's", async () => {
      const options = { ...target(), recursive: false, links: "never" } as const;
      await tell([root(0), link("", "../outside/victim"), done], options);
      expect(fs.readlinkSync(at("to", "report"))).toBe("../outside/victim");
      await tell([root(0), ...written("theirs"), done], options);
      expect(fs.readFileSync(victim(), "utf8")).toBe("mine");
      expect(fs.readFileSync(at("to", "report"), "utf8")).toBe("theirs");
    });
    test("one to a directory that was asked for: a tree is not put there the next time", async () => {
      const options = { ...target(), names: [Buffer.alloc(0)], links: "never" } as const;
      await tell([root(0), link("", "../outside"), done], options);
      await expect(
        tell([root(0), dir(""), file("a"), data("x"), end("x"), up, done], options),
      ).rejects.toThrow("loop");
      expect(fs.readdirSync(at("outside"))).toEqual(["victim"]);
    });
    test.each(["", "asked"])(
      "one that a tree brought, at the next copy's place %j below it",
      async (below) => {
        const options = { ...target(), names: [Buffer.from(below)] };
        await tell([root(0), dir(""), link("asked", at("outside")), up, done], options);
        // Now the target is there, so that the source goes into it; and there a link has its name.
        const inside = [file("a"), data("x"), end("x"), up];
        const messages = below === "" ? [dir(""), dir("asked"), ...inside, up] : [dir(""), ...inside];
        expect(await tell([root(0), ...messages, done], options)).toEqual(["loop"]);
        expect(fs.readdirSync(at("outside"))).toEqual(["victim"]);
      },
    );
    test("two sources of one name: the second is not put where the first leads", async () => {
      const options = { names: [Buffer.from("x"), Buffer.from("x")], links: "never" } as const;
      const second = [root(1), dir(""), file("a"), data("x"), end("x"), up];
      expect(await tell([root(0), link("", at("outside")), ...second, done], options)).toEqual(["loop"]);
      expect(fs.readdirSync(at("outside"))).toEqual(["victim"]);
    });
  });
  test("a link and then a directory of its name: not entered", async () => {
    fs.mkdirSync(at("outside"));
    const messages = [
      root(0),
      dir(""),
      link("x", at("outside")),
      dir("x"),
      file("passwd"),
      data("p"),
      end("p"),
      up,
      up,
      done,
    ];
    expect(await tell(messages)).toEqual(["loop"]);
    expect(fs.readdirSync(at("outside"))).toEqual([]);
  });
  test("a link and then a file of its name: the link is replaced", async () => {
    fs.mkdirSync(at("outside"));
    fs.writeFileSync(at("outside", "victim"), "victim");
    await tell([
      root(0),
      dir(""),
      link("x", at("outside", "victim")),
      file("x"),
      data("new"),
      end("new"),
      up,
      done,
    ]);
    expect(fs.readFileSync(at("outside", "victim"), "utf8")).toBe("victim");
    expect(fs.lstatSync(at("to", "asked", "x")).isFile()).toBe(true);
  });
  test("a directory that somebody exchanges for a link while it is filled: what follows goes where it began", async () => {
    fs.mkdirSync(at("outside"));
    const sink = new FilesSink(
      { ...SINK, target: Buffer.from(at("to")), names: [Buffer.from("asked")] },
      async () => {},
    );
    sink.open();
    for (const message of [root(0), dir(""), dir("d")]) await sink.take(message);
    fs.renameSync(at("to", "asked", "d"), at("to", "asked", "moved"));
    fs.symlinkSync(at("outside"), at("to", "asked", "d"));
    for (const message of [file("f"), data("x"), end("x"), up, up, done]) await sink.take(message);
    expect(fs.readdirSync(at("outside"))).toEqual([]);
    expect(fs.readdirSync(at("to", "asked", "moved"))).toEqual(["f"]);
  });
  test("an unfinished file that somebody exchanges is not given the name", async () => {
    const sink = new FilesSink(
      { ...SINK, resume: true, target: Buffer.from(at("to")), names: [Buffer.from("asked")] },
      async () => {},
    );
    sink.open();
    for (const message of [root(0), file(""), data("x")]) await sink.take(message);
    const part = at("to", partName(Buffer.from("asked"), undefined).toString());
    fs.rmSync(part);
    fs.writeFileSync(part, "another");
    for (const message of [end("x"), done]) await sink.take(message);
    expect(sink.counts.failed).toBe(1);
    expect(fs.existsSync(at("to", "asked"))).toBe(false);
    fs.rmSync(part);
  });
  test("a copy that gives up removes its own unfinished file, and not another's", async () => {
    const options = { ...SINK, resume: true, target: Buffer.from(at("to")), names: [Buffer.from("asked")] };
    const [first, second] = [new FilesSink(options, async () => {}), new FilesSink(options, async () => {})];
    for (const sink of [first, second]) {
      sink.open();
      for (const message of [root(0), file("")]) await sink.take(message); // the second puts its own in the first's place
    }
    first.abort();
    for (const message of [data("x"), end("x"), done]) await second.take(message);
    expect(second.counts).toMatchObject({ files: 1, failed: 0 });
    expect(fs.readFileSync(at("to", "asked"), "utf8")).toBe("x");
  });
  test("a hole of petabytes holds nobody up", async () => {
    const sink = new FilesSink(
      { ...SINK, target: Buffer.from(at("to")), names: [Buffer.from("asked")] },
      async () => {},
    );
    sink.open();
    await sink.take(root(0));
    await sink.take({ ...file("", 2 ** 52), sparse: true } as FilesMessage);
    const taking = sink.take({ type: "hole", length: 2 ** 52 });
    await new Promise((resolve) => setImmediate(resolve));
    sink.abort(); // as Ctrl-C does
    await taking;
    expect(fs.readdirSync(at("to"))).toEqual([]);
  });
  test("any stream of messages that random draws make", async () => {
    const random = seeded(testSeed());
    const pick = <T>(of: readonly T[]): T => of[random.below(of.length)] as T;
    const names = ["", "a", "b", "..", "a/b", "/x", ".", "asked"];
    const make: (() => FilesMessage)[] = [
      () => root(random.below(3)),
      () => dir(pick(names)),
      () => file(pick(names), pick([undefined, 3, 100])),
      () => link(pick(names.slice(1)), pick(["/", "..", at("outside"), "a"])),
      () => up,
      () => data(pick(["x", "abc"])),
      () => end(pick(["", "x", "abc"])),
      () => ({ type: "drop" }),
      () => done,
    ];
    fs.mkdirSync(at("outside"));
    let refusals = 0;
    for (let i = 0; i < 400; i++) {
      const messages = [
        root(0),
        ...(random.chance(0.7) ? [dir("")] : []),
        ...Array.from({ length: 12 }, () => pick(make)()),
      ];
      await tell(messages, { names: [Buffer.from("asked"), Buffer.from("b"), Buffer.from("")] }).catch(
        (error: unknown) => {
          expect(error, `seed ${random.seed}`).toBeInstanceOf(SealttyError);
          refusals++;
        },
      );
    }
    expect(refusals).toBeGreaterThan(0);
    expect(fs.readdirSync(at("outside")), `seed ${random.seed}`).toEqual([]);
  });
});

describe("a sink that lies", () => {
  test.each([
    ["an answer without a question", { type: "from", offset: 0 }],
    ["an offer without a question", { type: "offer", length: 5 }],
    ["a source's words", { type: "done" }],
  ] as const)("%s", (_, message) => {
    const source = new FilesSource(SOURCE, async () => {});
    expect(() => source.receive(message)).toThrow(SealttyError);
  });
  test.each([
    ["more than there is", [{ type: "offer", length: 2 ** 40 }]],
    [
      "two offers",
      [
        { type: "offer", length: 5 },
        { type: "offer", length: 5 },
      ],
    ],
    [
      "another place to go on",
      [
        { type: "offer", length: 5 },
        { type: "from", offset: 6 },
      ],
    ],
    ["a place that was not offered", [{ type: "from", offset: 6 }]],
  ] as const)("%s", async (_, answers) => {
    fs.writeFileSync(at("from", "f"), Buffer.alloc(RESUME_FROM));
    const left: FilesMessage[] = [...answers];
    const decoder = new FilesDecoder();
    const source: FilesSource = new FilesSource({ ...SOURCE, resume: true }, async (bytes) => {
      for (const message of decoder.push(bytes)) {
        if (message.type !== "file" && message.type !== "claim") continue;
        const answer = left.shift();
        if (answer !== undefined) setImmediate(() => source.receive(answer));
      }
    });
    await expect(source.run([{ path: Buffer.from(at("from", "f")) }])).rejects.toThrow(
      expect.objectContaining({ code: "peer-misbehaved" }),
    );
  });
  test("one that gave up, or went, ends a source that waits for it", async () => {
    fs.writeFileSync(at("from", "f"), Buffer.alloc(RESUME_FROM));
    const source = new FilesSource({ ...SOURCE, resume: true }, async () => {});
    const running = source.run([{ path: Buffer.from(at("from", "f")) }]);
    setImmediate(() =>
      source.receive({ type: "trouble", code: "no-space", fatal: true, file: 0, path: Buffer.from("x") }),
    );
    await expect(running).resolves.toBeUndefined();
  });
});

describe("Directory", () => {
  test("without /proc another directory in its place is noticed", () => {
    fs.mkdirSync(at("from", "d"));
    const held = Directory.open(Buffer.from(at("from", "d")), true, "/nonexistent");
    expect(held.at(Buffer.from("x")).toString()).toBe(at("from", "d", "x"));
    fs.renameSync(at("from", "d"), at("from", "e"));
    fs.mkdirSync(at("from", "d"));
    expect(() => held.at(Buffer.from("x"))).toThrow(/EBUSY/);
    held.close();
  });
  test("follows no link below", () => {
    fs.symlinkSync("/", at("from", "l"));
    const above = Directory.open(Buffer.from(at("from")), true);
    expect(() => above.openBelow(Buffer.from("l"))).toThrow(/ENOTDIR|ELOOP/);
    above.close();
  });
});
