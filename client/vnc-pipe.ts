// A pipe to a guest through its host's VNC server, of which the page has a web socket. docs/vnc.md

import type { Clock } from "../protocol/clock.ts";
import { openModemOverRfb } from "../protocol/modem/modem-over-rfb.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { openRfb } from "../protocol/rfb/rfb-client.ts";

/**
 * @param socket - nothing was read or sent yet; belongs to what is returned, and is closed on failure.
 * @throws SealttyError `transport-lost`, in words.
 */
export async function openVncPipe(
  socket: Pipe,
  clock: Clock,
  randomBytes: (length: number) => Uint8Array,
): Promise<Pipe> {
  const [high = 0, low = 0] = randomBytes(2);
  return await openModemOverRfb(await openRfb(socket, { clock }), { clock, epoch: high * 256 + low });
}
