// authorized_keys, line by line: what is taken, what each option says, and that nothing else grants anything.

import { generateKeyPairSync } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { privateKeyOf } from "../../node/private-key.ts";
import { parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { type KeyOptions, NO_OPTIONS, parseKeyOptions } from "../../protocol/user-auth/key-options.ts";
import { decodePublicKey, encodePublicKey, KEY_TYPES, typeOf } from "../../protocol/user-auth/public-key.ts";
import { encodeEd25519Key } from "../../protocol/user-auth/ssh-wire.ts";
import { SoftwareSecurityKey } from "../support/software-security-key.ts";

const blob = encodeEd25519Key(nodeSuite.ed25519PublicKey(new Uint8Array(32).fill(7)));
const base64 = Buffer.from(blob).toString("base64");
const line = `ssh-ed25519 ${base64} me@here`;

/** A line of a fresh key of Node's own making. */
function lineOf(
  ...[type, options]: readonly [type: "rsa", bits: number] | readonly [type: "ec", curve: string]
): string {
  const pair =
    type === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: options })
      : generateKeyPairSync("ec", { namedCurve: options });
  const made = privateKeyOf(pair.privateKey, "");
  if (made === undefined) throw new Error("no SSH key");
  return `${typeOf(made.key)} ${Buffer.from(made.publicKeyBlob).toString("base64")} made`;
}

const LINES = [
  line,
  lineOf("ec", "P-256"),
  lineOf("ec", "P-384"),
  lineOf("ec", "P-521"),
  lineOf("rsa", 2048),
  new SoftwareSecurityKey("ed25519").line,
  new SoftwareSecurityKey("ecdsa", "localhost").line,
];

describe("parseAuthorizedKeys()", () => {
  test("takes plain lines with their comment and line number, skips blank lines and comments", () => {
    const other = line.replace("me@here", "two  words ");
    const { keys, refusedLines } = parseAuthorizedKeys(
      `\n# a comment\r\n \t\n${line}\r\n\t ${other}\n${line.slice(0, -8)}`,
    );
    expect(refusedLines).toEqual([]);
    expect(keys.map((key) => [key.line, key.comment])).toEqual([
      [4, "me@here"],
      [5, "two  words"],
      [6, ""],
    ]);
    for (const key of keys) {
      expect(key.blob).toEqual(new Uint8Array(blob));
      expect(key.options).toEqual(NO_OPTIONS);
    }
  });

  test("takes keys of every type, with options or without", () => {
    const { keys, refusedLines } = parseAuthorizedKeys(
      [...LINES, ...LINES.map((each) => `restrict ${each}`)].join("\n"),
    );
    expect(refusedLines).toEqual([]);
    expect(keys.map((key) => key.keyType)).toEqual([...KEY_TYPES, ...KEY_TYPES]);
    expect(keys.map((key) => key.options.restrictions.pty)).toEqual([
      ...KEY_TYPES.map(() => true),
      ...KEY_TYPES.map(() => false),
    ]);
    for (const key of keys) expect(encodePublicKey(decodePublicKey(key.blob))).toEqual(key.blob);
  });

  const malformed = "the key is malformed";
  const unknown = "it has an option that is not known";
  const unquoted = "an option's value is not in double quotes";
  test.each([
    [`from="*" ${line}`, "from= cannot be honoured: who carries the console says from where"],
    [`environment="A=b" ${line}`, "environment= is not honoured"],
    [`tunnel="0" ${line}`, "tunnel= is not honoured: there are no tunnel devices"],
    [`no-such-option ${line}`, unknown],
    [`restrict,no-such-option ${line}`, unknown],
    [`pty="yes" ${line}`, unknown],
    [`command ${line}`, unknown],
    [`restrict, ${line}`, unknown],
    [`,restrict ${line}`, unknown],
    [`restrict;pty ${line}`, unknown],
    [`command=true ${line}`, unquoted],
    [`command="unclosed\\" x ${line}`, "not a public key line"],
    [`command="a",command="b" ${line}`, "it has command= twice"],
    [`principals="a",principals="b",cert-authority ${line}`, "it has principals= twice"],
    [`principals="a" ${line}`, "it has principals= without cert-authority"],
    [`cert-authority,principals="a,,b" ${line}`, "principals= has an empty name"],
    [`permitopen="host" ${line}`, "permitopen= is not host:port"],
    [`permitopen="host:0" ${line}`, "permitopen= is not host:port"],
    [`permitopen="host:65536" ${line}`, "permitopen= is not host:port"],
    [`permitopen="::1:80" ${line}`, "permitopen= is not host:port"],
    [`permitlisten="host:x" ${line}`, "permitlisten= is not [host:]port"],
    [
      `${Array.from({ length: 257 }, () => 'permitopen="a:1"').join(",")} ${line}`,
      "it has too many permitopen=",
    ],
    ['command="unclosed ', "not a public key line"],
    [`command="unclosed ${line}`, "not a public key line"],
    [`@cert-authority * ${line}`, "not a public key line"],
    [base64, "not a public key line"],
    ["ssh-ed25519", malformed],
    ["ssh-ed25519 ", malformed],
    [`ssh-ed25519 ${base64.slice(0, -4)}`, malformed],
    [`ssh-ed25519 ${base64}AAAA`, malformed],
    [`ssh-ed25519 ${base64.slice(0, 10)}\u{fffd}${base64.slice(11)}`, malformed],
    [`ssh-rsa ${base64}`, malformed],
    [`sk-ssh-ed25519@openssh.com ${base64}`, malformed],
    [`ssh-ed25519,${base64}`, "not a public key line"],
    [`Ssh-Ed25519 ${base64}`, "not a public key line"],
    ["ssh-dss AAAA", "keys of this type are not accepted"],
    [
      "ssh-ed25519-cert-v01@openssh.com AAAA",
      "it is a certificate; name the key that signs them, with cert-authority in front",
    ],
    [`command="a\0b" ${line}`, "it has a zero byte"],
    [lineOf("rsa", 1024), "the RSA key has less than 2048 bits"],
    [`${line}${" x".repeat(4100)}`, "longer than 8 KiB"],
    [`${line} ${"ä".repeat(4090)}`, "longer than 8 KiB"],
  ])("refuses the line %j", (text, reason) => {
    expect(parseAuthorizedKeys(`${text}\n${line}`)).toEqual({
      keys: [
        {
          keyType: "ssh-ed25519",
          blob: new Uint8Array(blob),
          options: NO_OPTIONS,
          comment: "me@here",
          line: 2,
        },
      ],
      refusedLines: [{ line: 1, reason }],
    });
  });

  test("never throws on junk, and takes only well-formed keys out of it", () => {
    const piece = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("\n", " ", '"', "\\", ",", "=", "ssh-ed25519", "restrict", 'command="x"', "no-pty"),
      fc.constantFrom(base64, line, ...LINES, "#", "\0", "\r", "cert-authority", 'expiry-time="20300101Z"'),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const { keys, refusedLines } = parseAuthorizedKeys(pieces.join(""));
        for (const key of keys) expect(typeOf(decodePublicKey(key.blob))).toBe(key.keyType);
        const lines = [...keys, ...refusedLines].map((found) => found.line);
        expect(new Set(lines).size).toBe(lines.length);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("parseKeyOptions()", () => {
  const options = (over: Partial<KeyOptions>): KeyOptions => ({ ...NO_OPTIONS, ...over });
  const open = NO_OPTIONS.restrictions;
  const closed = { pty: false, portForwarding: false };
  const forced = { pty: true, portForwarding: false };
  const utc = Date.UTC;
  test.each<[string, KeyOptions]>([
    ["restrict", options({ restrictions: closed })],
    ["restrict,pty", options({ restrictions: { ...closed, pty: true } })],
    ["pty,restrict", options({ restrictions: closed })], // in the order in which they stand, as sshd
    [
      "RESTRICT,Port-Forwarding",
      options({ restrictions: { ...closed, portForwarding: true }, forwardingNamed: true }),
    ],
    ["no-pty", options({ restrictions: { ...open, pty: false } })],
    ["no-port-forwarding", options({ restrictions: { ...open, portForwarding: false } })],
    ["no-agent-forwarding,no-X11-forwarding,no-user-rc", NO_OPTIONS],
    ["agent-forwarding,x11-forwarding,user-rc", NO_OPTIONS],
    ["no-touch-required", options({ touchRequired: false })],
    ["verify-required", options({ verifyRequired: true })],
    ["cert-authority", options({ certAuthority: true })],
    ['cert-authority,principals="ops,root"', options({ certAuthority: true, principals: ["ops", "root"] })],
    [
      'command="echo \\"a b\\" \\n, c"',
      options({ restrictions: { ...forced, command: 'echo "a b" \\n, c' } }),
    ],
    ['command=""', options({ restrictions: { ...forced, command: "" } })],
    ['command="a\\\\"b"', options({ restrictions: { ...forced, command: 'a\\"b' } })],
    [
      'command="a",permitopen="localhost:80"',
      options({ restrictions: { ...forced, command: "a", permitOpen: ["localhost:80"] } }),
    ],
    ...[
      'command="a",port-forwarding',
      'port-forwarding,command="a"',
      'no-port-forwarding,command="a",port-forwarding',
      'restrict,command="a",port-forwarding,pty',
    ].map((text): [string, KeyOptions] => [
      text,
      options({ restrictions: { ...open, command: "a" }, forwardingNamed: true }),
    ]),
    ...['command="a",port-forwarding,no-port-forwarding', 'port-forwarding,restrict,command="a",pty'].map(
      (text): [string, KeyOptions] => [text, options({ restrictions: { ...forced, command: "a" } })],
    ),
    [
      'permitopen="localhost:80",permitopen="[::1]:*"',
      options({ restrictions: { ...open, permitOpen: ["localhost:80", "[::1]:*"] } }),
    ],
    [
      'permitlisten="8080",permitlisten="*:1",permitlisten="localhost:65535"',
      options({ restrictions: { ...open, permitListen: ["8080", "*:1", "localhost:65535"] } }),
    ],
    ['expiry-time="20300102Z"', options({ restrictions: { ...open, expires: utc(2030, 0, 2) } })],
    ['expiry-time="203001020304Z"', options({ restrictions: { ...open, expires: utc(2030, 0, 2, 3, 4) } })],
    [
      'expiry-time="20300102030405Z",expiry-time="20400101Z"',
      options({ restrictions: { ...open, expires: utc(2030, 0, 2, 3, 4, 5) } }),
    ],
    [
      'expiry-time="20300102"',
      options({ restrictions: { ...open, expires: new Date(2030, 0, 2).getTime() } }),
    ],
  ])("%s", (text, expected) => {
    expect(parseKeyOptions(text)).toEqual(expected);
  });

  test.each([
    "",
    "20301301Z",
    "20300230Z",
    "20300101Y",
    "2030010124Z",
    "203001012400Z",
    "19690101Z",
    "2030-01-01",
  ])("expiry-time=%j is no time", (time) => {
    expect(parseKeyOptions(`expiry-time="${time}"`)).toMatch(/^expiry-time= is not/);
  });
});
