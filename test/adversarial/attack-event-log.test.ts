// `sealtty inspect` reads the event log of whatever answers: it must cost about its length.
import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { reportEventLog } from "../../protocol/attestation/tpm/event-log.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { MAX_EVENT_LOG } from "../../protocol/limits.ts";

const le32 = (value: number) =>
  Uint8Array.of(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);

test("events of nothing but zeros, which look like padding up to the last byte", () => {
  const spec = concat(
    utf8("Spec ID Event03\0"),
    new Uint8Array(8),
    le32(1),
    Uint8Array.of(0x0b, 0, 32, 0, 0),
  );
  const head = concat(le32(0), le32(3), new Uint8Array(20), le32(spec.length), spec);
  const log = new Uint8Array(MAX_EVENT_LOG);
  log.set(head);
  log[log.length - 1] = 1;
  const start = performance.now();
  const report = reportEventLog(log, [], "sha256", (message) => nodeSuite.sha256(message));
  const ms = performance.now() - start;
  expect(report.problem).toBe("the event log is malformed");
  // Milliseconds where each byte is looked at once or twice; minutes where each event looks at all that follow.
  expect(ms).toBeLessThan(10_000);
});
