// A guest's page comes back to its own port, where the browser has its keys; another guest's to another, if need be.

import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { startSomewhere } from "../../cli/commands/open.ts";
import type { PageServerOptions } from "../../cli/local-page-server.ts";
import { PagePort } from "../../cli/page-port.ts";
import { Reporter } from "../../cli/report.ts";
import { fakeCli } from "./fake-cli.ts";

const scratch = mkdtempSync(path.join(os.tmpdir(), "sealtty-ports-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const placed = (address: string, state = path.join(scratch, "state")) =>
  new PagePort(address, { environment: { XDG_STATE_HOME: state } });

test("is kept for each guest, in a file of the user's alone", async () => {
  expect(await placed("tcp:a:1").recall()).toBeUndefined();
  await placed("tcp:a:1").remember(8744);
  await placed("tcp:b:1").remember(8743);
  expect(await placed("tcp:a:1").recall()).toBe(8744);
  expect(await placed("tcp:b:1").recall()).toBe(8743);
  const directory = path.join(scratch, "state", "sealtty", "page-ports");
  const files = readdirSync(directory);
  expect(files.length).toBe(2);
  for (const file of files) expect(statSync(path.join(directory, file)).mode & 0o777).toBe(0o600);
});

test.each([
  "",
  "{",
  '{"version":2,"port":8744}',
  '{"version":1,"port":0}',
  '{"version":1,"port":70000}',
  "x".repeat(300),
])("a file that says %j says nothing", async (text) => {
  await placed("tcp:c:1").remember(8744);
  const directory = path.join(scratch, "state", "sealtty", "page-ports");
  for (const file of readdirSync(directory)) writeFileSync(path.join(directory, file), text);
  expect(await placed("tcp:c:1").recall()).toBeUndefined();
});

test("without a home, or where nothing can be written, nothing is kept and nothing fails", async () => {
  const homeless = new PagePort("tcp:a:1", { environment: {} });
  await homeless.remember(8744);
  expect(await homeless.recall()).toBeUndefined();
  const file = path.join(scratch, "file");
  writeFileSync(file, "");
  await placed("tcp:a:1", file).remember(8744);
  expect(await placed("tcp:a:1", file).recall()).toBeUndefined();
});

test("a port that is taken: the next one, and what that means is said; by name it is an error", async () => {
  const squatter = net.createServer();
  await new Promise<void>((resolve) => squatter.listen(0, "127.0.0.1", resolve));
  const { port } = squatter.address() as net.AddressInfo;
  const cli = fakeCli();
  const reporter = new Reporter(cli.services, undefined);
  const options: PageServerOptions = {
    port,
    files: new Map(),
    identity: undefined,
    guest: {
      address: "tcp:h:1",
      directUrl: undefined,
      policyText: "",
      simulated: false,
      user: "root",
      identity: "db1",
      encoding: "auto",
      obfuscate: "off",
    },
    dial: () => Promise.reject(new Error("not dialled")),
  };
  try {
    const server = await startSomewhere(options, true, reporter);
    await server.close();
    expect(server.port).toBeGreaterThan(port);
    expect(cli.errors()).toContain(`port ${port} is taken; the page is on port ${server.port}`);
    await expect(startSomewhere(options, false, reporter)).rejects.toMatchObject({
      code: "device-unavailable",
    });
  } finally {
    squatter.close();
  }
});
