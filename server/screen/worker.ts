// The program of the thread that keeps one session's screen. Whatever a program prints, hostile or not, can hang or crash
// only this: server/sessions/screen-keeper.ts ends it then.

import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { ScreenAnswer, ScreenOrder, ScreenStart } from "./messages.ts";
import { ScreenState } from "./screen-state.ts";

const port = parentPort;
if (port === null) throw new Error("This is a part of sealttyd, and no program of its own");
const { columns, rows } = workerData as ScreenStart;
const state = new ScreenState(columns, rows);
const answer = (message: ScreenAnswer, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);

port.on("message", (first: ScreenOrder) => {
  let output: Uint8Array[] = [];
  const feed = (): void => {
    const pieces = output;
    output = [];
    state.feedAll(pieces, () => answer({ type: "done" }));
  };
  // All that waits, at once: of much plain text most need not be parsed.
  for (let order: ScreenOrder | undefined = first; order !== undefined; order = next()) {
    if (order.type === "feed") {
      output.push(order.output);
      continue;
    }
    feed();
    if (order.type === "size") {
      state.resize(order.columns, order.rows);
      answer({ type: "done" });
    } else {
      const snapshot = state.snapshot(order.lines);
      answer({ type: "snapshot", snapshot }, [snapshot.text.buffer]);
    }
  }
  feed();
});

function next(): ScreenOrder | undefined {
  const received = port === null ? undefined : receiveMessageOnPort(port);
  return received?.message as ScreenOrder | undefined;
}
