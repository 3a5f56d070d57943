// OpenSSH user certificates that the real ssh-keygen signed, with every option that matters, and damaged ones.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKeyFile } from "../../node/key-file.ts";
import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import { concat, u32, u64, u8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  certificateType,
  certifiedType,
  decodeCertificate,
  decodeKeyOrCertificate,
  isSigned,
} from "../../protocol/user-auth/certificate.ts";
import { encodePublicKey, KEY_TYPES } from "../../protocol/user-auth/public-key.ts";
import type { UserAuthAttempt } from "../../protocol/user-auth/verify-user.ts";
import { sshString } from "../../protocol/user-auth/ssh-wire.ts";
import { blobOf, hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { SoftwareSecurityKey, TOUCHED } from "../support/software-security-key.ts";
import { attempt, FIELDS, NOW, sshsigOf, toBeSigned } from "../support/user-attempt.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());
tellIfOpensshIsAbsent();

const flipped = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

/** Of the signature of `FIELDS` by the key file. */
async function signatureBy(file: string): Promise<Uint8Array> {
  const key = await openKeyFile(readFileSync(file, "utf8"), file).unlock("");
  if (key === undefined) throw new Error("locked");
  return key.sign(toBeSigned());
}

/** `ssh-keygen -s`. @returns the certificate's blob. */
function certify(authority: string, key: string, ...options: readonly string[]): Uint8Array {
  execFileSync("ssh-keygen", ["-q", "-s", authority, "-I", "an id", ...options, `${key}.pub`], {
    stdio: "ignore",
  });
  return blobOf(readFileSync(`${key}-cert.pub`, "utf8"));
}

describe.runIf(hasOpenssh)("a certificate by ssh-keygen -s", () => {
  const key = scratch.path("user");
  const authority = scratch.path("ca");
  let plain: Uint8Array;
  let line: string;
  let signature: Uint8Array;
  let authorityDigest: Uint8Array;

  beforeAll(async () => {
    plain = blobOf(sshKeygen(key));
    line = `cert-authority ${sshKeygen(authority)}`;
    authorityDigest = nodeSshCrypto.suite.sha256(blobOf(readFileSync(`${authority}.pub`, "utf8")));
    signature = await signatureBy(key);
  });

  const judge = (
    options: readonly string[],
    lines = line,
    over: Partial<UserAuthAttempt> = {},
  ): ReturnType<typeof attempt> => {
    const certificate = certify(authority, key, ...options);
    return attempt(lines, certificate, sshsigOf(certificate, signature), over);
  };
  const ALICE = ["-n", "alice", "-z", "18446744073709551615"];

  test("lets its user in, with what it permits; the key is the plain one, whatever certificate it has", async () => {
    expect(await judge(ALICE)).toEqual({
      key: nodeSshCrypto.suite.sha256(plain),
      restrictions: { pty: true, portForwarding: true },
      certificate: { serial: "18446744073709551615", authority: authorityDigest },
    });
    expect((await judge(["-n", "alice", "-O", "clear"]))?.restrictions).toEqual({
      pty: false,
      portForwarding: false,
    });
    expect((await judge(["-n", "alice", "-O", "clear", "-O", "permit-pty"]))?.restrictions).toEqual({
      pty: true,
      portForwarding: false,
    });
    const valid = await judge(["-n", "alice", "-V", "20260101000000Z:20260701000000Z"]);
    expect(valid?.restrictions.expires).toBe(Date.UTC(2026, 6, 1));
  });

  test("counts only under cert-authority, for the authority named there", async () => {
    const caLine = line.replace("cert-authority ", "");
    expect(await judge(ALICE, caLine)).toBeUndefined();
    expect(await judge(ALICE, `cert-authority ${readFileSync(`${key}.pub`, "utf8")}`)).toBeUndefined();
    expect(await judge(ALICE, readFileSync(`${key}.pub`, "utf8"))).toBeUndefined();
    expect(await judge(ALICE, "")).toBeUndefined();
    // The plain key is not let in by what certifies it.
    expect(await attempt(line, plain, sshsigOf(plain, signature))).toBeUndefined();
    const another = sshKeygen(scratch.path("ca2"));
    expect(await judge(ALICE, `cert-authority ${another}`)).toBeUndefined();
    expect(await judge(ALICE, `cert-authority ${another}\n${line}`)).toBeDefined();
  });

  test("is for its principals: the user's own name, or what the line names", async () => {
    const ops = line.replace("cert-authority", 'cert-authority,principals="ops,dba"');
    expect(await judge(["-n", "bob"])).toBeUndefined();
    expect(await judge(["-n", "bob,alice"])).toBeDefined();
    expect(await judge([])).toBeUndefined(); // a certificate without principals is for nobody
    expect(await judge([], ops)).toBeUndefined();
    expect(await judge(["-n", "alice"], ops)).toBeUndefined();
    expect(await judge(["-n", "dba"], ops)).toBeDefined();
    const bob = { fields: { ...FIELDS, user: "bob" } };
    expect(await judge(ALICE, line, bob)).toBeUndefined(); // another's name, and another message
  });

  test("is valid from and until its times, by the guest's clock", async () => {
    const times = ["-n", "alice", "-V", "20260615000000Z:20260615000100Z"];
    expect(await judge(times, line, { now: NOW - 1 })).toBeUndefined();
    expect(await judge(times, line, { now: NOW })).toBeDefined();
    expect(await judge(times, line, { now: NOW + 59_999 })).toBeDefined();
    expect(await judge(times, line, { now: NOW + 60_000 })).toBeUndefined();
  });

  test("why it is of no use, each in a word of its own, once", async () => {
    const why = async (options: readonly string[], lines = line, over: Partial<UserAuthAttempt> = {}) => {
      const said: string[] = [];
      const certificate = certify(authority, key, ...options);
      const grant = await attempt(lines, certificate, sshsigOf(certificate, signature), over, (word) =>
        said.push(word),
      );
      return grant === undefined ? said.join() : `in ${said.join()}`;
    };
    const withLine = (options: string): string => line.replace("cert-authority", `cert-authority,${options}`);
    const times = ["-n", "alice", "-V", "20260615000000Z:20260615000100Z"];
    const forced = ["-n", "alice", "-O", "force-command=backup"];
    expect(await why(ALICE)).toBe("in ");
    expect(await why(ALICE, "")).toBe("unknown-key");
    expect(await why(ALICE, line.replace("cert-authority ", ""))).toBe("not-an-authority");
    expect(await why(ALICE, withLine('expiry-time="20260601Z"'))).toBe("line-expired");
    expect(await why(["-n", "bob"])).toBe("principal-not-named");
    expect(await why(times, line, { now: NOW - 1 })).toBe("certificate-not-yet-valid");
    expect(await why(times, line, { now: NOW + 60_000 })).toBe("certificate-expired");
    expect(await why(["-h", "-n", "alice"])).toBe("not-a-user-certificate");
    expect(await why(["-n", "alice", "-O", "source-address=127.0.0.0/8"])).toBe("source-address");
    expect(await why(["-n", "alice", "-O", "critical:unknown@example.com=x"])).toBe("critical-option");
    expect(await why(["-n", "alice", "-O", "verify-required"])).toBe("not-verified");
    expect(await why(forced, withLine('command="another"'))).toBe("two-commands");
    expect(await why(ALICE, line, { fields: { ...FIELDS, evidenceDigest: new Uint8Array(32) } })).toBe(
      "signature",
    );
    expect(await why(ALICE, line, { fields: { ...FIELDS, user: "" } })).toBe("malformed");
    expect(await why(ALICE, line, { publicKey: Uint8Array.of(1) })).toBe("malformed");
    const certificate = certify(authority, key, ...ALICE);
    const changed = certificate.slice();
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1; // of the authority's signature
    const said: string[] = [];
    await attempt(line, changed, sshsigOf(changed, signature), {}, (word) => said.push(word));
    expect(said).toEqual(["certificate-signature"]);
  });

  test("is no host's", async () => {
    expect(await judge(["-h", "-n", "alice"])).toBeUndefined();
  });

  test("its critical options are honoured or refuse it", async () => {
    const forced = ["-n", "alice", "-O", "force-command=backup --all"];
    expect((await judge(forced))?.restrictions.command).toBe("backup --all");
    expect(await judge(["-n", "alice", "-O", "source-address=127.0.0.0/8"])).toBeUndefined();
    expect(await judge(["-n", "alice", "-O", "critical:unknown@example.com=x"])).toBeUndefined();
    expect(await judge(["-n", "alice", "-O", "verify-required"])).toBeUndefined(); // this key cannot show it
    expect(await judge(["-n", "alice", "-O", "extension:unknown@example.com=x"])).toBeDefined();
    const withLine = (options: string): string => line.replace("cert-authority", `cert-authority,${options}`);
    expect((await judge(forced, withLine('command="backup --all"')))?.restrictions.command).toBe(
      "backup --all",
    );
    expect(await judge(forced, withLine('command="another"'))).toBeUndefined();
    expect((await judge(ALICE, withLine('command="another"')))?.restrictions.command).toBe("another");
  });

  test("with a forced command, its own or the line's, forwards nothing unless the line says port-forwarding", async () => {
    const forced = ["-n", "alice", "-O", "force-command=backup"];
    const forwards = async (certificate: readonly string[], options: string) =>
      (await judge(certificate, line.replace("cert-authority", `cert-authority${options}`)))?.restrictions
        .portForwarding;
    expect(await forwards(ALICE, "")).toBe(true);
    expect(await forwards(forced, "")).toBe(false);
    expect(await forwards(forced, ',permitopen="db:5432"')).toBe(false);
    expect(await forwards(ALICE, ',command="backup"')).toBe(false);
    expect(await forwards(forced, ",port-forwarding")).toBe(true);
    expect(await forwards(forced, ',port-forwarding,command="backup"')).toBe(true);
    expect(await forwards([...forced, "-O", "no-port-forwarding"], ",port-forwarding")).toBe(false);
  });

  test("certificate and line together: the stricter of both", async () => {
    const withLine = (options: string): string => line.replace("cert-authority", `cert-authority,${options}`);
    const valid = ["-n", "alice", "-V", "20260101000000Z:20260701000000Z"];
    const both = await judge(valid, withLine('no-pty,permitopen="db:5432",expiry-time="20260620Z"'));
    expect(both?.restrictions).toEqual({
      pty: false,
      portForwarding: true,
      permitOpen: ["db:5432"],
      expires: Date.UTC(2026, 5, 20),
    });
    const later = await judge(valid, withLine('expiry-time="20270101Z"'));
    expect(later?.restrictions.expires).toBe(Date.UTC(2026, 6, 1));
    expect(await judge(valid, withLine('expiry-time="20260601Z"'))).toBeUndefined();
    const none = await judge(["-n", "alice", "-O", "clear"], withLine("pty,port-forwarding"));
    expect(none?.restrictions).toEqual({ pty: false, portForwarding: false });
  });

  test("no changed bit of it is taken", async () => {
    const certificate = certify(authority, key, ...ALICE);
    for (let bit = 0; bit < certificate.length * 8; bit += 3) {
      const changed = flipped(certificate, bit);
      expect(await attempt(line, changed, sshsigOf(changed, signature)), `bit ${bit}`).toBeUndefined();
    }
    for (let length = 0; length < certificate.length; length += 11)
      expect(() => decodeCertificate(certificate.subarray(0, length))).toThrow(SealttyError);
    expect(() => decodeCertificate(concat(certificate, u8(0)))).toThrow(SealttyError);
    const other = certify(authority, key, "-n", "alice,bob");
    expect(await attempt(line, certificate, sshsigOf(other, signature))).toBeUndefined(); // names another blob
  });

  test.each([
    ["ed25519", []],
    ["ecdsa", ["-b", "256"]],
    ["ecdsa", ["-b", "384"]],
    ["ecdsa", ["-b", "521"]],
    ["rsa", ["-b", "2048"]],
  ] as const)("of a key and by an authority of type %s %j", async (type, bits) => {
    const name = scratch.path(`of-${type}${bits.join("")}`);
    sshKeygen(name, type, ...bits);
    const ca = sshKeygen(`${name}-ca`, type, ...bits);
    const certificate = certify(`${name}-ca`, name, "-n", "alice");
    const grant = await attempt(
      `cert-authority ${ca}`,
      certificate,
      sshsigOf(certificate, await signatureBy(name)),
    );
    expect(grant?.key).toEqual(nodeSshCrypto.suite.sha256(blobOf(readFileSync(`${name}.pub`, "utf8"))));
  });

  test("an RSA authority that signs with SHA-1 is not believed", async () => {
    sshKeygen(scratch.path("old-ca"), "rsa", "-b", "2048");
    const certificate = certify(scratch.path("old-ca"), key, "-n", "alice", "-t", "ssh-rsa");
    const ca = readFileSync(scratch.path("old-ca.pub"), "utf8");
    expect(
      await attempt(`cert-authority ${ca}`, certificate, sshsigOf(certificate, signature)),
    ).toBeUndefined();
  });
});

/** What ssh-keygen cannot be made to sign without a security key, or at all. */
function make(
  key: SoftwareSecurityKey,
  authority: SoftwareSecurityKey,
  own: {
    readonly critical?: Uint8Array;
    readonly extensions?: Uint8Array;
    readonly flags?: number;
    readonly sign?: (signed: Uint8Array) => Uint8Array;
  } = {},
): Uint8Array {
  const type = key.key.kind === "sk-ed25519" ? "sk-ssh-ed25519" : "sk-ecdsa-sha2-nistp256";
  const none = new Uint8Array(0);
  const fields = key.blob.subarray(4 + `${type}@openssh.com`.length); // behind the type's name
  const signed = concat(
    sshString(`${type}-cert-v01@openssh.com`),
    sshString(new Uint8Array(32)),
    fields,
    u64(5),
    u32(1),
    sshString("id"),
    sshString(sshString("alice")),
    u64(0),
    concat(u32(0xffffffff), u32(0xffffffff)),
    sshString(own.critical ?? none),
    sshString(own.extensions ?? concat(sshString("permit-pty"), sshString(none))),
    sshString(none),
    sshString(authority.blob),
  );
  const signature = own.sign?.(signed) ?? authority.sign(signed, { flags: own.flags ?? TOUCHED });
  return concat(signed, sshString(signature));
}

describe("security keys and certificates", () => {
  const authority = new SoftwareSecurityKey("ecdsa");
  const caLine = `cert-authority ${authority.line}`;
  const option = (name: string, data: Uint8Array = new Uint8Array(0)): Uint8Array =>
    concat(sshString(name), sshString(data));

  test.each(["ed25519", "ecdsa"] as const)("%s: certified, and by a security key", async (kind) => {
    const key = new SoftwareSecurityKey(kind);
    const judge = (certificate: Uint8Array, lines = caLine, flags = TOUCHED): ReturnType<typeof attempt> =>
      attempt(lines, certificate, sshsigOf(certificate, key.sign(toBeSigned(), { flags })));
    const good = make(key, authority);
    expect(await judge(good)).toMatchObject({
      key: nodeSshCrypto.suite.sha256(key.blob),
      restrictions: { pty: true, portForwarding: false },
      certificate: { serial: "5" },
    });
    expect(await judge(good, caLine, 0)).toBeUndefined();
    // Both must allow what is not touched: as with sshd.
    const untouched = make(key, authority, { extensions: option("no-touch-required") });
    const both = `no-touch-required,${caLine}`;
    expect(await judge(untouched, caLine, 0)).toBeUndefined();
    expect(await judge(good, both, 0)).toBeUndefined();
    expect(await judge(untouched, both, 0)).toBeDefined();
    const verified = make(key, authority, { critical: option("verify-required") });
    expect(await judge(verified)).toBeUndefined();
    expect(await judge(verified, caLine, TOUCHED | 4)).toBeDefined();
  });

  test("an authority must be touched, and is no passkey", async () => {
    const key = new SoftwareSecurityKey("ed25519");
    const judge = (certificate: Uint8Array): ReturnType<typeof attempt> =>
      attempt(caLine, certificate, sshsigOf(certificate, key.sign(toBeSigned())));
    expect(await judge(make(key, authority, { flags: 0 }))).toBeUndefined();
    expect(
      await judge(make(key, authority, { sign: (signed) => authority.webauthn(signed) })),
    ).toBeUndefined();
  });

  test("options stand in order, each once, and have the data that belongs to them", async () => {
    const key = new SoftwareSecurityKey("ed25519");
    const judge = (own: Parameters<typeof make>[2]): ReturnType<typeof attempt> => {
      const certificate = make(key, authority, own);
      return attempt(caLine, certificate, sshsigOf(certificate, key.sign(toBeSigned())));
    };
    const [agent, pty] = [option("permit-agent-forwarding"), option("permit-pty")];
    expect(await judge({ extensions: concat(agent, pty) })).toBeDefined();
    expect(await judge({ extensions: concat(pty, agent) })).toBeUndefined();
    expect(await judge({ extensions: concat(pty, pty) })).toBeUndefined();
    const odd = await judge({ extensions: option("permit-pty", u8(1)) });
    expect(odd?.restrictions.pty).toBe(false);
    for (const data of [new Uint8Array(0), u8(1), sshString("a\0b"), concat(sshString("a"), u8(0))])
      expect(await judge({ critical: option("force-command", data) })).toBeUndefined();
    expect(await judge({ critical: option("verify-required", u8(1)) })).toBeUndefined();
    const forced = await judge({ critical: option("force-command", sshString("ls")) });
    expect(forced?.restrictions.command).toBe("ls");
  });

  test("an authority that is itself a certificate signs for nobody: there are no chains", async () => {
    const key = new SoftwareSecurityKey("ed25519");
    const inner = make(authority, authority);
    const forged = new Proxy(authority, {
      get: (target, name) => (name === "blob" ? inner : Reflect.get(target, name, target)),
    });
    const certificate = make(key, forged, { sign: (signed) => authority.sign(signed) });
    expect(decodeCertificate(certificate).authority).toEqual(inner);
    expect(await isSigned(nodeSshCrypto, decodeCertificate(certificate))).toBe(false);
  });

  test("decodeKeyOrCertificate() throws nothing but peer-misbehaved on junk within a certificate", () => {
    const good = make(new SoftwareSecurityKey("ecdsa"), authority);
    fc.assert(
      fc.property(fc.nat(good.length), fc.nat(20), fc.uint8Array({ maxLength: 20 }), (at, cut, junk) => {
        try {
          const { key } = decodeKeyOrCertificate(concat(good.subarray(0, at), junk, good.subarray(at + cut)));
          expect(encodePublicKey(key).length).toBeGreaterThan(40);
        } catch (error) {
          expect(error).toHaveProperty("code", "peer-misbehaved");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

test("names of certificate types and back", () => {
  for (const type of KEY_TYPES) expect(certifiedType(certificateType(type))).toBe(type);
  expect(certificateType("sk-ssh-ed25519@openssh.com")).toBe("sk-ssh-ed25519-cert-v01@openssh.com");
  for (const name of ["ssh-ed25519", "ssh-dss-cert-v01@openssh.com", "-cert-v01@openssh.com", ""])
    expect(certifiedType(name)).toBeUndefined();
});
