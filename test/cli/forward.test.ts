// -L, -R and -D as ssh has them, the turns that connections take, and what config-ssh and known-hosts write and print.

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Places } from "../../node/places.ts";
import { carry } from "../../cli/api/forward/carry.ts";
import { dynamicSpec, localSpec, peerPlace, remoteSpec } from "../../cli/forward/specs.ts";
import { handedHostKeys, handHostKeys } from "../../cli/host-keys-handed.ts";
import { run } from "../../cli/program.ts";
import type { Services } from "../../cli/services.ts";
import { blockNames, blockText, isKnownHostName, withBlock, withoutBlock } from "../../cli/ssh-config.ts";
import { PullReader } from "../../node/pull-reader.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { hostKeysOf } from "../../protocol/attestation/ssh-host-keys.ts";
import { VerifiedGuest } from "../../protocol/attestation/verified-guest.ts";
import { concat, lv16, utf8 } from "../../protocol/bytes.ts";
import type { ListenPlace } from "../../protocol/forward/target.ts";
import { encodeEd25519Key, sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { testSeed } from "../support/seeded.ts";
import { CLAIMS, FakeChannel, fakeCli, POLICY_TEXT } from "./fake-cli.ts";

const seed = testSeed();
const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;
const unix = (at: string) => ({ kind: "unix", path: at }) as const;

let scratch: string;
const at = (name: string): string => path.join(scratch, name);
beforeEach(() => {
  scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-forward-"));
  writeFileSync(at("policy.toml"), POLICY_TEXT);
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

describe("specifications", () => {
  test.each([
    ["8080:db:5432", tcp("localhost", 8080), tcp("db", 5432)],
    ["0:db:5432", tcp("localhost", 0), tcp("db", 5432)],
    ["127.0.0.2:8080:db:5432", tcp("127.0.0.2", 8080), tcp("db", 5432)],
    ["[::1]:8080:[2001:db8::1]:5432", tcp("::1", 8080), tcp("2001:db8::1", 5432)],
    ["*:8080:db:5432", tcp("*", 8080), tcp("db", 5432)],
    [":8080:db:5432", tcp("*", 8080), tcp("db", 5432)],
    ["8080:/run/db.sock", tcp("localhost", 8080), unix("/run/db.sock")],
    ["127.0.0.1:8080:/run/db.sock", tcp("127.0.0.1", 8080), unix("/run/db.sock")],
    ["/run/a.sock:db:5432", unix("/run/a.sock"), tcp("db", 5432)],
    ["/run/a.sock:/run/db.sock", unix("/run/a.sock"), unix("/run/db.sock")],
  ] as [string, ListenPlace, ListenPlace][])("-L and -R %s", (text, listen, to) => {
    expect(localSpec(text)).toEqual({ kind: "local", listen, to });
    expect(remoteSpec(text)).toEqual({ kind: "remote", listen, to });
  });

  test.each([
    ["1080", tcp("localhost", 1080)],
    ["0", tcp("localhost", 0)],
    ["[::1]:1080", tcp("::1", 1080)],
    ["*:1080", tcp("*", 1080)],
  ] as [string, ListenPlace][])("-D and -R %s", (text, listen) => {
    expect(dynamicSpec(text)).toEqual({ kind: "dynamic", listen });
    expect(remoteSpec(text)).toEqual({ kind: "remote", listen, to: undefined });
  });

  test.each(
    [
      "",
      "x",
      "8080",
      "8080:db",
      "8080:db:",
      "8080:db:0",
      "8080:db:65536",
      "65536:db:1",
      "a:b:8080:db:1",
    ].concat([
      "8080:d b:1",
      "[::1:8080:db:1",
      "[db]:8080:db:1",
      "::1:8080:db:1",
      "8080:db:1:2:3",
      "run/x:db:1",
      "-1:db:1",
      "8080:db:1e3",
    ]),
  )("-L %j is refused", (text) => {
    expect(() => localSpec(text)).toThrow(/-L takes \[BIND:\]PORT:HOST:PORT/);
  });

  test.each(["", "db", "1080:db:1", "/run/x", "1080:"])("-D %j is refused", (text) => {
    expect(() => dynamicSpec(text)).toThrow(/-D takes/);
  });

  test("whatever is written, it is refused with words or is a place that the protocol takes", () => {
    const word = fc.constantFrom(
      "8080",
      "0",
      "db",
      "[::1]",
      "*",
      "",
      "/s",
      "65536",
      "127.0.0.1",
      "[",
      "]",
      "a b",
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        const text = words.join(":");
        for (const parse of [localSpec, remoteSpec, dynamicSpec]) {
          try {
            const spec = parse(text);
            if (spec.kind !== "dynamic" && spec.to?.kind === "tcp") expect(spec.to.port).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toMatchObject({ code: "bad-config" });
          }
        }
      }),
      { seed },
    );
  });

  test("proxy's places", () => {
    expect(peerPlace("db:5432")).toEqual(tcp("db", 5432));
    expect(peerPlace("[::1]:22")).toEqual(tcp("::1", 22));
    expect(peerPlace("unix:/run/x")).toEqual(unix("/run/x"));
    expect(peerPlace("/run/x")).toEqual(unix("/run/x"));
    for (const bad of ["db", "db:0", "unix:x", "::1:22", ""]) expect(peerPlace(bad), bad).toBeUndefined();
  });
});

test("Places: so many at once, in turn, and a failure gives its place back", async () => {
  const places = new Places(2);
  const order: string[] = [];
  const going: (() => void)[] = [];
  const work = (name: string, fails = false) =>
    places
      .use(async () => {
        order.push(name);
        await new Promise<void>((resolve) => going.push(resolve));
        if (fails) throw new Error(name);
      })
      .catch(() => order.push(`${name} failed`));
  const all = [work("a", true), work("b"), work("c"), work("d")];
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual(["a", "b"]);
  going.shift()?.();
  await all[0];
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual(["a", "b", "c", "a failed"]);
  while (going.length > 0) {
    going.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(all);
  expect(order.at(-1)).toBe("d");
});

describe("a socket and a channel, joined", () => {
  /** A socket of this machine's, as a program that connected has it, and the end that is carried. */
  async function socketPair(): Promise<{ program: net.Socket; carried: net.Socket; close: () => void }> {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const accepted = new Promise<net.Socket>((resolve) => server.once("connection", resolve));
    const { port } = server.address() as net.AddressInfo;
    const program = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    const carried = await accepted;
    carried.on("error", () => undefined);
    return { program, carried, close: () => server.close() };
  }
  /** How the program saw it end. */
  const seenBy = (program: net.Socket): Promise<string> =>
    new Promise((resolve) => {
      let got = "";
      program.on("data", (chunk: Buffer) => {
        got += chunk.toString();
      });
      program.once("end", () => resolve(`${got} end`));
      program.once("error", () => resolve(`${got} reset`));
    });
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  test("each direction ends on its own, with what others had read in front", async () => {
    const { program, carried, close } = await socketPair();
    const channel = new FakeChannel();
    const carrying = carry(
      channel,
      { socket: carried, reader: new PullReader(carried) },
      { toGuest: utf8("a"), toSocket: utf8("A") },
    );
    const seen = seenBy(program);
    channel.stdout.push("B");
    channel.stdout.push(undefined);
    expect(await seen).toBe("AB end");
    expect(channel.stdout.consumedBytes).toBe(1);
    program.end("b");
    await until(() => channel.events.includes("end"));
    expect(channel.inputText).toBe("ab");
    channel.finish({ kind: "exited", status: 0 });
    expect(await carrying).toBe(true);
    close();
  });

  test("what breaks at one side is no end at the other", async () => {
    const lost = await socketPair();
    const channel = new FakeChannel();
    const carrying = carry(channel, { socket: lost.carried, reader: new PullReader(lost.carried) });
    const seen = seenBy(lost.program);
    channel.lose();
    expect(await carrying).toBe(false);
    expect(await seen).toBe(" reset");
    lost.close();

    const broken = await socketPair();
    const other = new FakeChannel();
    const going = carry(other, { socket: broken.carried, reader: new PullReader(broken.carried) });
    broken.program.resetAndDestroy();
    await until(() => other.events.includes("hang-up"));
    expect(other.events).not.toContain("end");
    other.finish({ kind: "exited", status: 1 });
    expect(await going).toBe(false);
    broken.close();
  });

  test("a program that never ends its own direction is let go some time after the other side ended", async () => {
    const { program, carried, close } = await socketPair();
    const channel = new FakeChannel();
    const peer = { socket: carried, reader: new PullReader(carried) };
    const carrying = carry(channel, peer, {}, 50);
    channel.finish({ kind: "exited", status: 0 });
    expect(await carrying).toBe(true);
    expect(await seenBy(program)).toBe(" end");
    await until(() => carried.destroyed);
    program.destroy();
    close();
  });
});

describe("the block in ssh's file", () => {
  const block = (host: string, ...proxy: string[]): string =>
    blockText({
      host,
      user: "root",
      identityFile: undefined,
      proxy: ["/n", ...proxy],
      knownHosts: ["/n", "known-hosts"],
    });

  test("words are written so that ssh and its shell read them back", () => {
    const text = blockText({
      host: "db1.sealtty",
      user: "some one",
      identityFile: "/home/me/a key%1",
      proxy: ["/opt/node", "proxy", "unix:/run/it's here", "--policy=/a $b%c"],
      knownHosts: ["/opt/node", "--policy=/a b%c"],
    });
    expect(text).toContain(`    User "some one"\n    IdentityFile "/home/me/a key%%1"\n`);
    expect(text).toContain(
      `    ProxyCommand /opt/node proxy 'unix:/run/it'\\''s here' '--policy=/a $b%%c'\n`,
    );
    expect(text).toContain(`    KnownHostsCommand /opt/node "--policy=/a b%%c" %H\n`);
    expect(text).toContain("    StrictHostKeyChecking yes\n");
    expect(text.endsWith("\nMatch all\n# sealtty config-ssh end db1.sealtty\n")).toBe(true);
  });

  test.each(["a\nb", "", "a\rb", "\u0000"])("a word %j cannot be written", (word) => {
    expect(() => block("h", word)).toThrow(/cannot be written into ssh's file/);
  });

  test.each(['a"b', "a\\b", "${HOME}/x"])("nor %j where ssh itself reads", (word) => {
    expect(() =>
      blockText({ host: "h", user: undefined, identityFile: word, proxy: ["/n"], knownHosts: ["/n"] }),
    ).toThrow(/cannot be written into ssh's file/);
  });

  const files = fc.string({
    unit: fc.constantFrom("a", "Host x", "\n", "\r\n", " ", "#", "\u00e9", "# sealtty config-ssh"),
    maxLength: 40,
  });

  test("goes in at the top, is replaced in its place, and comes out: the rest stays byte for byte", () => {
    fc.assert(
      fc.property(files, files, (mine, below) => {
        const one = withBlock(mine, "a", block("a", "1"));
        expect(one).toBe(block("a", "1") + mine);
        expect(withBlock(one, "a", block("a", "1"))).toBe(one); // idempotent
        expect(withoutBlock(one, "a")).toBe(mine);
        const moved = `${mine}\n${block("a", "1")}${below}`;
        expect(withBlock(moved, "a", block("a", "2"))).toBe(`${mine}\n${block("a", "2")}${below}`);
        const two = withBlock(one, "b", block("b", "1"));
        expect(blockNames(two)).toEqual(["b", "a"]);
        expect(withoutBlock(withoutBlock(two, "a"), "b")).toBe(mine);
        expect(withoutBlock(mine, "a")).toBe(mine);
      }),
      { seed },
    );
  });

  test("a begin or an end that stands alone: nothing is guessed", () => {
    const whole = block("a", "1");
    const lines = whole.split("\n");
    for (const broken of [
      lines.slice(0, -2).join("\n"),
      lines.slice(1).join("\n"),
      whole + whole,
      lines[0] + "\n" + whole,
    ])
      expect(() => withBlock(broken, "b", block("b", "1")), broken).toThrow(/line \d+ of ssh's file has/);
  });

  test("names that ssh would read as something else are none", () => {
    for (const good of ["db1", "db1.sealtty", "[db1]:2222", "::1".replace("::", "a:")])
      expect(isKnownHostName(good)).toBe(true);
    for (const bad of ["", "*", "a b", "a\nb", "!a", "a,b", "|1|x", "@revoked", "#a"])
      expect(isKnownHostName(bad), bad).toBe(false);
  });
});

describe("config-ssh", () => {
  const cli = () => fakeCli({ environment: { HOME: scratch }, programDirectory: "/opt/sealtty" });
  const config = (): string => at(".ssh/config");
  const made = ["config-ssh", "tcp:h:1", "--policy"];

  test("makes the file for the user alone, and is idempotent", async () => {
    const first = cli();
    expect(await run([...made, at("policy.toml"), "-l", "root"], first.services)).toBe(0);
    expect(first.errors()).toContain("test.sealtty is written into");
    const text = readFileSync(config(), "utf8");
    expect(text).toContain(`sealtty.js proxy tcp:h:1 -q --policy=${at("policy.toml")} --login=root\n`);
    expect(text).toContain(`sealtty.js known-hosts tcp:h:1 -q --policy=${at("policy.toml")} %H\n`);
    expect(statSync(config()).mode & 0o777).toBe(0o600);
    expect(statSync(at(".ssh")).mode & 0o777).toBe(0o700);
    expect(await run([...made, at("policy.toml"), "-l", "root"], cli().services)).toBe(0);
    expect(readFileSync(config(), "utf8")).toBe(text);
    expect(readdirSync(at(".ssh"))).toEqual(["config"]);
  });

  test("a name of guests.toml stays one: what it says is looked up when ssh is started", async () => {
    const toml = `[guests.db1]\naddress = "tcp:h:1"\npolicy = ${JSON.stringify(at("policy.toml"))}\nuser = "ann"\n`;
    writeFileSync(at("guests.toml"), toml, { mode: 0o600 });
    const args = ["config-ssh", "db1", "-F", at("guests.toml"), "-o", "timeout=9"];
    const first = cli();
    expect(await run(args, first.services), first.errors()).toBe(0);
    const text = readFileSync(config(), "utf8");
    const said = `db1 -q --config=${at("guests.toml")} --option=timeout=9`;
    expect(text).toContain("Host db1.sealtty\n");
    expect(text).toContain(`sealtty.js proxy ${said} --login=ann\n`);
    expect(text).toContain(`sealtty.js known-hosts ${said} %H\n`);
    expect(await run(["config-ssh", "--remove", "db1"], cli().services)).toBe(0);
    expect(readFileSync(config(), "utf8")).not.toContain("db1");
  });

  test("keeps mode, symbolic link and bytes that are no text; --dry-run writes nothing", async () => {
    mkdirSync(at(".ssh"));
    mkdirSync(at("dotfiles"));
    const mine = Buffer.from("ForwardAgent no\r\n# caf\xe9\nHost x\n  Port 3", "latin1");
    writeFileSync(at("dotfiles/ssh"), mine);
    chmodSync(at("dotfiles/ssh"), 0o640);
    symlinkSync("../dotfiles/ssh", config());
    const dry = cli();
    expect(await run([...made, at("policy.toml"), "--dry-run"], dry.services)).toBe(0);
    expect(dry.out()).toContain("Host test.sealtty\n");
    expect(readFileSync(config()).equals(mine)).toBe(true);
    expect(await run([...made, at("policy.toml")], cli().services)).toBe(0);
    expect(lstatSync(config()).isSymbolicLink()).toBe(true);
    expect(statSync(config()).mode & 0o777).toBe(0o640);
    const text = readFileSync(config());
    expect(text.subarray(text.length - mine.length).equals(mine)).toBe(true);
    expect(await run(["config-ssh", "--remove", "test"], cli().services)).toBe(0);
    expect(readFileSync(config()).equals(mine)).toBe(true);
  });

  test("several guests, names of their own, and their removal one by one", async () => {
    writeFileSync(at("other.toml"), POLICY_TEXT.replace('"test"', '"other"'));
    expect(await run([...made, at("policy.toml")], cli().services)).toBe(0);
    expect(await run(["config-ssh", "tcp:h:2", "--policy", at("other.toml")], cli().services)).toBe(0);
    expect(
      await run(["config-ssh", "tcp:h:3", "--policy", at("other.toml"), "--host", "third"], cli().services),
    ).toBe(0);
    expect(blockNames(readFileSync(config(), "latin1"))).toEqual(["third", "other.sealtty", "test.sealtty"]);
    const some = ["config-ssh", "--remove", "tcp:h:2", "--policy", at("other.toml")];
    expect(await run(some, cli().services)).toBe(0);
    expect(blockNames(readFileSync(config(), "latin1"))).toEqual(["third", "test.sealtty"]);
    const none = cli();
    expect(await run(["config-ssh", "--remove", "nobody"], none.services)).toBe(0);
    expect(none.errors()).toContain("has no such block");
    expect(await run(["config-ssh", "--remove"], cli().services)).toBe(0);
    expect(readFileSync(config(), "utf8")).toBe("");
  });

  test("a pipe or device is neither read nor replaced, whatever leads there", async () => {
    mkdirSync(at(".ssh"));
    execFileSync("mkfifo", [at("pipe")]);
    symlinkSync(at("pipe"), config());
    const own = cli();
    expect(await run([...made, at("policy.toml")], own.services)).toBe(2);
    expect(own.errors()).toMatch(/cannot read .*pipe \(not a regular file\); nothing was changed/);
    expect(statSync(at("pipe")).isFIFO()).toBe(true);
  });

  test.each([
    [["config-ssh"], /GUEST is missing/],
    [["config-ssh", "tcp:h:1"], /no --policy FILE was given/],
    [["config-ssh", "nonsense", "--policy", "POLICY"], /address/],
    [["config-ssh", "tcp:h:1", "tcp:h:2", "--policy", "POLICY", "--host", "x"], /--host goes with one GUEST/],
    [["config-ssh", "tcp:h:1", "tcp:h:2", "--policy", "POLICY"], /two guests would be test\.sealtty/],
    [["config-ssh", "tcp:h:1", "--policy", "POLICY", "--host", "a b"], /no name for ssh/],
    [
      ["config-ssh", "tcp:h:1", "--policy", "POLICY", "--ssh-config", "FILE/config"],
      /cannot read .*ENOTDIR.*nothing was changed/,
    ],
    [
      ["config-ssh", "tcp:h:1", "--policy", "POLICY", "--ssh-config", "FILE-not/a/config"],
      /cannot write .*ENOENT/,
    ],
  ])("%j: status 2 and words", async (args, words) => {
    const own = cli();
    expect(
      await run(
        args.map((each) => each.replace(/^(POLICY|FILE)/, at("policy.toml"))),
        own.services,
      ),
    ).toBe(2);
    expect(own.errors()).toMatch(words);
  });
});

describe("host keys", () => {
  const ed25519 = encodeEd25519Key(new Uint8Array(32).fill(9));
  const certificate = concat(sshString("ssh-ed25519-cert-v01@openssh.com"), sshString(new Uint8Array(8)));
  const verified = VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    CLAIMS,
  );
  const guest = (sshHostKeys?: Uint8Array) => ({
    verified,
    evidence: {
      type: "tpm" as const,
      quote: new Uint8Array(0),
      aux: encodeAux(sshHostKeys === undefined ? {} : { sshHostKeys }),
    },
  });

  test("come out of evidence; what is no host key does not", () => {
    expect(hostKeysOf(guest())).toEqual([]);
    expect(hostKeysOf(guest(concat(lv16(certificate), lv16(ed25519))))).toEqual([
      { type: "ssh-ed25519", blob: new Uint8Array(ed25519) },
    ]);
    for (const bad of [Uint8Array.of(0), Uint8Array.of(0, 9, 1), lv16(utf8("x")), lv16(sshString("a b"))])
      expect(() => hostKeysOf(guest(bad))).toThrow(/SSH host keys/);
  });

  const keys = [{ type: "ssh-ed25519", blob: new Uint8Array(ed25519) }];
  const believed = { address: "unix:/x", policyText: POLICY_TEXT };

  test("are handed on to the same guest and policy, by the same parent, while the proxy lives", async () => {
    const own = fakeCli({ environment: { HOME: scratch } });
    const { services } = own;
    const takeBack = await handHostKeys(keys, believed, services, 77);
    expect(await handedHostKeys(believed, services, 77)).toEqual(keys);
    expect(await handedHostKeys(believed, services, 78)).toBeUndefined();
    expect(await handedHostKeys({ ...believed, address: "unix:/y" }, services, 77)).toBeUndefined();
    expect(await handedHostKeys({ ...believed, policyText: "" }, services, 77)).toBeUndefined();
    const directory = at(".local/state/sealtty/host-keys");
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    chmodSync(path.join(directory, "77.json"), 0o644); // somebody else's doing
    expect(await handedHostKeys(believed, services, 77)).toBeUndefined();
    takeBack();
    expect(readdirSync(directory)).toEqual([]);

    await handHostKeys(keys, believed, services, 77);
    const file = path.join(directory, "77.json");
    const gone = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
    for (const change of [
      { proxy: 2 ** 30 },
      { proxy: -1 },
      { proxy: "1" },
      { version: 2 },
      { keys: ["!"] },
      { keys: 1 },
    ]) {
      writeFileSync(file, JSON.stringify({ ...gone, ...change }));
      expect(await handedHostKeys(believed, services, 77), JSON.stringify(change)).toBeUndefined();
    }
    own.exit();
    expect(readdirSync(directory)).toEqual([]);
  });

  test("known-hosts prints nothing where there is none, and says why", async () => {
    const own = fakeCli({ environment: { HOME: scratch } });
    // The fake's evidence is simulated and names no key.
    const evidence = { type: "simulated", quote: new Uint8Array(0), aux: encodeAux({}) } as const;
    const services: Services = {
      ...own.services,
      connect: async (options) => ({ ...(await own.services.connect(options)), evidence }),
    };
    const args = ["known-hosts", "tcp:h:1", "--policy", at("policy.toml"), "--simulated"];
    expect(await run(args, services)).toBe(255);
    expect(own.out()).toBe("");
    expect(own.errors()).toContain("names no SSH host key: add ssh_host_keys");
    // ssh waits for it: a key that nobody logs in with is not read, nor its passphrase asked for.
    const loadIdentity = () => Promise.reject(new Error("a key was read"));
    expect(await run([...args, "-i", "key"], { ...services, loadIdentity })).toBe(255);
    expect(own.errors().match(/names no SSH host key/g)).toHaveLength(2);
    expect(own.errors()).not.toContain("a key was read");
    const named = fakeCli({ environment: { HOME: scratch } });
    expect(await run(["known-hosts", "tcp:h:1", "a b", "--policy", at("policy.toml")], named.services)).toBe(
      255,
    );
    expect(named.errors()).toContain("is no name of a host");
  });
});
