// For fakes of a guest: one that keeps no sessions.

import { SealttyError } from "../../protocol/errors.ts";
import type { Guest } from "../../protocol/session/api.ts";

const refused = () => Promise.reject(new SealttyError("user-refused", "This guest keeps no sessions"));

export const NO_SESSIONS: Pick<Guest, "openSession" | "attach" | "listSessions" | "killSession"> = {
  openSession: refused,
  attach: refused,
  listSessions: () => Promise.resolve([]),
  killSession: () => Promise.resolve(false),
};
