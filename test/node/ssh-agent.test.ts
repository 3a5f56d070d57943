// A real ssh-agent, started and ended here, and sockets that pretend to be one.

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { SshAgent } from "../../node/ssh-agent.ts";
import { loadIdentities, loadIdentity, sshKeyAuth } from "../../node/user-identity.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { decodeEd25519Key } from "../../protocol/user-auth/ssh-wire.ts";
import { sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import { verifyUserAuth } from "../../protocol/user-auth/verify-user.ts";
import {
  blobOf,
  hasOpenssh,
  makeScratch,
  sshKeygen,
  sshKeygenAccepts,
  startAgent,
  tellIfOpensshIsAbsent,
} from "../support/openssh.ts";

const scratch = makeScratch();
const fields: UserAuthFields = {
  handshakeHash: new Uint8Array(32).fill(1),
  evidenceDigest: new Uint8Array(32).fill(2),
  user: "alice",
  service: "sealtty-session",
};
const noHome = scratch.path("nobody");

afterAll(() => scratch.remove());
tellIfOpensshIsAbsent();

describe.runIf(hasOpenssh)("with a real ssh-agent", () => {
  const socket = scratch.path("agent.sock");
  let agent: Awaited<ReturnType<typeof startAgent>>;
  let line: string;

  beforeAll(async () => {
    agent = await startAgent(socket);
    sshKeygen(scratch.path("rsa"), "rsa", "-b", "2048");
    line = sshKeygen(scratch.path("loaded"));
    agent.add(scratch.path("rsa"));
    agent.add(scratch.path("loaded"));
  });
  afterAll(() => agent.stop());

  test("SshAgent lists the Ed25519 keys and signs SSHSIG bytes", async () => {
    const client = new SshAgent(socket);
    expect(await client.identities()).toEqual([{ publicKeyBlob: blobOf(line), comment: "test key" }]);
    const bytes = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", userAuthMessage(fields));
    const signature = await client.sign(blobOf(line), bytes);
    expect(nodeSuite.ed25519Verify(decodeEd25519Key(blobOf(line)), bytes, signature)).toBe(true);
    await expect(client.sign(blobOf(line), utf8("a challenge"))).rejects.toMatchObject({
      code: "api-misuse",
    });
  });

  test("SshAgent.sign() tells when the agent refuses", async () => {
    const stranger = sshKeygen(scratch.path("stranger"));
    const bytes = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", utf8("x"));
    await expect(new SshAgent(socket).sign(blobOf(stranger), bytes)).rejects.toMatchObject({
      code: "device-unavailable",
      message: expect.stringContaining("refused to sign") as string,
    });
  });

  test("loadIdentity() takes the agent's key; guest and ssh-keygen accept its signature", async () => {
    const identity = await loadIdentity({ agentSocket: socket, home: noHome });
    expect(identity.source).toBe("ssh-agent, test key");
    const auth = sshKeyAuth("alice", identity);
    if (auth.method !== "ssh-key") throw new Error("not a key");
    const sshsig = await auth.sign(fields);
    const { keys } = parseAuthorizedKeys(line);
    const attempt = { fields, publicKey: auth.publicKey, sshsig, authorizedKeys: keys };
    expect(verifyUserAuth(nodeSuite, attempt)).toBe(true);
    const message = userAuthMessage(fields);
    expect(sshKeygenAccepts(scratch.path("check"), line, USER_AUTH_NAMESPACE, message, sshsig)).toBe(true);
  });

  test("a named file comes first, and an encrypted one or a .pub is looked for in the agent", async () => {
    const plain = sshKeygen(scratch.path("named"));
    const named = await loadIdentities({ identityFile: scratch.path("named"), agentSocket: socket });
    expect(named.map((identity) => identity.publicKey)).toEqual([blobOf(plain)]);
    expect((await named[0]?.sign(fields))?.length).toBeGreaterThan(150);

    const byPublic = await loadIdentity({ identityFile: scratch.path("loaded.pub"), agentSocket: socket });
    expect(byPublic.source).toBe("ssh-agent, test key");
    await expect(
      loadIdentity({ identityFile: scratch.path("named.pub"), agentSocket: socket }),
    ).rejects.toThrow(/this is a public key.*does not hold it/);

    sshKeygen(scratch.path("locked"), "ed25519", "-N", "secret words");
    await expect(loadIdentity({ identityFile: scratch.path("locked"), agentSocket: socket })).rejects.toThrow(
      /this key is encrypted; load it into ssh-agent.*does not hold it/,
    );
    await expect(
      loadIdentity({ identityFile: scratch.path("locked"), agentSocket: "" }),
    ).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("this key is encrypted") as string,
    });
    await expect(
      loadIdentity({ identityFile: scratch.path("locked"), agentSocket: scratch.path("none.sock") }),
    ).rejects.toThrow(/encrypted.*is not running/);
  });

  test("without an agent ~/.ssh/id_ed25519 is used, once if the agent holds it too", async () => {
    const home = scratch.path("home");
    mkdirSync(`${home}/.ssh`, { recursive: true });
    const file = `${home}/.ssh/id_ed25519`;
    writeFileSync(file, readFileSync(scratch.path("loaded")), { mode: 0o600 });
    expect((await loadIdentity({ agentSocket: "", home })).source).toBe(file);
    expect(await loadIdentities({ agentSocket: socket, home })).toHaveLength(1);
    chmodSync(file, 0o644);
    await expect(loadIdentity({ agentSocket: "", home })).rejects.toThrow(/others can read this private key/);
  });

  test("an agent without keys is named in the error", async () => {
    agent.run("-D");
    const message = `No SSH key to authenticate with. Tried: ssh-agent at ${socket} (it holds no ssh-ed25519 key); ${noHome}/.ssh/id_ed25519: no such file. Name a key with -i FILE, or load one with ssh-add.`;
    await expect(loadIdentity({ agentSocket: socket, home: noHome })).rejects.toMatchObject({
      code: "bad-config",
      message,
    });
  });
});

describe("errors say what was tried", () => {
  test("no agent, no file", async () => {
    await expect(loadIdentity({ agentSocket: "", home: noHome })).rejects.toThrow(
      /Tried: ssh-agent \(SSH_AUTH_SOCK is not set\); .*id_ed25519: no such file/,
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

  test("an empty list is no error", async () => {
    reply = Buffer.from("000000050c00000000", "hex");
    expect(await new SshAgent(socket).identities()).toEqual([]);
  });
});
