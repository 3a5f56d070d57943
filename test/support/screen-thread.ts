// The thread of a session's screen without a thread: the same orders and answers, in this one.

import type { ScreenAnswer } from "../../server/screen/messages.ts";
import { ScreenState } from "../../server/screen/screen-state.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";

export interface NearThreads {
  readonly start: StartScreenThread;
  /** From now on nothing is answered. */
  hang(): void;
  started: number;
  ended: number;
}

export function nearThreads(): NearThreads {
  let hung = false;
  const threads: NearThreads = {
    started: 0,
    ended: 0,
    hang() {
      hung = true;
    },
    start: ({ columns, rows }, events) => {
      threads.started++;
      const state = new ScreenState(columns, rows);
      return {
        post(order) {
          if (hung) return;
          let answer: ScreenAnswer = { type: "done" };
          if (order.type === "feed") state.feed(order.output);
          else if (order.type === "size") state.resize(order.columns, order.rows);
          else answer = { type: "snapshot", snapshot: state.snapshot(order.lines) };
          setImmediate(() => events.answered(answer));
        },
        end() {
          threads.ended++;
        },
      };
    },
  };
  return threads;
}
