// Where programs wait for a passphrase: askpass of Debian's cryptsetup in an initramfs, and whatever asks through systemd.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { errorCode } from "../../node/socket-pipe.ts";
import type { Prompt } from "../../protocol/prompts/messages.ts";

/** A question that is being asked now. */
export interface Question extends Omit<Prompt, "number"> {
  /** The same for as long as it is this one. */
  readonly key: string;
  /** Whether an encrypted volume is to be opened, as far as that can be told. */
  readonly opensVolume: boolean;
  /** @returns false where nobody asks any more. @throws Error that says why it could not be handed over. */
  answer(passphrase: Uint8Array): Promise<boolean>;
}

/** @returns what is asked now, at this place. Never throws: what cannot be read is not there. */
export type LookForQuestions = () => readonly Question[];

const PASSFIFO = "/lib/cryptsetup/passfifo";
const SYSTEMD_QUESTIONS = "/run/systemd/ask-password";
const REPLIES = ["/usr/lib/systemd/systemd-reply-password", "/lib/systemd/systemd-reply-password"];
const MAX_QUESTION_FILE = 16 * 1024;
const MAX_COMMAND_LINE = 4096;
const REPLY_TAKES_MS = 10_000;
/** O_ACCMODE of open(2), which Node does not name. */
const ACCESS_MODE = 3;

/**
 * askpass reads a FIFO besides the console. Who has it open is looked up among the processes: to open and close it without a
 * word would be an answer.
 * @param places - for tests.
 */
export function passfifoQuestions(places = { fifo: PASSFIFO, processes: "/proc" }): LookForQuestions {
  return () => {
    const fifo = statOf(places.fifo);
    if (fifo === undefined || !fifo.isFIFO()) return [];
    return namesIn(places.processes)
      .filter((name) => /^\d{1,10}$/.test(name))
      .flatMap((pid): Question[] => {
        const asker = path.join(places.processes, pid);
        if (!hasOpenForReading(asker, fifo)) return [];
        const [, message = ""] = commandLineOf(asker);
        return [
          {
            key: `initramfs ${pid}`,
            origin: "initramfs",
            echo: false,
            name: "",
            message: message.trim(),
            opensVolume: true,
            // Another who reads it meanwhile may ask something else, and in other words.
            answer: async (passphrase) =>
              hasOpenForReading(asker, fifo) && writeToFifo(places.fifo, passphrase, fifo),
          },
        ];
      });
  };
}

/** @param asker - a process's directory in /proc. Who has the FIFO open for writing only is one who answers, too. */
function hasOpenForReading(asker: string, fifo: fs.Stats): boolean {
  return namesIn(path.join(asker, "fd")).some((name) => {
    const opened = statOf(path.join(asker, "fd", name));
    return opened !== undefined && isSameFile(opened, fifo) && readsBy(path.join(asker, "fdinfo", name));
  });
}

/** By the flags of open(2), octal: proc(5). */
function readsBy(information: string): boolean {
  try {
    const flags = /^flags:\s*([0-7]{1,16})$/m.exec(fs.readFileSync(information, "utf8"))?.[1];
    return flags !== undefined && (parseInt(flags, 8) & ACCESS_MODE) !== fs.constants.O_WRONLY;
  } catch {
    return false; // closed meanwhile
  }
}

function isSameFile(one: fs.Stats, other: fs.Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/** @param fifo - that it has to be. @returns false where nobody reads it. */
function writeToFifo(file: string, bytes: Uint8Array, fifo: fs.Stats): boolean {
  const { O_WRONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
  let fd: number;
  try {
    fd = fs.openSync(file, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  } catch (error) {
    if (["ENXIO", "ENOENT"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
  try {
    const opened = fs.fstatSync(fd);
    if (!opened.isFIFO()) throw new Error(`${file} is no FIFO`);
    if (!isSameFile(opened, fifo)) return false; // made anew: for others
    const written = fs.writeSync(fd, bytes); // whole, or not at all: it is shorter than PIPE_BUF
    if (written !== bytes.length) throw new Error("the answer was cut off");
    return true;
  } catch (error) {
    if (errorCode(error) === "EPIPE") return false;
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * systemd's agents' interface (systemd.io/PASSWORD_AGENTS): a file for each question, a socket for its answer.
 * @param places - for tests: uid is whose questions are believed.
 */
export function systemdQuestions(
  places = { directory: SYSTEMD_QUESTIONS, replies: REPLIES, uid: process.getuid?.() ?? 0 },
): LookForQuestions {
  return () =>
    namesIn(places.directory)
      .filter((name) => /^ask\.[A-Za-z0-9]{1,32}$/.test(name))
      .flatMap((name): Question[] => {
        const file = path.join(places.directory, name);
        const text = questionText(file, places.uid);
        const fields = text === undefined ? undefined : fieldsOf(text);
        const socket = fields?.get("Socket") ?? "";
        if (fields === undefined || !socket.startsWith("/") || isOver(fields)) return [];
        const id = fields.get("Id") ?? "";
        return [
          {
            key: `systemd ${name}`,
            origin: "systemd",
            echo: fields.get("Echo") === "1",
            name: id,
            message: fields.get("Message") ?? "",
            opensVolume: id.startsWith("cryptsetup:"),
            answer: async (passphrase) => {
              if (!fs.existsSync(file)) return false;
              return await reply(places.replies, socket, passphrase, () => fs.existsSync(file));
            },
          },
        ];
      });
}

/** A regular file of the right owner's; others' words are nobody's question. */
function questionText(file: string, uid: number): string | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  try {
    const fd = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const stat = fs.fstatSync(fd);
      if (!stat.isFile() || stat.uid !== uid || stat.size > MAX_QUESTION_FILE) return undefined;
      return fs.readFileSync(fd, "utf8");
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return undefined; // answered meanwhile
  }
}

/** Of its one section; the last of two counts, as with systemd. */
function fieldsOf(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let inSection = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("[")) inSection = line.trim() === "[Ask]";
    const at = line.indexOf("=");
    if (inSection && at > 0) fields.set(line.slice(0, at), line.slice(at + 1));
  }
  return fields;
}

/** Nobody waits for the answer any more: its time has passed, or who asked is gone. */
function isOver(fields: ReadonlyMap<string, string>): boolean {
  const notAfter = fields.get("NotAfter") ?? "0"; // µs of CLOCK_MONOTONIC; 0: never
  if (/^\d{1,18}$/.test(notAfter) && notAfter !== "0" && BigInt(notAfter) < process.hrtime.bigint() / 1000n)
    return true;
  const pid = fields.get("PID") ?? "";
  if (!/^[1-9]\d{0,9}$/.test(pid)) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return errorCode(error) === "ESRCH";
  }
}

/** By systemd's own program: Node has no datagrams for unix sockets. */
function reply(
  programs: readonly string[],
  socket: string,
  passphrase: Uint8Array,
  isAsked: () => boolean,
): Promise<boolean> {
  const program = programs.find((file) => fs.existsSync(file));
  if (program === undefined) throw new Error("systemd-reply-password is not there");
  return new Promise((resolve, reject) => {
    // Its own words go nowhere: they may be about the socket's name, and nobody here needs them.
    const child = spawn(program, ["1", socket], {
      stdio: ["pipe", "ignore", "ignore"],
      env: {},
      timeout: REPLY_TAKES_MS,
    });
    child.once("error", (cause) => reject(new Error("systemd-reply-password does not start", { cause })));
    child.once("close", (status) => {
      if (status === 0) resolve(true);
      else if (isAsked()) reject(new Error(`systemd-reply-password ended with ${status ?? "a signal"}`));
      else resolve(false);
    });
    child.stdin.on("error", () => undefined); // its status tells
    child.stdin.end(Buffer.from(passphrase));
  });
}

/** UUIDs of the encrypted volumes that are open. @param blocks - for tests. */
export function openVolumes(blocks = "/sys/block"): ReadonlySet<string> {
  const found = namesIn(blocks).map((name) => {
    try {
      return fs.readFileSync(path.join(blocks, name, "dm/uuid"), "utf8").trim();
    } catch {
      return "";
    }
  });
  return new Set(found.filter((uuid) => uuid.startsWith("CRYPT-")));
}

function commandLineOf(directory: string): string[] {
  try {
    const text = fs.readFileSync(path.join(directory, "cmdline"), "utf8");
    return text.slice(0, MAX_COMMAND_LINE).split("\0");
  } catch {
    return [];
  }
}

function namesIn(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

function statOf(file: string): fs.Stats | undefined {
  try {
    return fs.statSync(file);
  } catch {
    return undefined;
  }
}
