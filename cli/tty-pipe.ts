// A serial device of this machine as a Pipe, for a guest at the other end of a cable or of a USB adapter.

import { execFile } from "node:child_process";
import { closeSync, constants, openSync } from "node:fs";
import tty from "node:tty";
import { errorCode, SocketPipe } from "../node/socket-pipe.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";

/** Not Node's setRawMode: that one leaves LF to CR LF on. */
const RAW = ["raw", "-echo", "-ixon", "-ixoff", "-iexten", "cs8", "-parenb", "clocal"];

/** The line's speed stays as it is: set it with stty. @throws SealttyError `device-unavailable`. */
export async function openTty(path: string): Promise<Pipe> {
  let fd: number;
  try {
    // Non-blocking: opening a line without carrier would wait for ever.
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  } catch (cause) {
    throw unavailable(path, ...whyNot(errorCode(cause)), cause);
  }
  try {
    if (!tty.isatty(fd))
      throw unavailable(path, "it is no terminal device", "Name a serial device such as /dev/ttyUSB0.");
    await stty(path);
    const pipe = new SocketPipe(new tty.ReadStream(fd), `tty ${JSON.stringify(path)}`);
    // Not `gathers`: long packets are for a stream between two processes (docs/protocol.md §5.5).
    return { incoming: pipe.incoming, send: (chunk) => pipe.send(chunk), close: () => pipe.close() };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function stty(path: string): Promise<void> {
  const flag = process.platform === "linux" ? "-F" : "-f";
  return new Promise((resolve, reject) => {
    execFile("stty", [flag, path, ...RAW], { timeout: 10_000 }, (error) => {
      if (error === null) resolve();
      else reject(unavailable(path, "stty could not make it raw", "Check that stty is installed.", error));
    });
  });
}

function whyNot(code: string | undefined): [why: string, next: string] {
  switch (code) {
    case "ENOENT":
      return ["there is no such device", "Check the path, and that the cable or adapter is plugged in."];
    case "EACCES":
    case "EPERM":
      return ["this user may not open it", "Join the group that owns it (often dialout)."];
    case "EBUSY":
      return ["another program has it open", "Stop that program (fuser -v names it)."];
    default:
      return [`it cannot be opened (${code ?? "unknown error"})`, "Check the path."];
  }
}

function unavailable(path: string, why: string, next: string, cause?: unknown): SealttyError {
  return new SealttyError("device-unavailable", `Cannot use ${JSON.stringify(path)}: ${why}. ${next}`, {
    cause,
  });
}
