// Which streams' bytes the next packet takes, and how much of its room each one has.

import type { Content } from "../packets/recovery.ts";
import { type PacketWriter, streamOverhead } from "../packets/packet-frames.ts";
import type { Stream } from "./stream.ts";

export class StreamTurns {
  #turn = 0; // which stream goes first in the next packet

  /**
   * The control stream first, then each of the others in turn. But a long message of it, as evidence is, must not keep a key
   * or its echo waiting for many packets: where a channel has something, it leaves half of the room, and what that leaves.
   * @param others - those of the other streams that have something and may send it. @param contents - gets what went in.
   */
  fill(
    control: Stream | undefined,
    others: readonly Stream[],
    writer: PacketWriter,
    contents: Content[],
  ): void {
    if (control !== undefined)
      this.#fillFrom(control, writer, contents, others.length > 0 ? Math.ceil(writer.room / 2) : 0);
    this.#turn++;
    for (let i = 0; i < others.length; i++) {
      this.#fillFrom(others[(this.#turn + i) % others.length] as Stream, writer, contents);
    }
    if (control !== undefined && others.length > 0) this.#fillFrom(control, writer, contents);
  }

  /** @param leave - bytes of the packet's room that are not this stream's. */
  #fillFrom(stream: Stream, writer: PacketWriter, contents: Content[], leave = 0): void {
    if (!stream.send.hasWork) return;
    this.#fillWhileRoom(stream, writer, contents, leave);
    stream.onChange(); // what waits to write need not wait for the acknowledgement
  }

  #fillWhileRoom(stream: Stream, writer: PacketWriter, contents: Content[], leave: number): void {
    while (stream.send.hasWork) {
      const room = writer.room - leave;
      // The offset's length is not known before `take`: reckon with the longest.
      const part = stream.send.take(room - streamOverhead(stream.id, 2 ** 47, Math.max(0, room)));
      if (part === undefined) return;
      writer.stream(stream.id, part.offset, part.bytes, part.end);
      contents.push({
        kind: "stream",
        stream: stream.id,
        offset: part.offset,
        length: part.bytes.length,
        end: part.end,
      });
    }
  }
}
