// The smallest pipe that can still push back: any duplex of bytes, trusted for nothing.

export interface Pipe {
  /**
   * Non-empty chunks for one reader, as they came: an edge helps to find the way back after a loss (docs/protocol.md §2.5), and
   * means nothing else; bytes may be lost, doubled, changed or foreign.
   * Ends on a clean close, else throws SealttyError `transport-lost`.
   */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Resolves once the link can take more; awaiting it is the only back-pressure. Neither keeps nor changes `chunk`. */
  send(chunk: Uint8Array): Promise<void>;
  /**
   * Where one long chunk is better than several: the bytes that may come at once. Such a pipe has let go of a chunk as soon
   * as its `send` resolves. Absent: one frame in each chunk, and each chunk is new.
   */
  readonly gathers?: number;
  /** Idempotent. */
  close(): Promise<void>;
}
