// The audit: what can be written at all, who can say it, and what becomes of it where the file cannot be written.

import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { Audit } from "../../server/audit/audit.ts";
import { CARRIER_EVENTS, readCarrierEvent, TRUSTED_EVENTS } from "../../server/audit/events.ts";
import { Programs } from "../../server/audit/programs.ts";
import type { AuditConfig } from "../../server/config/records.ts";
import { createLog, relayLine } from "../../server/log.ts";
import { relayFrontLog } from "../../server/monitor/front-log.ts";
import { Recordings } from "../../server/recording/recordings.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
let directory: string;
beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-audit-"));
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

function auditWith(config: Partial<AuditConfig> = {}) {
  const lines: string[] = [];
  const log = createLog({ journal: true, write: (line) => void lines.push(line) });
  const common = { log, clock: nodeClock, wallTime: () => Date.UTC(2026, 5, 15) };
  const audit = new Audit({
    ...common,
    config: { file: undefined, required: false, ...config },
    speaker: "monitor",
  });
  const recordings = new Recordings({ ...common, config: undefined, audit });
  return { audit, lines, programs: new Programs({ ...common, audit, recordings }) };
}

const root: AuthenticatedUser = {
  name: "root",
  method: "ssh-key",
  key: new Uint8Array(32).fill(1),
  restrictions: UNRESTRICTED,
  certificate: { serial: "42", authority: new Uint8Array(32).fill(2) },
};
const KEY = "SHA256:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const AUTHORITY = "SHA256:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
const launch = {
  command: ["/bin/tool", "canary-argument"],
  environment: { TOKEN: "canary-variable" },
  directory: "/",
};
const linesOf = (file: string): unknown[] =>
  fs
    .readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);

describe("what is written", () => {
  test("who, with which certificate, what, and how it ended; of arguments and variables nothing", () => {
    const file = path.join(directory, "who.jsonl");
    const { audit, programs, lines } = auditWith({ file });
    const begun = programs.begin({ user: root, service: "exec", launch });
    begun.ended({ kind: "signalled", signal: "SIGTERM" });
    audit.close();
    const time = "2026-06-15T00:00:00.000Z";
    expect(linesOf(file)).toEqual([
      {
        time,
        event: "program-start",
        by: "monitor",
        program: 1,
        user: "root",
        service: "exec",
        key: KEY,
        certificate: "42",
        authority: AUTHORITY,
        argv0: "/bin/tool",
      },
      {
        time,
        event: "program-end",
        by: "monitor",
        program: 1,
        user: "root",
        service: "exec",
        signal: "SIGTERM",
        seconds: expect.any(Number) as number,
      },
    ]);
    expect(lines[0]).toBe(
      `<6>audit event=program-start by=monitor program=1 user=root service=exec key=${KEY} certificate=42 authority=${AUTHORITY} argv0=/bin/tool\n`,
    );
    expect(lines).toHaveLength(2);
    expect(lines.join("") + fs.readFileSync(file, "utf8")).not.toContain("canary");
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  });

  test("keys that were refused: which was offered, and the user's name only where there is one", async () => {
    const { programs, lines } = auditWith();
    const verify = programs.watchKeys(async (_fields, _key, _sshsig, onRefused) => {
      onRefused?.("certificate-expired");
      return undefined;
    });
    const fields = {
      handshakeHash: new Uint8Array(32),
      evidenceDigest: new Uint8Array(32),
      service: "sealtty-session",
    };
    for (const user of ["root", "canary-password", "../etc"])
      await verify({ ...fields, user }, new Uint8Array(1), new Uint8Array(1));
    const blob = Buffer.from(newSshKey(nodeSuite, "offered").publicLine.split(" ")[1] ?? "", "base64");
    const fingerprint = `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
    await verify({ ...fields, user: "root" }, blob, new Uint8Array(1));
    expect(lines.pop()).toBe(
      `<6>audit event=user-refused by=monitor user=root key=${fingerprint} why=certificate-expired\n`,
    );
    expect(lines).toEqual([
      "<6>audit event=user-refused by=monitor user=root why=certificate-expired\n",
      "<6>audit event=user-refused by=monitor why=certificate-expired\n",
      "<6>audit event=user-refused by=monitor why=certificate-expired\n",
    ]);
  });

  test("a name of a program that is long, or would break a line, does neither", () => {
    const file = path.join(directory, "long.jsonl");
    const { audit, programs, lines } = auditWith({ file });
    const command = [`/bin/${"x".repeat(5000)}`];
    programs.begin({ user: root, service: "exec", launch: { ...launch, command } });
    programs.begin({
      user: root,
      service: "exec",
      launch: { ...launch, command: ["a\n<3>audit event=user-in"] },
    });
    audit.close();
    expect(
      lines.every((line) => line.length < 1000 && line.endsWith("\n") && !line.slice(0, -1).includes("\n")),
    ).toBe(true);
    expect(linesOf(file)).toHaveLength(2);
  });
});

describe("the file", () => {
  test("goes on where it was, is opened anew at SIGHUP, and no link is followed", () => {
    const file = path.join(directory, "rotated.jsonl");
    fs.writeFileSync(file, '{"before":true}\n');
    const { audit } = auditWith({ file });
    audit.after({ event: "user-in", user: "a" });
    fs.renameSync(file, `${file}.1`);
    audit.after({ event: "user-in", user: "b" });
    process.emit("SIGHUP");
    audit.after({ event: "user-in", user: "c" });
    audit.close();
    expect(linesOf(`${file}.1`)).toMatchObject([{ before: true }, { user: "a" }, { user: "b" }]);
    expect(linesOf(file)).toMatchObject([{ user: "c" }]);
    const link = path.join(directory, "link.jsonl");
    fs.symlinkSync(path.join(directory, "elsewhere"), link);
    const linked = auditWith({ file: link });
    linked.audit.close();
    expect(linked.lines.join("")).toContain("why=ELOOP");
    expect(fs.existsSync(path.join(directory, "elsewhere"))).toBe(false);
  });

  test("cannot be written: sealttyd goes on, and says so once, and again when it goes", () => {
    const missing = path.join(directory, "later");
    const { audit, programs, lines } = auditWith({ file: path.join(missing, "audit.jsonl") });
    programs.begin({ user: root, service: "exec", launch });
    programs.begin({ user: root, service: "exec", launch });
    expect(lines.filter((line) => line.includes("CANNOT BE WRITTEN"))).toEqual([
      expect.stringMatching(
        /^<3>THE AUDIT FILE CANNOT BE WRITTEN: .*only in this log .*why=ENOENT/,
      ) as string,
    ]);
    fs.mkdirSync(missing);
    programs.begin({ user: root, service: "exec", launch });
    audit.close();
    expect(lines.filter((line) => line.includes("can be written again"))).toHaveLength(1);
    expect(linesOf(path.join(missing, "audit.jsonl"))).toMatchObject([{ program: 3 }]);
  });

  test("is required, and the disk is full: nobody is let in, and nothing starts", async () => {
    const { audit, programs, lines } = auditWith({ file: "/dev/full", required: true });
    expect(() => programs.begin({ user: root, service: "exec", launch })).toThrow(
      expect.objectContaining({ code: "device-unavailable" }),
    );
    const grant = { key: new Uint8Array(32), restrictions: UNRESTRICTED };
    const fields = {
      handshakeHash: new Uint8Array(32),
      evidenceDigest: new Uint8Array(32),
      service: "sealtty-session",
      user: "root",
    };
    const verify = programs.watchKeys(async () => grant);
    expect(await verify(fields, new Uint8Array(1), new Uint8Array(1))).toBeUndefined();
    expect(lines.join("")).toContain("nobody is let in, and no program is started");
    audit.close();
    expect(() => auditWith({ file: path.join(directory, "none/a"), required: true })).toThrow(
      expect.objectContaining({ code: "device-unavailable" }),
    );
  });
});

describe("the front, which may be the host's", () => {
  test("says what it carries, as the front", () => {
    const { audit, lines } = auditWith();
    audit.of(
      "front",
      utf8(JSON.stringify({ event: "carried", program: 1, bytes_in: 2, bytes_out: 3, seconds: 0.5 })),
    );
    expect(lines).toEqual(["<6>audit event=carried by=front program=1 bytes_in=2 bytes_out=3 seconds=0.5\n"]);
  });

  test("cannot say what is the monitor's, another name for itself, other fields, other kinds, or too much", () => {
    const { audit, lines } = auditWith();
    const said = [
      ...Object.keys(TRUSTED_EVENTS).map((event) => ({ event })),
      { event: "carried", by: "monitor" },
      { event: "carried", time: "2020" },
      { event: "carried", program: "1" },
      { event: "carried", program: -1 },
      { event: "session-open", user: ["root"] },
      { event: "session-open", user: { toString: "root" } },
      { event: "session-open", user: "x".repeat(257) },
      { event: "session-open", user: null },
      { event: "toString" },
      { event: ["carried"] },
      ["carried"],
      null,
      "carried",
    ].map((what) => JSON.stringify(what));
    for (const text of [...said, "", "{", " ".repeat(5000)])
      expect(() => audit.of("front", utf8(text)), text).toThrow(
        expect.objectContaining({ code: "peer-misbehaved" }),
      );
    expect(lines).toEqual([]);
  });

  test("whatever bytes it sends are an event of the table, or its end", () =>
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map(utf8),
          fc
            .record({
              event: fc.constantFrom(...Object.keys(CARRIER_EVENTS)),
              user: fc.jsonValue(),
              program: fc.jsonValue(),
            })
            .map((said) => utf8(JSON.stringify(said))),
        ),
        (body) => {
          try {
            expect(Object.keys(CARRIER_EVENTS)).toContain(readCarrierEvent(body).event);
          } catch (error) {
            expect(error).toMatchObject({ code: "peer-misbehaved" });
          }
        },
      ),
      { seed },
    ));

  test("a flood is cut off, and said", () => {
    const { audit, lines } = auditWith();
    const event = utf8(JSON.stringify({ event: "session-end" }));
    for (let i = 0; i < 50_000; i++) audit.of("front", event);
    expect(lines.length).toBeLessThan(40_000);
    expect(lines.length).toBeGreaterThan(1000);
  });

  test("its flood leaves the keeper's lines, which say whose they are", () => {
    const { audit, lines } = auditWith();
    const event = utf8(JSON.stringify({ event: "session-end" }));
    for (let i = 0; i < 50_000; i++) audit.of("front", event);
    for (let i = 0; i < 1000; i++) audit.of("keeper", event);
    expect(lines.filter((line) => line.includes("event=session-end by=keeper"))).toHaveLength(1000);
  });

  test("so are refusals, which anybody can provoke; what was let happen is never cut off", () => {
    const { programs, lines } = auditWith();
    for (let i = 0; i < 20_000; i++) programs.refused(root, "exec", new Error("x"));
    expect(lines.length).toBeLessThan(10_000);
    const before = lines.length;
    for (let i = 0; i < 1000; i++) programs.begin({ user: root, service: "exec", launch });
    expect(lines.length - before).toBe(1000);
  });

  test("its log is marked, line by line: none of it is the monitor's", async () => {
    const lines: string[] = [];
    const stderr = new PassThrough();
    const done = relayFrontLog(stderr, {
      clock: nodeClock,
      write: (level, text) =>
        relayLine(level, "front", text, { journal: true, write: (line) => void lines.push(line) }),
    });
    stderr.write("<6>user authenticated by none\n<3>audit event=user-in by=mon");
    stderr.write("itor\n<0>audit event=user-in\nError: a crash\r\x1b[2J\n");
    stderr.write(`${"x".repeat(20_000)}\nno end`);
    stderr.end();
    await done;
    expect(lines.slice(0, 4)).toEqual([
      "<6>front: user authenticated by none\n",
      "<3>front: audit event=user-in by=monitor\n",
      "<4>front: audit event=user-in\n",
      "<4>front: Error: a crash??[2J\n",
    ]);
    expect(lines[4]).toHaveLength("<4>front: \n".length + 8192);
    expect(lines.slice(5)).toEqual(["<4>front: no end\n"]);
  });

  test("its log is not without end", async () => {
    let count = 0;
    const stderr = new PassThrough();
    const done = relayFrontLog(stderr, { clock: nodeClock, write: () => void count++ });
    stderr.end("<6>line\n".repeat(100_000));
    await done;
    expect(count).toBeLessThan(50_000);
  });
});
