// The documents say what the code does: numbers, labels, codes, section numbers, links and commands.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../cli/address.ts";
import { AUX_PARTS } from "../protocol/attestation/aux.ts";
import { binderOf, renewalBinderOf, tpmQualifyingData } from "../protocol/attestation/binder.ts";
import { EVIDENCE_TYPES } from "../protocol/attestation/evidence.ts";
import { utf8 } from "../protocol/bytes.ts";
import { nobleSuite } from "../protocol/crypto/noble.ts";
import {
  LISTEN_FAILED,
  LISTEN_IN_USE,
  LISTEN_NOT_ALLOWED,
  LISTEN_OK,
  LISTEN_TOO_MANY,
} from "../protocol/forward/forward-messages.ts";
import { ARMOUR_MARK } from "../protocol/frames/armour.ts";
import * as frames from "../protocol/frames/frame-body.ts";
import { KERNEL_LOG_TYPES } from "../protocol/kernel-log/messages.ts";
import { PROMPT_ORIGINS, PROMPT_OUTCOMES, PROMPTS_TYPES } from "../protocol/prompts/messages.ts";
import { PROVISION_STATUS } from "../protocol/provision/seed.ts";
import { SERVICES } from "../protocol/session/service-request.ts";
import { FILES_TYPES, TROUBLES } from "../protocol/files/messages.ts";
import { prologueOf } from "../protocol/handshake/client-hello.ts";
import { MESSAGE1_LENGTH, MESSAGE2_LENGTH, PROTOCOL_NAME } from "../protocol/handshake/messages.ts";
import * as limits from "../protocol/limits.ts";
import { PacketWriter } from "../protocol/packets/packet-frames.ts";
import {
  AUTH_METHOD_NOT_ALLOWED,
  AUTH_OK,
  AUTH_REFUSED,
  CLOSE_CODES,
  encodeMessage,
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_OK,
  OPEN_REFUSED,
  OPEN_TOO_MANY,
  OPEN_UNREACHABLE,
  SERVICE,
  type SessionMessage,
  SIGNALS,
} from "../protocol/session/messages.ts";
import { retirementToken } from "../protocol/session/retirement.ts";
import {
  ATTACH_FAILED,
  ATTACH_NO_SUCH_OFFSET,
  ATTACH_NOT_ALLOWED,
  ATTACH_OK,
  ATTACH_TOO_MANY,
  ATTACH_UNKNOWN,
  DETACH_ASKED,
  DETACH_FENCED,
  DETACH_LOST,
  KILL_OK,
} from "../protocol/session/session-messages.ts";
import { KEY_TYPES } from "../protocol/user-auth/public-key.ts";
import { RSA_SHA2_256, RSA_SHA2_512, WEBAUTHN_ECDSA } from "../protocol/user-auth/signature.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../protocol/user-auth/user-auth-message.ts";
import { CARRIER_EVENTS, TRUSTED_EVENTS } from "../server/audit/events.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (name: string): string => readFileSync(path.join(root, name), "utf8");
const protocol = read("docs/protocol.md");

/** The text below a heading "#… N title", up to the next heading of any level. */
function section(number: string): string {
  const lines = protocol.split("\n");
  const start = lines.findIndex((line) => new RegExp(`^#+ ${number.replace(".", "\\.")} `).test(line));
  expect(start, `docs/protocol.md has no §${number}`).toBeGreaterThanOrEqual(0);
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line));
  return lines.slice(start, length < 0 ? undefined : start + 1 + length).join("\n");
}

/** Rows of all tables in a text, cells without their backquotes. */
function rows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^\| *-/.test(line))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
}

function filesBelow(folder: string, ending: string): string[] {
  if (!existsSync(path.join(root, folder))) return [];
  return readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending) && !name.split(path.sep).includes("node_modules"))
    .map((name) => path.join(folder, name));
}

/** `const NAME = 10 * 60_000;` in a source file, computed. */
function constantIn(file: string, name: string): number {
  const found = new RegExp(`const ${name} = ([0-9_* ]+);`).exec(read(file))?.[1];
  expect(found, `${file} has no number ${name}`).toBeDefined();
  return (found as string)
    .replaceAll("_", "")
    .split("*")
    .reduce((product, factor) => product * Number(factor), 1);
}

const suite = nobleSuite(() => {
  throw new Error("no randomness here");
});
const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

describe("docs/protocol.md", () => {
  test("§9 lists every constant of protocol/limits.ts with its value, and no other", () => {
    const listed = rows(section("9")).filter(([name, , third]) => name !== "name" && !third?.includes("/"));
    const values = Object.entries(limits).map(([name, value]) => [name, String(value)]);
    expect(listed.map(([name, value]) => [name, value])).toEqual(values);
  });

  test("§9 gives times and counts as their files have them", () => {
    const listed = rows(section("9")).filter(([, , third]) => third?.includes("/"));
    expect(listed.length).toBeGreaterThan(20);
    for (const [name, value, file] of listed as [string, string, string][]) {
      expect(constantIn(file, name), `${name} in ${file}`).toBe(Number(value));
    }
  });

  test("every upper-case limit that the text names exists", () => {
    const known = new Set([...Object.keys(limits), ...rows(section("9")).map(([name]) => name)]);
    for (const [, name] of protocol.matchAll(/`((?:MAX|MIN)_[A-Z_]+|[A-Z]+_STREAM_WINDOW|REPLAY_WINDOW)`/g)) {
      expect(known.has(name), `limit ${name}`).toBe(true);
    }
  });

  test("§3 has the frame types and lengths", () => {
    const types = Object.entries(frames)
      .filter(([name]) => name.startsWith("FRAME_"))
      .map(([name, value]) => [`0x${(value as number).toString(16)}`, name.slice("FRAME_".length)]);
    const listed = rows(section("3")).filter(([number]) => number !== "number");
    expect(listed.map(([number, name]) => [number, name])).toEqual(types);
    const id = new Uint8Array(4);
    expect(section("3")).toContain(`exactly ${frames.helloBody(id).length} bytes`);
    expect(section("3")).toContain(
      `exactly ${frames.welcomeBody(id, new Uint8Array(frames.COOKIE_LENGTH)).length} bytes`,
    );
    expect(section("3")).toContain(`u8 version = ${frames.PROTOCOL_VERSION} `);
    expect(section("3")).toContain(`${frames.PACKET_HEADER_LENGTH} bytes, at least 16 sealed`);
  });

  test("§2.2 has the armour's mark", () => {
    expect(section("2.2")).toContain(`"${ascii(ARMOUR_MARK)}"`);
  });

  test("§4 has the protocol name, the prologue's label and the messages' lengths", () => {
    expect(section("4.3")).toContain(`\`${PROTOCOL_NAME}\``);
    expect(section("4.3")).toContain(`: ${MESSAGE1_LENGTH} bytes.`);
    expect(section("4.3")).toContain(`: ${MESSAGE2_LENGTH} bytes.`);
    const prologue = ascii(prologueOf(new Uint8Array(4), new Uint8Array(0)));
    expect(section("4.2")).toContain(
      `"${prologue.slice(0, prologue.indexOf("\0"))}" ‖ 0x00 ‖ lv16(connection id)`,
    );
  });

  test("§5.4 has the types of the frames inside a packet", () => {
    const first = (write: (writer: PacketWriter) => void): number => {
      const writer = new PacketWriter(64);
      write(writer);
      return writer.written[0] as number;
    };
    const types = {
      PADDING: 0,
      ACK: first((writer) => writer.ack([{ first: 0, last: 0 }])),
      STREAM: first((writer) => writer.stream(0, 0, new Uint8Array(0), false)),
      STREAM_END: first((writer) => writer.stream(0, 0, new Uint8Array(0), true)),
      WINDOW: first((writer) => writer.window(0, 0)),
      PING: first((writer) => writer.ping()),
      CLOSE: first((writer) => writer.close(0)),
    };
    const listed = rows(section("5.4")).filter(([type]) => type !== "type");
    expect(Object.fromEntries(listed.map(([type, name]) => [name, Number(type)]))).toEqual(types);
  });

  test("§5.3 has the generation's length", () => {
    expect(Math.log2(limits.PACKETS_PER_GENERATION)).toBe(20);
    expect(section("5.3")).toContain("floor(n / 2^20)");
  });

  test("§6 has the evidence types and the labels that are hashed", () => {
    const listed = rows(section("6.1")).filter(([number]) => /^(?:0x)?[0-9a-f]+$/.test(number as string));
    expect(Object.fromEntries(listed.map(([number, name]) => [name, Number(number)]))).toEqual(
      EVIDENCE_TYPES,
    );
    const hashed: string[] = [];
    const spy = {
      ...suite,
      sha256: (message: Uint8Array) => (hashed.push(ascii(message)), suite.sha256(message)),
      sha512: (message: Uint8Array) => (hashed.push(ascii(message)), suite.sha512(message)),
    };
    const bytes = new Uint8Array(32);
    const context = { handshakeHash: bytes, guestStatic: bytes, exporter: bytes, clientNonce: bytes };
    tpmQualifyingData(spy, binderOf(spy, context, "tpm", new Uint8Array(0)));
    const labels = hashed.filter((text) => text.includes("\0") && text.startsWith("sealtty"));
    expect(labels.length).toBe(2);
    for (const text of labels)
      expect(section("6.2")).toContain(`"${text.slice(0, text.indexOf("\0"))}" ‖ 0x00`);
    expect(section("6.2")).toContain(`= ${labels[0]?.length} bytes`);
    expect(section("6.4")).toContain('"sealtty-simulated/1" ‖ 0x00 ‖ binder');
    expect(read("protocol/attestation/simulated.ts")).toContain('"sealtty-simulated/1\\0"');
  });

  test("§6.3 lists the parts beside a quote, with their numbers and limits", () => {
    const listed = rows(section("6.3")).filter(([number]) => number !== "part");
    expect(listed.map(([number, name, limit]) => [name, Number(number), Number(limit)])).toEqual(
      Object.entries(AUX_PARTS).map(([name, part]) => [name, part.number, part.limit]),
    );
  });

  test("§6.9 and §6.10 have the labels that are signed and hashed", () => {
    const hashed: string[] = [];
    const spy = {
      ...suite,
      sha512: (message: Uint8Array) => (hashed.push(ascii(message)), suite.sha512(message)),
    };
    const bytes = new Uint8Array(32);
    const context = { handshakeHash: bytes, guestStatic: bytes, exporter: bytes, clientNonce: bytes };
    renewalBinderOf(spy, { ...context, counter: 1, renewalNonce: bytes }, "tdx", new Uint8Array(0));
    expect(section("6.10")).toContain(`"${hashed[0]?.slice(0, hashed[0].indexOf("\0"))}" ‖ 0x00`);
    expect(read("protocol/attestation/instance/key-proof.ts")).toContain('"sealtty-instance-key/1\\0"');
    expect(section("6.9")).toContain('"sealtty-instance-key/1" ‖ 0x00');
  });

  test("§7.2 has the first credit of every stream", () => {
    const listed = rows(section("7.2")).filter(([stream]) => stream !== "stream");
    const {
      CONTROL_STREAM_WINDOW: control,
      INPUT_STREAM_WINDOW: input,
      OUTPUT_STREAM_WINDOW: output,
    } = limits;
    expect(listed).toEqual([
      ["0", String(control), String(control)],
      ["2·c", String(input), String(output)],
      ["2·c + 1", "0", String(output)],
    ]);
  });

  test("§8.1 has the session messages' numbers", () => {
    const screen = { term: "xterm", columns: 80, rows: 24 };
    const samples: Readonly<Record<SessionMessage["type"], SessionMessage>> = {
      evidence: {
        type: "evidence",
        encoded: new Uint8Array(0),
        evidence: { type: "simulated", quote: new Uint8Array(0), aux: new Uint8Array(0) },
      },
      "no-evidence": { type: "no-evidence" },
      authenticate: { type: "authenticate", user: "alice", service: SERVICE },
      authenticated: { type: "authenticated", code: 0 },
      open: { type: "open", channel: 1, request: { kind: "login", ...screen } },
      opened: { type: "opened", channel: 1, code: 0 },
      resize: { type: "resize", channel: 1, columns: 80, rows: 24 },
      signal: { type: "signal", channel: 1, signal: "SIGINT" },
      "hang-up": { type: "hang-up", channel: 1 },
      exit: { type: "exit", channel: 1, status: { kind: "exited", status: 0 } },
      attest: { type: "attest", counter: 1, nonce: new Uint8Array(32) },
      attested: { type: "attested", counter: 1, evidence: undefined },
      keep: {
        type: "keep",
        channel: 1,
        client: new Uint8Array(16),
        sizing: "smallest",
        idleSeconds: 0,
        screenLines: undefined,
        request: { kind: "login", ...screen },
      },
      attach: {
        type: "attach",
        channel: 1,
        session: { id: new Uint8Array(16), secret: undefined },
        client: new Uint8Array(16),
        mode: "read-only",
        offset: 0,
        columns: 80,
        rows: 24,
        screenLines: undefined,
      },
      attached: { type: "attached", channel: 1, code: ATTACH_UNKNOWN },
      detach: { type: "detach", channel: 1, input: 0 },
      detached: { type: "detached", channel: 1, why: DETACH_ASKED },
      viewers: { type: "viewers", channel: 1, state: { columns: 80, rows: 24, viewers: [] } },
      list: { type: "list", question: 1, proofs: [] },
      sessions: { type: "sessions", question: 1, sessions: [] },
      kill: { type: "kill", question: 1, session: { id: new Uint8Array(16), secret: undefined } },
      killed: { type: "killed", question: 1, code: KILL_OK },
      shape: { type: "shape", profile: "strict" },
      shaped: { type: "shaped", profile: "strict" },
      listen: { type: "listen", listener: 1, place: { kind: "tcp", host: "localhost", port: 0 } },
      listening: { type: "listening", listener: 1, code: LISTEN_FAILED },
      unlisten: { type: "unlisten", listener: 1 },
      incoming: { type: "incoming", listener: 1, incoming: 1 },
      dismiss: { type: "dismiss", incoming: 1 },
    };
    const numbers = Object.entries(samples).map(([name, sample]) => [
      String(encodeMessage(sample)[0]),
      name.toUpperCase().replace("-", "_"),
    ]);
    const listed = rows(section("8.1")).filter(([number]) => number !== "number");
    expect(listed.map(([number, name]) => [number, name])).toEqual(numbers);
  });

  test("§8.2 has the user authentication's label, namespace, service and codes", () => {
    const bytes = new Uint8Array(32);
    const signed = ascii(
      userAuthMessage({ handshakeHash: bytes, evidenceDigest: bytes, user: "alice", service: SERVICE }),
    );
    expect(section("8.2")).toContain(`"${signed.slice(0, signed.indexOf("\0"))}" ‖ 0x00`);
    expect(section("8.2")).toContain(`namespace \`${USER_AUTH_NAMESPACE}\``);
    expect(section("8.2")).toContain(`lv32("${USER_AUTH_NAMESPACE}")`);
    expect(section("8.2")).toContain(`\`${SERVICE}\``);
    const codes = rows(section("8.2")).filter(([code]) => /^[0-9]+$/.test(code as string));
    expect(codes.map(([code]) => Number(code))).toEqual([AUTH_OK, AUTH_REFUSED, AUTH_METHOD_NOT_ALLOWED]);
    expect(codes[AUTH_METHOD_NOT_ALLOWED]?.[1]).toContain("method");
  });

  test("§8.2 has every type of key and every algorithm, docs/identity.md every option", () => {
    const curves = /`-(?:nistp384|nistp521)`/g;
    const text = section("8.2").replaceAll(curves, (name) => `\`ecdsa-sha2${name.slice(1)}`);
    for (const name of [...KEY_TYPES, RSA_SHA2_256, RSA_SHA2_512, WEBAUTHN_ECDSA])
      expect(text, name).toContain(`\`${name}\``);
    const source = read("protocol/user-auth/key-options.ts");
    const options = [...source.matchAll(/^ {4}case "([a-z0-9-]+)":/gm)].map(([, name]) => name as string);
    expect(options.length).toBeGreaterThan(20);
    const listed = read("docs/identity.md").toLowerCase();
    for (const option of options) {
      const found = listed.includes(`\`${option}\``) || listed.includes(`\`${option}="`);
      const negated = option.startsWith("no-") && listed.includes(`\`${option.slice(3)}`);
      expect(found || negated, option).toBe(true);
    }
  });

  test("§8.3 has the signals and the codes of OPENED", () => {
    const named = [...section("8.3").matchAll(/`(SIG[A-Z0-9]+)`/g)].map(([, name]) => name);
    expect(named).toEqual([...SIGNALS]);
    const codes = rows(section("8.3").slice(section("8.3").indexOf("| OPENED code"))).slice(1);
    expect(codes.map(([code]) => Number(code))).toEqual([
      OPEN_OK,
      OPEN_NOT_ALLOWED,
      OPEN_TOO_MANY,
      OPEN_FAILED,
      OPEN_REFUSED,
      OPEN_UNREACHABLE,
    ]);
    expect(codes[OPEN_TOO_MANY]?.[1]).toContain("too many");
  });

  test("§8.9 has the label of RETIRED's token", () => {
    const hashed: string[] = [];
    const spy = {
      ...suite,
      hmacSha256: (key: Uint8Array, message: Uint8Array) => (
        hashed.push(ascii(message)), suite.hmacSha256(key, message)
      ),
    };
    for (const who of ["guest", "client"] as const) {
      const token = retirementToken(spy, new Uint8Array(32), who);
      expect(section("3")).toContain(`exactly ${frames.retiredBody(new Uint8Array(4), token).length} bytes`);
      const [label, side] = (hashed.at(-1) as string).split("\0");
      expect(section("8.9")).toContain(`"${label}" ‖ 0x00`);
      expect(section("8.9")).toContain(`"${side}"`);
    }
  });

  test("§8.7 has the codes of ATTACHED", () => {
    const codes = rows(section("8.7").slice(section("8.7").indexOf("| ATTACHED code"))).slice(1, 7);
    expect(codes.map(([code]) => Number(code))).toEqual([
      ATTACH_OK,
      ATTACH_NOT_ALLOWED,
      ATTACH_TOO_MANY,
      ATTACH_FAILED,
      ATTACH_UNKNOWN,
      ATTACH_NO_SUCH_OFFSET,
    ]);
  });

  test("§8.7 has the codes of DETACHED", () => {
    const codes = rows(section("8.7").slice(section("8.7").indexOf("| DETACHED why"))).slice(1, 4);
    expect(codes.map(([code]) => Number(code))).toEqual([DETACH_ASKED, DETACH_FENCED, DETACH_LOST]);
  });

  test("§8.10 has the codes of LISTENING", () => {
    const codes = rows(section("8.10").slice(section("8.10").indexOf("| LISTENING code"))).slice(1);
    expect(codes.map(([code]) => Number(code))).toEqual([
      LISTEN_OK,
      LISTEN_NOT_ALLOWED,
      LISTEN_TOO_MANY,
      LISTEN_FAILED,
      LISTEN_IN_USE,
    ]);
  });

  test("§8.11 has the messages about files and the codes of trouble", () => {
    const listed = rows(section("8.11"));
    const messages = listed.slice(1, 1 + Object.keys(FILES_TYPES).length);
    expect(messages.map(([number, name]) => [name?.toLowerCase(), Number(number)])).toEqual(
      Object.entries(FILES_TYPES),
    );
    const troubles = listed.slice(messages.length + 2);
    expect(troubles.map(([code, name]) => [/^[a-z-]+/.exec(name ?? "")?.[0], Number(code)])).toEqual(
      Object.entries(TROUBLES),
    );
  });

  test("§8.12 has the messages about prompts, where they come from, and the outcomes", () => {
    const text = section("8.12");
    const listed = rows(text);
    const messages = listed.slice(1, 1 + Object.keys(PROMPTS_TYPES).length);
    expect(messages.map(([number, name]) => [name?.toLowerCase(), Number(number)])).toEqual(
      Object.entries(PROMPTS_TYPES),
    );
    expect(listed.slice(messages.length + 2).map(([number]) => Number(number))).toEqual([
      ...PROMPT_OUTCOMES.keys(),
    ]);
    const [, ...origins] = /`origin`: (\d) .*initramfs, (\d) systemd/.exec(text) ?? [];
    expect(origins.map(Number)).toEqual([...PROMPT_ORIGINS.keys()]);
  });

  test("§8.13 has the services, the messages of the kernel's log and the program's statuses", () => {
    const text = section("8.13");
    expect([...text.matchAll(/u8 (\d) ‖ u8|u8 (\d) {2,}a seed/g)].map(([, a, b]) => Number(a ?? b))).toEqual([
      ...SERVICES.keys(),
    ]);
    const listed = rows(text);
    const messages = listed.slice(1, 1 + Object.keys(KERNEL_LOG_TYPES).length);
    expect(messages.map(([number, name]) => [name?.toLowerCase().replace("_", "-"), Number(number)])).toEqual(
      Object.entries(KERNEL_LOG_TYPES),
    );
    const { written, malformed, "already-provisioned": already } = PROVISION_STATUS;
    expect(listed.slice(messages.length + 2).map(([status]) => status)).toEqual(
      [written, already, malformed, "any other"].map(String),
    );
  });

  test("§8.5 has the close codes", () => {
    const listed = rows(section("8.5")).filter(([code]) => code !== "code");
    expect(Object.fromEntries(listed.map(([code, name]) => [name, Number(code)]))).toEqual(CLOSE_CODES);
  });

  test("every § that the code names exists", () => {
    const headings = new Set(
      [...protocol.matchAll(/^#+ ([0-9]+(?:\.[0-9]+)?) /gm)].map(([, number]) => number),
    );
    const sources = ["protocol", "node", "server", "relay", "cli", "client", "test"].flatMap((folder) =>
      filesBelow(folder, ".ts"),
    );
    let references = 0;
    for (const file of sources) {
      for (const [, list] of read(file).matchAll(
        /docs\/protocol\.md ((?:§[0-9.]+(?:,? (?:and|to|or) |, )?)+)/g,
      )) {
        for (const [, number] of (list as string).matchAll(/§([0-9]+(?:\.[0-9]+)?)/g)) {
          references++;
          expect(headings.has(number), `${file} names §${number}`).toBe(true);
        }
      }
    }
    expect(references).toBeGreaterThan(20);
    for (const [, number] of protocol.matchAll(/\(§([0-9.]+[0-9])\)/g))
      expect(headings.has(number), `§${number}`).toBe(true);
  });
});

describe("docs/checks.md", () => {
  const named = [...read("docs/checks.md").matchAll(/`((?:[a-z]+\.)?[a-z-]+)`/g)]
    .map(([, name]) => name as string)
    .filter((name) => name.includes(".") || name === "assurance" || name === "re-attestation");

  test("names only checks that the code has", () => {
    const sources = ["protocol/attestation", "protocol/api", "cli"]
      .flatMap((folder) => filesBelow(folder, ".ts"))
      .map(read)
      .join("\n");
    for (const name of named) {
      const [kind, rest] = name.split(".") as [string, string | undefined];
      const literal = sources.includes(`"${name}"`);
      const composed = new RegExp(`\\$\\{[^}]*\\}\\.${rest}\\b|\`${kind}\\.\\$\\{|"${rest}"`).test(sources);
      expect(literal || composed, name).toBe(true);
    }
    expect(new Set(named).size).toBe(named.length);
    expect(named.length).toBeGreaterThan(100);
  });

  test("names every check that a refusal is made with by name", () => {
    const sources = filesBelow("protocol/attestation", ".ts")
      .filter((file) => !/\/(?:nitro|cca)\//.test(file))
      .map(read)
      .join("\n");
    const refusals = [...sources.matchAll(/(?:refuse|parsing|unsupported)\(\s*"([a-z]+\.[a-z-]+)"/g)].map(
      ([, name]) => name,
    );
    expect(refusals.length).toBeGreaterThan(30);
    for (const name of refusals) expect(named, `docs/checks.md lacks ${name}`).toContain(name);
  });
});

describe("docs/audit.md", () => {
  test("has every event with its fields, and no other", () => {
    const listed = rows(read("docs/audit.md")).filter(([event]) => event !== "event");
    const table = (whose: string, events: Readonly<Record<string, readonly string[]>>) =>
      Object.entries(events).map(([event, fields]) => [event, whose, fields.join(", ")]);
    const cells = listed.map((cell) => cell.map((text) => text.replaceAll("`", "")));
    expect(cells).toEqual([...table("trusted", TRUSTED_EVENTS), ...table("carrier", CARRIER_EVENTS)]);
  });

  test("has the keys of [audit] and [recording] as the shipped example has them", () => {
    const keys = (text: string) =>
      [
        ...text.matchAll(
          /^(?:# )?(file|required|directory|users|services|notice|max_mib|user_mib|total_mib) = \S/gm,
        ),
      ].map(([, key]) => key);
    const example = read("packaging/sealttyd.example.toml");
    const of = (text: string) => new Set(keys(text));
    expect(of(example.slice(example.indexOf("# [audit]"), example.indexOf("\n[forward]")))).toEqual(
      of(read("docs/audit.md")),
    );
  });
});

describe("docs/hosts.md", () => {
  const text = read("docs/hosts.md");
  const other = text.slice(text.indexOf("## Other hosts"));
  const listed = rows(other.slice(0, other.indexOf("### ")));
  const [head, ...hosts] = listed as [string[], ...string[][]];

  test("says of each host how it was tested, and by a test that is there", () => {
    expect(head).toEqual(["host", "address", "works", "what was found", "echo; in; out", "tested"]);
    expect(hosts.length).toBeGreaterThanOrEqual(7);
    const named = new Set<string>();
    for (const [host, address, , , speed, tested] of hosts as [
      string,
      string,
      string,
      string,
      string,
      string,
    ][]) {
      expect(tested, host).toMatch(/^(?:stand-in|real .+): test\//);
      expect(speed, host).toMatch(/^[0-9.]+ ms; [0-9.]+ MB\/s; [0-9.]+ MB\/s$/);
      for (const file of tested.slice(tested.indexOf("test/")).split(", ")) {
        expect(existsSync(path.join(root, file)), `${host}: ${file}`).toBe(true);
        named.add(file);
        // A row cannot point at a test of something else: its address is dialled there.
        const scheme = `${address.split(":", 1)[0]}:`;
        expect(read(file).includes(scheme), `${file} dials ${scheme}`).toBe(true);
      }
    }
    const others = filesBelow("test/hosts", ".test.ts").filter(
      (file) => file !== "test/hosts/host-api.test.ts",
    );
    for (const file of others) expect([...named], `no row for ${file}`).toContain(file);
  });

  test("its addresses are addresses", () => {
    const filled = (address: string): string =>
      address
        .replace("HOST", "h")
        .replace("NODE", "n")
        .replace("NUMBER", "101")
        .replace("NAMESPACE/NAME", "ns/vm")
        .replace("SERVER-ID", "9168b536-cd40-4630-b43f-b259807c6e87")
        .replace("INSTANCE", "db1")
        .replace("PATH:PORT", "/x:7")
        .replace("PATH", "/x");
    for (const [host, address] of hosts) {
      expect(() => parseAddress(filled(address as string)), host).not.toThrow();
    }
  });

  test("lists every setting that the code reads, and no other", () => {
    const used = new Set<string>();
    for (const file of filesBelow("cli/hosts", ".ts")) {
      const source = read(file);
      const prefix = /new HostSettings\(environment, "(SEALTTY_[A-Z]+)"\)/.exec(source)?.[1];
      if (prefix === undefined) continue;
      for (const [, how, name] of source.matchAll(
        /settings\.(text|flag|required|secret|requiredSecret|pem)\(\s*"([A-Z_]+)"/g,
      )) {
        used.add(`${prefix}_${name}`);
        if (/secret/i.test(how as string)) used.add(`${prefix}_${name}_FILE`);
      }
    }
    const told = new Set([...text.matchAll(/`(SEALTTY_[A-Z]+_[A-Z_]+)`/g)].map(([, name]) => name as string));
    expect([...told].sort()).toEqual([...used].sort());
    const tls = [...read("cli/hosts/host-api.ts").matchAll(/settings\.(?:pem|text)\("([A-Z_]+)"/g)];
    expect(tls.length).toBe(4);
    for (const [, name] of tls) expect(text).toContain(`\`…_${name}\``);
  });
});

describe("documents", () => {
  const documents = [
    ...["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].filter((name) =>
      existsSync(path.join(root, name)),
    ),
    ...filesBelow("docs", ".md"),
    ...filesBelow("test/vectors", ".md"),
    ...filesBelow("formal", ".md"),
  ];

  test.each(documents)("%s: links inside the repository lead somewhere", (file) => {
    const text = read(file).replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, "");
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      const [target, anchor] = (link as string).split("#", 2) as [string, string | undefined];
      if (/^[a-z]+:/.test(target)) continue;
      const where = target === "" ? file : path.join(path.dirname(file), target);
      expect(existsSync(path.join(root, where)), `${file} links to ${target}`).toBe(true);
      if (anchor === undefined || !where.endsWith(".md")) continue;
      const anchors = [...read(where).matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
        (title as string)
          .toLowerCase()
          .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
          .replaceAll(" ", "-"),
      );
      expect(anchors, `${file} links to ${link}`).toContain(anchor);
    }
  });

  test.each(documents)("%s: files and folders it names exist", (file) => {
    const places =
      /`((?:protocol|node|server|relay|cli|client|scripts|packaging|formal|test)\/[\w./-]+\.(?:ts|mjs|json|toml|service|sh))`/g;
    for (const [, name] of read(file).matchAll(places)) {
      if (file === "CHANGELOG.md") continue; // history names what is gone
      expect(existsSync(path.join(root, name as string)), `${file} names ${name}`).toBe(true);
    }
  });

  test("docs/decisions are numbered in order, each with context, decision and consequence", () => {
    const decisions = filesBelow("docs/decisions", ".md").sort();
    expect(decisions.map((file) => path.basename(file).slice(0, 4))).toEqual(
      decisions.map((_, index) => String(index + 1).padStart(4, "0")),
    );
    for (const file of decisions) {
      const headings = [...read(file).matchAll(/^## (.+)$/gm)].map(([, title]) => title);
      expect(headings, `headings of ${file}`).toEqual(["Context", "Decision", "Consequence"]);
    }
  });

  test.runIf(existsSync(path.join(root, "README.md")))("README.md: the commands it shows exist", () => {
    const text = read("README.md");
    const commands = new Set([
      ...filesBelow("cli/commands", ".ts").map((name) => path.basename(name, ".ts")),
      "help",
    ]);
    // Only what is set as code: fenced or indented blocks, and backquotes.
    const code = [
      ...[...text.matchAll(/^```.*\n([\s\S]*?)^```/gm)].flatMap(([, block]) => (block as string).split("\n")),
      ...text.split("\n").filter((line) => line.startsWith("    ")),
      ...[...text.matchAll(/`([^`\n]+)`/g)].map(([, words]) => words as string),
    ].join("\n");
    for (const [, name] of code.matchAll(/^\s*(?:\$ )?(?:npx )?sealtty ([a-z-]+)\b/gm)) {
      expect(commands.has(name as string), `sealtty ${name}`).toBe(true);
    }
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    for (const [, name] of text.matchAll(/\bnpm run ([a-z:-]+)/g))
      expect(scripts, `npm run ${name}`).toHaveProperty([name as string]);
  });

  test("no document names a label that the code does not have", () => {
    const sources = filesBelow("protocol", ".ts").map(read).join("\n");
    for (const [, label] of protocol.matchAll(/"(sealtty[a-z-]*\/[0-9])"/g)) {
      expect(sources.includes(`"${label}\\0"`), `label ${label}`).toBe(true);
      expect(utf8(label as string).length).toBeLessThan(64);
    }
  });
});

test("every file of the project that a document names exists", () => {
  const named =
    /`((?:protocol|server|relay|client|cli|node|test|scripts|formal|packaging|docs|bench)\/[\w./-]+\.\w+)`/g;
  const decisions = readdirSync(path.join(root, "docs/decisions")).map((name) => `docs/decisions/${name}`);
  const documents = readdirSync(path.join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`);
  for (const document of [
    "README.md",
    "formal/README.md",
    "test/vectors/README.md",
    ...documents,
    ...decisions,
  ]) {
    const text = readFileSync(path.join(root, document), "utf8");
    for (const [, file] of text.matchAll(named)) {
      expect(existsSync(path.join(root, file as string)), `${document} names ${file}`).toBe(true);
    }
  }
});
