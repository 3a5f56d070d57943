// Titles, links, clipboard requests, exit words and other text of the guest, before it may stand beside ours.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAX_CLIPBOARD_WRITE, parseClipboardRequest } from "../../client/clipboard-guard.ts";
import { hexDump } from "../../client/hex-dump.ts";
import { parseWireFrame } from "../../client/host-view-source.ts";
import { safeLink } from "../../client/link-guard.ts";
import { parsePageConfig } from "../../client/page-config.ts";
import { exitWords, failureOf } from "../../client/page-state.ts";
import { takeToken } from "../../client/page-token.ts";
import { escapedBytes, plainLines, plainText } from "../../client/plain-text.ts";
import { documentTitle, MAX_TITLE, safeTitle } from "../../client/title-rules.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_OWNER_PIECES } from "../../protocol/attestation/collateral.ts";
import { MAX_COLLATERAL_PIECE } from "../../protocol/limits.ts";

describe("titles", () => {
  test("ours first, theirs marked", () => {
    expect(documentTitle("db", "vim notes")).toBe("db · sealtty · guest title: vim notes");
    expect(documentTitle("db", " \x07 ")).toBe("db · sealtty");
    expect(documentTitle("", "")).toBe("guest · sealtty");
  });

  test("whatever it is: one line, no controls, no reordering, short", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary", maxLength: 2000 }),
          fc.string({ unit: "grapheme", maxLength: 2000 }),
        ),
        (title) => {
          const safe = safeTitle(title);
          expect(Array.from(safe).length).toBeLessThanOrEqual(MAX_TITLE);
          expect(safe).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
          expect(safe).not.toMatch(/\p{M}{4}/u);
          expect(safe).toBe(safe.trim());
        },
      ),
      { numRuns: 2000 },
    );
    expect(safeTitle("x".repeat(5_000_000)).length).toBe(MAX_TITLE);
    expect(plainText("a\u202eb\nc", 10)).toBe("a b c");
  });
});

describe("links", () => {
  test.each([
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "vbscript:x",
    "blob:http://x/1",
    "not a url",
    "",
    "ftp://x",
    `https://x/${"a".repeat(5000)}`,
  ])("%j is not offered", (text) => expect(safeLink(text)).toBeUndefined());
  test("look-alikes show as what they are", () => {
    expect(safeLink("https://аpple.com/x")?.host).toBe("xn--pple-43d.com");
    expect(safeLink("HTTPS://example.com")?.href).toBe("https://example.com/");
    expect(safeLink("https://bank.com@evil.net/")).toMatchObject({
      host: "evil.net",
      carriesCredentials: true,
    });
  });
});

describe("OSC 52", () => {
  test("read, write, malformed, too large", () => {
    expect(parseClipboardRequest("c;?")).toEqual({ kind: "read" });
    expect(parseClipboardRequest(";aGk=")).toEqual({ kind: "write", text: "hi" }); // tmux
    expect(parseClipboardRequest("c;aGkbWw==")).toEqual({ kind: "write", text: "hi[" }); // ESC left out
    for (const bad of ["", "c", "c;***", "x;aGk=", "c;/w==", "c;a"])
      expect(parseClipboardRequest(bad).kind).toBe("refused");
    expect(parseClipboardRequest(`c;${btoa("x".repeat(MAX_CLIPBOARD_WRITE))}`).kind).toBe("write");
    expect(parseClipboardRequest(`c;${btoa("x".repeat(MAX_CLIPBOARD_WRITE + 1))}`)).toEqual({
      kind: "refused",
      why: "too-large",
    });
  });
  test("never throws", () => {
    fc.assert(
      fc.property(fc.string(), (data) => {
        expect(parseClipboardRequest(`c;${data}`).kind).toBeTypeOf("string");
      }),
    );
  });
});

test("exit words let no guest text through", () => {
  fc.assert(
    fc.property(fc.string(), (signal) => {
      if (signal === "SIGHUP") return; // below
      const { words } = exitWords({ kind: "signalled", signal });
      expect(words).toMatch(
        /^The session was ended by (?:SIG[A-Z0-9+-]{1,12}|a signal that has no known name)\.$/,
      );
    }),
  );
  expect(exitWords({ kind: "exited", status: 0 }).clean).toBe(true);
  expect(exitWords({ kind: "signalled", signal: "SIGHUP" }).words).toContain(
    "from elsewhere, as sealtty sessions --kill",
  );
});

test("a failure's words are plain and end as sentences", () => {
  const failure = failureOf(new SealttyError("transport-lost", "line\x1b[31m\u202e gone"), false);
  expect(failure.what).toBe("line [31m gone.");
  expect(failure.nothingSent).toBe(true);
  expect(failureOf(new Error("secret detail"), true)).toMatchObject({ code: "internal", nothingSent: false });
  expect(failureOf(new Error("secret detail"), true).what).not.toContain("secret");
});

test("bytes of the host are shown escaped, and dumped as a person reads them", () => {
  expect(escapedBytes(utf8("ok\r\n\x1b[2J\\é"))).toBe("ok\n\\x1b[2J\\\\\\xc3\\xa9");
  expect(hexDump(utf8("0123456789abcdef\n!"))).toBe(
    "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n0010  0a 21                                            ·!",
  );
  expect(parseWireFrame('{"direction":"to-guest","bytes":"AAE=","at":1}')).toEqual({
    direction: "to-guest",
    bytes: Uint8Array.of(0, 1),
    at: 1,
  });
  for (const bad of [
    "",
    "[]",
    "{}",
    '{"direction":"up","bytes":"","at":1}',
    '{"direction":"to-guest","bytes":"*","at":1}',
  ]) {
    expect(parseWireFrame(bad)).toBeUndefined();
  }
});

describe("a text of several lines", () => {
  test("keeps lines and tabs; whatever hides or reorders is shown as its code point", () => {
    expect(plainLines("a = 1\r\n\tb = \u202e2\u200b\n\u0007\u2028", 100)).toBe(
      "a = 1\n\tb = \\u{202e}2\\u{200b}\n\\u{7}\\u{2028}",
    );
    expect(plainLines("abcdef", 3)).toBe("abc…");
  });
  test("whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 500 }), (text) => {
        expect(plainLines(text, 400)).not.toMatch(/[^\P{C}\t\n]|[\p{Zl}\p{Zp}]/u);
      }),
    );
  });
});

describe("what the local server says", () => {
  const config = {
    type: "config",
    page: "fresh",
    keptPage: "http://localhost:8743/#t=a-_9",
    memory: { seen: "1" },
    address: "unix:/run/x",
    pipe: { kind: "through-server" },
    pipeToken: "t",
    nextToken: null,
    policyText: "",
    simulated: false,
    user: "root",
    auth: "none",
    publicKey: null,
    identity: "db",
    hostView: false,
    hostViewToken: null,
    encoding: "auto",
    obfuscate: "adaptive",
  };
  test("is taken as it is", () => {
    expect(parsePageConfig(JSON.stringify(config))).toMatchObject({
      page: "fresh",
      keptPage: "http://localhost:8743/#t=a-_9",
      memory: new Map([["seen", "1"]]),
      address: "unix:/run/x",
      pipeToken: "t",
      publicKey: undefined,
    });
    expect(parsePageConfig(JSON.stringify({ ...config, memory: null })).memory).toBeUndefined();
    expect(
      parsePageConfig(JSON.stringify({ ...config, auth: "ssh-key", publicKey: "AAE=" })).publicKey,
    ).toEqual(Uint8Array.of(0, 1));
    expect(
      parsePageConfig(JSON.stringify({ ...config, pipe: { kind: "direct", url: "ws://h:1/" } })).pipe,
    ).toEqual({ kind: "direct", url: "ws://h:1/" });
    const vnc = { kind: "direct-vnc", url: "ws://h:5700/" };
    expect(parsePageConfig(JSON.stringify({ ...config, pipe: vnc })).pipe).toEqual(vnc);
  });
  test.each([
    ["simulated", "true"],
    ["auth", "password"],
    ["pipe", { kind: "direct", url: "http://x" }],
    ["pipe", { kind: "direct-vnc", url: "http://x" }],
    ["pipe", { kind: "direct-vnc" }],
    ["pipe", null],
    ["type", "other"],
    ["encoding", undefined],
    ["obfuscate", undefined],
    ["obfuscate", "sometimes"],
    ["publicKey", 5],
    ["page", undefined],
    ["page", "other"],
    ["keptPage", "javascript:1//http://localhost:8743/#t=a"],
    ["keptPage", "http://localhost.evil.example:8743/#t=a"],
    ["memory", { seen: 1 }],
    ["memory", "seen"],
  ])("a wrong %s is no default", (name, value) => {
    expect(() => parsePageConfig(JSON.stringify({ ...config, [name]: value }))).toThrow(SealttyError);
  });
  test("no collateral is none; all four lists are taken, byte for byte", () => {
    expect(parsePageConfig(JSON.stringify(config)).collateral).toEqual(NO_COLLATERAL);
    expect(parsePageConfig(JSON.stringify({ ...config, collateral: null })).collateral).toEqual(
      NO_COLLATERAL,
    );
    const collateral = { certificates: ["AAE=", "Ag=="], crls: [], tcbInfos: ["Aw=="], qeIdentities: [] };
    expect(parsePageConfig(JSON.stringify({ ...config, collateral })).collateral).toEqual({
      certificates: [Uint8Array.of(0, 1), Uint8Array.of(2)],
      crls: [],
      tcbInfos: [Uint8Array.of(3)],
      qeIdentities: [],
    });
  });
  test.each<[string, unknown]>([
    ["a list that is missing", { certificates: [], crls: [], tcbInfos: [] }],
    ["a list that nobody knows", { certificates: [], crls: [], tcbInfos: [], qeIdentities: [], more: [] }],
    ["no list", { certificates: "AA==", crls: [], tcbInfos: [], qeIdentities: [] }],
    ["no base64", { certificates: ["*"], crls: [], tcbInfos: [], qeIdentities: [] }],
    ["no text", { certificates: [5], crls: [], tcbInfos: [], qeIdentities: [] }],
    ["an empty piece", { certificates: [""], crls: [], tcbInfos: [], qeIdentities: [] }],
    [
      "too long a piece",
      {
        certificates: [Buffer.alloc(MAX_COLLATERAL_PIECE + 1).toString("base64")],
        crls: [],
        tcbInfos: [],
        qeIdentities: [],
      },
    ],
    [
      "too many pieces together",
      {
        certificates: Array.from({ length: MAX_OWNER_PIECES }, () => "AA=="),
        crls: ["AA=="],
        tcbInfos: [],
        qeIdentities: [],
      },
    ],
    ["an array", []],
    ["a text", "AA=="],
  ])("collateral with %s is refused", (_, collateral) => {
    expect(() => parsePageConfig(JSON.stringify({ ...config, collateral }))).toThrow(SealttyError);
  });
  test("a key sign-in without a key", () => {
    expect(() => parsePageConfig(JSON.stringify({ ...config, auth: "ssh-key" }))).toThrow(SealttyError);
  });
});

test("the token is taken out of the address at once, whatever the fragment holds", () => {
  const take = (hash: string, kept: string | null = null) => {
    const replaced: string[] = [];
    const location = { hash, pathname: "/", search: "?x=1" } as Location;
    const history = {
      replaceState: (_state: unknown, _title: string, url: string) => replaced.push(url),
    } as unknown as History;
    const removed: string[] = [];
    const storage = {
      getItem: () => kept,
      removeItem: (name: string) => removed.push(name),
    } as unknown as Storage;
    const token = takeToken(location, history, storage);
    expect(removed.length).toBe(1); // a token that was looked at is gone
    return { token, replaced };
  };
  expect(take("#t=0123456789abcdefXYZ_-")).toEqual({ token: "0123456789abcdefXYZ_-", replaced: ["/?x=1"] });
  expect(take("#t=<b>")).toEqual({ token: undefined, replaced: ["/?x=1"] });
  expect(take("")).toEqual({ token: undefined, replaced: [] });
  expect(take("", "kept-for-the-reload_0")).toEqual({ token: "kept-for-the-reload_0", replaced: [] });
  expect(take("#t=0123456789abcdefXYZ_-", "kept-for-the-reload_0").token).toBe("0123456789abcdefXYZ_-");
});

test("a session that is gone is no fault of the page, and said in the guest's own words", () => {
  const failure = failureOf(new SealttyError("session-gone", "The last of its output is gone"), true);
  expect(failure).toMatchObject({ title: "The session has ended", what: "The last of its output is gone." });
});
