// How Node frees what packets are in. For sealtty's own programs: a library leaves its host's process as it is.

import { setFlagsFromString } from "node:v8";

/**
 * Packets' bytes lie outside of the engine's heap, and are freed with the small objects that stand for them. By itself the heap's young
 * part grows to 16 MiB: a flood reaches the engine's bound for bytes outside before that is full, and then all of the heap is
 * marked, ten times a second. Left as small as it begins, it is swept often, which costs next to nothing.
 */
export function keepYoungHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}
