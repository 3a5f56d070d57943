// What a console on the machine's screen is made of.

import type { Device } from "../../../protocol/modem/devices.ts";

export interface ConsoleDevices {
  /** `pixels`: a /dev/fb*; `cells`: a /dev/vcsa*. */
  readonly screen: { readonly kind: "pixels" | "cells"; readonly path: string };
  readonly input: { readonly device: Device; readonly wire: "evdev" | "raw"; readonly path: string };
  /** Others that are held so that no terminal, login or SysRq hears them. */
  readonly held: readonly string[];
}
