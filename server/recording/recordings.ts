// Which sessions are recorded, and where: `[recording]` of sealttyd's configuration.

import fs from "node:fs";
import path from "node:path";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { Audit } from "../audit/audit.ts";
import type { RecordingConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { Launch } from "../sessions/launch.ts";
import { Recording } from "./recording.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants;
const FILE_MODE = 0o600;
/** What the smallest file takes of a disk. */
const BLOCK = 4096;
const MAX_FILES = 20_000;
/** As with their sizes: a login that shows a prompt only takes a block, and its name. */
const MAX_FILES_OF_ONE = MAX_FILES / 2;
const MIB = 1024 * 1024;
/** Names for one recording, the first without, the others with characters by chance: a clock that was set back has had some. */
const NAME_TRIES = 8;
const RANDOM_BYTES = 6;
/** `fileName()`'s: whose recording it is. Anything else in the directory is nobody's, and counts for all. */
const FILE_NAME = /^\d{8}T\d{6}Z-(?<who>[A-Za-z0-9_=-]+)-\d+(?:\.[0-9a-f]+)?\.cast$/;

/** Of logins without a key: no user's name becomes this. */
const WITHOUT_KEY = "=login";

export interface RecordingsOptions {
  readonly config: RecordingConfig | undefined;
  readonly audit: Audit;
  readonly log: Log;
  readonly clock: Clock;
  /** Ms since 1970, UTC. */
  readonly wallTime: () => number;
}

export interface ToRecord {
  readonly user: AuthenticatedUser;
  readonly service: string;
  readonly program: number;
  readonly columns: number;
  readonly rows: number;
  readonly launch: Pick<Launch, "environment">;
}

export class Recordings {
  readonly #options: RecordingsOptions;
  /** By the names of their files. */
  readonly #open = new Map<string, Recording>();

  /** @throws SealttyError `device-unavailable` where recordings are required and the directory cannot be used. */
  constructor(options: RecordingsOptions) {
    this.#options = options;
    const { config } = options;
    if (config === undefined) return;
    try {
      usableDirectory(config.directory);
    } catch (error) {
      this.#notRecorded(config, error);
    }
  }

  /** What the user of a recorded session is told; undefined where that is switched off. */
  get notice(): string | undefined {
    return this.#options.config?.notice === true ? "This session is recorded.\r\n" : undefined;
  }

  /** @returns undefined for what is not to be recorded. @throws SealttyError `device-unavailable` where it must be, and cannot. */
  open({ user, service, program, columns, rows, launch }: ToRecord): Recording | undefined {
    const { config, audit, clock, wallTime } = this.#options;
    if (config === undefined || !isChosen(config, user, service)) return undefined;
    try {
      usableDirectory(config.directory);
      const who = user.method === "none" ? "login" : user.name;
      const owner = user.method === "none" ? WITHOUT_KEY : inFileName(user.name);
      this.#requireRoom(config, owner);
      const startedAt = wallTime();
      const { fd, name } = createFile(config.directory, `${fileTime(startedAt)}-${owner}-${program}`);
      const recording: Recording = new Recording({
        fd,
        name,
        clock,
        header: {
          columns,
          rows,
          term: launch.environment["TERM"],
          startedAt,
          title: who === service ? service : `${service} of ${who}`,
        },
        maxBytes: config.maxMib * MIB,
        required: config.required,
        onEnd: (bytes, why) => {
          this.#open.delete(name);
          if (why === "not-started") fs.rmSync(path.join(config.directory, name), { force: true }); // nothing was shown
          audit.after({ event: "recording-end", program, recording: name, bytes, why });
        },
      });
      this.#open.set(name, recording);
      return recording;
    } catch (error) {
      this.#notRecorded(config, error);
      return undefined;
    }
  }

  close(): void {
    for (const recording of [...this.#open.values()]) recording.close("cut-off");
  }

  /**
   * For one more, as large as it may become; those that are being written count as large as they may become. Nobody has
   * more than a share, and who logs in without a key has one with all others who do: so that strangers at the login prompt
   * cannot use up the room of users. @throws SealttyError `limit-exceeded`, Node's Error.
   */
  #requireRoom({ directory, maxMib, userMib, totalMib }: RecordingConfig, owner: string): void {
    const names = fs.readdirSync(directory);
    if (names.length >= MAX_FILES) throw new SealttyError("limit-exceeded", "too many files are in it");
    let total = maxMib * MIB;
    let own = total;
    let ownFiles = 0;
    for (const name of names) {
      const size = this.#open.has(name)
        ? maxMib * MIB
        : (fs.lstatSync(path.join(directory, name), { throwIfNoEntry: false })?.size ?? 0);
      const room = Math.ceil(size / BLOCK) * BLOCK;
      total += room;
      if (FILE_NAME.exec(name)?.groups?.["who"] !== owner) continue;
      own += room;
      ownFiles++;
    }
    if (total > totalMib * MIB)
      throw new SealttyError("limit-exceeded", "total_mib is reached: move recordings away");
    if (own > userMib * MIB || ownFiles >= MAX_FILES_OF_ONE)
      throw new SealttyError("limit-exceeded", `the share of ${owner} is used up (user_mib): move some away`);
  }

  /** @throws SealttyError `device-unavailable` where it is required. */
  #notRecorded({ directory, required }: RecordingConfig, error: unknown): void {
    const why = error instanceof SealttyError ? error.message : (errorCode(error) ?? "unknown error");
    this.#options.log.error("SESSIONS CANNOT BE RECORDED", { directory, why });
    if (required)
      throw new SealttyError("device-unavailable", "Sessions must be recorded, and cannot be. See the log.");
  }
}

function isChosen({ users, services }: RecordingConfig, user: AuthenticatedUser, service: string): boolean {
  if (!services.some((each) => each === service)) return false;
  // Whom a login without a key is of, nobody knows when it starts.
  return users === undefined || user.method === "none" || users.includes(user.name);
}

/** Nobody but root, or whoever sealttyd is, may put links or files there. @throws SealttyError, Node's Error. */
function usableDirectory(directory: string): void {
  const found = fs.lstatSync(directory);
  const ours = found.uid === 0 || found.uid === process.getuid?.();
  if (found.isDirectory() && ours && (found.mode & 0o022) === 0) return;
  throw new SealttyError(
    "device-unavailable",
    "it must be a directory that belongs to sealttyd's own user, and that nobody else may write in",
  );
}

/** @param begin - of its name. @throws Node's Error, with `code` EEXIST where so many names were taken. */
function createFile(directory: string, begin: string): { readonly fd: number; readonly name: string } {
  // O_EXCL: a recording of before is never added to, or lost, whatever the clock says.
  const flags = O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW;
  for (let tries = 1; ; tries++) {
    const chance = tries === 1 ? "" : `.${toHex(nodeSuite.randomBytes(RANDOM_BYTES))}`;
    const name = `${begin}${chance}.cast`;
    try {
      return { fd: fs.openSync(path.join(directory, name), flags, FILE_MODE), name };
    } catch (error) {
      if (errorCode(error) !== "EEXIST" || tries === NAME_TRIES) throw error;
    }
  }
}

/** "20261126T141500Z": of a time in ms. */
function fileTime(time: number): string {
  return new Date(time).toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

/** Two names never become the same: what a file's name should not have stands as its bytes in hexadecimal, `=2e`. */
function inFileName(user: string): string {
  return user.replaceAll(/[^A-Za-z0-9_-]/gu, (character) =>
    Array.from(Buffer.from(character), (byte) => `=${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}
