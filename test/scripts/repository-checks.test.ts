// The check that the commands use the API: that it finds what it is there for, and that there is something to find it in.

import { existsSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const { besideTheApi, repositoryChecks } = (await import(`${root}/scripts/lib/repository-checks.mjs`)) as {
  readonly besideTheApi: (name: string, text: string) => string[];
  repositoryChecks: Record<string, () => string[]>;
};
const commands = "exec cp proxy forward master unlock log sysrq provision"
  .split(" ")
  .map((name) => `cli/commands/${name}.ts`);

test("the commands go beside the API nowhere", () => {
  expect(repositoryChecks["commands use the API"]?.()).toEqual([]);
  for (const name of [...commands, "cli/master/serve-master.ts", "cli/run-program.ts"])
    expect(existsSync(path.join(root, name)), name).toBe(true);
});

test.each([
  'import type { Channel } from "../../protocol/session/channel-api.ts";',
  'import { connect } from "../../protocol/session/connect.ts";',
  'import { FilesSink } from "../../node/files/sink.ts";',
  'import { listenOn } from "../../node/sockets.ts";',
  "const channel = await guest.openChannel(request);",
  "const guest = await authenticate(reached);",
  "await guest.attach(request);",
])("each of them that did would be told: %s", (line) => {
  for (const name of commands) expect(besideTheApi(name, line), name).not.toEqual([]);
  expect(besideTheApi("cli/api/open-guest.ts", line)).toEqual([]);
});
