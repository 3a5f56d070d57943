// Two groups, one after the other: what computes, or has a few processes talk, side by side; then what boots VMs, drives
// browsers, measures or wants both processors, one file at a time. A third one needs a whole Debian, which takes minutes to
// make: `npm run test:debian`.

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
const debian = ["test/vm/unlock.test.ts", "test/interop/cloud-init.test.ts"];
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
          exclude: [...alone, ...debian],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: "system",
          include: alone,
          exclude: debian,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...common,
          name: "debian",
          include: debian,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
