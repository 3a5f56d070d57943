// The modem's client end before QEMU's own VNC server: a still picture with a guest's data in it, as text cells of a real VGA.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dialRfb } from "../../node/rfb.ts";
import { nodeClock } from "../../node/clock.ts";
import { concat, equalBytes } from "../../protocol/bytes.ts";
import { encodeBeacon, encodeSlot, encodeStatus } from "../../protocol/modem/blocks.ts";
import { layoutFor, type ScreenSize, slotBytes } from "../../protocol/modem/geometry.ts";
import { openModemOverRfb } from "../../protocol/modem/modem-over-rfb.ts";
import { encodeRows, paletteCells } from "../../protocol/modem/pixels.ts";
import { Taken } from "../support/modem-link.ts";
import { type QemuVnc, startQemuVnc } from "../support/qemu-vnc.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { SCREEN_BYTES, stillPicture } from "../support/still-picture.ts";

const random = seeded(testSeed());
process.stdout.write(`SEALTTY_TEST_SEED=${random.seed}\n`);
/** The client's first epoch is the one behind the number that it is given. */
const EPOCH = 1000;
const WIDTH = 80;

/** As a guest would have drawn it that has heard this client. @param format - of text cells. */
function drawn(format: "cells4" | "cells8", device: "ps2-mouse" | "keyboard") {
  const size: ScreenSize = { format, width: WIDTH, height: 25 };
  const layout = layoutFor(size);
  if (layout === undefined) throw new Error("No room for a modem");
  const nonce = random.bytes(8);
  const cells = new Uint8Array(SCREEN_BYTES);
  const put = (row: number, bytes: Uint8Array): void => cells.set(bytes, row * WIDTH * 2);
  put(0, concat(paletteCells(), encodeRows(size, encodeBeacon({ nonce, size, layout, device }))));
  const status = { epoch: EPOCH + 1, base: 40, released: 40, heard: 7, expected: 0, spoiled: 0 };
  put(1, encodeRows(size, encodeStatus(status, nonce)));
  const payloads: Uint8Array[] = [];
  for (let number = 40; number < 40 + layout.slots; number++) {
    const payload = random.bytes(slotBytes(size, layout) - 16);
    payloads.push(payload);
    const row = layout.top + (number % layout.slots) * layout.rowsPerSlot;
    put(row, encodeRows(size, encodeSlot({ number, expected: 0, payload }, nonce)));
  }
  return { disk: stillPicture(cells), data: concat(...payloads) };
}

describe.each([
  ["cells8", "ps2-mouse"],
  ["cells4", "keyboard"],
] as const)("text cells as %s, read for a %s", (format, device) => {
  const { disk, data } = drawn(format, device);
  let qemu: QemuVnc;
  beforeAll(async () => {
    qemu = await startQemuVnc(disk);
  });
  afterAll(async () => {
    await qemu?.stop();
  });

  test("nothing is there before the machine runs, then each byte; and both again for the next client", async () => {
    const dialled = () => dialRfb({ kind: "unix", path: qemu.socket });
    const options = { clock: nodeClock, epoch: EPOCH };
    await expect(openModemOverRfb(await dialled(), { ...options, opensWithin: 500 })).rejects.toThrow(
      "shows nothing of sealttyd's",
    );
    await qemu.qmp("cont");
    for (let client = 0; client < 2; client++) {
      const pipe = await openModemOverRfb(await dialled(), { ...options, opensWithin: 120_000 });
      const taken = new Taken(pipe);
      while (taken.length < data.length) await new Promise((resolve) => setImmediate(resolve));
      expect(equalBytes(taken.bytes, data)).toBe(true);
      await pipe.send(random.bytes(10)); // QEMU takes it, whoever hears it
      await pipe.close();
      expect(taken.ended).toBe("clean");
    }
  });
});
