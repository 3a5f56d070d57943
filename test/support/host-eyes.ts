// All that the host has: a proxy on the wire that keeps every byte, and a search that looks behind every encoding.

import net from "node:net";
import { once } from "node:events";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";

export interface WireTap {
  readonly port: number;
  /** Everything that crossed, per direction and connection. */
  captured(): Uint8Array[];
  bytes(): number;
  /** Cuts every connection that is open now. */
  cut(): void;
  close(): Promise<void>;
}

/** A TCP proxy on loopback that forwards to `target` and keeps a copy of everything. */
export async function tapWire(
  target: { readonly port: number } | { readonly path: string },
): Promise<WireTap> {
  const captured: Buffer[][] = [];
  const open = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const host = "port" in target ? net.connect(target.port, "127.0.0.1") : net.connect(target.path);
    for (const [from, to] of [
      [client, host],
      [host, client],
    ] as const) {
      const kept: Buffer[] = [];
      captured.push(kept);
      open.add(from);
      from.setNoDelay(true);
      from.on("data", (chunk: Buffer) => {
        kept.push(chunk);
        if (!to.write(chunk)) from.pause();
      });
      to.on("drain", () => from.resume());
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    captured: () => captured.map((chunks) => Buffer.concat(chunks)),
    bytes: () => captured.flat().reduce((sum, chunk) => sum + chunk.length, 0),
    cut: () => {
      for (const socket of open) socket.destroy();
    },
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Payloads of the web socket messages in one direction of a captured connection, unmasked and joined (RFC 6455 §5.2). */
export function webSocketPayloads(stream: Uint8Array): Buffer {
  const bytes = Buffer.from(stream);
  const payloads: Buffer[] = [];
  const head = bytes.indexOf("\r\n\r\n");
  let at = head < 0 ? bytes.length : head + 4;
  while (at + 2 <= bytes.length) {
    const second = bytes[at + 1] as number;
    let length = second & 0x7f;
    at += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at);
      at += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at));
      at += 8;
    }
    const mask = second & 0x80 ? bytes.subarray(at, at + 4) : undefined;
    if (mask !== undefined) at += 4;
    const payload = Buffer.from(bytes.subarray(at, at + length));
    if (mask !== undefined)
      for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] as number) ^ (mask[i & 3] as number);
    payloads.push(payload);
    at += length;
  }
  return Buffer.concat(payloads);
}

/** One captured stream in every form that a curious host would try: as is, without web socket, without framing. */
export function everyForm(stream: Uint8Array): Buffer[] {
  const raw = Buffer.from(stream);
  const payloads = webSocketPayloads(raw);
  const forms = [raw, payloads];
  for (const bytes of [raw, payloads]) {
    const bodies = new FrameDecoder().push(bytes).frames.map(({ body }) => body);
    forms.push(Buffer.concat(bodies));
    // Handshake and packets without their headers, so that what is split over frames of one stream joins up again.
    forms.push(Buffer.concat(bodies.map((body) => body.subarray(9))));
  }
  // Logs show bytes as hexadecimal or base64.
  const text = raw.toString("latin1");
  forms.push(Buffer.from(text.replace(/[^0-9a-fA-F]/g, ""), "hex"));
  forms.push(Buffer.from(text.replace(/[^A-Za-z0-9+/_-]/g, ""), "base64"));
  return forms;
}

/** Below this some encoded part of a secret is so short that ciphertext holds it now and then by chance. */
const MINIMUM_SECRET = 7;

/** `secret` as a host may see it: in plain, as UTF-16, hex or base64, forwards or backwards. @throws where it is too short. */
export function needlesOf(secret: string): readonly { readonly name: string; readonly bytes: Buffer }[] {
  const plain = Buffer.from(secret);
  if (plain.length < MINIMUM_SECRET)
    throw new Error(`"${secret}" is too short to look for: chance alone would find it`);
  return [
    { name: "plain", bytes: plain },
    { name: "UTF-16", bytes: Buffer.from(secret, "utf16le") },
    { name: "hexadecimal", bytes: Buffer.from(plain.toString("hex")) },
    { name: "reversed", bytes: Buffer.from(plain).reverse() },
    // Whatever stands before and after it: the characters whose six bits are all its own.
    ...[0, 1, 2].map((shift) => {
      const text = Buffer.concat([Buffer.alloc(shift), plain]).toString("base64");
      const first = Math.ceil((shift * 8) / 6);
      const end = Math.floor(((shift + plain.length) * 8) / 6);
      return { name: `base64+${shift}`, bytes: Buffer.from(text.slice(first, end)) };
    }),
  ];
}

/** Where `secret` is found, in any of its forms. */
export function findSecret(streams: readonly Uint8Array[], secret: string): string[] {
  const needles = needlesOf(secret);
  const found: string[] = [];
  streams.forEach((stream, i) => {
    everyForm(stream).forEach((form, f) => {
      for (const { name, bytes } of needles)
        if (form.includes(bytes)) found.push(`stream ${i}, form ${f}: ${name}`);
    });
  });
  return found;
}
