// Pending questions for passphrases: where they are found, who gets them, how they are answered and what came of it.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { MAX_PROMPT_MESSAGE } from "../../protocol/limits.ts";
import type { PromptsMessage } from "../../protocol/prompts/messages.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { parseInstanceDocument } from "../../protocol/attestation/instance/document.ts";
import { NO_SERVICES, type UnlockConfig } from "../../server/config.ts";
import { PromptsService } from "../../server/prompts/service.ts";
import {
  openVolumes,
  passfifoQuestions,
  type Question,
  systemdQuestions,
} from "../../server/prompts/sources.ts";
import { planPrograms } from "../../server/sessions/user-programs.ts";
import { ManualClock } from "../support/clocks.ts";

let scratch: string;
const at = (...names: string[]): string => path.join(scratch, ...names);
beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-prompts-"));
});
afterEach(() => fs.rmSync(scratch, { recursive: true }));

describe("askpass's FIFO", () => {
  let places: { fifo: string; processes: string };
  beforeEach(() => {
    places = { fifo: at("passfifo"), processes: at("proc") };
    fs.mkdirSync(at("proc/1/fd"), { recursive: true });
    fs.writeFileSync(at("proc/1/cmdline"), "init\0");
    fs.symlinkSync("/dev/null", at("proc/1/fd/0"));
  });
  const READS = "0104000"; // O_RDONLY | O_NONBLOCK | O_LARGEFILE
  const askpass = (pid: string, message: string, flags = READS): void => {
    fs.mkdirSync(at("proc", pid, "fd"), { recursive: true });
    fs.mkdirSync(at("proc", pid, "fdinfo"));
    fs.writeFileSync(at("proc", pid, "fdinfo/4"), `pos:\t0\nflags:\t${flags}\nmnt_id:\t13\n`);
    fs.writeFileSync(at("proc", pid, "cmdline"), `/lib/cryptsetup/askpass\0${message}\0`);
    fs.symlinkSync(places.fifo, at("proc", pid, "fd/4"));
  };

  test("who has it open asks, by its own words; nobody does without the FIFO", async () => {
    expect(passfifoQuestions(places)()).toEqual([]);
    askpass("77", "Please unlock disk root_crypt: ");
    expect(passfifoQuestions(places)()).toEqual([]); // a link to nothing
    execFileSync("mkfifo", [places.fifo]);
    const [question, ...others] = passfifoQuestions(places)();
    expect(others).toEqual([]);
    expect(question).toMatchObject({
      key: "initramfs 77",
      origin: "initramfs",
      message: "Please unlock disk root_crypt:",
      opensVolume: true,
    });
    expect(await question?.answer(utf8("nobody reads"))).toBe(false);
    const reader = fs.openSync(places.fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    expect(await question?.answer(utf8("pass phrase"))).toBe(true);
    const read = Buffer.alloc(100);
    expect(read.toString("utf8", 0, fs.readSync(reader, read))).toBe("pass phrase");
    expect(fs.readSync(reader, read)).toBe(0); // and its end, which is what askpass waits for
    fs.closeSync(reader);
  });

  test("who writes to it asks nothing, and who reads it no longer gets nothing", async () => {
    execFileSync("mkfifo", [places.fifo]);
    askpass("76", "writes", "0100001");
    askpass("77", "reads");
    askpass("78", "does both", "0100002");
    const [question, both, ...others] = passfifoQuestions(places)();
    expect([question, both, ...others].map((each) => each?.message)).toEqual(["reads", "does both"]);
    const reader = fs.openSync(places.fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const read = Buffer.alloc(100);
    fs.rmSync(at("proc/77/fd/4")); // another reads it meanwhile
    expect(await question?.answer(utf8("for 77"))).toBe(false);
    expect(await both?.answer(utf8("for 78"))).toBe(true);
    expect(read.toString("utf8", 0, fs.readSync(reader, read))).toBe("for 78");
    fs.writeFileSync(at("proc/78/fdinfo/4"), "flags:\t0100001\n");
    expect(await both?.answer(utf8("no more"))).toBe(false);
    fs.rmSync(at("proc/78/fdinfo/4"));
    expect(await both?.answer(utf8("no more"))).toBe(false);
    expect(fs.readSync(reader, read)).toBe(0);
    fs.closeSync(reader);
  });

  test("of this machine's own processes, those that read it", () => {
    execFileSync("mkfifo", [places.fifo]);
    const look = passfifoQuestions({ fifo: places.fifo, processes: "/proc" });
    expect(look()).toEqual([]);
    const reader = fs.openSync(places.fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    expect(look().map(({ key }) => key)).toEqual([`initramfs ${process.pid}`]);
    const writer = fs.openSync(places.fifo, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    fs.closeSync(reader);
    expect(look()).toEqual([]);
    fs.closeSync(writer);
  });

  test("a plain file in its place is no question, and is not written to", () => {
    fs.writeFileSync(places.fifo, "");
    askpass("77", "x");
    expect(passfifoQuestions(places)()).toEqual([]);
  });
});

describe("systemd's questions", () => {
  const ask = (name: string, ...lines: string[]): void =>
    fs.writeFileSync(at(name), ["[Ask]", ...lines, ""].join("\n"));
  const places = (status = 0, uid = process.getuid?.() ?? 0) => {
    const program = at("reply");
    const text = `#!/bin/sh\nprintf '%s ' "$@" >'${at("told")}'\ncat >>'${at("told")}'\nexit ${status}\n`;
    fs.writeFileSync(program, text, { mode: 0o755 });
    return { directory: scratch, replies: [at("none"), program], uid };
  };

  test("each is a file; the answer goes to its socket by systemd's own program", async () => {
    const self = String(process.pid);
    ask("ask.aB3", `PID=${self}`, "Socket=/run/x", "Echo=1", "Message=Disk A", "Id=cryptsetup:/dev/vda2");
    ask("ask.cD4", "Socket=/run/y", "NotAfter=0", "Message=PIN = ?");
    ask("other.aB3", "Socket=/run/z");
    const [first, second, ...others] = systemdQuestions(places())();
    expect(others).toEqual([]);
    expect(first).toMatchObject({
      origin: "systemd",
      echo: true,
      name: "cryptsetup:/dev/vda2",
      message: "Disk A",
      opensVolume: true,
    });
    expect(second).toMatchObject({ name: "", echo: false, message: "PIN = ?", opensVolume: false });
    expect(await first?.answer(utf8("an ßecret"))).toBe(true);
    expect(fs.readFileSync(at("told"), "utf8")).toBe("1 /run/x an ßecret");
  });

  test("not those that are over, nobody's, another user's, or without a place for the answer", () => {
    ask("ask.1", "Socket=/run/x", "NotAfter=1");
    ask("ask.2", "Socket=relative");
    ask("ask.3", "Message=none");
    fs.writeFileSync(at("ask.4"), "Socket=/run/x\n[Other]\nSocket=/run/x\n");
    fs.writeFileSync(at("ask.5"), `[Ask]\nSocket=/run/x\n${"#".repeat(20_000)}\n`);
    fs.symlinkSync(at("ask.1"), at("ask.6"));
    const gone = execFileSync("sh", ["-c", "echo $$"]).toString().trim();
    ask("ask.7", `PID=${gone}`, "Socket=/run/x");
    expect(systemdQuestions(places())()).toEqual([]);
    ask("ask.8", "Socket=/run/x");
    expect(systemdQuestions(places())()).toHaveLength(1);
    expect(systemdQuestions(places(0, 12_345))()).toEqual([]);
    expect(systemdQuestions({ ...places(), directory: at("none") })()).toEqual([]);
  });

  test("a refusal is an error while it is asked, and else nobody's", async () => {
    ask("ask.1", "Socket=/run/x");
    const [question] = systemdQuestions(places(1))();
    await expect(question?.answer(utf8("x"))).rejects.toThrow(/ended with 1/);
    fs.rmSync(at("ask.1"));
    expect(await question?.answer(utf8("x"))).toBe(false);
  });

  test("without systemd's program it cannot be answered, and that is said", async () => {
    ask("ask.1", "Socket=/run/x");
    const [question] = systemdQuestions({ ...places(), replies: [] })();
    await expect(question?.answer(utf8("x"))).rejects.toThrow(/systemd-reply-password is not there/);
  });
});

test("volumes that are open are those of dm-crypt", () => {
  for (const [name, uuid] of [
    ["dm-0", "CRYPT-LUKS2-1"],
    ["dm-1", "LVM-2"],
  ] as const) {
    fs.mkdirSync(at(name, "dm"), { recursive: true });
    fs.writeFileSync(at(name, "dm/uuid"), `${uuid}\n`);
  }
  fs.mkdirSync(at("vda"));
  expect([...openVolumes(scratch)]).toEqual(["CRYPT-LUKS2-1"]);
});

describe("what a client is told", () => {
  let clock: ManualClock;
  let asked: Question[];
  let volumes: string[];
  let sent: PromptsMessage[];
  let complaints: string[];
  let service: PromptsService;
  beforeEach(() => {
    clock = new ManualClock();
    [asked, volumes, sent, complaints] = [[], ["CRYPT-before"], [], []];
  });
  afterEach(() => service.stop());
  const begin = (): void => {
    service = new PromptsService({
      clock,
      sources: [() => asked],
      openVolumes: () => new Set(volumes),
      send: (message) => void sent.push(message),
      complain: (words) => void complaints.push(words),
    });
  };
  const question = (key: string, more: Partial<Question> = {}): Question => ({
    key,
    origin: "initramfs",
    echo: false,
    name: "",
    message: "Disk?",
    opensVolume: true,
    answer: async () => true,
    ...more,
  });
  const outcomes = () => sent.filter((message) => message.type === "outcome");

  test("first what is asked, then each change, and nothing in between", () => {
    begin();
    expect(sent).toEqual([{ type: "pending", prompts: [] }]);
    clock.advance(10_000);
    expect(sent).toHaveLength(1);
    asked = [question("a")];
    clock.advance(1000);
    expect(sent[1]).toEqual({
      type: "pending",
      prompts: [{ number: 1, origin: "initramfs", echo: false, name: "", message: "Disk?" }],
    });
    asked = [];
    clock.advance(1000);
    asked = [question("a")]; // asked anew: another number
    clock.advance(1000);
    expect(sent.slice(2)).toMatchObject([{ prompts: [] }, { prompts: [{ number: 2 }] }]);
    service.stop();
    expect(clock.timers).toBe(0);
  });

  test("opened, asked again, gone, unknown, failed", async () => {
    asked = [question("a")];
    begin();
    const given = utf8("x");
    await service.answer(1, given);
    expect([...given]).toEqual([0]); // wiped
    clock.advance(1000);
    expect(outcomes()).toEqual([]);
    volumes = ["CRYPT-before", "CRYPT-new"];
    clock.advance(1000);
    expect(outcomes()).toEqual([{ type: "outcome", number: 1, outcome: "opened" }]);

    await service.answer(1, utf8("x"));
    asked = [question("b", { message: "another" }), question("c")];
    clock.advance(1000);
    expect(outcomes().at(-1)).toEqual({ type: "outcome", number: 1, outcome: "asked-again" });

    await service.answer(1, utf8("x"));
    expect(outcomes().at(-1)).toEqual({ type: "outcome", number: 1, outcome: "gone" });

    asked = [question("c", { answer: async () => false })];
    clock.advance(1000);
    await service.answer(3, utf8("x"));
    expect(outcomes().at(-1)).toEqual({ type: "outcome", number: 3, outcome: "gone" });

    asked = [question("d")];
    clock.advance(1000);
    await service.answer(4, utf8("x"));
    clock.advance(59_000);
    expect(outcomes()).toHaveLength(4);
    clock.advance(2000);
    expect(outcomes().at(-1)).toEqual({ type: "outcome", number: 4, outcome: "unknown" });

    const fails = async (): Promise<boolean> => {
      throw new Error("the disk is full");
    };
    asked = [question("e", { answer: fails })];
    clock.advance(1000);
    await service.answer(5, utf8("x"));
    expect(outcomes().at(-1)).toEqual({ type: "outcome", number: 5, outcome: "failed" });
    expect(complaints).toEqual(["the disk is full"]);
  });

  test("a second answer before the outcome of the first is a broken rule", async () => {
    asked = [question("a")];
    begin();
    await service.answer(1, utf8("x"));
    await expect(service.answer(1, utf8("y"))).rejects.toMatchObject({ code: "peer-misbehaved" });
  });

  test("texts are of one line, and bounded; no more than 16 are listed", () => {
    asked = Array.from({ length: 40 }, (_, i) =>
      question(String(i), { message: `\u001b[2J\n${"ä€".repeat(300)}` }),
    );
    begin();
    const [pending] = sent;
    if (pending?.type !== "pending") throw new Error("nothing was told");
    expect(pending.prompts).toHaveLength(16);
    for (const { message } of pending.prompts) {
      expect(message).toMatch(/^\\x1b\[2J\\x0aä€ä/);
      expect(message.endsWith("…")).toBe(true);
      expect(utf8(message).length).toBeLessThanOrEqual(MAX_PROMPT_MESSAGE);
    }
  });
});

describe("who gets the program", () => {
  const users = {
    authorizedKeys: "/none",
    names: "any",
    login: undefined,
    shell: undefined,
    passkeyOrigins: [],
    maxPrograms: 512,
    pam: "auto",
  } as const;
  const user = {
    name: os.userInfo().username,
    method: "ssh-key",
    key: new Uint8Array(32).fill(7),
    restrictions: UNRESTRICTED,
  } as const satisfies AuthenticatedUser;
  const plan = (unlock: UnlockConfig | undefined, who: AuthenticatedUser = user, document?: string) =>
    planPrograms(
      users,
      document === undefined ? undefined : parseInstanceDocument(utf8(document)),
      undefined,
      unlock === undefined ? undefined : { unlock, services: NO_SERVICES, provision: undefined },
    )(who, { kind: "prompts" });
  const refused = expect.objectContaining({ code: "user-refused" });

  test("nobody whom [unlock] does not name, by user and by key; and no key with a forced command", async () => {
    const { name } = user;
    await expect(plan(undefined)).rejects.toThrow(refused);
    await expect(plan({ users: ["somebody"], keys: undefined })).rejects.toThrow(refused);
    const other = fingerprintOf(new Uint8Array(32));
    await expect(plan({ users: [name], keys: [other] })).rejects.toThrow(refused);
    const forced = { ...user, restrictions: { ...UNRESTRICTED, command: "uptime" } };
    await expect(plan({ users: [name], keys: undefined }, forced)).rejects.toThrow(refused);
    await expect(plan({ users: [name], keys: undefined }, { name, method: "none" })).rejects.toThrow(refused);
  });

  test("whom it names: a program of sealttyd's own, without a terminal", async () => {
    for (const keys of [undefined, [fingerprintOf(user.key)]]) {
      const { launch, terminal } = await plan({ users: [user.name], keys });
      expect(terminal).toBeUndefined();
      expect(launch.command[1]).toMatch(/sealttyd-prompts\.js$/);
      expect(launch.account).toBeUndefined();
      expect(launch.wished).toBeUndefined();
    }
  });
});
