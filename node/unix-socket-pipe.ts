// Connects to a unix socket, such as QEMU's `-chardev socket,path=…`.

import { connected } from "./socket-pipe.ts";
import type { ConnectProblems, SocketPipe } from "./socket-pipe.ts";

const PROBLEMS: ConnectProblems = {
  ENOENT: [
    "device-unavailable",
    "there is no such file",
    "Check the path, and that the virtual machine runs.",
  ],
  ENOTSOCK: ["device-unavailable", "the file is not a socket", "Check the path."],
  ECONNREFUSED: [
    "device-unavailable",
    "nobody listens on this socket",
    "Start the virtual machine or the relay; the file may be left over from an earlier run.",
  ],
  EACCES: [
    "device-unavailable",
    "this user may not open the socket",
    "Run as a user that may, or change the socket's permissions.",
  ],
  EAGAIN: ["device-unavailable", "too many connections wait on this socket", "Close another client first."],
  EINVAL: ["device-unavailable", "the path is not valid for a socket", "Use a path of at most 107 bytes."],
  ETIMEDOUT: ["transport-lost", "no answer in time", "Check that the virtual machine is not paused."],
};

/** @param timeout - milliseconds. @throws SealttyError `device-unavailable`, `transport-lost`. */
export function connectUnixSocket(path: string, timeout = 10_000): Promise<SocketPipe> {
  return connected({ path }, `unix socket ${JSON.stringify(path)}`, timeout, PROBLEMS);
}
