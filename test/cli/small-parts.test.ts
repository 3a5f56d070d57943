// The CLI's small parts: printable text, addresses, escapes, terminal modes, options, key files.

import { readFileSync } from "node:fs";
import { array, assert, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { sayingFailures } from "../../cli/commands/open.ts";
import { passedEnvironment, terminalName } from "../../cli/environment.ts";
import { EscapeKeys, parseEscapeCharacter } from "../../cli/escape-keys.ts";
import { shellStatus } from "../../protocol/api/exit.ts";
import { parseInput } from "../../cli/options.ts";
import { escapeBytes, jsonLine, printable } from "../../cli/printable.ts";
import { exitStatusOf } from "../../cli/report.ts";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { TerminalModes } from "../../cli/terminal-modes.ts";
import { VERSION } from "../../node/version.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { parseOpensshKey } from "../../node/openssh-key-file.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { decodeEd25519Signature } from "../../protocol/user-auth/ssh-wire.ts";
import { memoryPipes } from "../support/memory-pipe.ts";

test("the programs' version is package.json's", () => {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect(VERSION).toBe(manifest.version);
});

describe("printable()", () => {
  test.each([
    ["C0", "a\x1b[31mb\x07\r\n"],
    ["C1", "a\x9b31mb"],
    ["right-to-left override", "a\u202eb"],
    ["isolates and marks", "\u2066a\u2069\u200f\u061c"],
    ["zero width", "a\u200bb\ufeff\u2060"],
    ["tags", "a\u{e0041}b"],
    ["a lone surrogate", "a\ud800b"],
  ])("shows that %s was there, and nothing of what it does", (_, text) => {
    const shown = printable(text);
    expect(shown).toContain("\ufffd");
    // oxlint-disable-next-line no-control-regex
    expect(shown).not.toMatch(/[\0-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/);
  });
  test("keeps other languages and emoji, and cuts what is long", () => {
    expect(printable("Grüße, 世界 👋 مرحبا")).toBe("Grüße, 世界 👋 مرحبا");
    expect(printable("x".repeat(50), 10)).toBe(`${"x".repeat(10)}…`);
  });
  test("escapeBytes() leaves printable ASCII only", () => {
    expect(escapeBytes(Uint8Array.of(0x41, 0x1b, 0x5c, 0xff))).toBe("A\\x1b\\\\\\xff");
  });
});

describe("jsonLine()", () => {
  const hostile = "a\x1b[2J\r\n\x7f\x9b31m\u202e\u2066\u200b\ufeff\u061c\u{e0041}\ud800 Grüße 世界 👋";
  test.each([undefined, 2])("moves no cursor, reverses no text, and loses nothing (indent %s)", (indent) => {
    const value = { text: hostile, [hostile]: [hostile] };
    const json = jsonLine(value, indent);
    expect(JSON.parse(json)).toEqual(value);
    // oxlint-disable-next-line no-control-regex
    expect(json).not.toMatch(
      /[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/u,
    );
    expect(json.includes("\n")).toBe(indent !== undefined);
    expect(json).toContain("Grüße 世界 👋");
    expect(json).toContain("\\u202e\\u2066\\u200b\\ufeff\\u061c\\udb40\\udc41\\ud800");
  });
});

describe("parseAddress()", () => {
  test.each([
    ["ws://localhost:1234/", { kind: "web-socket", url: "ws://localhost:1234/", secure: false }],
    ["ws://localhost:1234", { kind: "web-socket", url: "ws://localhost:1234/", secure: false }],
    ["WSS://h/a?b=c", { kind: "web-socket", url: "wss://h/a?b=c", secure: true }],
    ["tcp:h:22", { kind: "tcp", host: "h", port: 22 }],
    ["tcp:[::1]:22", { kind: "tcp", host: "::1", port: 22 }],
    ["unix:a b.sock", { kind: "unix", path: "a b.sock" }],
    ["tty:/dev/ttyUSB0", { kind: "tty", path: "/dev/ttyUSB0" }],
    ["vsock+unix:/run/a:b.sock:7000", { kind: "vsock", path: "/run/a:b.sock", port: 7000 }],
    ["vsock+unix:v.sock:4294967294", { kind: "vsock", path: "v.sock", port: 4294967294 }],
    ["vnc+unix:v.sock", { kind: "vnc", place: { kind: "unix", path: "v.sock" } }],
    ["vnc+tcp:[::1]:5900", { kind: "vnc", place: { kind: "tcp", host: "::1", port: 5900 } }],
    ["vnc+wss://h/a?token=b", { kind: "vnc", place: { kind: "web-socket", url: "wss://h/a?token=b" } }],
    [
      "proxmox:pve.example/pve1/101",
      { kind: "proxmox", authority: "pve.example:8006", node: "pve1", vmid: 101, serial: "serial0" },
    ],
    [
      "proxmox:[::1]:443/pve-2/9999/serial3",
      { kind: "proxmox", authority: "[::1]:443", node: "pve-2", vmid: 9999, serial: "serial3" },
    ],
    ["kubevirt:vms/db1.prod", { kind: "kubevirt", namespace: "vms", name: "db1.prod" }],
    ["nova:wss://h:6083", { kind: "nova", url: "wss://h:6083/" }],
    [
      "nova:9168b536-cd40-4630-b43f-b259807c6e87",
      { kind: "nova", server: "9168b536-cd40-4630-b43f-b259807c6e87" },
    ],
    ["incus:db1", { kind: "incus", project: "default", instance: "db1" }],
    ["incus:my_lab/db-1", { kind: "incus", project: "my_lab", instance: "db-1" }],
  ])("%s", (text, expected) => expect(parseAddress(text)).toEqual({ text, ...expected }));
  test.each([
    ["vnc:h:0", "vnc+unix:PATH, vnc+tcp:HOST:PORT or vnc+ws:"],
    ["vnc+tty:/dev/ttyS0", "vnc+unix:PATH"],
    ["vnc+vnc+unix:/x", "vnc+unix:PATH"],
    ["VNC+unix:/x", "vnc+unix:PATH"],
    ["vnc+tcp:h", "tcp:HOST:PORT"],
    ["vnc+ws://a:b@h/", "user name or password"],
    ["vsock+unix:7000", "vsock+unix:PATH:PORT"],
    ["vsock+unix:/v.sock:4294967295", "above 4294967294"],
    ["proxmox:h/n", "proxmox:HOST/NODE/NUMBER"],
    ["proxmox:h/n/1", "NUMBER is 100 or more"],
    ["nova:x", "SERVER-ID is a UUID (openstack server list)"],
    ["proxmox:h/n/101/serial4", "proxmox:HOST/NODE/NUMBER"],
    ["proxmox:h/n/../101", "proxmox:HOST/NODE/NUMBER"],
    ["proxmox:h@evil/n/101", "proxmox:HOST/NODE/NUMBER"],
    ["proxmox:h:0/n/101", "1 to 65535"],
    ["proxmox:h/n/101?x=1", "proxmox:HOST/NODE/NUMBER"],
    ["kubevirt:vm", "kubevirt:NAMESPACE/NAME"],
    ["kubevirt:ns/../vm", "kubevirt:NAMESPACE/NAME"],
    ["kubevirt:ns/a..b", "kubevirt:NAMESPACE/NAME"],
    ["kubevirt:Ns/vm", "kubevirt:NAMESPACE/NAME"],
    ["nova:wss://h/?token=hunter", "holds a token or query"],
    ["nova:db1", "nova:SERVER-ID"],
    ["nova:wss://a:b@h/", "user name or password"],
    ["incus:a/b/c", "incus:PROJECT/INSTANCE"],
    ["incus:db1?project=x", "incus:PROJECT/INSTANCE"],
    ["ws://user:secret@h/", "user name or password"],
    ["ws://h/#x", "#fragment"],
    ["ws://", "well-formed"],
    ["tcp:h:0", "1 to 65535"],
    ["tcp:h:65536", "1 to 65535"],
    ["tcp:::1:22", "brackets"],
    ["tcp:h", "tcp:HOST:PORT"],
    ["unix:", "names no socket"],
    ["tty:ttyS0", "full path"],
    ["db1", "no guest address"],
    ["root@db1", "the user goes with -l, as in -l root db1"],
    ["", "no guest address"],
    ["http://h/", "no guest address"],
    ["unix:/a\x1b[2J", "do not print"],
    [`unix:/${"x".repeat(600)}`, "longer than 512"],
  ])("refuses %j and says why", (text, why) => {
    expect(() => parseAddress(text)).toThrow(
      expect.objectContaining({ code: "bad-config", message: expect.stringContaining(why) }),
    );
  });
});

test("a token that should not be in an address is not shown again", () => {
  expect(() => parseAddress("nova:wss://h/?token=hunter2")).toThrow(/^(?!.*hunter2).*holds a token/s);
});

test("open says whole why a pipe does not open, once for each reason", async () => {
  const why = "x".repeat(300);
  const outcomes = [why, why, "another\x1b[2J", undefined, why];
  const said: string[] = [];
  const dial = sayingFailures(
    async () => {
      const message = outcomes.shift();
      if (message !== undefined) throw new SealttyError("transport-lost", message);
      return memoryPipes().client;
    },
    (line) => said.push(line),
  );
  for (const fails of [true, true, true, false, true]) {
    const dialled = dial();
    if (fails) await expect(dialled).rejects.toMatchObject({ code: "transport-lost" });
    else await dialled;
  }
  expect(said).toEqual([`sealtty: ${why}`, "sealtty: another\ufffd[2J", `sealtty: ${why}`]);
});

describe("EscapeKeys, by ssh's rules", () => {
  /** What the guest gets, with actions in brackets. */
  const run = (chunks: readonly string[], character: number | null = 0x7e): string => {
    const keys = new EscapeKeys(character);
    return chunks
      .flatMap((chunk) => keys.push(utf8(chunk)))
      .map((event) => ("send" in event ? Buffer.from(event.send).toString("latin1") : `[${event.action}]`))
      .join("");
  };
  test.each([
    ["~.", "[disconnect]"],
    ["ls\r~.", "ls\r[disconnect]"],
    ["ls~.", "ls~."],
    ["\r~~.", "\r~."],
    ["~~~.", "~~."],
    ["~?~.", "[help][disconnect]"],
    ["~\x1aa", "[suspend]a"],
    ["\r~x", "\r~x"],
    ["\r~\r~.", "\r~\r[disconnect]"],
    ["\n~.", "\n[disconnect]"],
  ])("%j → %j", (typed, expected) => {
    expect(run([typed])).toBe(expected);
    expect(run(typed.split(""))).toBe(expected); // however it is cut
  });
  test("none passes everything, another character takes its place", () => {
    expect(run(["~.\r~."], null)).toBe("~.\r~.");
    expect(run(["~.\r%."], 0x25)).toBe("~.\r[disconnect]");
    expect([parseEscapeCharacter("none"), parseEscapeCharacter("%"), parseEscapeCharacter("^]")]).toEqual([
      null,
      0x25,
      0x1d,
    ]);
    expect([parseEscapeCharacter("ab"), parseEscapeCharacter(""), parseEscapeCharacter("^é")]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
  const reports = {
    "cursor position": "\x1b[24;3R",
    status: "\x1b[0n",
    "primary attributes": "\x1b[?62;4;22c",
    "secondary attributes": "\x1b[>41;354;0c",
    "window size": "\x1b[8;24;80t",
    "a mode": "\x1b[?2026;2$y",
    "an ANSI mode": "\x1b[4;1$y",
    "keyboard flags": "\x1b[?5u",
    "focus came": "\x1b[I",
    "focus went": "\x1b[O",
    "a DCS": "\x1bP>|XTerm(379)\x1b\\",
    "an OSC, BEL": "\x1b]11;rgb:0000/0000/0000\x07",
    "an OSC, ST": "\x1b]10;rgb:ffff/~.~./ffff\x1b\\",
    "an APC": "\x1b_Gi=1;OK\x1b\\",
  };
  test.each(Object.entries(reports))("a terminal's report is sent and is no key: %s", (_, report) => {
    for (const typed of ["~.", "ls\r~.", `ls\r${report}~.`]) {
      const [before, escape] = [typed.slice(0, -2), typed.slice(-2)];
      const all = before + report + escape;
      for (let at = 0; at <= all.length; at++)
        expect(run([all.slice(0, at), all.slice(at)]), `cut at ${at}`).toBe(`${before}${report}[disconnect]`);
      expect(run(all.split(""))).toBe(`${before}${report}[disconnect]`);
    }
    for (const cut of [[`x${report}~.`], `x${report}~.`.split("")]) expect(run(cut)).toBe(`x${report}~.`);
  });
  test.each(Object.entries(reports))("one that comes between ~ and . neither: %s", (_, report) => {
    // Cut behind ESC alone it is the key Escape, which is not held back.
    for (let at = 1; at < report.length; at++) {
      const cut = at === 1 ? [`~${report}.`] : [`~${report.slice(0, at)}`, `${report.slice(at)}.`];
      expect(run(cut), `cut at ${at}`).toBe(`${report}[disconnect]`);
    }
    expect(run([`~${report}x`])).toBe(`${report}~x`);
  });
  test.each([
    ["\x1b[A~.", "arrow"],
    ["\x1bOP~.", "function key"],
    ["\x1b[3~~.", "delete"],
    ["\x1b[R~.", "F3"],
    ["\x1b[<0;3;4M~.", "mouse"],
    ["\x1ba~.", "Alt and a letter"],
    ["\x1b~.", "Escape, then ~"],
    ["\x1b\x1b[A~.", "Escape, then an arrow"],
    ["\x1b[1\x7fR~.", "a broken sequence"],
    ["\x1b[200~~.\x1b[201~", "pasted"],
    ["~\x1b[A.", "an arrow between"],
    ["~\x1b.", "Escape between"],
    [`\x1b[${";".repeat(5000)}R~.`, "too long a sequence"],
    [`\x1b]${"x".repeat(5000)}\x07~.`, "too long a string"],
  ])("%j is sent as it is: %s", (typed) => {
    expect(run([typed])).toBe(typed);
    expect(run(typed.split(""))).toBe(typed);
  });
  test("Enter ends what Alt and a letter began like a terminal's string", () => {
    for (const letter of ["P", "]", "_", "^", "X", "["]) {
      expect(run([`\x1b${letter}ls\r~.`])).toBe(`\x1b${letter}ls\r[disconnect]`);
      expect(run(`\x1b${letter}ls\r~.`.split(""))).toBe(`\x1b${letter}ls\r[disconnect]`);
    }
    expect(run(["\x1b]x\x1b[1;1R~."])).toBe("\x1b]x\x1b[1;1R~."); // a string without an end was typed
  });
  test("a lone Escape behind ~ is not held back", () => {
    const keys = new EscapeKeys(0x7e);
    expect(keys.push(utf8("~\x1b"))).toEqual([{ send: utf8("~\x1b") }]);
  });
  test("Escape itself may be the escape character", () => {
    expect(run(["\x1b."], 0x1b)).toBe("[disconnect]");
    expect(run(["\x1b[1;1R"], 0x1b)).toBe("\x1b[1;1R");
  });
  test("without an escape character at a line's start nothing is changed", () =>
    assert(
      property(array(uint8Array({ maxLength: 20 })), (chunks) => {
        const keys = new EscapeKeys(0x7e);
        const typed = chunks.map((chunk) => chunk.map((byte) => (byte === 0x7e ? 0x7d : byte)));
        const sent = typed
          .flatMap((chunk) => keys.push(chunk))
          .map((event) => ("send" in event ? event.send : utf8("ACTION")));
        expect(concat(...sent)).toEqual(concat(...typed));
      }),
    ));
});

describe("TerminalModes", () => {
  const undone = (...output: string[]): string => {
    const modes = new TerminalModes();
    for (const each of output) modes.watch(utf8(each));
    return modes.undo();
  };
  test("leaves the alternate screen only where it was entered, however the sequence is cut", () => {
    expect(undone("hello")).not.toContain("1049");
    expect(undone("\x1b[?1049h")).toContain("\x1b[?1049l");
    expect(undone(..."\x1b[?25;1049h".split(""))).toContain("\x1b[?1049l");
    expect(undone("\x1b[?1049h\x1b[?1049l")).not.toContain("1049");
    expect(undone("\x1b[?1049h\x1bc")).not.toContain("1049");
  });
  test("sets keyboard flags back that were set in place", () => {
    expect(undone("\x1b[=5;1u")).toContain("\x1b[=0u");
    expect(undone("\x1b[5u")).not.toContain("\x1b[=0u");
  });

  test("pops the keyboard modes that were pushed", () => {
    expect(undone("\x1b[>1u\x1b[>5u\x1b[<u")).toContain("\x1b[<1u");
    expect(undone("\x1b[>4;2m")).toContain("\x1b[>4m");
  });
  test("always shows the cursor and ends mouse reports", () => {
    for (const part of ["\x1b[?1000l", "\x1b[?2004l", "\x1b[?25h", "\x1b[0m"])
      expect(undone()).toContain(part);
  });
  test("whatever a guest prints, what it undoes is short and made of resets", () =>
    assert(
      property(uint8Array({ maxLength: 400 }), (output) => {
        const modes = new TerminalModes();
        modes.watch(output);
        // oxlint-disable-next-line no-control-regex
        expect(modes.undo()).toMatch(/^(?:\x1b\[(?:!p|\?[0-9]+l|<[0-9]+u|>4m|\?25h|0m))+$/);
      }),
    ));
});

describe("parseInput()", () => {
  const command = {
    name: "x",
    options: [
      { name: "policy", value: "FILE", help: "" },
      { name: "verbose", short: "v", help: "" },
    ],
  };
  test("everything behind -- is the command's, options and further -- too", () => {
    const input = parseInput(command, ["-v", "g", "-v", "--policy=p", "--", "ls", "-v", "--", "--policy"]);
    expect([input.operands, input.rest]).toEqual([["g"], ["ls", "-v", "--", "--policy"]]);
    expect([input.count("verbose"), input.text("policy"), input.has("json")]).toEqual([2, "p", false]);
  });
  test.each([[["--nope"]], [["--policy"]], [["--verbose=1"]]])("refuses %j", (args) => {
    expect(() => parseInput(command, args)).toThrow(expect.objectContaining({ code: "bad-config" }));
  });
  test("a value that looks like an option: one line says how it is written", () => {
    expect(() => parseInput(command, ["--policy", "-1"])).toThrow(
      /^[^\n]*'--policy=-XYZ'; see: sealtty help x$/,
    );
  });
});

describe("exit statuses", () => {
  test.each([
    [{ kind: "exited", status: 0 }, 0],
    [{ kind: "exited", status: 255 }, 255],
    [{ kind: "signalled", signal: "SIGKILL" }, 137],
    [{ kind: "signalled", signal: "SIGTERM" }, 143],
    [{ kind: "signalled", signal: "constructor" }, 255],
  ] as const)("%j → %i", (exit, status) => expect(shellStatus(exit)).toBe(status));
  test.each([
    ["evidence-refused", 1],
    ["evidence-unavailable", 1],
    ["bad-policy", 2],
    ["bad-config", 2],
    ["guest-silent", 255],
    ["transport-lost", 255],
  ] as const)("inspect: %s → %i; connect and exec: 255", (code, status) => {
    const error = new SealttyError(code, "x");
    expect([exitStatusOf(error, "inspect-like"), exitStatusOf(error, "ssh-like")]).toEqual([status, 255]);
  });
});

test("passedEnvironment() passes how to print and nothing else", () => {
  const given = {
    LANG: "C.UTF-8",
    LC_ALL: "de",
    COLORTERM: "truecolor",
    PATH: "/bin",
    SSH_AUTH_SOCK: "/x",
    LC_X: "a\nb",
  };
  expect(passedEnvironment(given)).toEqual({ LANG: "C.UTF-8", LC_ALL: "de", COLORTERM: "truecolor" });
  expect([terminalName({ TERM: "screen" }), terminalName({ TERM: "a/../b" }), terminalName({})]).toEqual([
    "screen",
    "xterm-256color",
    "xterm-256color",
  ]);
});

test("newSshKey() makes a file that the key loader reads, and its public line", () => {
  const made = newSshKey(nodeSuite, "demo");
  const key = parseOpensshKey(made.privateFile, "test");
  expect(made.publicLine).toBe(`ssh-ed25519 ${Buffer.from(key.publicKeyBlob).toString("base64")} demo\n`);
  const message = utf8("message");
  expect(
    nodeSuite.ed25519Verify(
      key.publicKeyBlob.subarray(-32),
      message,
      decodeEd25519Signature(key.sign(message)),
    ),
  ).toBe(true);
});
