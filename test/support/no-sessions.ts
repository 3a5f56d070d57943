// For fakes of a guest: one that keeps no sessions, and listens nowhere.

import { SealttyError } from "../../protocol/errors.ts";
import type { Guest } from "../../protocol/session/api.ts";

const refused = () => Promise.reject(new SealttyError("user-refused", "This guest does nothing of the kind"));

export const NO_SESSIONS: Pick<Guest, "openSession" | "attach" | "listSessions" | "killSession" | "listen"> =
  {
    openSession: refused,
    attach: refused,
    listSessions: () => Promise.resolve([]),
    listen: refused,
    killSession: () => Promise.resolve(false),
  };
