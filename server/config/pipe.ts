// `[pipe]`: how the host carries the console.

import type { ConsoleDevices } from "../pipes/framebuffer/devices.ts";
import { INPUT_KINDS, type InputKind } from "../pipes/framebuffer/find-input.ts";
import type { Table } from "./table.ts";

export type PipeConfig =
  | { readonly type: "virtio"; readonly name: string }
  | { readonly type: "tty"; readonly device: string; readonly armourOnly: boolean }
  | { readonly type: "unix"; readonly path: string }
  | FramebufferConfig;

/** The machine's own screen and keys, which the host shows by VNC. */
export interface FramebufferConfig {
  readonly type: "framebuffer";
  /** Undefined: /dev/fb0, else the text cells of the virtual terminal in front. */
  readonly screen: string | undefined;
  /** Undefined: the best that there is. */
  readonly input: InputKind | undefined;
  /** What the half with rights has taken, as the other one is told; never in a file. */
  readonly taken?: ConsoleDevices;
}

export function pipeOf(table: Table): PipeConfig {
  const type = table.oneOf("type", ["virtio", "tty", "unix", "framebuffer"]);
  switch (type) {
    case "virtio":
      table.allow("type", "name");
      return { type, name: table.text("name") };
    case "tty":
      table.allow("type", "device", "armour_only");
      return { type, device: table.path("device"), armourOnly: table.flag("armour_only") ?? false };
    case "unix":
      table.allow("type", "path");
      return { type, path: table.path("path") };
    case "framebuffer":
      table.allow("type", "screen", "input");
      return {
        type,
        screen: table.has("screen") ? table.path("screen") : undefined,
        input: table.has("input") ? table.oneOf("input", INPUT_KINDS) : undefined,
      };
  }
}
