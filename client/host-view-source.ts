// Demonstration only: the frames that the local server carries, as the host sees them.

import { fromBase64 } from "./base64.ts";
import { objectOf } from "./page-config.ts";

export interface WireFrame {
  readonly direction: "to-guest" | "to-client";
  readonly bytes: Uint8Array;
  /** Milliseconds, the server's clock. */
  readonly at: number;
}

/** Calls back until the socket closes. Frames that make no sense are left out. */
export function openHostView(url: string, token: string, onFrame: (frame: WireFrame) => void): void {
  const socket = new WebSocket(url);
  socket.addEventListener("open", () => socket.send(token));
  socket.addEventListener("message", (event: MessageEvent<unknown>) => {
    const frame = parseWireFrame(String(event.data));
    if (frame !== undefined) onFrame(frame);
  });
}

export function parseWireFrame(json: string): WireFrame | undefined {
  try {
    const { direction, bytes, at } = objectOf(JSON.parse(json), "frame");
    if (direction !== "to-guest" && direction !== "to-client") return undefined;
    if (typeof bytes !== "string" || typeof at !== "number") return undefined;
    return { direction, bytes: fromBase64(bytes), at };
  } catch {
    return undefined;
  }
}
