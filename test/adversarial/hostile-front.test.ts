// The host has taken over the half of sealttyd that it talks to: what does it get from the half that has rights?

import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { Duplex } from "node:stream";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { decodeEvidence, encodeEvidence } from "../../protocol/attestation/evidence.ts";
import { concat, u32, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_CONTROL_MESSAGE } from "../../protocol/limits.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { ProgramRequest } from "../../protocol/session/channel-api.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import { Audit } from "../../server/audit/audit.ts";
import { Programs } from "../../server/audit/programs.ts";
import { MAX_PROGRAMS } from "../../server/config/users.ts";
import type { RecordingConfig } from "../../server/config/records.ts";
import { createLog } from "../../server/log.ts";
import { remoteSink } from "../../server/monitor/remote.ts";
import { Link } from "../../server/monitor/link.ts";
import { Monitor, type Peer } from "../../server/monitor/monitor.ts";
import {
  OPERATIONS,
  authorizeBody,
  quoteBody,
  helperBody,
  type HelperRequest,
  type NamedUser,
  readAuthorize,
  readGrant,
  readHelper,
  readEnded,
  readQuote,
  readQuoteAnswer,
  readRecord,
  type RecordCall,
  readStarted,
  recordBody,
  readSignal,
  readStart,
  startBody,
  userBody,
} from "../../server/monitor/operations.ts";
import type { OwnPrivileged } from "../../server/privileged.ts";
import { Recordings } from "../../server/recording/recordings.ts";
import { ProgramShares, shareOwner } from "../../server/sessions/program-shares.ts";
import { loadPtyAddon } from "../../server/sessions/pty-addon.ts";
import { UNRESTRICTED, type UserRestrictions } from "../../protocol/user-auth/restrictions.ts";
import { readCast } from "../support/read-cast.ts";
import { testSeed } from "../support/seeded.ts";

const seed = testSeed();
const UID = process.getuid?.() ?? 0;
const KEY = new Uint8Array(32).fill(7);
const LOGIN: ProgramRequest = { kind: "login", term: "xterm", columns: 80, rows: 24 };
const SHELL: ProgramRequest = { ...LOGIN, kind: "shell", command: [], environment: {} };
const EXEC: ProgramRequest = { kind: "exec", command: ["true"], environment: {} };
const SERVICE_REQUESTS: readonly ServiceRequest[] = [
  { name: "kernel-log", follow: true },
  { name: "sysrq", key: "b" },
  { name: "provision" },
];
/** Nobody's key, and a login program that does not end by itself. */
const STAYS: NamedUser = { name: "stays" };
/** As the monitor names its first sign-in. */
const alice: NamedUser = { name: "alice", ticket: 1 };

let directory: string;
beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-front-"));
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

/** @param good - whether a signature shown is a good one. */
function monitorWith(
  good: () => boolean,
  front = UID,
  restrictions: UserRestrictions = UNRESTRICTED,
  recording?: RecordingConfig,
  maxPrograms = MAX_PROGRAMS,
  { probe = async (): Promise<void> => {}, loginAllowed = true } = {},
) {
  let granted = restrictions;
  const log: string[] = [];
  const witnesses = witnessesTo(log, recording);
  const keepers: boolean[] = [];
  const planned: { user: AuthenticatedUser; request: ProgramRequest }[] = [];
  const told: { operation: number; body: Uint8Array }[] = [];
  const privileged: OwnPrivileged = {
    provider: {
      type: "simulated",
      prepareAux: async () => ({}),
      quote: async (binder) => binder.slice(),
      probe,
      close: async () => {},
    },
    sick: false,
    loginAllowed,
    keysAllowed: true,
    verifyUserKey: witnesses.programs.watchKeys(async (_, publicKey) =>
      good() ? { key: nodeSuite.sha256(publicKey), restrictions: granted } : undefined,
    ),
    startHelper: undefined,
    planHelper: async (_, helper) => ({
      command: ["echo", helper.kind],
      environment: { PATH: "/usr/bin:/bin" },
      directory: "/",
    }),
    startProcess: () => Promise.reject(new Error("not here")),
    commonParts: async () => ({}),
    close: async () => {},
    say: () => {},
    witnesses,
    shares: new ProgramShares(maxPrograms, MAX_PROGRAMS),
    async plan(user, request) {
      planned.push({ user, request });
      const stays = request.kind === "shell" || user.name === STAYS.name;
      const command = stays ? ["sleep", "1000"] : ["true"];
      const launch = { command, environment: { PATH: "/usr/bin:/bin" }, directory: "/" };
      return request.kind === "exec" ? { launch } : { launch, terminal: { columns: 80, rows: 24 } };
    },
  };
  const whole = new Monitor({
    privileged,
    front: { uid: front, gid: process.getgid?.() ?? 0 },
    directory,
    giveDevice: () => {},
    findKeeper: async (start) => {
      keepers.push(start);
      return undefined;
    },
    frontEnded: (front) => void endedFronts.push(front),
  });
  const endedFronts: Peer[] = [];
  const newFront = (): Peer => ({
    kind: "front",
    notify: (operation, body) => void told.push({ operation, body }),
  });
  let peer = newFront();
  /** As this front has it. */
  const monitor = {
    call: (operation: number, body: Uint8Array) => whole.call(operation, body, peer),
    signal: (program: number, name: string) => whole.signal(program, name, peer),
    forget: (program: number) => whole.forget(program, peer),
    /** It ends, and another one comes. */
    hangUpAll() {
      whole.hangUpAll(peer);
      peer = newFront();
    },
    signedOff: (ticket: number) => whole.signedOff(ticket),
  };
  const start = (user: NamedUser, request: ProgramRequest, at: string) =>
    monitor.call(OPERATIONS.start, startBody({ user, request, path: at }));
  /** The monitor makes it, and is told what was sent. @returns encoded. */
  const attest = async (aux = Uint8Array.of(1)): Promise<Uint8Array> => {
    const binder = nodeSuite.randomBytes(64);
    const quote = readQuoteAnswer(await monitor.call(OPERATIONS.quote, quoteBody(binder, encodeAux({}))));
    const evidence = encodeEvidence({ type: "simulated", quote: quote ?? new Uint8Array(), aux });
    await monitor.call(OPERATIONS.attested, evidence);
    return evidence;
  };
  const authorizeOn = async (evidence: Uint8Array, publicKey = KEY) =>
    readGrant(
      await monitor.call(
        OPERATIONS.authorize,
        authorizeBody({
          fields: {
            user: "alice",
            service: "sealtty-session",
            handshakeHash: new Uint8Array(32),
            evidenceDigest: nodeSuite.sha256(evidence),
          },
          publicKey,
          sshsig: new Uint8Array(10),
        }),
      ),
    );
  const authorize = async () => authorizeOn(await attest());
  const grantFromNowOn = (other: UserRestrictions): void => {
    granted = other;
  };
  return {
    whole,
    monitor,
    keepers,
    endedFronts,
    planned,
    told,
    start,
    attest,
    authorize,
    authorizeOn,
    grantFromNowOn,
    log,
  };
}

/** @param lines - takes what is written down. */
function witnessesTo(lines: string[], config: RecordingConfig | undefined): OwnPrivileged["witnesses"] {
  const log = createLog({ journal: true, write: (line) => void lines.push(line) });
  const common = { log, clock: nodeClock, wallTime: () => Date.now() };
  const audit = new Audit({ ...common, config: { file: undefined, required: false }, speaker: "monitor" });
  const recordings = new Recordings({ ...common, config, audit });
  return { audit, recordings, programs: new Programs({ ...common, audit, recordings }) };
}

describe("programs", () => {
  test("of a user who never signed in: refused before anything is planned", async () => {
    const { start, planned, authorize } = monitorWith(() => false);
    expect(await authorize()).toBeUndefined();
    await expect(start(alice, EXEC, `${directory}/x`)).rejects.toMatchObject({ code: "user-refused" });
    await expect(start({ name: "root" }, EXEC, `${directory}/x`)).rejects.toMatchObject({
      code: "user-refused",
    });
    expect(planned).toEqual([]);
  });

  test("of another user than signed in, of no sign-in, or of one that is over: refused", async () => {
    const { start, planned, authorize, monitor } = monitorWith(() => true);
    expect(await authorize()).toEqual({
      key: nodeSuite.sha256(KEY),
      restrictions: UNRESTRICTED,
      ticket: alice.ticket,
    });
    const refused = { code: "user-refused" };
    for (const user of [
      { ...alice, name: "root" },
      { ...alice, ticket: 2 },
    ])
      await expect(start(user, EXEC, `${directory}/x`)).rejects.toMatchObject(refused);
    expect(planned).toEqual([]);
    // The socket is nobody's: so far it gets while the sign-in lasts.
    await expect(start(alice, EXEC, `${directory}/x`)).rejects.toMatchObject({ code: "peer-misbehaved" });
    monitor.signedOff(1);
    await expect(start(alice, EXEC, `${directory}/x`)).rejects.toMatchObject(refused);
  });

  test("a signature on evidence that this machine did not make, or made for a sign-in that was: refused", async () => {
    const { attest, authorizeOn, monitor } = monitorWith(() => true);
    const elsewhere = encodeEvidence({
      type: "simulated",
      quote: nodeSuite.randomBytes(64),
      aux: Uint8Array.of(1),
    });
    await monitor.call(OPERATIONS.attested, elsewhere);
    expect(await authorizeOn(elsewhere)).toBeUndefined();
    const ours = await attest();
    const quote = decodeEvidence(ours).quote;
    const otherwise = encodeEvidence({ type: "simulated", quote, aux: Uint8Array.of(2) });
    await monitor.call(OPERATIONS.attested, otherwise); // one quote, one message around it
    expect(await authorizeOn(otherwise)).toBeUndefined();
    expect(await authorizeOn(ours)).toMatchObject({ ticket: 1 });
    expect(await authorizeOn(ours)).toBeUndefined();
  });

  test("one key, two sign-ins, two certificates: each keeps its own restrictions", async () => {
    const { authorize, grantFromNowOn, start, planned } = monitorWith(() => true, UID, {
      ...UNRESTRICTED,
      command: "uptime",
    });
    const first = await authorize();
    grantFromNowOn(UNRESTRICTED);
    const second = await authorize();
    expect([first?.ticket, second?.ticket]).toEqual([1, 2]);
    for (const ticket of [1, 2])
      await expect(start({ name: "alice", ticket }, EXEC, `${directory}/x`)).rejects.toThrow(
        "not the front's",
      );
    expect(planned.map(({ user }) => user.method === "ssh-key" && user.restrictions.command)).toEqual([
      "uptime",
      undefined,
    ]);
  });

  test("a forward that the key's permitopen or permitlisten does not name: refused here, too", async () => {
    const { authorize, monitor } = monitorWith(() => true, UID, {
      ...UNRESTRICTED,
      permitOpen: ["127.0.0.1:80"],
    });
    await authorize();
    const help = (helper: HelperRequest) =>
      monitor.call(OPERATIONS.helper, helperBody({ user: alice, helper, path: `${directory}/x` }));
    const refused = { code: "user-refused" };
    await expect(help({ kind: "connect", socket: "/run/docker.sock" })).rejects.toMatchObject(refused);
    await expect(help({ kind: "ssh" })).rejects.toMatchObject(refused);
    await expect(help({ kind: "fetch", socket: "/run/docker.sock", number: 1 })).rejects.toMatchObject(
      refused,
    );
    // Listening is not restricted: no further than to the socket's name.
    const fetch = { kind: "fetch", socket: "/tmp/sealtty-abc123/s", number: 1 } as const;
    await expect(help(fetch)).rejects.toMatchObject({ code: "peer-misbehaved" });
  });

  test("of a key that is restricted, or has expired: what it may not is refused here, too", async () => {
    const forced = monitorWith(() => true, UID, {
      ...UNRESTRICTED,
      command: "uptime",
      portForwarding: false,
    });
    await forced.authorize();
    const refused = { code: "user-refused" };
    await expect(forced.start(alice, { kind: "files" }, `${directory}/x`)).rejects.toMatchObject(refused);
    await expect(forced.start(alice, { kind: "prompts" }, `${directory}/x`)).rejects.toMatchObject(refused);
    for (const service of SERVICE_REQUESTS) {
      const request = { kind: "service", service } as const;
      await expect(forced.start(alice, request, `${directory}/x`)).rejects.toMatchObject(refused);
      await expect(forced.start({ name: "root" }, request, `${directory}/x`)).rejects.toMatchObject(refused);
    }
    await expect(forced.start(alice, LOGIN, "/dev/pts/0")).rejects.toMatchObject(refused);
    const connect = { kind: "connect", socket: "/run/x" } as const;
    const body = helperBody({ user: alice, helper: connect, path: `${directory}/x` });
    await expect(forced.monitor.call(OPERATIONS.helper, body)).rejects.toMatchObject(refused);
    const nobody = helperBody({ user: { name: "" }, helper: connect, path: `${directory}/x` });
    await expect(forced.monitor.call(OPERATIONS.helper, nobody)).rejects.toMatchObject(refused);
    expect(forced.planned).toEqual([]);
    const expired = monitorWith(() => true, UID, { ...UNRESTRICTED, expires: Date.now() - 1 });
    await expired.authorize();
    await expect(expired.start(alice, EXEC, `${directory}/x`)).rejects.toMatchObject(refused);
  });

  test("on a terminal that is not its own, on no terminal, or on any other file: refused", async () => {
    const { start } = monitorWith(() => true, UID + 1); // the ptys of this test are another user's
    const { master, slave, pty } = loadPtyAddon().open(80, 24);
    const link = path.join(directory, "link");
    fs.symlinkSync(pty, link);
    try {
      const login: NamedUser = { name: "" };
      const misbehaved = { code: "peer-misbehaved" };
      await expect(start(login, LOGIN, pty)).rejects.toMatchObject(misbehaved);
      for (const at of [
        link,
        "/etc/passwd",
        "/dev/null",
        "/dev/pts/../null",
        "/dev/pts/ptmx",
        "",
        "/dev/tty",
      ])
        await expect(start(login, LOGIN, at), at).rejects.toMatchObject(misbehaved);
      await expect(start(login, LOGIN, "/dev/pts/99999")).rejects.toThrow("ENOENT");
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });

  test("with streams from somebody else's socket: refused, and nobody is connected to", async () => {
    const { start, authorize, monitor } = monitorWith(() => true);
    await authorize();
    const elsewhere = `${directory}-other.sock`;
    let connections = 0;
    const server = net.createServer(() => connections++).listen(elsewhere);
    const link = `${directory}/leads-elsewhere`;
    fs.symlinkSync(elsewhere, link);
    try {
      for (const at of [elsewhere, link, `${directory}/../${path.basename(elsewhere)}`, "/run/x", ""])
        await expect(start(alice, EXEC, at), at).rejects.toMatchObject({ code: "peer-misbehaved" });
      expect(connections).toBe(0);
      monitor.hangUpAll();
    } finally {
      server.close();
    }
  });

  test("sockets for streams: the front's alone, a bounded number, and none twice", async () => {
    const { start, authorize, monitor, told } = monitorWith(() => true);
    await authorize();
    const offer = async () =>
      Buffer.from(await monitor.call(OPERATIONS.streams, new Uint8Array())).toString();
    const first = await offer();
    expect(fs.statSync(first).mode & 0o777).toBe(0o600);
    expect(fs.statSync(first).uid).toBe(UID);
    const sockets = [];
    for (let i = 0; i < 3; i++) {
      const socket = net.connect(first);
      await once(socket, "connect");
      sockets.push(socket);
    }
    await start(alice, EXEC, first);
    await expect(start(alice, EXEC, first)).rejects.toMatchObject({ code: "peer-misbehaved" });
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const socket of sockets) socket.destroy();
    for (let i = 0; i < 256; i++) await offer();
    await expect(offer()).rejects.toMatchObject({ code: "limit-exceeded" });
    monitor.hangUpAll();
    await offer();
    monitor.hangUpAll();
  });

  test("a program on a terminal of the front's own runs, and its end is told", async () => {
    const { start, told } = monitorWith(() => true);
    const { master, slave, pty } = loadPtyAddon().open(80, 24);
    try {
      await start({ name: "" }, LOGIN, pty);
      while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(readEnded(told[0]?.body ?? new Uint8Array())).toMatchObject({
        status: { kind: "exited", status: 0 },
      });
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });
});

describe("places for programs", () => {
  test("one user's share is used up: nobody else's is, and it is not given back while they run, whatever the front says", async () => {
    const { start, authorize, monitor, told, log } = monitorWith(() => true, UID, UNRESTRICTED, undefined, 2);
    await authorize();
    const terminals = Array.from({ length: 4 }, () => loadPtyAddon().open(80, 24));
    const at = (i: number): string => terminals[i]?.pty ?? "";
    const full = { code: "limit-exceeded" };
    try {
      const { program } = readStarted(await start(alice, SHELL, at(0)));
      const both = await Promise.allSettled([start(alice, SHELL, at(1)), start(alice, SHELL, at(2))]);
      expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
      await expect(start(alice, SHELL, at(2))).rejects.toMatchObject(full);
      expect(log.at(-1)).toMatch(/program-refused .*why=limit-exceeded/);
      const login: NamedUser = { name: "" };
      await start(login, LOGIN, at(3)); // has another share
      while (told.length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
      await expect(start(alice, SHELL, "/dev/null")).rejects.toMatchObject(full);
      monitor.signal(program, "SIGKILL");
      while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
      // What could not be started takes no place.
      for (let i = 0; i < 3; i++)
        await expect(start(alice, SHELL, "/dev/null")).rejects.toMatchObject({ code: "peer-misbehaved" });
      const again = readStarted(await start(alice, SHELL, at(3))).program;
      monitor.forget(again);
      await expect(start(alice, SHELL, at(0))).rejects.toMatchObject(full);
    } finally {
      monitor.hangUpAll();
      for (const { master, slave } of terminals) {
        fs.closeSync(master);
        fs.closeSync(slave);
      }
    }
  });

  test("a user's is of the user's number, and all logins without a key have one", async () => {
    const launch = { command: ["x"], environment: {}, directory: "/" };
    const account = { name: "x", uid: 7, gid: 7, home: "/", shell: "/bin/sh" };
    const keyed = (name: string): AuthenticatedUser => ({
      name,
      method: "ssh-key",
      key: KEY,
      restrictions: UNRESTRICTED,
    });
    expect(await shareOwner(keyed("x"), { ...launch, account })).toBe("uid 7");
    expect(await shareOwner(keyed("root"), launch)).toBe("uid 0"); // the service ssh
    for (const name of ["root", "x", ""])
      expect(await shareOwner({ name, method: "none" }, launch)).toBe("login");
    const shares = new ProgramShares(2, 3);
    const leave = shares.take("a");
    shares.take("a");
    expect(() => shares.take("a")).toThrow(/of this user's/);
    shares.take("b");
    expect(() => shares.take("c")).toThrow(/Too many programs run/);
    leave();
    leave(); // once
    shares.take("c");
    expect(() => shares.take("a")).toThrow(/Too many programs run/);
  });
});

describe("beside the keeper of sessions", () => {
  const keeper: Peer = { kind: "keeper", notify: () => {} };

  test("each has its own calls, and a front none of the keeper's", async () => {
    const { whole, monitor, authorize } = monitorWith(() => true);
    await authorize();
    const misbehaved = { code: "peer-misbehaved" };
    await expect(monitor.call(OPERATIONS.who, userBody(alice))).rejects.toMatchObject(misbehaved);
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      if (["start", "record", "who"].includes(name)) continue;
      await expect(whole.call(operation, new Uint8Array(), keeper), name).rejects.toMatchObject(misbehaved);
    }
    // Programs of sessions are on terminals: no other place is taken of it.
    const exec = startBody({ user: alice, request: EXEC, path: `${directory}/x` });
    await expect(whole.call(OPERATIONS.start, exec, keeper)).rejects.toMatchObject(misbehaved);
  });

  test("what stands behind a front's word is the monitor's to say, and nothing once that front is gone", async () => {
    const { whole, monitor, authorize } = monitorWith(() => true);
    await authorize();
    const who = async (user: NamedUser) =>
      readGrant(await whole.call(OPERATIONS.who, userBody(user), keeper));
    expect(await who(alice)).toMatchObject({ key: nodeSuite.sha256(KEY), restrictions: UNRESTRICTED });
    for (const user of [{ ...alice, name: "root" }, { ...alice, ticket: 7 }, { name: "alice" }])
      expect(await who(user)).toBeUndefined();
    monitor.hangUpAll();
    expect(await who(alice)).toBeUndefined(); // the next front's users sign in themselves
  });

  test("what a front asked for and did not live to hear is not there for the next one", async () => {
    const { whole, monitor, endedFronts, authorize, attest, authorizeOn, start, planned } = monitorWith(
      () => true,
    );
    const evidence = await attest();
    const asked = [authorize(), authorizeOn(evidence)]; // the first has not even its evidence yet
    monitor.hangUpAll();
    expect(endedFronts).toHaveLength(1); // so the keeper is told
    for (const each of await Promise.allSettled(asked)) expect(each.status).toBe("rejected");
    for (const ticket of [1, 2]) {
      const who = await whole.call(OPERATIONS.who, userBody({ ...alice, ticket }), keeper);
      expect(readGrant(who)).toBeUndefined();
    }
    expect(await authorizeOn(evidence)).toBeUndefined();
    // A program, on a terminal whose name may be another one's by now.
    await authorize();
    const { master, slave, pty } = loadPtyAddon().open(80, 24);
    try {
      const starting = start({ name: "" }, LOGIN, pty);
      monitor.hangUpAll();
      await expect(starting).rejects.toMatchObject({ code: "transport-lost" });
      expect(planned).toHaveLength(1);
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });

  test("a front starts no keeper where nobody could have a session: logins without a key are not allowed, and nobody is signed in", async () => {
    const made = monitorWith(() => true, undefined, undefined, undefined, undefined, { loginAllowed: false });
    const ask = (start: number) => made.monitor.call(OPERATIONS.keeper, u8(start));
    await expect(ask(1)).rejects.toMatchObject({ code: "user-refused" });
    await ask(0);
    const grant = await made.authorize();
    await ask(1);
    made.monitor.signedOff(grant?.ticket ?? 0);
    await expect(ask(1)).rejects.toMatchObject({ code: "user-refused" });
    expect(made.keepers).toEqual([false, true]);
  });

  test("a front's questions to the evidence device: so many at a time, and none once it has ended", async () => {
    let [asked, answer] = [0, (): void => {}];
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const { monitor } = monitorWith(() => true, undefined, undefined, undefined, undefined, {
      async probe() {
        asked++;
        await answered;
      },
    });
    const outcome = (question: Promise<unknown>) =>
      question.then(
        () => "answered",
        (error: unknown) => (error instanceof SealttyError ? error.code : error),
      );
    const ask = () => outcome(monitor.call(OPERATIONS.probe, new Uint8Array()));
    const first = Array.from({ length: 10 }, ask);
    expect(await Promise.all(first.slice(8))).toEqual(["limit-exceeded", "limit-exceeded"]);
    monitor.hangUpAll();
    const next = ask();
    answer();
    expect(await Promise.all(first.slice(0, 8))).toEqual(["answered", ...Array(7).fill("transport-lost")]);
    expect([await next, asked]).toEqual(["answered", 2]);
  });

  test("a front that ends, or means it badly, ends no program of the keeper's", async () => {
    const { whole, monitor, authorize } = monitorWith(() => true);
    await authorize();
    const addon = loadPtyAddon();
    const { master, slave, pty } = addon.open(80, 24);
    try {
      const told: number[] = [];
      const own: Peer = { kind: "keeper", notify: (_, body) => void told.push(readEnded(body).program) };
      const body = startBody({ user: alice, request: SHELL, path: pty });
      const { program } = readStarted(await whole.call(OPERATIONS.start, body, own));
      monitor.signal(program, "SIGKILL");
      monitor.forget(program);
      monitor.hangUpAll();
      const other: Peer = { kind: "front", notify: () => {} };
      await expect(
        whole.call(OPERATIONS.record, recordBody({ kind: "end", program }), other),
      ).rejects.toMatchObject({ code: "peer-misbehaved" });
      whole.hangUpAll(other);
      // Had any of these reached it, its end would be told now, before that of one that was started later.
      const second = addon.open(80, 24);
      const later = startBody({ user: alice, request: SHELL, path: second.pty });
      await authorize(); // it signs in anew: the tickets of before are gone
      const again = { ...alice, ticket: (alice.ticket ?? 0) + 1 };
      await expect(whole.call(OPERATIONS.start, later, own)).rejects.toMatchObject({ code: "user-refused" });
      const next = startBody({ user: again, request: SHELL, path: second.pty });
      const started = readStarted(await whole.call(OPERATIONS.start, next, own)).program;
      whole.signal(started, "SIGKILL", own);
      while (told.length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(told).toEqual([started]);
      whole.signal(program, "SIGKILL", own);
      while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(told).toEqual([started, program]);
      for (const each of [second.master, second.slave]) fs.closeSync(each);
    } finally {
      whole.hangUpAll(keeper);
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });
});

describe("what is written down", () => {
  test("who signed in, what was refused them, and what began: in the monitor's own words", async () => {
    const { start, authorize, log, monitor } = monitorWith(() => true);
    await authorize();
    const refused = { code: "user-refused" };
    await expect(start({ ...alice, name: "root" }, EXEC, "/run/x")).rejects.toMatchObject(refused);
    const misbehaved = { code: "peer-misbehaved" };
    await expect(start(alice, LOGIN, "/dev/null")).rejects.toMatchObject(misbehaved);
    monitor.hangUpAll();
    const events = log.map((line) => line.replace(/ key=SHA256:\S+/, "").trimEnd());
    expect(events).toEqual([
      "<6>audit event=user-in by=monitor user=alice",
      "<6>audit event=program-refused by=monitor service=exec why=user-refused",
      "<6>audit event=program-refused by=monitor service=login user=alice why=peer-misbehaved",
    ]);
  });

  test("a recording: grows by what the front says, and by nothing else; what is in it stays", async () => {
    const recordings = fs.mkdtempSync(path.join(directory, "recordings-"));
    const { start, monitor, told } = monitorWith(() => true, UID, UNRESTRICTED, {
      directory: recordings,
      users: undefined,
      services: ["login"],
      notice: true,
      required: false,
      maxMib: 1,
      userMib: 10,
      totalMib: 10,
    });
    const { master, slave, pty } = loadPtyAddon().open(80, 24);
    try {
      const misbehaved = { code: "peer-misbehaved" };
      await expect(start({ name: "" }, LOGIN, "/dev/null")).rejects.toMatchObject(misbehaved);
      expect(fs.readdirSync(recordings)).toEqual([]); // no file for each that it only tries
      const { program, recorded, notice } = readStarted(await start({ name: "" }, LOGIN, pty));
      expect([recorded, notice]).toEqual([true, "This session is recorded.\r\n"]);
      const [name = ""] = fs.readdirSync(recordings);
      const file = path.join(recordings, name);
      const record = (call: RecordCall) => monitor.call(OPERATIONS.record, recordBody(call));
      await record({ kind: "output", program, bytes: utf8("shown") });
      const before = fs.readFileSync(file, "utf8");
      await expect(record({ kind: "output", program: program + 1, bytes: utf8("x") })).rejects.toMatchObject(
        misbehaved,
      );
      const tooLarge = { kind: "output", program, bytes: new Uint8Array(128 * 1024 + 1) } as const;
      await expect(record(tooLarge)).rejects.toMatchObject(misbehaved);
      await expect(record({ kind: "resize", program, columns: 0, rows: 1 })).rejects.toMatchObject(
        misbehaved,
      );
      while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
      await record({ kind: "output", program, bytes: utf8("made up") });
      await record({ kind: "end", program });
      await expect(record({ kind: "output", program, bytes: utf8("late") })).rejects.toMatchObject(
        misbehaved,
      );
      const cast = readCast(fs.readFileSync(file, "utf8"));
      expect(fs.readFileSync(file, "utf8").startsWith(before)).toBe(true);
      expect(cast.shown).toBe("shownmade up");
      expect(cast.events.at(-1)).toMatchObject({ code: "x", data: "0" }); // how it ended, the monitor knows itself
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });
});

test("a recorded terminal that is resized thousands of times at once: one call at a time, and the newest size", async () => {
  const calls: RecordCall[] = [];
  const answers: (() => void)[] = [];
  const link = {
    call: (_operation: number, body: Uint8Array) => {
      calls.push(readRecord(body));
      return new Promise<Uint8Array>((resolve) => answers.push(() => resolve(new Uint8Array())));
    },
  };
  const sink = remoteSink(link, 7);
  for (let i = 1; i <= 5000; i++) sink.resize(i, 24);
  expect(calls).toHaveLength(1);
  answers[0]?.();
  while (calls.length < 2) await new Promise(setImmediate);
  answers[1]?.();
  await new Promise(setImmediate);
  expect(calls.map((call) => call.kind === "resize" && call.columns)).toEqual([1, 5000]);
  sink.resize(80, 25);
  expect(calls).toHaveLength(3);
});

test("signals: one share's flood, or one of programs that are not there, leaves the others' their own", async () => {
  const { monitor, start, authorize, told } = monitorWith(() => true);
  await authorize();
  const terminals = Array.from({ length: 3 }, () => loadPtyAddon().open(80, 24));
  const at = (i: number): string => terminals[i]?.pty ?? "";
  const flood = (program: number): void => {
    const spy = vi.spyOn(process, "kill").mockReturnValue(true);
    for (let i = 0; i < 5000; i++) monitor.signal(program, "SIGCONT");
    spy.mockRestore();
  };
  const endOf = async (program: number): Promise<number> => {
    const isIts = (notice: { readonly body: Uint8Array }): boolean =>
      readEnded(notice.body).program === program;
    while (!told.some(isIts)) await new Promise((resolve) => setTimeout(resolve, 10));
    return program;
  };
  try {
    flood(readStarted(await start({ name: "" }, LOGIN, at(0))).program);
    const { program } = readStarted(await start(alice, SHELL, at(1)));
    flood(4_000_000_000);
    monitor.signal(program, "SIGTERM");
    expect(await endOf(program)).toBe(program);
    // Nor does it drown the share's own hang-ups.
    const next = readStarted(await start(alice, SHELL, at(2))).program;
    flood(next);
    monitor.signal(next, "SIGHUP");
    expect(await endOf(next)).toBe(next);
  } finally {
    monitor.hangUpAll();
    for (const { master, slave } of terminals) {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  }
});

test("signals: one login without a key drowns no other login's, which have the same share, and all together are bounded", async () => {
  const { monitor, start, told } = monitorWith(() => true);
  const terminals = Array.from({ length: 3 }, () => loadPtyAddon().open(80, 24));
  let looked = 0;
  try {
    const [loud, quiet, late] = await Promise.all(
      terminals.map(async ({ pty }) => readStarted(await start(STAYS, LOGIN, pty)).program),
    );
    const spy = vi.spyOn(process, "kill").mockImplementation(() => {
      looked++;
      return true;
    });
    for (let i = 0; i < 5000; i++) monitor.signal(loud ?? 0, "SIGCONT");
    spy.mockRestore();
    expect(looked).toBeLessThan(2000);
    for (const program of [quiet, late]) monitor.signal(program ?? 0, "SIGTERM");
    const ended = () => new Set(told.map(({ body }) => readEnded(body).program));
    while (ended().size < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(ended()).toEqual(new Set([quiet, late]));
  } finally {
    monitor.hangUpAll();
    for (const { master, slave } of terminals) {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  }
});

test("signals: so many a second for the programs of a share, whatever the front sends", async () => {
  const { monitor, start } = monitorWith(() => true);
  const { master, slave, pty } = loadPtyAddon().open(80, 24);
  let looked = 0;
  try {
    const { program } = readStarted(await start({ name: "" }, LOGIN, pty));
    const spy = vi.spyOn(process, "kill").mockImplementation(() => {
      looked++;
      return true;
    });
    for (let i = 0; i < 5000; i++) monitor.signal(program, "SIGCONT");
    spy.mockRestore();
    expect(looked).toBeGreaterThan(0);
    expect(looked).toBeLessThan(2000);
  } finally {
    fs.closeSync(master);
    fs.closeSync(slave);
  }
});

test("bytes that are no operation are errors of the front's, and nothing else", async () => {
  const { monitor } = monitorWith(() => false);
  await fc.assert(
    fc.asyncProperty(fc.nat(255), fc.uint8Array({ maxLength: 400 }), async (operation, body) => {
      try {
        await monitor.call(operation, body);
      } catch (error) {
        expect(error).toBeInstanceOf(SealttyError);
      }
    }),
    { seed, numRuns: 2000 },
  );
  for (const read of [readAuthorize, readStart, readHelper, readQuote, readSignal, readRecord]) {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (body) => {
        try {
          read(body);
        } catch (error) {
          expect(error).toMatchObject({ code: "peer-misbehaved" });
        }
      }),
      { seed, numRuns: 2000 },
    );
  }
});

test("each operation survives its own encoding", () => {
  const call = { user: alice, request: EXEC, path: "/run/x/y" };
  expect(readStart(startBody(call))).toEqual(call);
  for (const service of SERVICE_REQUESTS) {
    const asked = { ...call, request: { kind: "service", service } as const };
    expect(readStart(startBody(asked))).toEqual(asked);
  }
  const fetch = {
    user: alice,
    helper: { kind: "fetch", socket: "/run/s", number: 7 },
    path: "/run/x",
  } as const;
  expect(readHelper(helperBody(fetch))).toEqual(fetch);
  const ssh = { user: alice, helper: { kind: "ssh" }, path: "/run/x" } as const;
  expect(readHelper(helperBody(ssh))).toEqual(ssh);
  for (const record of [
    { kind: "output", program: 7, bytes: utf8("x") },
    { kind: "resize", program: 7, columns: 80, rows: 24 },
    { kind: "end", program: 7 },
  ] as const)
    expect(readRecord(recordBody(record))).toEqual(record);
  const quote = { binder: new Uint8Array(64).fill(3), aux: Uint8Array.of(1, 2, 3) };
  expect(readQuote(quoteBody(quote.binder, quote.aux))).toEqual(quote);
});

describe("the link", () => {
  /** Its other end is the test's. */
  function linkWith(handlers: Partial<ConstructorParameters<typeof Link>[1]> = {}) {
    const written: Uint8Array[] = [];
    const stream = new Duplex({
      read() {},
      write(chunk: Uint8Array, _encoding, done) {
        written.push(chunk);
        done();
      },
    });
    let ended: SealttyError | undefined;
    const link: Link = new Link(stream, {
      ...handlers,
      onEnd: (reason) => {
        ended = reason;
      },
    });
    return { stream, link, written, ended: () => ended };
  }
  const frame = (...rest: Uint8Array[]): Uint8Array => {
    const body = concat(...rest);
    return concat(u32(body.length), body);
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));

  test.each([
    ["a length that is too large", u32(2 ** 31)],
    ["a length that is too small", concat(u32(5), new Uint8Array(5))],
    ["an unknown kind", frame(u8(9), u8(0), u32(0))],
    ["an answer to nothing", frame(u8(1), u8(0), u32(7))],
    ["a failure of nothing", frame(u8(2), u8(0), u32(7))],
    ["a call where none is taken", frame(u8(0), u8(1), u32(0))],
    ["a notice where none is taken", frame(u8(3), u8(1), u32(0))],
  ])("%s ends it", async (_what, bytes) => {
    const { stream, ended } = linkWith();
    stream.push(bytes);
    await settled();
    await settled();
    expect(ended()).toMatchObject({ code: "peer-misbehaved" });
  });

  test("more calls at once than it answers end it: nothing piles up", async () => {
    const { stream, ended } = linkWith({ onCall: () => new Promise(() => {}) });
    for (let i = 0; i < 1100; i++) stream.push(frame(u8(0), u8(1), u32(i)));
    while (ended() === undefined) await settled();
    expect(ended()).toMatchObject({ code: "peer-misbehaved" });
  });

  test("answers that are never taken end it: nothing piles up", async () => {
    const { stream, ended } = linkWith({ onCall: async () => new Uint8Array(1024 * 1024) });
    stream._write = () => {}; // never done
    for (let i = 0; ended() === undefined && i < 100; i++) {
      stream.push(frame(u8(0), u8(1), u32(i)));
      await settled();
    }
    expect(ended()).toMatchObject({ code: "peer-misbehaved" });
    expect(stream.writableLength).toBeLessThan(32 * 1024 * 1024);
  });

  test("the largest frame drop by drop, and then what breaks the rules: ends it, and nothing else", async () => {
    let taken = 0;
    const { stream, ended } = linkWith({
      onNotice: (_, body) => {
        taken = body.length;
      },
    });
    const largest = MAX_CONTROL_MESSAGE + 4096;
    const pieces = 300_000;
    stream.emit("data", concat(u32(largest), u8(3), u8(1), u32(0), new Uint8Array(largest - 6 - pieces)));
    for (let i = 0; i < pieces && ended() === undefined; i++) stream.emit("data", Uint8Array.of(i));
    expect([taken, ended()]).toEqual([largest - 6, undefined]);
    stream.push(frame(u8(1), u8(0), u32(7)));
    await settled();
    await settled();
    expect(ended()).toMatchObject({ code: "peer-misbehaved" });
  });

  test("many small frames at once: each byte of theirs is copied so many times, not all that is behind it", async () => {
    let notices = 0;
    const { stream } = linkWith({ onNotice: () => void notices++ });
    const one = frame(u8(3), u8(1), u32(0));
    const many = new Uint8Array(one.length * 20_000);
    for (let at = 0; at < many.length; at += one.length) many.set(one, at);
    const set = vi.spyOn(Uint8Array.prototype, "set");
    stream.emit("data", many);
    const copied = set.mock.calls.reduce((sum, [from]) => sum + from.length, 0);
    set.mockRestore();
    expect(notices).toBe(20_000);
    expect(copied).toBeLessThan(4 * many.length);
  });

  test("byte by byte or at once, calls come whole, and errors carry only our own words", async () => {
    const { stream, written } = linkWith({
      async onCall(operation, body) {
        if (operation === 2) throw new SealttyError("user-refused", "No.");
        if (operation === 3) throw new Error("secret of ours");
        return concat(u8(operation), body);
      },
    });
    const calls = concat(...[1, 2, 3].map((op) => frame(u8(0), u8(op), u32(op), Uint8Array.of(op, op))));
    for (const byte of calls) stream.push(Uint8Array.of(byte));
    while (written.length < 3) await settled();
    const text = Buffer.concat(written).toString("latin1");
    expect(text).toContain("user-refused");
    expect(text).not.toContain("secret");
    expect(Buffer.concat(written).subarray(0, 13)).toEqual(
      Buffer.from(frame(u8(1), u8(0), u32(1), Uint8Array.of(1, 1, 1))),
    );
  });
});
