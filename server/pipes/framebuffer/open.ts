// The machine's screen and keys as a pipe: the modem's guest end on the devices. docs/vnc-guest.md

import { nodeClock } from "../../../node/clock.ts";
import { nodeSuite } from "../../../node/crypto-suite.ts";
import { GuestModem } from "../../../protocol/modem/guest-modem.ts";
import type { Pipe } from "../../../protocol/pipe.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import { giveBackConsole, takeConsole } from "./console.ts";
import type { ConsoleDevices } from "./devices.ts";
import { openKeys } from "./keys.ts";
import { openScreen } from "./screen.ts";

const NONCE_BYTES = 8;

/** @throws SealttyError `device-unavailable`. */
export async function openFramebuffer(config: FramebufferConfig): Promise<Pipe> {
  // Where another half of sealttyd has the rights, it has taken the devices already, and gives them back.
  const own = config.taken === undefined;
  const devices = config.taken ?? takeConsole(config, undefined);
  const giveBack = (): void => {
    if (own) giveBackConsole();
  };
  try {
    return await openDevices(devices, giveBack);
  } catch (error) {
    giveBack();
    throw error;
  }
}

async function openDevices(devices: ConsoleDevices, giveBack: () => void): Promise<Pipe> {
  const screen = openScreen(devices.screen, nodeClock);
  try {
    const keys = await openKeys(devices, nodeClock);
    try {
      const nonce = nodeSuite.randomBytes(NONCE_BYTES);
      const modem = new GuestModem({ screen, keys, clock: nodeClock, nonce });
      return {
        incoming: modem.incoming,
        send: (chunk) => modem.send(chunk),
        async close() {
          await modem.close();
          keys.close();
          screen.close();
          giveBack();
        },
      };
    } catch (error) {
      keys.close();
      throw error;
    }
  } catch (error) {
    screen.close();
    throw error;
  }
}
