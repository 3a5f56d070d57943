// The page's session after a reload: a whole guest in memory, and a terminal that remembers what it was given.

import { expect, test } from "vitest";
import { KeptStore, openOrComeBack, restoredWords } from "../../client/kept-session.ts";
import type { TerminalPort } from "../../client/channel-pump.ts";
import type { PageConfig } from "../../client/page-config.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { nodeClock } from "../../node/clock.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { nearThreads } from "../support/screen-thread.ts";
import { acceptAnyKey, clientOptions, echoProcess, SESSION_LIMITS, testGuest } from "../support/session.ts";

const LOGIN = { kind: "login", term: "xterm-256color", columns: 80, rows: 24 } as const;
const CONFIG = { identity: "db1", address: "ws://x/", user: "root", auth: "ssh-key" } as PageConfig;

function memoryStorage(): Storage {
  const items = new Map<string, string>();
  return {
    get length() {
      return items.size;
    },
    key: () => null,
    clear: () => items.clear(),
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  };
}

function world(kept = true, startScreenThread?: StartScreenThread) {
  const services = { keysAllowed: true, verifyUserKey: acceptAnyKey };
  const own = kept ? services : { ...services, sessions: undefined };
  const guest = testGuest(nodeClock, own, echoProcess, nodeSuite, SESSION_LIMITS, startScreenThread);
  const storage = memoryStorage();
  /** One load of the page. */
  const load = async (config = CONFIG, unsure = false) => {
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    const attested = await connect(clientOptions(nodeClock, async () => pipes.client));
    const user = await attested.authenticate(
      config.auth === "none"
        ? { method: "none", user: "root" }
        : {
            method: "ssh-key",
            user: "root",
            publicKey: utf8("a public key"),
            sign: async () => utf8("signed"),
          },
    );
    const attach = user.attach.bind(user);
    user.attach = async (request) =>
      Object.defineProperty(await attach(request), "inputUnsure", { value: unsure });
    const store = new KeptStore(() => storage);
    let type: (bytes: Uint8Array) => void = () => {};
    let shown = "";
    const port: TerminalPort = {
      columns: 80,
      rows: 24,
      write(bytes, parsed) {
        const text = Buffer.from(bytes).toString("latin1");
        shown += text;
        if (text.includes("\x1b[6n")) type(utf8("\x1b[5;5R")); // as xterm.js does, before it says parsed
        parsed();
      },
      onInput: (listener) => {
        type = listener;
      },
      onResize: () => undefined,
      restore: (columns, rows, length) => {
        restored.push(`${columns}x${rows}, ${length} bytes`);
        shown = ""; // what it was given before is gone
      },
      finish: () => undefined,
    };
    const restored: string[] = [];
    const said: string[] = [];
    let attached = 0;
    const opened = await openOrComeBack(user, LOGIN, port, {
      config,
      kept: store,
      showViewers: (viewers) => {
        attached = viewers.length;
      },
      sayRestored: (words) => said.push(words),
    });
    opened.terminal.onInput((bytes) => void opened.channel.write(bytes));
    void (async () => {
      for (;;) {
        const chunk = await opened.channel.stdout.read().catch(() => undefined);
        if (chunk === undefined) return;
        opened.terminal.write(chunk, () => opened.channel.stdout.consumed(chunk.length));
      }
    })();
    return {
      ...opened,
      user,
      store,
      type: (text: string) => type(utf8(text)),
      shows: async (text: string) => {
        while (!shown.includes(text)) await new Promise((resolve) => setTimeout(resolve, 5));
      },
      viewers: () => attached,
      restored,
      said,
      shown: () => shown,
    };
  };
  const typed = () => Buffer.concat(guest.processes[0]?.input ?? []).toString("latin1");
  return { guest, storage, load, typed };
}

test("a reload comes back to the same program and all of its output; old questions are not answered again", async () => {
  const { guest, load, typed } = world();
  const first = await load();
  first.type("abc");
  await first.shows("abc");
  guest.processes[0]?.print(utf8("where? \x1b[6n"));
  while (typed() !== "abc\x1b[5;5R") await new Promise((resolve) => setTimeout(resolve, 5));
  await first.user.close(); // as the page does when it is left

  const second = await load();
  await second.shows("where? ");
  await second.shows("\x1b[5;5R"); // the echo of the first answer
  expect(guest.processes).toHaveLength(1);
  second.type("d");
  guest.processes[0]?.print(utf8("again? \x1b[6n"));
  while (typed() !== "abc\x1b[5;5Rd\x1b[5;5R") await new Promise((resolve) => setTimeout(resolve, 5));
  expect(second.viewers()).toBe(1);
  second.type("\x04");
  expect(await second.channel.exit).toEqual({ kind: "exited", status: 7 });
  second.store.forget(CONFIG);
  await second.user.close();

  const third = await load();
  expect(guest.processes).toHaveLength(2);
  await third.user.close();
});

test("whether the last keys counted is not known: said in plain words where the page came back, once", async () => {
  const { load } = world();
  const first = await load();
  first.type("abc");
  await first.shows("abc");
  await first.user.close();
  for (const unsure of [false, true]) {
    const page = await load(CONFIG, unsure);
    await page.shows("abc");
    expect(page.shown().split("it is not known whether the last keys")).toHaveLength(unsure ? 2 : 1);
    await page.user.close();
  }
});

test("a session that is gone gives way to a new one; another guest's or user's is never asked for", async () => {
  const { guest, load, storage } = world();
  const first = await load();
  await first.user.close();
  const other = await load({ ...CONFIG, user: "eve" });
  expect(guest.processes).toHaveLength(2);
  await other.user.close();
  guest.sessions.stop();
  storage.setItem("sealtty.session", storage.getItem("sealtty.session") ?? "");
  expect(new KeptStore(() => storage).recall({ ...CONFIG, user: "eve" })).toBeDefined();
  expect(new KeptStore(() => storage).recall(CONFIG)).toBeUndefined();
  for (const bad of ["{", "7", '{"whose":1}']) {
    storage.setItem("sealtty.session", bad);
    expect(new KeptStore(() => storage).recall(CONFIG)).toBeUndefined();
  }
});

test("a guest that keeps no sessions gives the page one that ends with its connection", async () => {
  const { load, storage } = world(false);
  const page = await load();
  page.type("x");
  await page.shows("x");
  expect(storage.getItem("sealtty.session")).toBeNull();
  await page.user.close();
});

test("without a key nothing is kept: a session's secret in the browser's storage would be its key", async () => {
  const { load, storage } = world();
  const config: PageConfig = { ...CONFIG, auth: "none" };
  const first = await load(config);
  first.type("x");
  await first.shows("x");
  expect(storage.length).toBe(0);
  await first.user.close();
});

test("what has left the guest's ring comes back as a screen, and the page says so, outside of the terminal", async () => {
  const threads = nearThreads();
  const { guest, load } = world(true, threads.start);
  const first = await load();
  const lines = Array.from({ length: 30_000 }, (_, index) => `line ${index}\r\n`).join("");
  guest.processes[0]?.print(utf8(lines));
  await first.shows("line 29999");
  await first.user.close();

  const second = await load();
  await second.shows("line 29999");
  expect(second.restored).toHaveLength(1);
  expect(second.restored[0]).toMatch(/^80x24, \d+ bytes$/);
  expect(second.said).toEqual([
    "The guest gave the screen back as it stood, with 10000 lines above it. Links in it are gone.",
  ]);
  expect(second.shown()).not.toMatch(/line 19000\r/);
  expect(second.shown()).toMatch(/line 20000\r/);
  expect(second.shown()).not.toContain("sealtty");
  second.type("on");
  await second.shows("on");
  await second.user.close();
});

test("what could not come back is said", () => {
  const screen = { begin: 0, end: 5, columns: 80, rows: 24, lines: 1, cut: 0 };
  expect(restoredWords(screen)).toContain("with one line above it");
  expect(restoredWords({ ...screen, lines: 0 })).toContain("with nothing above it");
  expect(restoredWords({ ...screen, cut: 1 })).toContain("1 older line was too much to send");
  expect(restoredWords({ ...screen, cut: 70 })).toContain("70 older lines were too much to send");
  expect(restoredWords({ ...screen, begin: 1 })).toContain("lost what was printed earlier");
});
