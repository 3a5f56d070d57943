// The baseline: a pty in this very process through node-pty's JavaScript, with nothing on the way.

import { spawn } from "@lydell/node-pty";
import { COLUMNS, type Inbox, type Peer, ROWS, shellLines, type Terminal } from "./peer.ts";

export const rawPty: Peer = {
  name: "raw node-pty",
  patienceMs: 30_000,
  ...shellLines,
  async open(inbox: Inbox): Promise<Terminal> {
    // `encoding: null` gives bytes: without it node-pty makes strings of them, which costs more and helps nobody here.
    const pty = spawn("/bin/sh", [], { name: "xterm", cols: COLUMNS, rows: ROWS, encoding: null });
    const ended = new Promise<void>((resolve) => {
      pty.onExit(() => resolve());
    });
    pty.onData((data) => inbox.receive(data as unknown as Buffer));
    return {
      write: (bytes) => pty.write(Buffer.from(bytes) as unknown as string), // its types know strings only
      async close() {
        pty.kill("SIGHUP");
        await ended;
      },
    };
  },
  stop: () => Promise.resolve(),
};
