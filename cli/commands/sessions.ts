// `sealtty sessions`: what runs on in a guest, and ending it.

import { SealttyError } from "../../protocol/errors.ts";
import type { SessionSummary } from "../api/types.ts";
import { findListed, listSessions, shortId } from "../kept-session.ts";
import { COMMON_OPTIONS, type Command, onlyGuest } from "../options.ts";
import { jsonLine, printable } from "../printable.ts";
import { enter, reach } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import { SessionStore } from "../session-store.ts";

export const sessionsCommand: Command = {
  name: "sessions",
  summary: "list the sessions that run on in the guest, or end one",
  operands: "GUEST",
  options: [
    ...COMMON_OPTIONS,
    { name: "kill", value: "ID", help: "hang one up: its id or at least 4 digits of its beginning, or last" },
  ],
  notes: [
    "With -i all sessions of that key and user; without a key those that this machine opened and still has the secret of.",
    "Come back to one with: sealtty connect GUEST --attach ID",
    "Exit status: 0, or 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const guestName = onlyGuest(sessionsCommand, input);
    const reporter = new Reporter(services, input);
    const victim = input.text("kill");
    if (victim !== undefined && victim !== "last" && !/^[0-9a-f]{4,32}$/.test(victim))
      throw new SealttyError("bad-config", "--kill takes last, or 4 to 32 hex digits of a session's id");
    const reached = await reach(guestName, input, services, reporter);
    try {
      const guest = await enter(reached);
      const store = new SessionStore(guest.key, services);
      if (victim === undefined) {
        const sessions = await listSessions(guest, store);
        await print(services.stdout, reporter.json ? jsonLines(sessions) : table(sessions));
        return 0;
      }
      const { session, summary } = await findListed(guest, victim, store);
      if (!(await guest.endSession(session)))
        throw new SealttyError("session-gone", "the session ended by itself just now");
      await store.forget(session);
      reporter.event("killed", { id: session.id, running: summary.running, viewers: summary.viewers });
      reporter.say(`sealtty: session ${shortId(session.id)} ${killedWords(summary)}`);
      return 0;
    } finally {
      await reached.end();
    }
  },
};

/** @param summary - as it was before. */
function killedWords({ running, viewers }: SessionSummary): string {
  if (!running) return "had ended already; what the guest kept of it is forgotten";
  if (viewers === 0) return "is hung up; nobody was attached";
  return `is hung up; ${viewers === 1 ? "one client was" : `${viewers} clients were`} attached`;
}

function jsonLines(sessions: readonly SessionSummary[]): string {
  return sessions.map((each) => `${jsonLine({ event: "session-listed", ...each })}\n`).join("");
}

function table(sessions: readonly SessionSummary[]): string {
  if (sessions.length === 0) return "no sessions\n";
  const rows = [
    ["ID", "STATE", "AGE", "IDLE", "SIZE", "ATTACHED", "WHAT"],
    ...sessions.map((each) => [
      shortId(each.id),
      each.running ? "running" : "ended",
      span(each.ageSeconds),
      span(each.idleSeconds),
      `${each.columns}x${each.rows}`,
      String(each.viewers),
      printable(each.title, 60),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

function span(seconds: number): string {
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
