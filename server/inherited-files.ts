// What sealttyd was started with, and nobody meant for it: a file that a boot script left open as root would be every user's.

import fs from "node:fs";

const CLOSED_BY_EXEC = 0o2000000; // O_CLOEXEC, as fdinfo has it

/**
 * As sshd does at its start. Node's own files are closed by exec, and stay; what it was started with it marks so as well, but no more
 * behind the first number above 15 that is free. Without /proc nothing is known, and nothing done.
 */
export function closeInherited(): void {
  let names: string[];
  try {
    names = fs.readdirSync("/proc/self/fd");
  } catch {
    return;
  }
  const channel = Number(process.env["NODE_CHANNEL_FD"] ?? -1); // of whoever started Node with one
  for (const fd of names.map(Number)) if (fd > 2 && fd !== channel && isPassedOn(fd)) close(fd);
}

function close(fd: number): void {
  try {
    fs.closeSync(fd);
  } catch {
    // What it could not write any more was not ours; it is closed all the same: close(2).
  }
}

function isPassedOn(fd: number): boolean {
  try {
    const [, flags] = /^flags:\t([0-7]+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "latin1")) ?? [];
    return flags !== undefined && (Number.parseInt(flags, 8) & CLOSED_BY_EXEC) === 0;
  } catch {
    return false; // of the look at the directory itself
  }
}
