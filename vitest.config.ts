// Groups, one after the other:
// - machines: what boots one, or starts many programs, two files at a time.
// - alone: what measures, or floods and looks at who is still served.
// - pure and unit: what computes, waits, or shows pages, three files at a time. Files of `pure` share their modules, which have no state.
// A last one, `dracut`, boots another Debian, for which there is no time in each run: `npm run test:dracut`.

import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What takes longest, in this order, so that nothing long is left for the end. */
const LONG = [
  ...[
    "vm/whole-debian",
    "vm/remote-shell",
    "vm/doctor-debian", // behind these: else both make the archive of Debian that they share
    "vm/doctor",
    "vm/vnc",
    "vm/pipes",
    "vm/instance",
  ],
  ...[
    "browser/page-states",
    "browser/desktop-states",
    "server/pam",
    "browser/trust-states",
    "browser/page-keys",
    "browser/real-page",
  ],
  ...["protocol/shaping", "adversarial/attacks", "interop/api", "interop/files", "server/doctor"],
].map((name) => `/test/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONG.findIndex((name) => moduleId.endsWith(name));
      return found === -1 ? LONG.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b));
  }
}

const pure = ["test/protocol/**/*.test.ts", "test/client/**/*.test.ts"];
const machines = [
  "test/vm/**/*.test.ts",
  ...["demo", "desktop"].map((name) => `test/browser/${name}.test.ts`),
  ...["bad-input", "terminal-gone"].map((name) => `test/interop/${name}.test.ts`),
];
const alone = [
  ...["cloud-init", "flow", "forward", "shaping-statistics", "soak"].map(
    (name) => `test/interop/${name}.test.ts`,
  ),
  "test/adversarial/host-floods.test.ts",
];
const dracut = ["test/vm/whole-debian-dracut.test.ts"];
const common = { pool: "forks", testTimeout: 240_000, hookTimeout: 240_000 } as const;

export default defineConfig({
  test: {
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...common,
          name: "machines",
          maxWorkers: 2,
          include: machines,
          exclude: dracut,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: "alone",
          include: alone,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...common,
          name: "pure",
          maxWorkers: 3,
          isolate: false,
          include: pure,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...common,
          name: "unit",
          maxWorkers: 3, // many wait for timers of their programs, or for a browser
          include: ["test/**/*.test.ts"],
          exclude: [...pure, ...machines, ...alone, ...dracut],
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...common,
          name: "dracut",
          include: dracut,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
