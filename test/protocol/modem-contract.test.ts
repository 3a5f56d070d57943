// What every pipe promises, on both ends of the modem through an RFB server.

import { Duplex } from "node:stream";
import type { Pipe } from "../../protocol/pipe.ts";
import { type FloodTerms, type PipePair, pipeContract } from "../support/pipe-contract.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { ScreenWire } from "../support/wires.ts";

const seed = testSeed();
process.stdout.write(`SEALTTY_TEST_SEED=${seed}\n`);
const KIB = 1024;

/** Another end, as the contract's peer. It reads only what is asked for. */
function asDuplex(pipe: Pipe): Duplex {
  const chunks = pipe.incoming[Symbol.asyncIterator]();
  return new Duplex({
    read() {
      void chunks.next().then(
        ({ value, done }) => this.push(done === true ? null : value),
        (error: Error) => this.destroy(error),
      );
    },
    write(chunk: Buffer, _encoding, written) {
      pipe.send(chunk).then(() => written(), written);
    },
    destroy(error, destroyed) {
      void pipe.close().then(() => destroyed(error));
    },
  });
}

async function screenPair(of: "client" | "guest"): Promise<PipePair> {
  const wire = new ScreenWire("virtio-tablet", seeded(seed));
  const { pipe: client, cut } = await wire.connect();
  const peer = asDuplex(of === "client" ? wire.guest : client);
  return {
    pipe: of === "client" ? client : wire.guest,
    peer,
    abort: of === "client" ? cut : () => wire.unplug(),
    async cleanUp() {
      peer.destroy();
      await client.close();
      await wire.stop();
    },
  };
}

// What waits on the way: MAX_MODEM_TO_GUEST or MAX_MODEM_TO_CLIENT, what is on the screen or under way, and 16 KiB of a duplex.
const TO_GUEST: FloodTerms = { flood: 112 * KIB, bound: 96 * KIB };
const TO_CLIENT: FloodTerms = { flood: 512 * KIB, bound: 384 * KIB };
/** Nothing on a screen says that nobody draws on it any more, and no key that nobody presses one. */
const TERMS = { carried: 16 * KIB, tellsEnd: false };

pipeContract("the client's end of a modem", () => screenPair("client"), {
  ...TERMS,
  toPeer: TO_GUEST,
  fromPeer: TO_CLIENT,
});
pipeContract("the guest's end of a modem", () => screenPair("guest"), {
  ...TERMS,
  toPeer: TO_CLIENT,
  fromPeer: TO_GUEST,
});
