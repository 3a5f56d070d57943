// TLS that begins on a pipe in use: a Pipe like any other, and refused where the server is not who it should be.

import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterAll, describe, expect, test } from "vitest";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { startTls, type TlsOptions } from "../../node/tls-over-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { makeCertificate } from "../support/hosts/web-host.ts";
import { pipeContract } from "../support/pipe-contract.ts";

const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-tls-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const { certFile, keyFile } = makeCertificate(directory, "tls");
const certificate = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
const ca = certificate.cert;

async function connection() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const pipe = await connectTcp("127.0.0.1", (server.address() as net.AddressInfo).port);
  const [socket] = await accepted;
  socket.on("error", () => {});
  server.close();
  return { pipe, socket };
}

/** @param serve - what is done with the server's socket. */
async function starting(serve: (socket: net.Socket) => unknown, options: TlsOptions) {
  const { pipe, socket } = await connection();
  serve(socket);
  return { pipe, secure: startTls(pipe, "the test", options) };
}

function asServer(socket: net.Socket): tls.TLSSocket {
  const secure = new tls.TLSSocket(socket, { isServer: true, ...certificate });
  secure.on("error", () => {});
  return secure;
}

/** A pipe that can be made to break, whatever TCP makes of it: with what was under way a reset may come as an end. */
function breakable(pipe: Pipe): { readonly pipe: Pipe; readonly break: () => void } {
  let tell: (error: SealttyError) => void = () => {};
  const broken = new Promise<never>((_, reject) => (tell = reject));
  broken.catch(() => {});
  const incoming = pipe.incoming[Symbol.asyncIterator]();
  return {
    pipe: {
      incoming: { [Symbol.asyncIterator]: () => ({ next: () => Promise.race([incoming.next(), broken]) }) },
      send: (chunk) => pipe.send(chunk),
      close: () => pipe.close(),
    },
    break: () => tell(new SealttyError("transport-lost", "The pipe broke")),
  };
}

pipeContract("TLS on a pipe", async () => {
  const { pipe: outside, socket } = await connection();
  const peer = asServer(socket);
  const { pipe: wrapped, break: breakOff } = breakable(outside);
  const pipe = await startTls(wrapped, "the test", { serverName: "localhost", ca });
  return {
    pipe,
    peer,
    abort: breakOff,
    async cleanUp() {
      socket.destroy();
      await pipe.close();
    },
  };
});

describe("startTls()", () => {
  const refused: [string, (socket: net.Socket) => unknown, TlsOptions, RegExp][] = [
    [
      "a certificate that nobody vouches for",
      asServer,
      { serverName: "localhost" },
      /DEPTH_ZERO_SELF_SIGNED_CERT/,
    ],
    [
      "a certificate for another name",
      asServer,
      { serverName: "db.example", ca },
      /ERR_TLS_CERT_ALTNAME_INVALID/,
    ],
    [
      "a certificate for another address",
      asServer,
      { serverName: "127.0.0.2", ca },
      /ERR_TLS_CERT_ALTNAME_INVALID/,
    ],
    [
      "a certificate where none was agreed on",
      asServer,
      { serverName: "localhost", anonymous: true },
      /No TLS with the test/,
    ],
    [
      "a server without TLS",
      (socket) => socket.write("RFB 003.008\n"),
      { serverName: "localhost", ca },
      /No TLS with the test/,
    ],
    ["a server that ends", (socket) => socket.end(), { serverName: "localhost", ca }, /No TLS with the test/],
    [
      "a server that breaks off",
      (socket) => socket.destroy(),
      { serverName: "localhost", ca },
      /No TLS with the test/,
    ],
  ];
  test.each(refused)("%s is refused, and the pipe closed", async (_, serve, options, problem) => {
    const { pipe, secure } = await starting(serve, options);
    await expect(secure).rejects.toThrow(problem);
    await expect(secure).rejects.toMatchObject({ code: "transport-lost" });
    await expect(pipe.send(new Uint8Array(1))).rejects.toMatchObject({ code: "transport-lost" });
  });

  test("a pipe that is closed while TLS begins ends it", async () => {
    const { pipe, secure } = await starting(() => {}, { serverName: "localhost", ca });
    secure.catch(() => {});
    await pipe.close();
    await expect(secure).rejects.toThrow("No TLS with the test");
  });

  test("the environment cannot switch checking off", async () => {
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      const { secure } = await starting(asServer, { serverName: "localhost" });
      await expect(secure).rejects.toThrow("DEPTH_ZERO_SELF_SIGNED_CERT");
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });

  test("an address is looked for in the certificate", async () => {
    const { secure } = await starting(asServer, { serverName: "127.0.0.1", ca });
    await expect(secure.then((pipe) => pipe.close())).resolves.toBeUndefined();
  });
});
