// The program of the thread that keeps one session's screen. Whatever a program prints, hostile or not, can hang or crash
// only this: server/sessions/screen-keeper.ts ends it then.

import { parentPort, workerData } from "node:worker_threads";
import type { ScreenAnswer, ScreenOrder, ScreenStart } from "./messages.ts";
import { ScreenState } from "./screen-state.ts";

const port = parentPort;
if (port === null) throw new Error("This is a part of sealttyd, and no program of its own");
const { columns, rows } = workerData as ScreenStart;
const state = new ScreenState(columns, rows);
const answer = (message: ScreenAnswer, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);

/** Output that waits until it is worth it, or somebody asks: of a flood the more can be left out. In bytes. */
const WORTH_IT = 4 * 1024 * 1024;
let waiting: Uint8Array[] = [];
let waitingLength = 0;

port.on("message", (order: ScreenOrder) => {
  switch (order.type) {
    case "feed":
      waiting.push(order.output);
      waitingLength += order.output.length;
      if (waitingLength >= WORTH_IT) feed();
      return answer({ type: "done" });
    case "size":
      feed();
      state.resize(order.columns, order.rows);
      return answer({ type: "done" });
    case "snapshot": {
      feed();
      const snapshot = state.snapshot(order.lines);
      return answer({ type: "snapshot", snapshot }, [snapshot.text.buffer]);
    }
  }
});

function feed(): void {
  const pieces = waiting;
  waiting = [];
  waitingLength = 0;
  state.feedAll(pieces, () => answer({ type: "alive" }));
}
