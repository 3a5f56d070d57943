// What is set for a VNC server, and the ways to it.

import { expect, test } from "vitest";
import { vncAccess } from "../../cli/hosts/vnc.ts";
import type { RfbPlace } from "../../node/rfb.ts";

const TCP: RfbPlace = { kind: "tcp", host: "h", port: 5900 };
const UNIX: RfbPlace = { kind: "unix", path: "/x" };
const WS: RfbPlace = { kind: "web-socket", url: "ws://h:5700/" };
const WSS: RfbPlace = { kind: "web-socket", url: "wss://h:5700/" };
const NAMED = { SEALTTY_VNC_TLS_NAME: "vnc.example" };

test.each([
  ["vnc+unix:", UNIX, /vnc\+unix: has no TLS: unset them/],
  ["vnc+ws:", WS, /vnc\+ws: has no TLS: write vnc\+wss:, or unset them/],
])("%s with a certificate asked for is refused, and taken without", async (_, place, words) => {
  await expect(vncAccess(NAMED, place)).rejects.toMatchObject({
    code: "bad-config",
    message: expect.stringMatching(words) as unknown,
  });
  expect(await vncAccess({}, place)).not.toHaveProperty("tlsServerName");
});

test.each([TCP, WSS])("$kind has TLS, and a password from the environment", async (place) => {
  const access = await vncAccess({ ...NAMED, SEALTTY_VNC_PASSWORD: "secret" }, place);
  expect(access).toMatchObject({ tlsServerName: "vnc.example", password: "secret" });
});
