// A real ssh-agent, started and ended here, and sockets that pretend to be one.

import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import * as fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { privateKeyOf } from "../../node/private-key.ts";
import { SshAgent } from "../../node/ssh-agent.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import {
  type Identity,
  type IdentityOptions,
  loadIdentities,
  loadIdentity,
} from "../../node/user-identity.ts";
import { concat, u32, u8, utf8 } from "../../protocol/bytes.ts";
import { decodeKeyOrCertificate } from "../../protocol/user-auth/certificate.ts";
import { verifySignature } from "../../protocol/user-auth/signature.ts";
import { sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { USER_AUTH_NAMESPACE } from "../../protocol/user-auth/user-auth-message.ts";
import {
  blobOf,
  hasOpenssh,
  makeScratch,
  sshKeygen,
  sshKeygenAccepts,
  startAgent,
  tellIfOpensshIsAbsent,
} from "../support/openssh.ts";
import { SoftwareSecurityKey, TOUCHED, VERIFIED } from "../support/software-security-key.ts";
import { attempt, FIELDS, MESSAGE, toBeSigned } from "../support/user-attempt.ts";

const scratch = makeScratch();
const noHome = scratch.path("nobody");

afterAll(() => scratch.remove());
tellIfOpensshIsAbsent();

describe.runIf(hasOpenssh)("with a real ssh-agent", () => {
  const socket = scratch.path("agent.sock");
  let agent: Awaited<ReturnType<typeof startAgent>>;
  let line: string;
  const TYPES = [
    ["ed25519", []],
    ["ecdsa", ["-b", "256"]],
    ["ecdsa", ["-b", "384"]],
    ["ecdsa", ["-b", "521"]],
    ["rsa", ["-b", "2048"]],
  ] as const;
  const fileOf = (type: string, bits: readonly string[]): string => scratch.path(`${type}${bits.join("")}`);
  const load = (options: IdentityOptions): Promise<readonly Identity[]> =>
    loadIdentities({ agentSocket: socket, home: noHome, ...options });
  const grantOf = async (identity: Identity, lines: string, now = Date.now()) =>
    await attempt(lines, identity.publicKey, await identity.sign(FIELDS), { now });

  beforeAll(async () => {
    agent = await startAgent(socket);
    for (const [type, bits] of TYPES) sshKeygen(fileOf(type, bits), type, ...bits);
    sshKeygen(scratch.path("ca"));
    line = sshKeygen(scratch.path("loaded"));
  });
  beforeEach(() => agent.run("-D"));
  afterAll(() => agent.stop());

  test("SshAgent lists keys and signs SSHSIG bytes, and nothing else", async () => {
    agent.add(scratch.path("loaded"));
    const client = new SshAgent(socket);
    expect(await client.identities()).toMatchObject([{ publicKeyBlob: blobOf(line), comment: "test key" }]);
    const signature = await client.sign(blobOf(line), toBeSigned());
    const { key } = decodeKeyOrCertificate(blobOf(line));
    expect(await verifySignature(nodeSshCrypto, key, toBeSigned(), signature)).toBeDefined();
    await expect(client.sign(blobOf(line), utf8("a challenge"))).rejects.toMatchObject({
      code: "api-misuse",
    });
  });

  test.each(TYPES)("%s %j: guest and ssh-keygen accept its signature", async (type, bits) => {
    const own = readFileSync(`${fileOf(type, bits)}.pub`, "utf8").trim();
    agent.add(fileOf(type, bits));
    const [identity, ...more] = await load({});
    if (identity === undefined) throw new Error("no identity");
    expect(more).toEqual([]);
    expect(identity).toMatchObject({ source: "ssh-agent, test key", publicKey: blobOf(own), touched: false });
    expect(await grantOf(identity, own)).toBeDefined();
    const sshsig = await identity.sign(FIELDS);
    expect(sshKeygenAccepts(scratch.path("check"), own, USER_AUTH_NAMESPACE, MESSAGE, sshsig)).toBe(true);
  });

  test.each(TYPES)("%s %j: a certificate in the agent, beside the key file, or named", async (type, bits) => {
    const file = scratch.path(`certified-${type}${bits.join("")}`);
    const plain = blobOf(sshKeygen(file, type, ...bits));
    const ca = readFileSync(scratch.path("ca.pub"), "utf8").trim();
    const sign = (...options: string[]): void => {
      execFileSync("ssh-keygen", ["-q", "-s", scratch.path("ca"), "-I", "id", ...options, `${file}.pub`], {
        stdio: "ignore",
      });
    };
    sign("-n", "alice");
    const certificate = blobOf(readFileSync(`${file}-cert.pub`, "utf8"));
    const lines = `cert-authority ${ca}`;
    const expectCertified = async (identities: readonly Identity[]): Promise<void> => {
      expect(identities.map(({ publicKey }) => publicKey)).toEqual([certificate, plain]);
      const [first] = identities as [Identity, Identity];
      expect((await grantOf(first, lines))?.certificate?.serial).toBe("0");
      // ssh-keygen takes it as that of a key which the authority certified.
      const sshsig = await first.sign(FIELDS);
      expect(sshKeygenAccepts(scratch.path("check"), ca, USER_AUTH_NAMESPACE, MESSAGE, sshsig, "alice")).toBe(
        true,
      );
    };
    await expectCertified(await load({ identityFile: file }));
    await expectCertified(await load({ identityFile: `${file}-cert.pub` }));
    const agentSocket = scratch.path("no-agent"); // the private file beside it does
    await expectCertified(await load({ identityFile: `${file}-cert.pub`, agentSocket }));
    agent.add(file); // with its certificate
    await expectCertified(await load({}));
    for (const own of [{}, { identityFile: file }, { identityFile: `${file}.pub` }]) {
      const none = await load({ ...own, certificateFile: "none" });
      expect(none.map(({ publicKey }) => publicKey)).toEqual([plain]);
    }
    await expectCertified(await load({ identityFile: `${file}.pub` }));
    renameSync(`${file}-cert.pub`, `${file}.elsewhere`);
    await expectCertified(await load({ identityFile: file, certificateFile: `${file}.elsewhere` }));
    agent.run("-D");
    agent.add(file); // without
    await expectCertified(await load({ certificateFile: `${file}.elsewhere` }));
    expect((await load({ identityFile: file })).map(({ publicKey }) => publicKey)).toEqual([plain]);
  });

  test("a certificate that is of no use is told, or left alone where nobody named it", async () => {
    const file = scratch.path("short");
    const plain = blobOf(sshKeygen(file));
    const sign = (...options: string[]): void => {
      execFileSync("ssh-keygen", ["-q", "-s", scratch.path("ca"), "-I", "id", ...options, `${file}.pub`], {
        stdio: "ignore",
      });
    };
    const certificateFile = `${file}-cert.pub`;
    sign("-n", "alice", "-V", "20200101000000Z:20210101000000Z");
    await expect(load({ identityFile: file, certificateFile })).rejects.toMatchObject({
      code: "bad-config",
      message: `${certificateFile}: this certificate expired at 2021-01-01T00:00:00.000Z; have a new one signed`,
    });
    const skipped: string[] = [];
    const certificateSkipped = (why: string): void => void skipped.push(why);
    const own = await load({ identityFile: file, certificateSkipped });
    expect(own.map(({ publicKey }) => publicKey)).toEqual([plain]);
    expect(skipped).toEqual([
      `${certificateFile}: this certificate expired at 2021-01-01T00:00:00.000Z; have a new one signed`,
    ]);
    await load({ identityFile: file, certificateFile: "none", certificateSkipped });
    await load({ identityFile: file, certificateSkipped, now: () => Date.UTC(2020, 6, 1) });
    expect(skipped).toHaveLength(1); // nobody is told of what is not wanted, or good
    expect(await load({ identityFile: file, now: () => Date.UTC(2020, 6, 1) })).toHaveLength(2);
    sign("-n", "alice", "-V", "29990101000000Z:29990201000000Z");
    await expect(load({ identityFile: certificateFile })).rejects.toThrow(/is not valid before 2999-01-01/);
    sign("-h", "-n", "alice");
    await expect(load({ identityFile: certificateFile })).rejects.toThrow(/is for a host/);
    sign("-n", "alice");
    await expect(load({ identityFile: scratch.path("loaded"), certificateFile })).rejects.toThrow(
      /this certificate is for another key than .*loaded/,
    );
    await expect(load({ identityFile: file, certificateFile: `${file}.pub` })).rejects.toThrow(
      /this is not an OpenSSH certificate/,
    );
    await expect(load({ certificateFile })).rejects.toThrow(/neither ssh-agent nor ~\/\.ssh has the key/);
  });

  test("SshAgent.sign() tells when the agent refuses", async () => {
    const stranger = sshKeygen(scratch.path("stranger"));
    await expect(new SshAgent(socket).sign(blobOf(stranger), toBeSigned())).rejects.toMatchObject({
      code: "device-unavailable",
      message: expect.stringContaining("refused to sign") as string,
    });
  });

  test("a key that is bound to hosts (ssh-add -h) is refused by the agent, in one sentence", async () => {
    // ssh-add looks the host up in known_hosts.
    writeFileSync(scratch.path("known"), `host.example ${line.split(" ").slice(0, 2).join(" ")}\n`);
    agent.add(scratch.path("loaded"), "-H", scratch.path("known"), "-h", "host.example");
    const [identity] = await load({});
    await expect(identity?.sign(FIELDS)).rejects.toMatchObject({
      code: "device-unavailable",
      message: expect.stringContaining("the key is bound to hosts (ssh-add -h)") as string,
    });
  });

  test("a named file comes first, and an encrypted one or a .pub is looked for in the agent", async () => {
    agent.add(scratch.path("loaded"));
    const plain = sshKeygen(scratch.path("named"));
    const named = await load({ identityFile: scratch.path("named") });
    expect(named.map((identity) => identity.publicKey)).toEqual([blobOf(plain)]);
    expect((await named[0]?.sign(FIELDS))?.length).toBeGreaterThan(150);

    const byPublic = await loadIdentity({ identityFile: scratch.path("loaded.pub"), agentSocket: socket });
    expect(byPublic.source).toBe("ssh-agent, test key");
    await expect(load({ identityFile: scratch.path("named.pub") })).rejects.toThrow(
      /this is a public key.*does not hold it/,
    );

    const locked = scratch.path("locked");
    const lockedLine = sshKeygen(locked, "ed25519", "-N", "secret words", "-a", "2");
    await expect(load({ identityFile: locked })).rejects.toThrow(
      /this key is encrypted; load it into ssh-agent.*does not hold it/,
    );
    await expect(load({ identityFile: locked, agentSocket: "" })).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("this key is encrypted") as string,
    });
    await expect(load({ identityFile: locked, agentSocket: scratch.path("none.sock") })).rejects.toThrow(
      /encrypted.*is not running/,
    );

    const asked: string[] = [];
    const answers = ["wrong", "secret words"];
    const askPassphrase = async (file: string): Promise<string | undefined> => {
      asked.push(file);
      return answers.shift();
    };
    const [unlocked] = await load({ identityFile: locked, askPassphrase });
    expect(asked).toEqual([locked, locked]);
    if (unlocked === undefined) throw new Error("no identity");
    expect(await grantOf(unlocked, lockedLine)).toBeDefined();
    await expect(load({ identityFile: locked, askPassphrase: async () => "wrong" })).rejects.toThrow(
      /that is not the key's passphrase/,
    );
    await expect(load({ identityFile: locked, askPassphrase })).rejects.toThrow(/this key is encrypted/); // gave up

    // What the agent holds nobody is asked for.
    execFileSync("ssh-keygen", ["-q", "-p", "-P", "secret words", "-N", "", "-f", locked]);
    agent.add(locked);
    execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "again", "-a", "2", "-f", locked]);
    const [held] = await load({
      identityFile: locked,
      askPassphrase: () => Promise.reject(new Error("asked")),
    });
    expect(held?.source).toBe("ssh-agent, test key");
  });

  test("who waits for a key to be unlocked is told so after a second, once", async () => {
    const slow = scratch.path("slow");
    sshKeygen(slow, "ed25519", "-N", "secret words");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const told: string[] = [];
      let over = false;
      const loading = load({
        identityFile: slow,
        agentSocket: "",
        askPassphrase: async () => "secret words",
        stillUnlocking: (file) => void told.push(file),
      }).finally(() => {
        over = true;
      });
      while (!over) {
        await new Promise((resolve) => setImmediate(resolve));
        vi.advanceTimersByTime(400);
      }
      expect(await loading).toHaveLength(1);
      expect(told).toEqual([slow]);
    } finally {
      vi.useRealTimers();
    }
  });

  test("keys of ~/.ssh: each once if the agent holds it too, encrypted ones only where there is no other", async () => {
    const home = scratch.path("home");
    mkdirSync(`${home}/.ssh`, { recursive: true });
    const file = `${home}/.ssh/id_ed25519`;
    writeFileSync(file, readFileSync(scratch.path("loaded")), { mode: 0o600 });
    expect((await loadIdentity({ agentSocket: "", home })).source).toBe(file);
    agent.add(scratch.path("loaded"));
    expect(await load({ home })).toHaveLength(1);
    writeFileSync(`${home}/.ssh/id_rsa`, readFileSync(fileOf("rsa", ["-b", "2048"])), { mode: 0o600 });
    expect((await load({ home })).map(({ source }) => source)).toEqual([
      "ssh-agent, test key",
      `${home}/.ssh/id_rsa`,
    ]);
    execFileSync("ssh-keygen", ["-q", "-p", "-P", "", "-N", "words", "-a", "2", "-f", `${home}/.ssh/id_rsa`]);
    const askPassphrase = async (): Promise<string> => "words";
    expect(await load({ home, askPassphrase })).toHaveLength(1);
    rmSync(file);
    expect((await load({ home, agentSocket: "", askPassphrase })).map(({ source }) => source)).toEqual([
      `${home}/.ssh/id_rsa`,
    ]);
    writeFileSync(file, readFileSync(scratch.path("loaded")), { mode: 0o600 });
    rmSync(`${home}/.ssh/id_rsa`);
    chmodSync(file, 0o644);
    await expect(loadIdentity({ agentSocket: "", home })).rejects.toThrow(/others can read this private key/);
  });

  test("an RSA key that no guest accepts is told", async () => {
    const weak = scratch.path("weak");
    writeFileSync(
      weak,
      generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({ type: "pkcs1", format: "pem" }),
      { mode: 0o600 },
    );
    await expect(load({ identityFile: weak })).rejects.toThrow(
      /no guest accepts this key: RSA keys need 2048/,
    );
  });

  test("an agent without keys is named in the error", async () => {
    const message = `No SSH key to authenticate with. Tried: ssh-agent at ${socket} (it holds no key that can be used); ${noHome}/.ssh/id_ed25519: no such file; ${noHome}/.ssh/id_ecdsa: no such file; ${noHome}/.ssh/id_rsa: no such file. Name a key with -i FILE, or load one with ssh-add.`;
    await expect(loadIdentity({ agentSocket: socket, home: noHome })).rejects.toMatchObject({
      code: "bad-config",
      message,
    });
  });
});

describe("errors say what was tried", () => {
  test("no agent, no file", async () => {
    await expect(loadIdentity({ agentSocket: "", home: noHome })).rejects.toThrow(
      /Tried: ssh-agent \(SSH_AUTH_SOCK is not set\); .*id_ed25519: no such file; .*id_ecdsa.*; .*id_rsa/,
    );
    await expect(loadIdentity({ agentSocket: scratch.path("none"), home: noHome })).rejects.toThrow(
      /is not running/,
    );
    await expect(loadIdentity({ identityFile: scratch.path("none"), agentSocket: "" })).rejects.toMatchObject(
      {
        code: "bad-config",
        message: `${scratch.path("none")}: no such file`,
      },
    );
    mkdirSync(scratch.path("folder"));
    await expect(loadIdentity({ identityFile: scratch.path("folder") })).rejects.toThrow(/not a file/);
    writeFileSync(scratch.path("huge"), Buffer.alloc(70_000));
    await expect(loadIdentity({ identityFile: scratch.path("huge") })).rejects.toThrow(/too large/);
  });
});

describe("an agent that misbehaves is an error, never a wait or a crash", () => {
  const replies: [string, Buffer][] = [
    ["sent a reply of impossible size", Buffer.from("ffffffff", "hex")],
    ["sent a reply of impossible size", Buffer.from("00000000", "hex")],
    ["sent a reply that makes no sense", Buffer.from("0000000105", "hex")],
    ["sent a reply that makes no sense", Buffer.from("000000050cffffffff", "hex")],
    ["sent a reply that makes no sense", Buffer.from("000000090c00000001ffffffff", "hex")],
    ["sent a reply that makes no sense", Buffer.from("000000060c0000000000", "hex")],
    ["closed the connection without an answer", Buffer.from("000000ff0c", "hex")],
    ["closed the connection without an answer", Buffer.alloc(0)],
  ];
  let server: Server;
  let reply: Buffer = Buffer.alloc(0);
  const socket = scratch.path("fake.sock");
  beforeAll(async () => {
    server = createServer((connection) => {
      connection.on("error", () => {});
      connection.once("data", () => connection.end(reply));
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  test.each(replies)("%s (%#)", async (problem, bytes) => {
    reply = bytes;
    await expect(new SshAgent(socket).identities()).rejects.toMatchObject({
      code: "device-unavailable",
      message: `ssh-agent at ${socket} ${problem}`,
    });
  });

  const answering = (...parts: readonly Uint8Array[]): Buffer => Buffer.from(sshString(concat(...parts)));

  test("a security key's signature is taken as it is; one that belongs to another kind of key is told", async () => {
    const key = new SoftwareSecurityKey("ed25519");
    reply = answering(u8(12), u32(1), sshString(key.blob), sshString("mine"));
    const [identity] = await loadIdentities({ agentSocket: socket, home: noHome });
    expect(identity).toMatchObject({ publicKey: key.blob, source: "ssh-agent, mine", touched: true });
    reply = answering(u8(14), sshString(key.sign(toBeSigned(), { flags: TOUCHED | VERIFIED })));
    const sshsig = await identity?.sign(FIELDS);
    if (sshsig === undefined) throw new Error("not signed");
    expect(await attempt(`verify-required ${key.line}`, key.blob, sshsig)).toBeDefined();
    reply = answering(u8(14), sshString(key.sign(utf8("something else"))));
    await expect(identity?.sign(FIELDS)).rejects.toThrow(/made a signature that does not hold/);
    reply = answering(u8(14), sshString(concat(sshString("ssh-ed25519"), sshString(new Uint8Array(64)))));
    await expect(identity?.sign(FIELDS)).rejects.toThrow(/signed in a way that its key does not have/);
  });

  test("an agent that still signs with SHA-1 is told apart", async () => {
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    const blob = privateKeyOf(rsa, "")?.publicKeyBlob ?? new Uint8Array(0);
    reply = answering(u8(14), sshString(concat(sshString("ssh-rsa"), sshString(new Uint8Array(256)))));
    await expect(new SshAgent(socket).sign(blob, toBeSigned())).rejects.toThrow(/signs with SHA-1/);
  });

  test("keys of kinds that are not ours are left out", async () => {
    const key = new SoftwareSecurityKey("ecdsa");
    const list = [sshString("ssh-dss"), sshString(""), new Uint8Array(0), key.blob];
    reply = answering(u8(12), u32(4), ...list.flatMap((blob) => [sshString(blob), sshString("")]));
    expect((await new SshAgent(socket).identities()).map(({ publicKeyBlob }) => publicKeyBlob)).toEqual([
      key.blob,
    ]);
  });

  test("no reply makes it wait or crash", () =>
    fc.assert(
      fc.asyncProperty(fc.constantFrom(12, 14, 5), fc.uint8Array({ maxLength: 60 }), async (type, junk) => {
        reply = answering(u8(type), junk);
        const agent = new SshAgent(socket);
        const key = new SoftwareSecurityKey("ed25519");
        for (const asked of [agent.identities(), agent.sign(key.blob, toBeSigned())]) {
          const error: unknown = await asked.then(
            () => undefined,
            (problem: unknown) => problem,
          );
          if (error !== undefined) expect(error).toHaveProperty("code", "device-unavailable");
        }
      }),
      { numRuns: 100 },
    ));

  test("an empty list is no error", async () => {
    reply = Buffer.from("000000050c00000000", "hex");
    expect(await new SshAgent(socket).identities()).toEqual([]);
  });
});
