// The check that the commands use the API: that it finds what it is there for, and that there is something to find it in.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const { besideTheApi, besideWithReason, repositoryChecks } = (await import(
  `${root}/scripts/lib/repository-checks.mjs`
)) as {
  readonly besideTheApi: (name: string, text: string) => string[];
  readonly besideWithReason: Readonly<Record<string, string>>;
  repositoryChecks: Record<string, () => string[]>;
};
const commands = [
  ..."exec cp proxy forward master connect sessions unlock log sysrq provision"
    .split(" ")
    .map((name) => `cli/commands/${name}.ts`),
  "cli/terminal-session.ts",
  "cli/kept-session.ts",
];

test("the commands go beside the API nowhere", () => {
  expect(repositoryChecks["commands use the API"]?.()).toEqual([]);
  for (const name of [...commands, "cli/master/served.ts", "cli/run-program.ts"])
    expect(existsSync(path.join(root, name)), name).toBe(true);
});

test.each([
  'import type { Channel } from "../../protocol/session/channel-api.ts";',
  'import { connect } from "../../protocol/session/connect.ts";',
  'import { FilesSink } from "../../node/files/sink.ts";',
  'import { listenOn } from "../../node/sockets.ts";',
  "const channel = await guest.openChannel(request);",
  "const guest = await authenticate(reached);",
  "const channel = await guest.openSession({ request });",
  "await guest.killSession(session);",
  'import type { SessionChannel } from "../../protocol/session/session-api.ts";',
])("each of them that did would be told: %s", (line) => {
  for (const name of commands) expect(besideTheApi(name, line), name).not.toEqual([]);
  expect(besideTheApi("cli/api/open-guest.ts", line)).toEqual([]);
});

test.each([
  'import type { Guest } from "../protocol/session/api.ts";',
  'import { ClientChannels } from "../protocol/session/client-channels.ts";',
  'import { StreamConnection } from "../protocol/streams/stream-connection.ts";',
  'import { PacketSealer } from "../protocol/packets/packet-cipher.ts";',
  "await attested.authenticate(auth);",
  'import { attestGuest } from "../protocol/api/attest.ts";',
])("no file of the command line holds a connection: %s", (line) => {
  for (const name of ["cli/output.ts", "cli/reach.ts", "cli/hosts/nova.ts", "cli/session-store.ts"])
    expect(besideTheApi(name, line), name).not.toEqual([]);
  const harmless = 'import { SHAPING_PROFILES } from "../protocol/packets/shaping.ts";';
  expect(besideTheApi("cli/output.ts", harmless)).toEqual([]);
});

test("those that are excepted have to be: each would be told else", () => {
  for (const name of Object.keys(besideWithReason))
    expect(besideTheApi("cli/other.ts", readFileSync(path.join(root, name), "utf8")), name).not.toEqual([]);
});
