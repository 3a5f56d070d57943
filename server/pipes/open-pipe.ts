// Opens what [pipe] of the configuration names.

import type { Pipe } from "../../protocol/pipe.ts";
import type { ServerConfig } from "../config.ts";
import { openFramebuffer } from "./framebuffer/open.ts";
import { openTty } from "./tty.ts";
import { listenUnix } from "./unix-listener.ts";
import { openVirtioPort } from "./virtio-port.ts";

/** What the pipe needs from the layer above. */
export interface ServerPipeTraits {
  /** Only printable frames may be sent, and only such are taken: the device is, or may be, a kernel console. */
  readonly armourOnly: boolean;
}

export interface ServerPipes {
  /** Stops listening and closes every pipe. Idempotent. */
  close(): Promise<void>;
}

/**
 * @param onPipe - called once for a device (before this resolves), once per connection for a unix socket.
 * @param askForDevice - where this process may not open a device that came back by itself.
 * @throws SealttyError `device-unavailable`, `bad-config`.
 */
export async function openServerPipes(
  config: Pick<ServerConfig, "pipe">,
  onPipe: (pipe: Pipe, traits: ServerPipeTraits) => void,
  askForDevice?: () => void,
): Promise<ServerPipes> {
  const { pipe: wanted } = config;
  switch (wanted.type) {
    case "virtio": {
      const pipe = openVirtioPort(wanted.name, { askForDevice });
      onPipe(pipe, { armourOnly: false });
      return pipe;
    }
    case "tty": {
      const pipe = await openTty(wanted.device, { armourOnly: wanted.armourOnly });
      onPipe(pipe, { armourOnly: wanted.armourOnly });
      return pipe;
    }
    case "unix":
      return listenUnix(wanted.path, (pipe) => onPipe(pipe, { armourOnly: false }));
    case "framebuffer": {
      const pipe = await openFramebuffer(wanted);
      onPipe(pipe, { armourOnly: false });
      return pipe;
    }
  }
}
