// KubeVirt's console subresource, a stand-in of it: one client, binary frames only, idle consoles cut.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../cli/address.ts";
import { dial } from "../../cli/dial.ts";
import { nodeClock } from "../../node/clock.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { ManualClock } from "../support/clocks.ts";
import { PlainGuest } from "../support/hosts/device.ts";
import { IDLE_CUT_MS, KubevirtStandIn } from "../support/hosts/kubevirt.ts";
import { naiveWebSocket } from "../support/hosts/naive.ts";
import { makeCertificate, type TlsFiles } from "../support/hosts/web-host.ts";
import { hostTestGuest, SOUND, soundness, wholeSession } from "../support/hosts/whole-session.ts";

const TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZWFsdHR5In0.c2lnbmF0dXJl";
const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-kubevirt-"));
const tokenFile = path.join(directory, "token");
let tls: TlsFiles;
let other: TlsFiles;
beforeAll(() => {
  tls = makeCertificate(directory, "cluster");
  other = makeCertificate(directory, "other", "subjectAltName=DNS:cluster.example");
  writeFileSync(tokenFile, TOKEN); // as Kubernetes mounts it, without a line's end
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function kubevirt(
  serve: (pipe: Pipe) => Promise<unknown>,
  clock: Clock = nodeClock,
  files: TlsFiles = tls,
): Promise<KubevirtStandIn> {
  const host = new KubevirtStandIn({ tls: files, clock, token: TOKEN, namespace: "vms", name: "db1" }, serve);
  await host.listen();
  ending.push(async () => {
    await host.close();
    await host.device.close();
  });
  return host;
}
const environmentOf = (host: KubevirtStandIn) => ({
  SEALTTY_KUBEVIRT_SERVER: `https://${host.authority}`,
  SEALTTY_KUBEVIRT_TOKEN_FILE: tokenFile,
  SEALTTY_KUBEVIRT_CA_FILE: tls.certFile,
});
const ADDRESS = parseAddress("kubevirt:vms/db1");
const naive = (host: KubevirtStandIn) =>
  naiveWebSocket(
    `wss://${host.authority}/apis/subresources.kubevirt.io/v1/namespaces/vms/virtualmachineinstances/db1/console`,
    { protocols: ["plain.kubevirt.io"], headers: { authorization: `Bearer ${TOKEN}` }, ca: tls.certFile },
  );

describe("stand-in of KubeVirt", () => {
  test.each(["binary", "armour"] as const)(
    "a whole session in %s, kicked by a second client",
    async (encoding) => {
      const guest = hostTestGuest();
      const host = await kubevirt((pipe) => guest.endpoint.servePipe(pipe));
      const result = await wholeSession({
        name: `KubeVirt's console (stand-in, ${encoding})`,
        guest,
        encoding,
        dial: () => dial(ADDRESS, environmentOf(host), nodeClock),
        async midway({ echo, reconnected, guest: { stats } }) {
          const { pipes } = stats;
          const intruder = await naive(host); // kicks ours, which comes back and kicks in turn
          intruder.socket.send(Buffer.from("\r\nroot\r\n"));
          await reconnected(pipes);
          await intruder.closed;
          await echo();
        },
        halfway: () => naive(host),
      });
      expect(soundness(result, guest)).toEqual(SOUND);
      expect(host.kicks).toBeGreaterThanOrEqual(4); // two intruders, each kicked in turn
      expect(result.phases).toContain("reconnecting");
      await guest.endpoint.stop();
    },
  );

  test("65 s without a keystroke: the protocol's own pings keep the console from being cut at 20 s", async () => {
    const clock = new ManualClock();
    const ticking = (): (() => void) => {
      const timer = setInterval(() => clock.advance(5), 5);
      return () => clearInterval(timer);
    };
    const guest = hostTestGuest(clock, 4096);
    const host = await kubevirt((pipe) => guest.endpoint.servePipe(pipe), clock);
    let given = 0;
    let got = 0;
    const counted = async (): Promise<Pipe> => {
      const pipe = await dial(ADDRESS, environmentOf(host), clock);
      return {
        incoming: (async function* () {
          for await (const chunk of pipe.incoming) {
            got += chunk.length;
            yield chunk;
          }
        })(),
        async send(chunk) {
          given += chunk.length;
          await pipe.send(chunk);
        },
        close: () => pipe.close(),
      };
    };
    /** Nothing is on its way between client, stand-in and guest. */
    const still = async (): Promise<void> => {
      for (let same = 0; same < 10; ) {
        const before = given + got + host.device.bytesToGuest + host.device.bytesToHost;
        await new Promise((resolve) => setImmediate(resolve));
        const arrived = given === host.bytesFromClient && got === host.bytesToClient;
        const after = given + got + host.device.bytesToGuest + host.device.bytesToHost;
        same = arrived && before === after ? same + 1 : 0;
      }
    };
    let stopTicking = ticking();
    try {
      const result = await wholeSession({
        name: "KubeVirt's console, by a clock of the test's (stand-in)",
        guest,
        clock,
        encoding: "binary",
        dial: counted,
        async midway({ echo }) {
          stopTicking();
          await still();
          const before = given;
          for (let second = 0; second < 65; second++) {
            clock.advance(1000);
            await still();
          }
          expect(given).toBeGreaterThan(before);
          stopTicking = ticking();
          await echo();
        },
      });
      expect(soundness(result, guest)).toEqual(SOUND);
      expect({ idleCuts: host.idleCuts, clients: host.clients }).toEqual({ idleCuts: 0, clients: 1 });
      await guest.endpoint.stop();
    } finally {
      stopTicking();
    }
  });

  test("control: a naive client is cut after 20 s of silence, kicked by the next one, and its text goes nowhere", async () => {
    const clock = new ManualClock();
    const guest = new PlainGuest();
    const host = await kubevirt(guest.serve, clock);
    const first = await naive(host);
    first.socket.send("text");
    first.socket.send(Buffer.from("data"));
    expect((await guest.until(4)).toString()).toBe("data");
    expect(host.textFrames).toBe(1);
    clock.advance(IDLE_CUT_MS - 1);
    expect(host.idleCuts).toBe(0);
    clock.advance(1);
    expect(host.idleCuts).toBe(1);
    expect(await first.closed).toBe(1006);
    const second = await naive(host);
    const third = await naive(host);
    expect(await second.closed).toBe(1006);
    third.socket.terminate();
  });

  test.each([
    ["another name", "kubevirt:vms/db2", {}, "transport-lost", "kubectl get vmi"],
    [
      "no token",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_TOKEN_FILE: undefined },
      "bad-config",
      "SEALTTY_KUBEVIRT_TOKEN_FILE",
    ],
    [
      "a token file that is not there",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_TOKEN_FILE: "/nonexistent/t" },
      "bad-config",
      "no such file",
    ],
    [
      "a wrong token",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_TOKEN_FILE: undefined, SEALTTY_KUBEVIRT_TOKEN: "hunter2" },
      "transport-lost",
      "token is missing, wrong or has expired",
    ],
    ["two tokens", "kubevirt:vms/db1", { SEALTTY_KUBEVIRT_TOKEN: "hunter2" }, "bad-config", "both set"],
    [
      "a token of two lines",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_TOKEN_FILE: undefined, SEALTTY_KUBEVIRT_TOKEN: "hunter2\r\nx: y" },
      "bad-config",
      "on one line",
    ],
    ["no CA", "kubevirt:vms/db1", { SEALTTY_KUBEVIRT_CA_FILE: undefined }, "transport-lost", "certificate"],
    [
      "a CA file without one",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_CA_FILE: tokenFile },
      "bad-config",
      "no PEM CERTIFICATE",
    ],
    [
      "a server in the clear",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_SERVER: "http://cluster.example" },
      "bad-config",
      "neither https: nor wss:",
    ],
    [
      "no server",
      "kubevirt:vms/db1",
      { SEALTTY_KUBEVIRT_SERVER: "" },
      "bad-config",
      "SEALTTY_KUBEVIRT_SERVER",
    ],
  ] as const)("refused in plain words, without the secret: %s", async (_, address, own, code, words) => {
    const host = await kubevirt(new PlainGuest().serve);
    const error = await dial(parseAddress(address), { ...environmentOf(host), ...own }, nodeClock).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error).toMatchObject({ code, message: expect.stringContaining(words) });
    expect(error?.message).not.toMatch(/hunter2|eyJ/);
  });

  test("a certificate for another name is refused, unless that name is set; an environment variable of Node's turns nothing off", async () => {
    const guest = new PlainGuest();
    const host = await kubevirt(guest.serve, nodeClock, other);
    const environment = { ...environmentOf(host), SEALTTY_KUBEVIRT_CA_FILE: other.certFile };
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      await expect(dial(ADDRESS, environment, nodeClock)).rejects.toMatchObject({ code: "transport-lost" });
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
    const named = { ...environment, SEALTTY_KUBEVIRT_TLS_NAME: "cluster.example" };
    const pipe = await dial(ADDRESS, named, nodeClock);
    await pipe.send(Buffer.from("in"));
    expect((await guest.until(2)).toString()).toBe("in");
    await pipe.close();
  });
});
