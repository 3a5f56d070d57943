// The committed vectors are what the code gives: a change of protocol cannot slip in unseen.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { concat, fromHex, Reader, toHex } from "../../protocol/bytes.ts";
import { crc32 } from "../../protocol/frames/crc32.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeRawFrameInto, MAX_BINARY_FRAME } from "../../protocol/frames/frame-encoder.ts";
import { KernelLogDecoder } from "../../protocol/kernel-log/messages.ts";
import { PromptsDecoder } from "../../protocol/prompts/messages.ts";
import { readSeed } from "../../protocol/provision/seed.ts";
import { readOpen } from "../../protocol/session/open-request.ts";
import { keyTypeOf } from "../../protocol/user-auth/ssh-wire.ts";
import { USER_AUTH_NAMESPACE } from "../../protocol/user-auth/user-auth-message.ts";
import { hasOpenssh, makeScratch, sshKeygenAccepts } from "../support/openssh.ts";
import { attempt } from "../support/user-attempt.ts";
import { channelVectors } from "../vectors/channels.ts";
import { vectorFiles } from "../vectors/generate.ts";
import { bytesOf, rawFrameVectors } from "../vectors/raw-frames.ts";

test.each(Object.keys(vectorFiles))("test/vectors/%s is what test/vectors/generate.ts makes", (file) => {
  const committed: unknown = JSON.parse(readFileSync(new URL(`../vectors/${file}`, import.meta.url), "utf8"));
  expect(vectorFiles[file]?.()).toEqual(committed);
});

test("of test/vectors/channels.json each message is read as it says, and each refused one is refused", () => {
  const { prompts, services, kernelLog, seeds } = channelVectors();
  const promptsOf = (from: string, bytes: string) =>
    new PromptsDecoder(from === "guest" ? "guest" : "client").push(fromHex(bytes));
  for (const { from, bytes, message } of prompts.messages)
    expect(promptsOf(from, bytes).map((read) => hexed(read, "passphrase"))).toEqual([message]);
  const serviceOf = (bytes: string) => {
    const reader = new Reader(fromHex(bytes), "vector");
    const request = readOpen(reader);
    reader.end();
    return request;
  };
  for (const { bytes, service } of services.requests)
    expect(serviceOf(bytes)).toEqual({ kind: "service", service });
  const logOf = (bytes: string) => new KernelLogDecoder().push(fromHex(bytes));
  for (const { bytes, messages } of kernelLog.streams)
    expect(logOf(bytes).map((read) => hexed(read, "bytes"))).toEqual(messages);
  const seedOf = (bytes: string) => readSeed(fromHex(bytes));
  for (const { bytes, ...parts } of seeds.seeds) {
    const { userData, metaData, networkConfig } = seedOf(bytes);
    const hex = (part: Uint8Array | undefined) => (part === undefined ? undefined : toHex(part));
    expect({
      userData: hex(userData),
      metaData: hex(metaData),
      networkConfig: hex(networkConfig),
    }).toEqual(parts);
  }
  const all: readonly (readonly [
    { name: string; bytes: string }[],
    (bytes: string, name: string) => unknown,
  ])[] = [
    [prompts.refused, (bytes, name) => promptsOf(name.split(":", 1)[0] ?? "", bytes)],
    [services.refused, serviceOf],
    [kernelLog.refused, logOf],
    [seeds.refused, seedOf],
  ];
  for (const [refused, read] of all)
    for (const { name, bytes } of refused)
      expect(() => read(bytes, name), name).toThrow(expect.objectContaining({ code: "peer-misbehaved" }));
});

/** With those bytes as the file has them. */
function hexed(message: object, field: string): object {
  return Object.fromEntries(
    Object.entries(message).map(([name, value]) => [
      name,
      name === field && value instanceof Uint8Array ? toHex(value) : value,
    ]),
  );
}

interface KeyVector {
  readonly name: string;
  readonly publicKey: string;
  readonly sshsig: string;
  readonly authority?: string;
}

test("the keys of test/vectors/user-keys.json let their user in, and ssh-keygen takes their signatures", async () => {
  const read = (file: string): unknown =>
    JSON.parse(readFileSync(new URL(`../vectors/${file}`, import.meta.url), "utf8"));
  const { keys } = read("user-keys.json") as { readonly keys: readonly KeyVector[] };
  const { userAuth } = read("packets.json") as { readonly userAuth: Readonly<Record<string, string>> };
  const text = (name: string): string => userAuth[name] ?? "";
  const fields = {
    handshakeHash: fromHex(text("handshakeHash")),
    evidenceDigest: fromHex(text("evidenceDigest")),
    user: text("user"),
    service: text("service"),
  };
  expect(keys.length).toBe(7);
  const scratch = makeScratch();
  for (const { name, publicKey, sshsig, authority } of keys) {
    const blob = fromHex(authority ?? publicKey);
    const line = `${keyTypeOf(blob)} ${Buffer.from(blob).toString("base64")}`;
    const over = { fields, passkeyOrigins: ["http://localhost:8743"] };
    const lines = authority === undefined ? line : `cert-authority ${line}`;
    expect(await attempt(lines, fromHex(publicKey), fromHex(sshsig), over), name).toBeDefined();
    if (hasOpenssh) {
      const message = fromHex(text("message"));
      const principal = authority === undefined ? undefined : "alice";
      const path = scratch.path("check");
      const taken = sshKeygenAccepts(path, line, USER_AUTH_NAMESPACE, message, fromHex(sshsig), principal);
      expect(taken, name).toBe(true);
    }
  }
  scratch.remove();
});

const rawCases = rawFrameVectors().cases;

test.each(rawCases)("raw-frames.json, $name: our decoder gives these frames, lent and given", (vector) => {
  const expected = vector.frames.map(({ encoding, body }) => `${encoding} ${toHex(bytesOf(body))}`);
  for (const bodies of ["lends", "gives"] as const) {
    const decoder = new FrameDecoder(crc32, bodies, !vector.armourOnly);
    const found = vector.reads.flatMap(({ at, bytes }) =>
      decoder
        .push(bytesOf(bytes), at)
        .frames.filter(({ encoding }) => encoding === "armour" || !vector.armourOnly)
        .map(({ encoding, body }) => `${encoding} ${toHex(body)}`),
    );
    expect(found.length).toBe(expected.length);
    found.forEach((frame, i) => expect(frame === expected[i], `${bodies}, frame ${i}`).toBe(true));
  }
});

test.each(rawCases.filter(({ name }) => /^(?:25|16501|264000) bytes|^delimiters/.test(name)))(
  "raw-frames.json, $name: our encoder writes this read",
  ({ reads, frames }) => {
    const target = new Uint8Array(MAX_BINARY_FRAME);
    const written = concat(
      ...frames.map(({ body }) => target.subarray(0, encodeRawFrameInto(target, 0, bytesOf(body), crc32))),
    );
    expect(toHex(written) === toHex(bytesOf(reads[0]?.bytes ?? []))).toBe(true);
  },
);
