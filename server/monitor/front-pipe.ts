// What a front finds of the host's console: made ready anew for each one, as an earlier one was taken over, perhaps.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { PipeConfig } from "../config/pipe.ts";
import { escapeText } from "../log.ts";
import { giveBackConsole, takeConsole } from "../pipes/framebuffer/console.ts";
import { PLACES, type Places } from "../pipes/framebuffer/places.ts";
import { removeStaleSocket } from "../pipes/unix-listener.ts";
import type { Account } from "../sessions/account.ts";

const DIRECTORY_MODE = 0o700;

export interface FrontPipe {
  /**
   * Before each front. Screen and keys may be another device than they were, and root's again, since the last one.
   * @returns what it opens. @throws SealttyError `device-unavailable`.
   */
  ready(): PipeConfig;
  /** For the end: as if there had been no front. */
  undo(): void;
}

/**
 * A socket is the front's own, in a directory of its; the name that was configured leads there. Screen and keys are taken here, once
 * for each front: whoever took one over cannot have the kernel's console changed again and again.
 * @param directory - root's. @throws SealttyError `device-unavailable`.
 */
export async function pipeForFronts(
  pipe: PipeConfig,
  front: Pick<Account, "uid" | "gid">,
  directory: string,
  places: Places = PLACES,
): Promise<FrontPipe> {
  switch (pipe.type) {
    case "framebuffer":
      return {
        // What this process took before is given back first.
        ready: () => ({ ...pipe, taken: takeConsole(pipe, front, places) }),
        undo: () => void giveBackConsole(places),
      };
    case "unix":
      return await ownSocket(pipe.path, front, directory);
    default:
      return { ready: () => pipe, undo() {} };
  }
}

async function ownSocket(
  name: string,
  front: Pick<Account, "uid" | "gid">,
  directory: string,
): Promise<FrontPipe> {
  const of = path.join(directory, "console");
  const own = path.join(of, "pipe.sock");
  await removeStaleSocket(name);
  fs.mkdirSync(of);
  try {
    fs.symlinkSync(own, name);
  } catch (cause) {
    fs.rmdirSync(of);
    throw new SealttyError(
      "device-unavailable",
      `Cannot make "${escapeText(name)}": ${errorCode(cause) ?? "unknown error"}. Check that its directory exists.`,
      { cause },
    );
  }
  return {
    ready() {
      fs.chmodSync(of, DIRECTORY_MODE);
      fs.chownSync(of, front.uid, front.gid);
      return { type: "unix", path: own };
    },
    undo() {
      fs.rmSync(name, { force: true });
      fs.rmSync(own, { force: true });
      removeEmpty(of);
    },
  };
}

/** Never what is in it: a directory of the front's holds what the front, or whoever took it over, put there, links too. */
export function removeEmpty(directory: string): void {
  try {
    fs.rmdirSync(directory);
  } catch {
    // something is left in it: then it stays
  }
}
