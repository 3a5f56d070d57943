// The one who keeps a connection: who comes to its socket, until when it is kept, and whose the name of the socket is.

import { linkSync, lstatSync, renameSync, rmSync } from "node:fs";
import net from "node:net";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Talk } from "../report.ts";
import type { Surroundings } from "../services.ts";
import { within } from "../within.ts";
import { type Kept, type Said, Served } from "./served.ts";

/** For somebody who does not read to hear why all is over, ms. */
const TELL_WITHIN = 2000;

/** A guest that was reset says nothing: for so long its connection may come back while somebody waits, ms. */
const LOST_FOR = 3000;

type Why = "idle" | "stopped" | "lost";

export class MasterServer implements Talk {
  /** Resolves once nobody needed it for as long as it waits, somebody said that it shall end, or who came needs another one. */
  readonly done: Promise<Why>;
  readonly #here: Surroundings;
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #server: net.Server;
  readonly #served = new Set<Served>();
  #socket: { readonly path: string; readonly inode: number } | undefined;
  #kept: Kept | undefined;
  #failure: unknown;
  readonly #whenKept: Promise<Kept>;
  #settle!: { keep(kept: Kept): void; fail(error: unknown): void };
  #lostAt: number | undefined;
  #finish: (why: Why) => void = () => {};
  #cancelIdle: () => void = () => {};
  #idleSince: number;

  /** @param here - of this process: for programs that are launched from elsewhere and run in it. */
  constructor(here: Surroundings, idleMs: number) {
    this.#here = here;
    this.#clock = here.clock;
    this.#idleMs = idleMs;
    this.#idleSince = this.#clock.now();
    this.#whenKept = new Promise((keep, fail) => {
      this.#settle = { keep, fail };
    });
    this.#whenKept.catch(() => undefined); // told to each that asks
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#server = net.createServer((socket) => this.#serve(socket));
  }

  /**
   * From now on those who ask are heard; they wait until there is a connection.
   * @returns false where another one is there already. @throws where the socket cannot be made.
   */
  async listen(socketPath: string): Promise<boolean> {
    const own = `${socketPath}.${process.pid}`;
    rmSync(own, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(own, resolve);
    });
    try {
      // It listens before it has its name, so whoever finds a name finds somebody, or somebody dead.
      if (!(await takeName(own, socketPath))) {
        this.#server.close();
        return false;
      }
    } finally {
      rmSync(own, { force: true });
    }
    this.#socket = { path: socketPath, inode: lstatSync(socketPath).ino };
    return true;
  }

  /** There is a connection: who waited is served. */
  keep(kept: Kept): void {
    this.#kept = kept;
    this.#settle.keep(kept);
    for (const served of this.#served) served.greet(kept);
    this.#onChange();
  }

  /** Tells everybody why there is no connection, or none any more. */
  async fail(error: unknown): Promise<void> {
    this.#failure = error;
    this.#settle.fail(error);
    await within(
      this.#clock,
      TELL_WITHIN,
      Promise.all([...this.#served].map((served) => served.fail(error))),
    );
  }

  /** Those that run here are told by their own program's end, for a moment; then all are cut. */
  async close(): Promise<void> {
    this.#cancelIdle();
    this.#leaveName();
    this.#settle.fail(new SealttyError("transport-lost", "The kept connection was ended before it stood."));
    await within(this.#clock, TELL_WITHIN, Promise.all([...this.#served].map((served) => served.over())));
    for (const served of this.#served) served.end();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Whoever comes from now on finds nobody. */
  #leaveName(): void {
    const { path, inode } = this.#socket ?? {};
    if (path !== undefined && lstatSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path);
  }

  /** Whether the guest is there: told of each change. */
  connectionIs(state: "lost" | "there"): void {
    this.#lostAt = state === "there" ? undefined : (this.#lostAt ?? this.#clock.now());
  }

  /** For a command that came: the connection is lost, not just now, and nobody else would miss it. */
  #beginsAnew(by: Served): boolean {
    const isLost = this.#lostAt !== undefined && this.#clock.now() - this.#lostAt >= LOST_FOR;
    const others = [...this.#served].some((served) => served !== by && served.busy);
    if (this.#kept === undefined || !isLost || others) return false;
    this.#leaveName();
    this.#finish("lost");
    return true;
  }

  say(text: string): void {
    this.#tell({ how: "say", text });
  }
  warn(text: string): void {
    this.#tell({ how: "warn", text });
  }
  detail(text: string): void {
    this.#tell({ how: "detail", text });
  }
  event(text: string, fields: Readonly<Record<string, unknown>>): void {
    this.#tell({ how: "event", text, fields });
  }

  #tell(said: Said): void {
    for (const served of this.#served) served.say(said);
  }

  #serve(socket: net.Socket): void {
    const served = new Served(socket, {
      here: this.#here,
      keeper: {
        socket: this.#socket?.path ?? "",
        kept: () => this.#whenKept,
        beginsAnew: () => this.#beginsAnew(served),
      },
      status: () => ({
        pid: process.pid,
        running: [...this.#served].filter(({ running }) => running).length,
        idleSeconds: Math.round((this.#clock.now() - this.#idleSince) / 1000),
        ...(this.#lostAt === undefined
          ? {}
          : { lostSeconds: Math.round((this.#clock.now() - this.#lostAt) / 1000) }),
      }),
      stopping: () => this.#leaveName(),
      stop: () => this.#finish("stopped"),
      over: () => {
        this.#served.delete(served);
        this.#onChange();
      },
    });
    this.#served.add(served);
    this.#onChange();
    if (this.#failure !== undefined) void served.fail(this.#failure);
    else if (this.#kept !== undefined) served.greet(this.#kept);
    else served.say({ how: "detail", text: "sealtty: the connection that is kept is being opened" }); // it answers
  }

  /** Idle from the moment on when the last one left, and never before there is a connection: that has its own time. */
  #onChange(): void {
    this.#cancelIdle();
    this.#idleSince = this.#clock.now();
    if (this.#served.size > 0 || this.#kept === undefined) return;
    this.#cancelIdle = this.#clock.after(this.#idleMs, () => this.#finish("idle"));
  }
}

/** Of several who come at once exactly one gets the name. @returns whether it is ours. */
async function takeName(own: string, name: string): Promise<boolean> {
  for (;;) {
    try {
      linkSync(own, name);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (await isServed(name)) return false;
    const dead = `${own}.dead`;
    try {
      renameSync(name, dead);
    } catch {
      continue; // another one was faster
    }
    // Between the look and the taking somebody may have replaced the dead one: a living one gets its name back.
    if (await isServed(dead)) {
      try {
        linkSync(dead, name);
      } catch {
        // the name has another owner by now: that one serves
      }
    }
    rmSync(dead, { force: true });
  }
}

function isServed(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect(socketPath);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

/** For a socket that cannot be made. */
export function noSocket(cause: unknown): SealttyError {
  const { code } = cause as NodeJS.ErrnoException;
  return new SealttyError(
    "device-unavailable",
    `cannot make the socket of the kept connection (${code ?? "unknown error"}); set XDG_RUNTIME_DIR to a directory of yours with a short name`,
    { cause },
  );
}
