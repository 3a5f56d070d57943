// Two groups, one after the other: what computes, or has a few processes talk, side by side; then what boots VMs, drives
// browsers, measures or wants both processors, one file at a time.

import { defineConfig } from "vitest/config";

const alone = [
  "test/vm/**/*.test.ts",
  "test/browser/**/*.test.ts",
  ...[
    "bad-input",
    "end-of-input",
    "flow",
    "forward",
    "hosts",
    "sessions",
    "shaping-statistics",
    "soak",
    "terminal-gone",
  ].map((name) => `test/interop/${name}.test.ts`),
  "test/formal/spin.test.ts",
  "test/adversarial/host-floods.test.ts",
];
const common = { pool: "forks", testTimeout: 240_000, hookTimeout: 240_000 } as const;

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          ...common,
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: alone,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: "system",
          include: alone,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
