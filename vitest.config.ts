// Two groups, one after the other: what computes, waits, or shows a page its states, three files side by side; then what boots
// VMs, drives a browser against a guest, measures or wants both processors, one file at a time. A third one needs a whole Debian, which takes minutes to
// make: `npm run test:debian`.

import { defineConfig } from "vitest/config";

const alone = [
  "test/vm/**/*.test.ts",
  ...[
    "demo",
    "page-keys",
    "page-keys-open",
    "page-takeover",
    "real-page",
    "page-unlock",
    "verify",
    "web-api",
  ].map((name) => `test/browser/${name}.test.ts`),
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
const debian = ["test/vm/whole-debian.test.ts", "test/interop/cloud-init.test.ts"];
const common = { pool: "forks", testTimeout: 240_000, hookTimeout: 240_000 } as const;

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        test: {
          ...common,
          name: "unit",
          maxWorkers: 3, // many wait for timers of their programs, or for a browser
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
