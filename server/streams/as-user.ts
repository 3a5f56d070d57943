// Unix sockets opened by a small program that runs as the user: sealttyd is root, and root may connect to any.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Listening } from "../../node/sockets.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { concat, u32 } from "../../protocol/bytes.ts";
import { LISTEN_FAILED } from "../../protocol/forward/forward-messages.ts";
import type { GuestProcess } from "../../protocol/session/guest-process.ts";
import type { StreamRefusal, WaitingStream } from "../../protocol/session/guest-streams.ts";
import { OPEN_FAILED } from "../../protocol/session/messages.ts";
import type { HelperRequest } from "../monitor/operations.ts";
import { type Account, sessionEnvironment } from "../sessions/account.ts";
import type { Launch, Pam } from "../sessions/launch.ts";
import { asUser } from "../sessions/user-programs.ts";

const NAME = "sealttyd-connect.js";
/** The private socket's path, as the program says it: more is none of its. */
const MAX_LINE = 256;

/** Beside sealttyd; where this is not bundled, where `npm run build` puts it. @returns undefined where it is missing. */
export function connectProgram(): string | undefined {
  const own = path.dirname(fileURLToPath(import.meta.url));
  return [path.join(own, NAME), path.resolve(own, "../../dist/bin", NAME)].find((file) =>
    fs.existsSync(file),
  );
}

/** For one user. @throws SealttyError. */
export type StartForUser = (helper: HelperRequest) => Promise<GuestProcess>;

/** @throws as `start`. */
export async function connectAsUser(
  start: StartForUser,
  socket: string,
): Promise<GuestProcess | StreamRefusal> {
  return await connected(await start({ kind: "connect", socket }));
}

/** @param onWaiting - @returns whether there is room for it. Never rejects. */
export async function listenAsUser(
  start: StartForUser,
  socket: string,
  onWaiting: (stream: WaitingStream) => boolean,
): Promise<Listening | StreamRefusal> {
  const listener = await start({ kind: "listen", socket });
  void drain(listener);
  const begun = await firstByte(listener);
  if (begun === undefined) return { code: LISTEN_FAILED };
  if (begun.status !== 0) return { code: begun.status };
  let line = begun.rest;
  while (!line.includes(10)) {
    const chunk = line.length > MAX_LINE ? undefined : await listener.stdout.read();
    if (chunk === undefined) {
      listener.hangUp();
      return { code: LISTEN_FAILED };
    }
    line = concat(line, chunk);
  }
  const end = line.indexOf(10);
  const privateSocket = Buffer.from(line.subarray(0, end)).toString();
  let count = 0;
  // It is the user's program: one that does not listen any more is gone for us, and nothing else is.
  const dismiss = (number: number): Promise<void> =>
    listener.write(u32(number)).catch(() => listener.hangUp());
  const take = async (bytes: Uint8Array): Promise<void> => {
    for (let i = 0; i < bytes.length; i++) {
      const number = ++count;
      const stream: WaitingStream = {
        accept: async () => connected(await start({ kind: "fetch", socket: privateSocket, number })),
        dismiss: () => void dismiss(number),
      };
      if (!onWaiting(stream)) await dismiss(number);
    }
  };
  const takeAll = async (): Promise<void> => {
    await take(line.subarray(end + 1));
    for (let chunk = await listener.stdout.read(); chunk !== undefined; chunk = await listener.stdout.read())
      await take(chunk);
  };
  takeAll().catch(() => listener.hangUp());
  // Its end of input tells it to go, and to take the path away with it.
  return { port: 0, close: () => listener.endInput() };
}

/** A helper's launch. @throws SealttyError `device-unavailable` where the program is missing. */
export function helperLaunch(
  account: Account,
  helper: Exclude<HelperRequest, { kind: "ssh" }>,
  pam: Pam | undefined,
  program = connectProgram(),
): Launch {
  if (program === undefined)
    throw new SealttyError(
      "device-unavailable",
      "sealttyd-connect.js is missing beside sealttyd.js: sockets cannot be opened for users",
    );
  const number = helper.kind === "fetch" ? [String(helper.number)] : [];
  return {
    command: [process.execPath, program, helper.kind, helper.socket, ...number],
    environment: sessionEnvironment(account, undefined),
    directory: "/",
    ...asUser(account, pam),
  };
}

async function connected(helper: GuestProcess): Promise<GuestProcess | StreamRefusal> {
  const begun = await firstByte(helper);
  if (begun === undefined) {
    helper.hangUp();
    return { code: OPEN_FAILED };
  }
  if (begun.status !== 0) return { code: begun.status };
  return new Begun(helper, begun.rest);
}

/** @returns undefined where the program ended without a word. */
async function firstByte(
  helper: GuestProcess,
): Promise<{ readonly status: number; readonly rest: Uint8Array } | undefined> {
  const chunk = await helper.stdout.read();
  const status = chunk?.[0];
  return chunk === undefined || status === undefined
    ? undefined
    : { status, rest: new Uint8Array(chunk.subarray(1)) };
}

/** What the program says of itself is for nobody. */
async function drain(helper: GuestProcess): Promise<void> {
  while ((await helper.stderr.read()) !== undefined);
}

/** A program whose first output was read already. */
class Begun implements GuestProcess {
  readonly #helper: GuestProcess;
  readonly stdout;
  readonly stderr;

  constructor(helper: GuestProcess, rest: Uint8Array) {
    this.#helper = helper;
    let first: Uint8Array | undefined = rest.length > 0 ? rest : undefined;
    this.stdout = {
      read: async () => {
        const chunk = first;
        first = undefined;
        return chunk ?? (await helper.stdout.read());
      },
    };
    this.stderr = helper.stderr;
  }

  get exit() {
    return this.#helper.exit;
  }
  write(bytes: Uint8Array): Promise<void> {
    return this.#helper.write(bytes);
  }
  endInput(): void {
    this.#helper.endInput();
  }
  resize(): void {}
  signal(): void {}
  hangUp(): void {
    this.#helper.hangUp();
  }
}
