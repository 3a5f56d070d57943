// `[pipe]`: how the host carries the console.

import type { Table } from "./table.ts";

export type PipeConfig =
  | { readonly type: "virtio"; readonly name: string }
  | { readonly type: "tty"; readonly device: string; readonly armourOnly: boolean }
  | { readonly type: "unix"; readonly path: string };

export function pipeOf(table: Table): PipeConfig {
  const type = table.oneOf("type", ["virtio", "tty", "unix"]);
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
  }
}
