// Waiting for another program's Unix socket. Types: unix-socket.d.mts.

import { readFileSync } from "node:fs";

const ACCEPTS = "00010000"; // __SO_ACCEPTCON

export const isListening = (socket) =>
  readFileSync("/proc/net/unix", "latin1")
    .split("\n")
    .some((line) => line.endsWith(` ${socket}`) && line.split(/ +/)[3] === ACCEPTS);
