// What copies and forwards open in a guest. For cli/api alone: commands and programs have Guest's methods.

import type { ListenPlace } from "../../protocol/forward/target.ts";
import type { Channel, ChannelRequest } from "../../protocol/session/channel-api.ts";
import type { IncomingStream, Listener } from "../../protocol/session/stream-api.ts";

export interface ChannelSource {
  openChannel(request: ChannelRequest): Promise<Channel>;
  listen(place: ListenPlace, onIncoming: (stream: IncomingStream) => void): Promise<Listener>;
}
