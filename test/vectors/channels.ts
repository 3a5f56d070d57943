// Vectors of what goes through channels of the kinds "prompts" and "service": messages, and what a reader must refuse.

import { concat, toHex, u8, utf8 } from "../../protocol/bytes.ts";
import { encodeKernelLog, type KernelLogMessage } from "../../protocol/kernel-log/messages.ts";
import { MAX_PROMPT_ANSWER } from "../../protocol/limits.ts";
import { encodePromptsMessage, type PromptsMessage } from "../../protocol/prompts/messages.ts";
import { encodeSeed, type Seed } from "../../protocol/provision/seed.ts";
import { openBody } from "../../protocol/session/open-request.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";

export function channelVectors() {
  return {
    source: "sealtty; made by test/vectors/channels.ts",
    prompts: prompts(),
    services: services(),
    kernelLog: kernelLog(),
    seeds: seeds(),
  };
}

/** docs/protocol.md §8.12. Passphrases in hex, as they need be no text. */
function prompts() {
  const longest = Uint8Array.from({ length: MAX_PROMPT_ANSWER }, (_, i) => (i % 255) + 1);
  const messages: readonly PromptsMessage[] = [
    { type: "pending", prompts: [] },
    {
      type: "pending",
      prompts: [
        {
          number: 1,
          origin: "initramfs",
          echo: false,
          name: "",
          message: "Please unlock disk root_crypt:",
        },
      ],
    },
    {
      type: "pending",
      prompts: [
        {
          number: 7,
          origin: "systemd",
          echo: false,
          name: "cryptsetup:/dev/vda2",
          message: "Schlüssel für ä",
        },
        { number: 0xffffffff, origin: "systemd", echo: true, name: "a:b", message: "" },
      ],
    },
    ...(["opened", "asked-again", "gone", "unknown", "failed"] as const).map(
      (outcome) => ({ type: "outcome", number: 7, outcome }) as const,
    ),
    { type: "answer", number: 7, passphrase: utf8("correct horse") },
    { type: "answer", number: 1, passphrase: longest },
  ];
  return {
    messages: messages.map((message) => ({
      from: message.type === "answer" ? "client" : "guest",
      bytes: toHex(encodePromptsMessage(message)),
      message:
        message.type === "answer" ? { ...message, passphrase: toHex(message.passphrase) } : { ...message },
    })),
    refused: refused({
      "guest: of an unknown type": "0400000100",
      "guest: of the client's": "0300000900000007000378207a",
      "guest: empty": "01000000",
      "guest: longer than PENDING can be": "010018a2",
      "guest: 17 questions": "0100000111",
      "guest: the same number twice": "01000015020000000700000000000000000007000000000000",
      "guest: number 0": "020000050000000001",
      "guest: an unknown origin": "0100000b0100000007020000000000",
      "guest: an unknown flag": "0100000b0100000007000200000000",
      "guest: a name that is no UTF-8": "0100000c010000000700000001ff0000",
      "guest: an unknown outcome": "020000050000000705",
      "guest: a byte behind its fields": "02000006000000070100",
      "client: an empty passphrase": "03000006000000070000",
      "client: a passphrase with a zero byte": "030000080000000700026100",
      "client: longer than ANSWER can be": "03000207",
      "client: of the guest's": "020000050000000701",
    }),
  };
}

/** Requests of kind 6 in OPEN: docs/protocol.md §8.13. */
function services() {
  const requests: readonly ServiceRequest[] = [
    { name: "kernel-log", follow: false },
    { name: "kernel-log", follow: true },
    { name: "sysrq", key: "0" },
    { name: "sysrq", key: "z" },
    { name: "provision" },
  ];
  return {
    requests: requests.map((service) => ({ bytes: toHex(openBody({ kind: "service", service })), service })),
    refused: refused({
      "no service": "06",
      "an unknown service": "0603",
      "follow of 2": "060002",
      "a capital letter as key": "060153",
      "a key too many": "0601627a",
      "a byte behind provision": "060200",
    }),
  };
}

/** Each list is one stream: docs/protocol.md §8.13. */
function kernelLog() {
  const clock = { type: "clock", uptime: 12_345_678, wall: 1_790_000_000_123 } as const;
  const record = (text: string): KernelLogMessage => ({ type: "record", bytes: utf8(text) });
  const streams: Readonly<Record<string, readonly KernelLogMessage[]>> = {
    "nothing but the clock, and all is said": [clock, { type: "caught-up" }],
    "two records, one lost between them, and one that came later": [
      clock,
      record("6,0,0,-;Linux version 6.1.0\n"),
      { type: "lost" },
      record("3,335,1267300,-;virtio1: h\\xc3\\xa9llo\n SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n"),
      { type: "caught-up" },
      record("14,336,1300000,c,caller=T1;a program's"),
    ],
  };
  const head = encodeKernelLog(clock);
  const late = (hex: string): string => `${toHex(head)}${hex}`;
  return {
    streams: Object.entries(streams).map(([name, messages]) => ({
      name,
      bytes: toHex(concat(...messages.map(encodeKernelLog))),
      messages: messages.map((message) =>
        message.type === "record" ? { ...message, bytes: toHex(message.bytes) } : { ...message },
      ),
    })),
    refused: refused({
      "a record before the clock": "0200000178",
      "a second clock": late(toHex(head)),
      "a clock that is too short": "0100000400000000",
      "a clock above 2^53": `01000010${"ff".repeat(8)}${"00".repeat(8)}`,
      "an uptime that no calendar has": "01000010001eb208c2dc00010000000000000000",
      "a wall clock that no calendar has": "010000100000000000000000001eb208c2dc0001",
      "an empty record": late("02000000"),
      "a record of 8193 bytes": late("02002001"),
      "LOST with a body": late("0300000100"),
      "an unknown type": late("05000000"),
      "CAUGHT_UP twice": late("0400000004000000"),
    }),
  };
}

/** The whole stream of a client: docs/protocol.md §8.13. */
function seeds() {
  const whole: readonly Seed[] = [
    { userData: utf8("#cloud-config\n") },
    { userData: utf8("#!/bin/sh\n"), metaData: utf8("instance-id: one\n") },
    { userData: utf8("#!/bin/sh\n"), networkConfig: utf8("version: 2\n") },
    { userData: Uint8Array.of(0x1f, 0x8b, 0), metaData: new Uint8Array(0), networkConfig: utf8("{}") },
  ];
  const hex = (part: Uint8Array | undefined) => (part === undefined ? undefined : toHex(part));
  return {
    seeds: whole.map((each) => ({
      bytes: toHex(encodeSeed(each)),
      userData: hex(each.userData),
      metaData: hex(each.metaData),
      networkConfig: hex(each.networkConfig),
    })),
    refused: refused({
      empty: "",
      "of version 2": "02000000000178",
      "with an unknown flag": "01040000000178",
      "without user-data": "010000000000",
      "with a length above MAX_USER_DATA": "010000100001",
      "that ends early": toHex(
        concat(u8(1), u8(1), Uint8Array.of(0, 0, 0, 1, 0x78), Uint8Array.of(0, 0, 0, 4)),
      ),
      "with a byte behind it": "0100000000017800",
    }),
  };
}

function refused(cases: Readonly<Record<string, string>>) {
  return Object.entries(cases).map(([name, bytes]) => ({ name, bytes }));
}
