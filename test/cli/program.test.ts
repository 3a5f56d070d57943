// The commands from the outside: arguments and streams in, output and exit status out.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { READ_AHEAD } from "../../cli/api/streams.ts";
import { parseAddress } from "../../cli/address.ts";
import { directOf } from "../../cli/commands/open.ts";
import { COMMANDS, run } from "../../cli/program.ts";
import { Reporter, checkedWords } from "../../cli/report.ts";
import { VerifiedGuest } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { ManualClock } from "../support/clocks.ts";
import { CLAIMS, fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
let policy: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-cli-test-"));
  policy = path.join(directory, "policy.toml");
  writeFileSync(policy, POLICY_TEXT);
});
afterAll(() => rmSync(directory, { recursive: true }));

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

describe("help and version", () => {
  test("help lists every command that works, and no other", async () => {
    const cli = fakeCli();
    expect(await run(["help"], cli.services)).toBe(0);
    for (const name of [
      "open",
      "connect",
      "exec",
      "cp",
      "proxy",
      "forward",
      "config-ssh",
      "known-hosts",
      "inspect",
      "verify",
      "policy",
      "instance",
      "measure",
      "collateral",
    ])
      expect(cli.out()).toContain(`sealtty ${name} `);
    expect(cli.out()).not.toContain("sealtty demo");
  });
  test.each(COMMANDS.map((command) => [command.name]))("help %s names each of its options", async (name) => {
    const cli = fakeCli();
    expect(await run(["help", name], cli.services)).toBe(0);
    for (const option of COMMANDS.find((command) => command.name === name)?.options ?? []) {
      expect(cli.out()).toContain(`--${option.name}`);
    }
    const other = fakeCli();
    expect(await run([name, "--help"], other.services)).toBe(0);
    expect(other.out()).toBe(cli.out());
  });
  test("help tells every command's exit statuses, and what exec does without -i", async () => {
    const cli = fakeCli();
    expect(await run(["help"], cli.services)).toBe(0);
    const statuses = cli.out().slice(cli.out().indexOf("Exit status"));
    for (const { name, hidden } of COMMANDS) if (hidden !== true) expect(statuses).toContain(name);
    const exec = fakeCli();
    await run(["help", "exec"], exec.services);
    expect(exec.out()).not.toContain("the guest's login asks");
    expect(exec.out()).toMatch(/--identity FILE .*ssh-agent/);
    const verify = fakeCli();
    await run(["help", "verify"], verify.services);
    expect(verify.out()).not.toContain("what the guest sends");
  });
  test("a check's words and values do not run together", () => {
    const line = { check: "snp.vmpl", words: "The level is low", value: "1", policyKey: "snp.vmpl" };
    expect(checkedWords(line)).toBe("snp.vmpl: The level is low (1) [snp.vmpl]");
    expect(checkedWords({ ...line, expected: "0 or 1" })).toBe(
      "snp.vmpl: The level is low (1; expected: 0 or 1) [snp.vmpl]",
    );
    expect(checkedWords({ check: "a", words: "b" })).toBe("a: b");
    expect(checkedWords({ check: "a", words: 'worth "b"', value: "b" })).toBe('a: worth "b"');
  });
  test("version", async () => {
    const cli = fakeCli();
    expect(await run(["--version"], cli.services)).toBe(0);
    expect(cli.out()).toBe("sealtty 1.2.3\n");
  });
  test("an unknown command is named", async () => {
    const cli = fakeCli();
    expect(await run(["conect"], cli.services)).toBe(255);
    expect(cli.errors()).toContain('there is no command "conect"');
  });
});

describe("errors", () => {
  test("no policy: says how to make one, and dials nothing", async () => {
    const cli = fakeCli();
    expect(await run(["connect", "tcp:h:1"], cli.services)).toBe(255);
    expect(cli.errors()).toMatch(/^sealtty: bad-policy: .*inspect tcp:h:1 --save-policy FILE\n$/);
    expect(cli.connects).toEqual([]);
  });
  const refused = () =>
    Promise.reject(
      new SealttyError("evidence-refused", "PCR 7 \x1b[2Jdiffers", {
        refusal: { check: "tpm.pcr", expected: "00", found: "ff\u202e", next: "Update the policy." },
      }),
    );
  test("a refusal says what was expected, what was found, what to do, and moves no cursor", async () => {
    const cli = fakeCli({ connect: refused });
    expect(await run(["exec", "tcp:h:1", "--policy", policy, "--", "true"], cli.services)).toBe(255);
    expect(cli.errors()).toBe(
      "sealtty: evidence-refused: PCR 7 \ufffd[2Jdiffers\n  check:    tpm.pcr\n  expected: 00\n  found:    ff\ufffd\n  next: Update the policy.\n",
    );
  });
  test("every check that failed says what to do, not only the first", async () => {
    const other = (name: string) => ({
      check: `snp.${name}`,
      problem: `The ${name} differs`,
      expected: "0",
      found: "1",
      next: `Do something about ${name}\x1b.`,
      policyKey: `snp.${name}`,
    });
    const refusal = { ...other("vmpl"), others: [other("svn"), other("tcb")] };
    const cli = fakeCli({
      connect: () => Promise.reject(new SealttyError("evidence-refused", "no", { refusal })),
    });
    expect(await run(["exec", "tcp:h:1", "--policy", policy, "--", "true"], cli.services)).toBe(255);
    for (const name of ["vmpl", "svn", "tcb"])
      expect(cli.errors()).toContain(`next: Do something about ${name}\ufffd.\n`);
  });
  test("JSON escapes what a terminal would act on", async () => {
    const cli = fakeCli({ connect: refused });
    await run(["exec", "--json", "tcp:h:1", "--policy", policy, "--", "true"], cli.services);
    expect(cli.errors()).toContain('"found":"ff\\u202e"');
    expect(cli.errors()).not.toContain("\u202e");
    const claims = { ...CLAIMS, what: "\x9b31m\u2066x" };
    const inspecting = fakeCli({
      inspectGuest: async (options) => ({ ...(await cli.services.inspectGuest(options)), claims }),
    });
    expect(await run(["inspect", "--json", "tcp:h:1"], inspecting.services)).toBe(0);
    expect(inspecting.out()).toContain('"what":"\\u009b31m\\u2066x"');
  });
  test("--json: one line", async () => {
    const cli = fakeCli({ connect: refused });
    expect(await run(["inspect", "--json", "tcp:h:1", "--policy", policy], cli.services)).toBe(1);
    const last = cli.errors().trimEnd().split("\n").at(-1) ?? "";
    expect(JSON.parse(last)).toMatchObject({
      event: "error",
      code: "evidence-refused",
      check: "tpm.pcr",
      next: "Update the policy.",
    });
  });
  test.each([
    [["inspect"], 2],
    [["inspect", "nonsense"], 2],
    [["inspect", "tcp:h:1", "--policy", "/does/not/exist"], 2],
    [["inspect", "tcp:h:1", "--timeout", "soon"], 2],
    [["connect", "tcp:h:1", "--encoding", "morse"], 255],
    [["connect", "tcp:h:1", "--obfuscate", "a-bit"], 255],
    [["connect", "tcp:h:1", "--", "ls"], 255],
    [["exec", "tcp:h:1", "ls"], 255],
    [["exec", "tcp:h:1", "--"], 255],
  ])("%j → %i", async (args, status) => {
    const cli = fakeCli();
    expect(await run(args, cli.services)).toBe(status);
    expect(cli.errors()).toMatch(/^sealtty: bad-(config|policy): /);
    expect(cli.connects).toEqual([]);
  });
  test("a stack trace only for -v -v", async () => {
    const fail = () => Promise.reject(new Error("oops"));
    for (const [flags, shown] of [
      [["-v"], false],
      [["-v", "-v"], true],
    ] as const) {
      const cli = fakeCli({ connect: fail });
      expect(await run(["connect", ...flags, "tcp:h:1", "--policy", policy], cli.services)).toBe(255);
      expect(cli.errors()).toContain("internal-error: oops");
      expect(cli.errors().includes("program.test.ts")).toBe(shown);
    }
  });
});

describe("exec", () => {
  const args = (...more: string[]) => [
    "exec",
    "tcp:h:1",
    "--policy",
    policy,
    "-l",
    "root",
    "-i",
    "key",
    ...more,
  ];
  test("streams apart, exit status passed, what was verified said before", async () => {
    const cli = fakeCli();
    const done = run(args("--", "cat", "-n"), cli.services);
    cli.channel.onEnd = () => {
      cli.channel.stdout.push(Uint8Array.of(0, 1, 2, 255));
      cli.channel.stderr.push("complaint\n");
      cli.channel.finish({ kind: "exited", status: 37 });
    };
    cli.stdin.end("input");
    expect(await done).toBe(37);
    expect(cli.requests).toEqual([{ kind: "exec", command: ["cat", "-n"], environment: {} }]);
    expect(cli.auths[0]).toMatchObject({ method: "ssh-key", user: "root" });
    expect(cli.channel.inputText).toBe("input");
    expect(cli.channel.events).toEqual(["end"]);
    expect(cli.channel.stdout.consumedBytes).toBe(4);
    expect(cli.errors()).toContain("complaint\n");
    expect(cli.errors()).toContain("SIMULATED");
    expect(cli.errors()).not.toContain("\x1b"); // no terminal, no colour
  });
  test("the end of input comes behind the last bytes, however slowly they are taken", async () => {
    const cli = fakeCli();
    cli.channel.takes = settled;
    const done = run(args("-q", "--", "cat"), cli.services);
    let atEnd = "";
    cli.channel.onEnd = () => {
      atEnd = cli.channel.inputText;
      cli.channel.finish({ kind: "exited", status: 0 });
    };
    for (const part of ["a", "b", "c"]) cli.stdin.write(part);
    cli.stdin.end("d");
    expect(await done).toBe(0);
    expect(atEnd).toBe("abcd");
  });
  test("--env and --cwd go to the guest; NAME alone passes ours; how to print goes along", async () => {
    const cli = fakeCli({ environment: { LANG: "de_DE.UTF-8", TOKEN: "t=1", HOME: "/home/me" } });
    cli.channel.finish({ kind: "exited", status: 0 });
    const place = [
      "--env",
      "A=b=c",
      "--env",
      "TOKEN",
      "--env",
      "EMPTY=",
      "--env",
      "__proto__=p",
      "--cwd",
      "/srv",
    ];
    expect(await run(args("-n", ...place, "--", "true"), cli.services)).toBe(0);
    const environment = { LANG: "de_DE.UTF-8", A: "b=c", TOKEN: "t=1", EMPTY: "", ["__proto__"]: "p" };
    expect(cli.requests).toEqual([{ kind: "exec", command: ["true"], environment, directory: "/srv" }]);
  });
  test("-t gives a terminal in the same place", async () => {
    const cli = fakeCli({ environment: {} });
    cli.channel.finish({ kind: "exited", status: 0 });
    expect(await run(args("-t", "--env", "A=b", "--cwd", "d", "--", "top"), cli.services)).toBe(0);
    expect(cli.requests).toEqual([
      {
        kind: "shell",
        command: ["top"],
        term: "xterm-256color",
        columns: 80,
        rows: 24,
        environment: { A: "b" },
        directory: "d",
      },
    ]);
  });
  test.each([
    [["-t", "-T"], /-t and -T exclude each other/],
    [["-t", "-n"], /-t and -n exclude each other/],
    [["--env", "NOT_HERE"], /--env NOT_HERE: there is no such variable here/],
    [["--env", "a-b=c"], /--env a-b=c: an environment variable's name has letters.*, and "a-b" is none/],
    [["--env", "a-b"], /--env a-b: an environment variable's name has .*, and "a-b" is none/],
    [["--env", "1\u001b[2J"], /--env 1\ufffd\[2J: an environment variable's name has/],
    [["--env", "=c"], /--env =c: the name is missing; write NAME=VALUE/],
    [["--env", `A=${"x".repeat(40_000)}`], /the value of A has more than 32768 bytes/],
    [["--cwd", ""], /--cwd takes a directory/],
    [["--cwd", `/${"x".repeat(5000)}`], /directory's name is too long/],
    [["--run-timeout", "0"], /--run-timeout takes seconds/],
  ])("%j is refused before the guest is bothered, in one sentence", async (options, words) => {
    const cli = fakeCli({ environment: {} });
    expect(await run(args(...options, "--", "true"), cli.services)).toBe(255);
    expect(cli.errors()).toMatch(/^sealtty: bad-config: .*\n$/);
    expect(cli.errors()).toMatch(words);
    expect(cli.connects).toEqual([]);
  });
  test.each([
    ["one word", ["x".repeat(10_000_000)]],
    ["many words", Array.from({ length: 100_000 }, () => "x".repeat(100))],
  ])("10 MB of arguments, %s: one sentence, and the guest is not bothered", async (_, words) => {
    const cli = fakeCli();
    expect(await run(args("--", "echo", ...words), cli.services)).toBe(255);
    expect(cli.errors()).toMatch(
      /^sealtty: bad-config: the command is too long: .*; send data through stdin\n$/,
    );
    expect(cli.connects).toEqual([]);
  });
  test("--run-timeout: SIGTERM, then SIGKILL; then 255 and the code, whatever the program's end", async () => {
    const clock = new ManualClock();
    const cli = fakeCli({ clock });
    const done = run(args("-n", "--run-timeout", "2", "--", "sleep", "9"), cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    await settled();
    clock.advance(1999);
    expect(cli.channel.events).not.toContain("SIGTERM");
    clock.advance(1);
    expect(cli.channel.events).toContain("SIGTERM");
    clock.advance(5000);
    expect(cli.channel.events).toContain("SIGKILL");
    cli.channel.finish({ kind: "signalled", signal: "SIGKILL" });
    expect(await done).toBe(255);
    expect(cli.errors()).toMatch(/sealtty: timeout: The command did not end within 2 s/);
  });
  test("--run-timeout: a guest that does not even say that it killed is not waited for", async () => {
    const clock = new ManualClock();
    const cli = fakeCli({ clock });
    const done = run(args("-n", "--run-timeout", "2", "--", "sleep", "9"), cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    await settled();
    for (const ms of [2000, 5000, 5000]) clock.advance(ms);
    expect(await done).toBe(255);
    expect([...new Set(cli.channel.events)]).toEqual(["end", "SIGTERM", "SIGKILL", "hang-up"]);
  });
  test.each([
    [{ kind: "exited", status: 3 }, { kind: "exited", status: 3 }, 3],
    [{ kind: "signalled", signal: "SIGKILL" }, { kind: "signalled", signal: "SIGKILL", status: 137 }, 137],
  ] as const)("--json has both: %j", async (exit, fields, status) => {
    const cli = fakeCli();
    cli.channel.finish(exit);
    expect(await run(args("-n", "--json", "--", "true"), cli.services)).toBe(status);
    const events = cli
      .errors()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string });
    expect(events.find(({ event }) => event === "exit")).toEqual({ event: "exit", ...fields });
  });
  test("-n reads nothing", async () => {
    const cli = fakeCli();
    cli.channel.onEnd = () => cli.channel.finish({ kind: "exited", status: 0 });
    expect(await run(args("-n", "--", "true"), cli.services)).toBe(0);
    expect(cli.stdin.listenerCount("data")).toBe(0);
  });
  test("signals go to the program; the third of a kind ends sealtty", async () => {
    const cli = fakeCli();
    const done = run(args("--", "sleep", "9"), cli.services);
    await vi.waitFor(() => expect(cli.requests).toHaveLength(1));
    await settled();
    for (let i = 0; i < 3; i++) cli.signal("SIGINT");
    expect(await done).toBe(130);
    expect(cli.channel.events).toEqual(["SIGINT", "SIGINT", "hang-up"]);
  });
  test("a lost connection is never a clean exit", async () => {
    const cli = fakeCli();
    const done = run(args("--", "true"), cli.services);
    cli.channel.stdout.push("half");
    cli.channel.lose();
    expect(await done).toBe(255);
    expect(cli.errors()).toContain("transport-lost");
    expect(cli.out()).toBe("half");
  });
  test("what came before a connection was lost is printed, however slowly it is taken", async () => {
    const cli = fakeCli();
    const release: (() => void)[] = [];
    let taken = "";
    cli.stdout._write = (chunk: Buffer, _encoding, callback) => {
      taken += chunk.toString();
      release.push(callback);
    };
    const done = run(args("-n", "--", "big"), cli.services);
    for (const part of ["one ", "two ", "three"]) cli.channel.stdout.push(part);
    cli.channel.lose();
    await vi.waitFor(() => {
      release.shift()?.();
      expect(taken).toBe("one two three");
    });
    release.shift()?.();
    expect(await done).toBe(255);
  });
  test("a reader that leaves hangs up", async () => {
    const cli = fakeCli();
    const done = run(args("--", "yes"), cli.services);
    cli.stdout.on("error", () => undefined);
    cli.stdout.destroy();
    cli.channel.stdout.push("y\n");
    expect(await done).toBe(141);
    expect(cli.channel.events).toContain("hang-up");
  });
  test("what stdout does not take is bounded, and gets no credit beyond that", async () => {
    const cli = fakeCli();
    const release: (() => void)[] = [];
    cli.stdout._write = (_chunk, _encoding, callback) => void release.push(callback);
    const done = run(args("-n", "--", "big"), cli.services);
    const [chunk, chunks] = [10_000, 100];
    for (let i = 0; i < chunks; i++) cli.channel.stdout.push("x".repeat(chunk));
    await vi.waitFor(() => expect(release).toHaveLength(1));
    await vi.waitFor(() => expect(cli.channel.stdout.consumedBytes).toBeGreaterThanOrEqual(READ_AHEAD));
    await new Promise((resolve) => setImmediate(resolve));
    expect(cli.channel.stdout.consumedBytes).toBeLessThanOrEqual(READ_AHEAD + 4 * chunk);
    cli.channel.finish({ kind: "exited", status: 0 });
    await vi.waitFor(() => {
      release.shift()?.();
      expect(cli.channel.stdout.consumedBytes).toBe(chunk * chunks);
    });
    cli.stdout._write = (_chunk, _encoding, callback) => callback();
    for (const callback of release) callback();
    expect(await done).toBe(0);
  });
});

test.each([
  ["a program that is not there, its name with a blank", ["ls -l"], 127, true],
  ["a program that is not there", ["lss", "a b"], 127, false],
  ["another status", ["ls -l"], 1, false],
])(
  "exec says that there is no shell where that is the likely mistake: %s",
  async (_, command, status, says) => {
    const cli = fakeCli();
    cli.channel.finish({ kind: "exited", status });
    const args = ["exec", "tcp:h:1", "--policy", policy, "-n", "--", ...command];
    expect(await run(args, cli.services)).toBe(status);
    expect(cli.errors().includes("exec uses no shell")).toBe(says);
  },
);

describe("open", () => {
  test.each([
    ["ws://h:7000/", false, "ws://h:7000/", false],
    ["wss://h:7000/", false, undefined, false],
    ["tcp:h:7000", false, undefined, false],
    ["vnc+ws://h:5700/", false, "ws://h:5700/", true],
    ["vnc+ws://h:5700/", true, undefined, false],
    ["vnc+wss://h:5700/", false, undefined, false],
    ["vnc+unix:/run/vnc", false, undefined, false],
  ])("%s, with a password of the host's: %s; by itself the page opens %s", (address, password, url, vnc) => {
    expect(directOf(parseAddress(address), password)).toEqual({ directUrl: url, directVnc: vnc });
  });
  test.each([
    ["nova:12345678-1234-1234-1234-123456789abc", {}, "SEALTTY_NOVA_API is not set"],
    ["nova:wss://compute.example:6083/", {}, "SEALTTY_NOVA_TOKEN_FILE (or SEALTTY_NOVA_TOKEN) is not set"],
    ["proxmox:pve.example/node1/100", {}, "Nothing says who signs in to Proxmox"],
    ["proxmox:pve.example/node1/100", { SEALTTY_PROXMOX_PASSWORD: "p" }, "SEALTTY_PROXMOX_USER is not set"],
    ["kubevirt:default/db1", {}, "SEALTTY_KUBEVIRT_SERVER is not set"],
    ["incus:db1", { SEALTTY_INCUS_FORCE: "yes" }, "SEALTTY_INCUS_FORCE takes 1"],
  ])(
    "%s, and what its host needs is missing: said, and nothing is served",
    async (guest, environment, why) => {
      const cli = fakeCli({ environment });
      expect(await run(["open", guest, "--policy", policy, "--no-open"], cli.services)).toBe(255);
      expect(cli.errors()).toContain("bad-config");
      expect(cli.errors()).toContain(why);
      expect(cli.out()).toBe("");
    },
  );
  test("--json --simulated: a script is told as well that nothing is proven, before the link", async () => {
    mkdirSync(path.join(directory, "page"));
    writeFileSync(path.join(directory, "page/index.html"), "<!doctype html>");
    const cli = fakeCli({ programDirectory: path.join(directory, "bin"), environment: { HOME: directory } });
    const args = ["open", "tcp:h:1", "--policy", policy, "--simulated", "--json", "--no-open", "--port", "0"];
    const done = run(args, cli.services);
    await vi.waitFor(() => expect(cli.out()).toContain('"event":"open"'), { timeout: 30_000 });
    expect(JSON.parse(cli.errors())).toEqual({
      event: "simulated",
      warning: expect.stringContaining("proves nothing") as string,
    });
    cli.signal("SIGTERM");
    expect(await done).toBe(0);
  });
});

describe("connect", () => {
  const args = (...more: string[]) => ["connect", "tcp:h:1", "--policy", policy, ...more];
  const onTerminal = () => {
    const cli = fakeCli();
    for (const stream of [cli.stdin, cli.stdout, cli.stderr]) stream.isTTY = true;
    return cli;
  };
  test("without a key the guest's login asks; with one the shell starts", async () => {
    for (const [more, request] of [
      [[], { kind: "login", term: "xterm", columns: 80, rows: 24 }],
      [["-i", "key"], { kind: "shell", command: [], term: "xterm", columns: 80, rows: 24, environment: {} }],
    ] as const) {
      const cli = onTerminal();
      cli.channel.finish({ kind: "exited", status: 5 });
      expect(await run(args(...more), cli.services)).toBe(5);
      expect(cli.requests).toEqual([request]);
    }
  });
  test("raw while it lasts; keys, sizes and escapes go where they belong; warned before and after, in red", async () => {
    const cli = onTerminal();
    const done = run(args(), cli.services);
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("ls\r");
    cli.stdout.columns = 100;
    cli.stdout.emit("resize");
    cli.channel.stdout.push("\x1b[?1049hout");
    await settled();
    cli.stdin.write("~?~\x1a");
    await settled();
    cli.stdin.write("~.");
    expect(await done).toBe(255);
    expect(cli.channel.inputText).toBe("ls\r");
    expect(cli.channel.events).toEqual(["resize 100 24", "resize 100 24", "hang-up"]);
    expect(cli.suspensions).toHaveLength(1);
    expect(cli.stdin.rawModes).toEqual([true, false, true, false]);
    expect(cli.out()).toContain("\x1b[?1049l");
    expect(cli.errors().split("\x1b[31msealtty: warning: SIMULATED")).toHaveLength(3);
  });
  test("behind a session stand the warnings of the last evidence", async () => {
    const verified = VerifiedGuest.afterChecks(
      { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
      { ...CLAIMS, warnings: ["the key was revoked"] },
    );
    const base = fakeCli();
    const cli = fakeCli({
      connect: async (options) => {
        const attested = await base.services.connect(options);
        return {
          ...attested,
          authenticate: async (auth) => ({ ...(await attested.authenticate(auth)), verified }),
        };
      },
    });
    base.channel.finish({ kind: "exited", status: 0 });
    expect(await run(args(), cli.services)).toBe(0);
    expect(cli.errors().match(/SIMULATED/g)).toHaveLength(1);
    expect(cli.errors()).toMatch(/warning: the key was revoked\n$/);
  });
  test("a TPM's key is said whole once", async () => {
    const key = "000b".repeat(17);
    const claims = {
      ...CLAIMS,
      instance: `The machine with the key ${key}`,
      signedBy: `TPM attestation key ${key}`,
    };
    const cli = fakeCli();
    cli.stderr.isTTY = true;
    new Reporter(cli.services, undefined).verified(claims, "db1");
    expect(cli.errors().split(key)).toHaveLength(2);
    expect(cli.errors()).toContain("signed by TPM attestation key 000b000b…");
  });
  test("NO_COLOR and -q: the warning stays, the colour goes", async () => {
    const cli = fakeCli({ environment: { NO_COLOR: "1" } });
    cli.stderr.isTTY = true;
    cli.channel.finish({ kind: "exited", status: 0 });
    expect(await run(args("-q"), cli.services)).toBe(0);
    expect(cli.errors()).toContain("SIMULATED");
    expect(cli.errors()).not.toContain("\x1b");
  });
  test.each([
    ["a lost connection", (cli: ReturnType<typeof fakeCli>) => cli.channel.lose(), 255],
    ["SIGTERM", (cli: ReturnType<typeof fakeCli>) => cli.signal("SIGTERM"), 143],
    ["SIGHUP", (cli: ReturnType<typeof fakeCli>) => cli.signal("SIGHUP"), 129],
    [
      "its own end",
      (cli: ReturnType<typeof fakeCli>) => cli.channel.finish({ kind: "signalled", signal: "SIGKILL" }),
      137,
    ],
  ])("the terminal is restored on %s", async (_, end, status) => {
    const cli = onTerminal();
    const done = run(args(), cli.services);
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    end(cli);
    expect(await done).toBe(status);
    expect(cli.stdin.rawModes).toEqual([true, false]);
    expect(cli.out()).toContain("\x1b[?25h");
  });
  test("the terminal is restored by the exit handler of a crash, once", async () => {
    const cli = onTerminal();
    void run(args(), cli.services);
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.exit();
    cli.exit();
    expect(cli.stdin.rawModes).toEqual([true, false]);
  });
  test("~. works while the guest takes nothing", async () => {
    const cli = onTerminal();
    cli.channel.takes = () => new Promise(() => undefined);
    const done = run(args(), cli.services);
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("typed into nothing\r");
    await settled();
    cli.stdin.write("~.");
    expect(await done).toBe(255);
  });
});

describe("inspect", () => {
  test("says it in words, and that no policy was asked", async () => {
    const cli = fakeCli();
    expect(await run(["inspect", "tcp:h:1", "--simulated"], cli.services)).toBe(0);
    expect(cli.out()).toContain("against NO policy");
    expect(cli.out()).toContain("SIMULATED: proves nothing");
    expect(cli.connects[0]).toMatchObject({
      acceptSimulated: true,
      timeout: 30_000,
      address: "tcp:h:1",
      encoding: "auto",
    });
    expect(cli.connects[0]).not.toHaveProperty("policy");
  });
  test("with a policy or without: verdict and warnings once, on stdout", async () => {
    for (const more of [[], ["--policy", policy]]) {
      const cli = fakeCli();
      expect(await run(["inspect", "tcp:h:1", "--simulated", ...more], cli.services)).toBe(0);
      expect(cli.out().match(/SIMULATED evidence: nothing is proven/g)).toHaveLength(1);
      expect(cli.errors()).toBe("");
    }
  });
  test("--json is the claims, on stdout", async () => {
    const cli = fakeCli();
    expect(await run(["inspect", "tcp:h:1", "--json", "--policy", policy], cli.services)).toBe(0);
    expect(cli.errors()).not.toContain("claims");
    expect(JSON.parse(cli.out())).toEqual({ event: "claims", checkedAgainstPolicy: true, claims: CLAIMS });
  });
  test("--save-policy writes what the guest met, and never over a file unless told", async () => {
    const target = path.join(directory, "saved.toml");
    const save = (...more: string[]) =>
      run(["inspect", "tcp:h:1", "--save-policy", target, ...more], fakeCli().services);
    expect(await save()).toBe(0);
    expect(readFileSync(target, "utf8")).toBe(POLICY_TEXT);
    writeFileSync(target, "mine");
    expect(await save()).toBe(2);
    expect(readFileSync(target, "utf8")).toBe("mine");
    expect(await save("--force")).toBe(0);
    expect(readFileSync(target, "utf8")).toBe(POLICY_TEXT);
  });
  test("nothing is saved of a refused guest", async () => {
    const target = path.join(directory, "refused.toml");
    const cli = fakeCli({ inspectGuest: () => Promise.reject(new SealttyError("evidence-refused", "no")) });
    expect(await run(["inspect", "tcp:h:1", "--save-policy", target], cli.services)).toBe(1);
    expect(() => readFileSync(target)).toThrow("ENOENT");
  });
});
