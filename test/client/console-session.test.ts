// A console session against a scripted guest: what happens to typed input when the guest changes, what is remembered, and
// what is said while the line is down or an answer comes late.

import { expect, test } from "vitest";
import type { TerminalPort } from "../../client/channel-pump.ts";
import {
  ANSWER_WITHIN_MS,
  startConsoleSession,
  SYSTEM_STARTS_MS,
  type SessionParts,
  type SessionViews,
} from "../../client/console-session.ts";
import type { FrozenChoices } from "../../client/frozen-dialog.ts";
import type { PageConfig } from "../../client/page-config.ts";
import type { HandOver, PageState } from "../../client/page-state.ts";
import { SeenStore, valuesToKeep } from "../../client/seen-store.ts";
import { onAbort } from "../../protocol/abort.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { VerifiedGuest } from "../../protocol/attestation/verified-guest.ts";
import type { ClaimedValue } from "../../protocol/attestation/verified-guest.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AttestationEvent, ConnectionState, ConnectOptions, Guest } from "../../protocol/session/api.ts";
import { NO_SESSIONS } from "../support/no-sessions.ts";

const config: PageConfig = {
  page: "fresh",
  keptPage: undefined,
  memory: undefined,
  address: "ws://host/",
  pipe: { kind: "through-server" },
  pipeToken: "t",
  nextToken: undefined,
  policyText: `version = 1\nminimumAssurance = "simulated"\n[simulated]\ninstance = "db"\n`,
  simulated: true,
  user: "root",
  auth: "none",
  publicKey: undefined,
  keys: [],
  identity: "db",
  hostView: false,
  hostViewToken: undefined,
  encoding: "auto",
  obfuscate: "adaptive",
  collateral: NO_COLLATERAL,
};

const measured = (value: string): ClaimedValue[] => [
  { name: "snp.measurement", words: "Launch measurement", value, scope: "lasting" },
];

function verified(values: readonly ClaimedValue[]): VerifiedGuest {
  return VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    {
      type: "sev-snp",
      assurance: "hardware",
      verdict: "",
      what: "",
      signedBy: "",
      instance: "",
      fresh: "",
      anyInstance: false,
      instanceDocument: undefined,
      verified: [],
      notVerified: [],
      warnings: [],
      values,
      policyText: "",
    },
  );
}

/** Lets everything that can go on go on. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

/** Where the session is to wait until the test lets it go on, and what happens while the user is asked. */
interface Holds {
  readonly signIn?: boolean;
  readonly opening?: boolean;
  /** The guest asks this user for something. */
  readonly prompts?: boolean;
  /** The connection before was handed over. */
  readonly after?: HandOver;
  /** Until it is given up. */
  readonly neverConnects?: boolean;
  /** What comes of connecting in place of evidence. */
  readonly refused?: Error;
  /** @param seen - with the clock, to be turned on. */
  readonly whileAsked?: (seen: { wallTime: number; readonly options: ConnectOptions[] }) => void;
}

/** @param first - what the guest says of itself at the start. */
function scripted(
  first: readonly ClaimedValue[],
  items = new Map<string, string>(),
  expected = true,
  holds: Holds = {},
) {
  const storage = {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
  };
  const states: PageState["kind"][] = [];
  const shown: PageState[] = [];
  const said: string[] = [];
  const written: string[] = [];
  const seen = {
    options: [] as ConnectOptions[],
    wallTime: 1_700_000_000_000,
    signIn: undefined as { resolve(): void; reject(error: Error): void } | undefined,
    opening: undefined as { resolve(): void; reject(error: Error): void } | undefined,
    choices: undefined as FrozenChoices | undefined,
    type: undefined as ((bytes: Uint8Array) => void) | undefined,
    takeInput: [] as (() => void)[],
    closes: 0,
    wentOn: 0,
    now: verified(first),
    signIns: 0,
    /** Every view fails that is told of the guest's evidence. */
    viewsFail: false,
    fail: undefined as ((error: Error) => void) | undefined,
  };
  const guest: Guest = {
    ...NO_SESSIONS,
    get verified() {
      return seen.now;
    },
    stats: {
      roundTripMs: 1,
      packetsSent: 0,
      packetsReceived: 0,
      packetsLost: 0,
      packetsRefused: 0,
      pipes: 1,
      carries: { encoding: "binary", burst: 0, rate: 0 },
    },
    openChannel: async () => {
      if (holds.opening === true) {
        await new Promise<void>((resolve, reject) => {
          seen.opening = { resolve, reject };
        });
      }
      return {
        stdout: {
          read: () =>
            new Promise((_, reject) => {
              seen.fail = reject;
            }),
          consumed: () => undefined,
        },
        stderr: { read: async () => undefined, consumed: () => undefined },
        write: (bytes) =>
          new Promise((resolve) => {
            written.push(new TextDecoder().decode(bytes));
            seen.takeInput.push(resolve);
          }),
        end: () => undefined,
        resize: () => undefined,
        signal: () => undefined,
        hangUp: () => undefined,
        hangUpUnsent: () => undefined,
        exit: new Promise(() => undefined),
      };
    },
    reattest: async () => undefined,
    frozen: false,
    goOn: () => {
      seen.wentOn++;
    },
    close: async () => {
      seen.closes++;
    },
    closed: new Promise(() => undefined),
  };
  const never = (): never => {
    throw new Error("not used here");
  };
  const parts: SessionParts = {
    connect: async (options) => {
      seen.options.push(options);
      if (holds.refused !== undefined) throw holds.refused;
      if (holds.neverConnects === true) await new Promise((_, reject) => onAbort(options.signal, reject));
      return {
        ...guest,
        verified: seen.now,
        evidence: { type: "sev-snp", quote: new Uint8Array(), aux: new Uint8Array() },
        context: {
          handshakeHash: new Uint8Array(32),
          guestStatic: new Uint8Array(32),
          exporter: new Uint8Array(32),
          clientNonce: new Uint8Array(32),
        },
        authenticate: async () => {
          seen.signIns++;
          if (holds.signIn === true) {
            await new Promise<void>((resolve, reject) => {
              seen.signIn = { resolve, reject };
            });
          }
          return guest;
        },
      };
    },
    parsePolicy,
    suite: {} as SessionParts["suite"],
    signatures: { verify: never },
    clock: { now: () => 0, after: () => () => undefined, soon: (callback) => callback() },
    wallTime: () => seen.wallTime,
    seen: new SeenStore(() => storage),
    dial: never,
    sign: never,
  };
  const terminal: TerminalPort = {
    columns: 80,
    rows: 24,
    write: () => undefined,
    onInput: (listener) => {
      seen.type = listener;
    },
    onResize: () => undefined,
    restore: () => undefined,
    finish: () => undefined,
  };
  const views: SessionViews = {
    show: (state) => {
      states.push(state.kind);
      shown.push(state);
    },
    showNothingVerified: () => void said.push("nothing verified"),
    showPolicy: () => undefined,
    showVerified: () => void said.push("verified"),
    showSeen: (since) => void said.push(`seen, ${since.lasting.length} changed`),
    askAboutChanges: async (since) => {
      said.push(`asked about ${since.lasting.length}${since.handOver === true ? " after a hand-over" : ""}`);
      holds.whileAsked?.(seen);
      return expected;
    },
    offerRecheck: (recheck) => void said.push(recheck === undefined ? "no recheck" : "recheck"),
    showUnavailable: (_, inARow) => {
      if (seen.viewsFail) throw new TypeError("of the page");
      said.push(`unavailable ${inARow}`);
    },
    freeze: (_, choices) => {
      if (seen.viewsFail) throw new TypeError("of the page");
      seen.choices = choices;
    },
    showWentOn: (kind) => void said.push(`went on, ${kind}`),
    showStats: () => undefined,
    showHostNoise: () => undefined,
    mountTerminal: () => terminal,
    warnInputStuck: () => undefined,
    signedIn: async () => holds.prompts === true,
    signedOut: () => void said.push("signed out"),
  };
  const session = startConsoleSession(parts, config, views, holds.after);
  const tell = (event: AttestationEvent): void => seen.options.at(-1)?.onAttestation?.(event);
  const line = (state: ConnectionState): void => seen.options.at(-1)?.onState?.(state);
  return {
    seen,
    states,
    shown,
    line,
    said,
    written,
    items,
    session,
    tell,
    type: (text: string) => seen.type?.(utf8(text)),
  };
}

const CHANGED: Extract<AttestationEvent, { kind: "changed" }> = {
  kind: "changed",
  reason: "another boot",
  changes: [{ name: "snp.report-id", words: "REPORT_ID", before: "1", after: "2", scope: "boot" }],
  refusal: undefined,
};
const UNPROVEN: typeof CHANGED = { ...CHANGED, reason: "no fresh evidence, 3 times in a row", changes: [] };

test("connect is given a wall clock and the owner's collateral", async () => {
  const { seen } = scripted(measured("1"));
  await settled();
  expect(seen.options[0]?.wallTime()).toBe(1_700_000_000_000);
  expect(seen.options[0]?.collateral).toBe(NO_COLLATERAL);
});

test("what waited when the guest changed, and what is typed while it is frozen, is never sent", async () => {
  const console = scripted(measured("1"));
  await settled();
  console.type("a"); // the guest has it
  await settled();
  console.type("password"); // waits behind it: no credit
  await settled();
  expect(console.written).toEqual(["a"]);
  console.tell(CHANGED);
  expect(console.states.at(-1)).toBe("frozen");
  console.type("typed while frozen");
  for (const take of console.seen.takeInput) take();
  await settled();
  console.seen.choices?.goOn();
  expect(console.seen.wentOn).toBe(1);
  expect(console.states.at(-1)).toBe("live");
  console.type("b");
  await settled();
  expect(console.written).toEqual(["a", "b"]);
});

test("while frozen the line's coming and going shows nothing; its state is shown once the user went on", async () => {
  const console = scripted(measured("1"));
  await settled();
  console.tell(CHANGED);
  console.line({ phase: "attested" });
  console.line({ phase: "reconnecting", reason: "" });
  expect(console.states.at(-1)).toBe("frozen");
  console.seen.choices?.goOn();
  expect(console.states.at(-1)).toBe("reconnecting");
});

test("closing instead: one close, no going on, and later trouble says nothing more", async () => {
  const console = scripted(measured("1"));
  await settled();
  console.tell(CHANGED);
  console.seen.choices?.close();
  console.seen.choices?.goOn(); // too late
  console.seen.fail?.(new SealttyError("transport-lost", "gone"));
  await settled();
  expect(console.states.at(-1)).toBe("ended");
  expect(console.seen.closes).toBe(1);
  expect(console.seen.wentOn).toBe(0);
});

test("a line that dies while frozen is said, and there is nothing to go on with", async () => {
  const console = scripted(measured("1"));
  await settled();
  console.tell(CHANGED);
  console.seen.fail?.(new SealttyError("transport-lost", "gone"));
  await settled();
  expect(console.states.at(-1)).toBe("lost");
  console.seen.choices?.goOn();
  expect(console.seen.wentOn).toBe(0);
});

test("going on without fresh evidence: old claims are not told again as verified; the next renewal's are, and are remembered", async () => {
  const console = scripted(measured("1"));
  await settled();
  console.tell({ kind: "unavailable", reason: "busy", inARow: 3 });
  console.tell(UNPROVEN);
  console.seen.choices?.goOn();
  expect(console.said).toContain("went on, unproven");
  expect(console.states.at(-1)).toBe("live");
  expect(console.said.filter((each) => each === "verified")).toHaveLength(1);
  console.tell({ kind: "renewed", verified: verified(measured("2")) });
  expect(console.said.filter((each) => each === "verified")).toHaveLength(2);
  expect(console.items.get("sealtty.seen.v1")).toContain('"value":"2"');
});

test("what the user went on with is told as verified and remembered, except where it was refused", async () => {
  const changed = scripted(measured("1"));
  await settled();
  changed.seen.now = verified(measured("2"));
  changed.tell(CHANGED);
  changed.seen.choices?.goOn();
  expect(changed.said.slice(-3)).toEqual(["verified", "went on, changed", "recheck"]);
  expect(changed.items.get("sealtty.seen.v1")).toContain('"value":"2"');

  const refused = scripted(measured("1"));
  await settled();
  refused.seen.now = verified(measured("2"));
  refused.tell({ ...CHANGED, refusal: { check: "x", expected: "", found: "", next: "" } });
  refused.seen.choices?.goOn();
  expect(refused.said).toContain("went on, refused");
  expect(refused.items.get("sealtty.seen.v1")).not.toContain('"value":"2"');
});

test("seen before: the same is told, a change is asked about, and a no sends nothing", async () => {
  const first = scripted(measured("1"));
  await settled();
  expect(first.said).not.toContainEqual(expect.stringMatching(/^(seen|asked)/));

  const same = scripted(measured("1"), first.items);
  await settled();
  expect(same.said).toContain("seen, 0 changed");

  const no = scripted(measured("2"), first.items, false);
  await settled();
  expect(no.said).toContain("asked about 1");
  expect(no.seen.signIns).toBe(0);
  expect(no.states.at(-1)).toBe("failed");
  expect(no.seen.closes).toBe(1);
  expect(first.items.get("sealtty.seen.v1")).not.toContain('"value":"2"');

  const yes = scripted(measured("2"), first.items);
  await settled();
  expect(yes.states.at(-1)).toBe("live");
  expect(first.items.get("sealtty.seen.v1")).toContain('"value":"2"');
});

test.each([
  ["signing-in", { signIn: true }],
  ["opening", { opening: true }],
] as const)("the line lost while %s: said, and taken back when it holds again", async (stage, holds) => {
  const console = scripted(measured("1"), new Map(), true, holds);
  await settled();
  expect(console.states.at(-1)).toBe(stage);
  console.line({ phase: "reconnecting", reason: "the pipe was closed" });
  expect(console.shown.at(-1)).toEqual({
    kind: "reconnecting",
    reason: "the pipe was closed",
    during: stage,
  });
  console.line({ phase: "attested" });
  expect(console.states.at(-1)).toBe(stage);
  console.seen.signIn?.resolve();
  console.seen.opening?.resolve();
  await settled();
  expect(console.states.at(-1)).toBe("live");
});

test("a line that was already down when the user said yes is told as soon as the sign-in begins", async () => {
  const first = scripted(measured("1"));
  await settled();
  const console = scripted(measured("2"), first.items, true, {
    signIn: true,
    whileAsked: ({ options }) => options[0]?.onState?.({ phase: "reconnecting", reason: "" }),
  });
  await settled();
  expect(console.shown.at(-1)).toEqual({ kind: "reconnecting", reason: "", during: "signing-in" });
});

test.each(["signIn", "opening"] as const)(
  "given up during %s: a failure, and no lost session",
  async (at) => {
    const console = scripted(measured("1"), new Map(), true, { [at]: true });
    await settled();
    console.line({ phase: "reconnecting", reason: "" });
    console.seen[at]?.reject(new SealttyError("transport-lost", "given up"));
    await settled();
    expect(console.shown.at(-1)).toMatchObject({ kind: "failed", failure: { what: "given up." } });
    expect(console.seen.closes).toBe(1);
  },
);

test.each([
  ["not-authenticated", "You were not signed in in time"],
  ["busy", "The line is gone"],
  ["Nothing authentic came for 10 minutes", "The line is gone"],
])("closed (%s) while the user's key is still asked: said at once", async (reason, title) => {
  const console = scripted(measured("1"), new Map(), true, { signIn: true });
  await settled();
  console.line({ phase: "closed", reason });
  await settled();
  expect(console.shown.at(-1)).toMatchObject({ kind: "failed", failure: { title } });
  console.seen.signIn?.resolve(); // the key signs after all: too late
  await settled();
  expect(console.states.at(-1)).toBe("failed");
});

test.each([
  ["after longer than the guest waits", (seen) => void (seen.wallTime += ANSWER_WITHIN_MS + 1)],
  [
    "after the guest closed",
    ({ options }) => options[0]?.onState?.({ phase: "closed", reason: "not-authenticated" }),
  ],
] satisfies [string, Holds["whileAsked"]][])(
  "a yes that comes %s: connected anew under the same policy, and not asked twice",
  async (_, whileAsked) => {
    const first = scripted(measured("1"));
    await settled();
    const console = scripted(measured("2"), first.items, true, { whileAsked });
    await settled();
    expect(console.seen.options).toHaveLength(2);
    expect(console.seen.options[1]?.policy).toBe(console.seen.options[0]?.policy);
    expect(console.said.filter((each) => each.startsWith("asked"))).toHaveLength(1);
    expect(console.said.indexOf("nothing verified")).toBeLessThan(console.said.lastIndexOf("verified"));
    expect(console.said).toContain("seen, 1 changed"); // since the last visit, not since a minute ago
    expect(console.seen.signIns).toBe(1);
    expect(console.seen.closes).toBe(1); // the first connection
    expect(console.states.at(-1)).toBe("live");
    // What the first connection says now is heard no more.
    console.seen.options[0]?.onState?.({ phase: "reconnecting", reason: "" });
    expect(console.states.at(-1)).toBe("live");
  },
);

test("connected anew and changed once more: asked about that, too", async () => {
  const first = scripted(measured("1"));
  await settled();
  let asked = 0;
  const console = scripted(measured("2"), first.items, true, {
    whileAsked: (seen) => {
      if (asked++ > 0) return;
      seen.wallTime += ANSWER_WITHIN_MS + 1;
      console.seen.now = verified(measured("3"));
    },
  });
  await settled();
  expect(asked).toBe(2);
  expect(console.states.at(-1)).toBe("live");
  expect(first.items.get("sealtty.seen.v1")).toContain('"value":"3"');
});

test("a no that comes late closes all the same, and connects to nothing", async () => {
  const first = scripted(measured("1"));
  await settled();
  const console = scripted(measured("2"), first.items, false, {
    whileAsked: (seen) => void (seen.wallTime += 10 * ANSWER_WITHIN_MS),
  });
  await settled();
  expect(console.seen.options).toHaveLength(1);
  expect(console.states.at(-1)).toBe("failed");
});

const HANDED_OVER = new SealttyError("handed-over", "another sealttyd takes over");
const BOOT: ClaimedValue[] = [
  ...measured("1"),
  { name: "snp.report-id", words: "REPORT_ID", value: "1", scope: "boot" },
];

test("handed over: what was verified goes along, and what would be shown otherwise", async () => {
  const console = scripted(BOOT);
  await settled();
  console.seen.fail?.(HANDED_OVER);
  await settled();
  const state = console.shown.at(-1);
  expect(state).toMatchObject({
    kind: "handed-over",
    before: { at: 1_700_000_000_000 },
    otherwise: { kind: "lost", failure: { title: "The machine starts its system" } },
  });
  expect(state?.kind === "handed-over" && state.before.values).toEqual(expect.arrayContaining(BOOT));
  expect(console.said.at(-1)).toBe("signed out");
  expect(console.seen.options).toHaveLength(1); // to go on is the page's to do
});

test("handed over while the guest is frozen: nothing goes on by itself", async () => {
  const console = scripted(BOOT);
  await settled();
  console.tell(CHANGED);
  console.seen.fail?.(HANDED_OVER);
  await settled();
  expect(console.states.at(-1)).toBe("lost");
});

test("who has shown no evidence is not believed that it hands over", async () => {
  const console = scripted(BOOT, new Map(), true, { refused: HANDED_OVER });
  await settled();
  expect(console.states.at(-1)).toBe("failed");
});

test("after a hand-over the same boot goes on unasked, in time that a system needs to start", async () => {
  const before = { at: 1, values: valuesToKeep(verified(BOOT).claims) };
  const console = scripted(BOOT, new Map(), true, { after: before });
  await settled();
  expect(console.said.some((each) => each.startsWith("asked"))).toBe(false);
  expect(console.seen.options[0]?.timeout).toBe(SYSTEM_STARTS_MS);
  expect(console.seen.signIns).toBe(1);
  console.line({ phase: "dialing", attempt: 2 });
  expect(console.states.at(-1)).toBe("live");
});

test.each([
  [
    "another boot",
    [...measured("1"), { name: "snp.report-id", words: "REPORT_ID", value: "2", scope: "boot" }],
  ],
  ["another image", [...measured("2"), ...BOOT.slice(1)]],
] satisfies [string, ClaimedValue[]][])(
  "after a hand-over %s is asked about, and a no sends nothing",
  async (_, now) => {
    const before = { at: 1, values: valuesToKeep(verified(BOOT).claims) };
    const console = scripted(now, new Map(), false, { after: before });
    await settled();
    expect(console.said).toContain("asked about 1 after a hand-over");
    expect(console.seen.signIns).toBe(0);
    expect(console.states.at(-1)).toBe("failed");
  },
);

test("after a hand-over a yes that comes late is one to that boot: another one is asked about again", async () => {
  const before = { at: 1, values: valuesToKeep(verified(BOOT).claims) };
  const boot = (value: string): ClaimedValue[] => [
    ...measured("1"),
    { name: "snp.report-id", words: "REPORT_ID", value, scope: "boot" },
  ];
  let asked = 0;
  const console = scripted(boot("2"), new Map(), true, {
    after: before,
    whileAsked: (seen) => {
      if (asked++ > 0) return;
      seen.wallTime += ANSWER_WITHIN_MS + 1;
      console.seen.now = verified(boot("3"));
    },
  });
  await settled();
  expect(asked).toBe(2);
  expect(console.seen.options).toHaveLength(2);
  expect(console.seen.signIns).toBe(1);
  expect(console.states.at(-1)).toBe("live");
});

test("no terminal, and something to answer: the connection stays for that, and is handed over from there", async () => {
  const console = scripted(BOOT, new Map(), true, { opening: true, prompts: true });
  await settled();
  console.seen.opening?.reject(new SealttyError("program-failed", "no shell"));
  await settled();
  expect(console.shown.at(-1)).toMatchObject({ kind: "prompts", failure: { what: "no shell." } });
  console.line({ phase: "reconnecting", reason: "" });
  expect(console.shown.at(-1)).toMatchObject({ kind: "reconnecting", during: "prompts" });
  console.line({ phase: "attested" });
  expect(console.states.at(-1)).toBe("prompts");
  console.line({ phase: "closed", reason: "handed-over" });
  await settled();
  expect(console.shown.at(-1)).toMatchObject({ kind: "handed-over", otherwise: { kind: "failed" } });
});

test("no terminal, and nothing to answer: a failure as ever", async () => {
  const console = scripted(BOOT, new Map(), true, { opening: true });
  await settled();
  console.seen.opening?.reject(new SealttyError("program-failed", "no shell"));
  await settled();
  expect(console.shown.at(-1)).toMatchObject({ kind: "failed", failure: { what: "no shell." } });
});

test.each([
  ["a guest that changed", CHANGED],
  ["a missing answer", { kind: "unavailable", reason: "no answer", inARow: 1 }],
] as const)("the page fails to tell of %s: the connection ends, and is said to", async (_, event) => {
  const console = scripted(measured("1"));
  await settled();
  console.seen.viewsFail = true;
  expect(() => console.tell(event)).not.toThrow(); // whom it would reach, nobody hears
  const state = console.shown.at(-1);
  expect(state?.kind === "lost" && state.failure.title).toBe("Something went wrong in this page");
  expect(console.seen.closes).toBeGreaterThan(0);
  expect(console.said.at(-1)).toBe("signed out");
  const { length } = console.shown;
  console.seen.fail?.(new SealttyError("transport-lost", "The connection was closed"));
  await settled();
  expect(console.shown).toHaveLength(length); // its own end says nothing else over that
});

test("closed before there is a guest: what connects is told, and what comes of it is shown no more", async () => {
  const console = scripted(measured("1"), new Map(), true, { neverConnects: true });
  await settled();
  const { signal } = console.seen.options[0] ?? {};
  expect(signal?.aborted).toBe(false);
  const { length } = console.shown;
  await console.session.close();
  expect(signal?.aborted).toBe(true);
  await settled();
  expect(console.shown).toHaveLength(length);
});
