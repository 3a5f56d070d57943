// The short form of `npm run soak`: 60 forced disconnects, loss on every kind of pipe, memory; always with the same seed.
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { expect, test } from "vitest";

test("npm run soak -- --short: nothing lost, doubled or out of order, and memory stays where it is", async () => {
  const script = path.resolve(import.meta.dirname, "../../scripts/soak.mjs");
  const soak = spawn(process.execPath, [script, "--short", "--no-peers", "--no-build"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [table, talk] = ["", ""];
  soak.stdout.on("data", (chunk: Buffer) => (table += chunk.toString()));
  soak.stderr.on("data", (chunk: Buffer) => (talk += chunk.toString()));
  const [status] = (await once(soak, "close")) as [number | null];
  process.stdout.write(`SOAK\n${table}`);
  expect(status, talk).toBe(0);
  const verdicts = table.match(/whole, lost 0, doubled 0, reordered 0, foreign 0/g);
  expect(verdicts).toHaveLength(2); // each way
  expect(table).not.toContain("FAILED");
}, 300_000);
