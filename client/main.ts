// Wires the page to the real world: the local server, web sockets, noble and WebCrypto.

import { parsePolicy } from "../protocol/attestation/policy.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { connect } from "../protocol/session/connect.ts";
import { SealttyError } from "../protocol/errors.ts";
import { browserClock } from "./browser-clock.ts";
import { browserSuite, randomBytes } from "./browser-suite.ts";
import { browserKeyStore } from "./key-store.ts";
import { KeptStore } from "./kept-session.ts";
import { openHostView } from "./host-view-source.ts";
import { PageKeys } from "./page-keys.ts";
import { keepNextToken, takeToken } from "./page-token.ts";
import { runPage } from "./page.ts";
import { SeenStore } from "./seen-store.ts";
import { openServerLink } from "./server-link.ts";
import { openVncPipe } from "./vnc-pipe.ts";
import { openHostSocket, openWebSocketPipe } from "./web-socket-pipe.ts";
import { workerTimers } from "./worker-timers.ts";

/** A web socket of the server that delivered this page. */
function ownUrl(path: string): string {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

const suite = browserSuite();
const signatures = webCryptoSignatures(crypto.subtle);
const token = takeToken(location, history, sessionStorage); // first of all: the fragment must not outlive this line

void runPage(document.getElementById("page") ?? document.body, {
  secureContext: isSecureContext && crypto.subtle !== undefined,
  token,
  openServerLink: async (token) => {
    const link = await openServerLink(ownUrl("/session"), token);
    keepNextToken(sessionStorage, link.config.nextToken);
    return link;
  },
  keys: new PageKeys({
    place: location,
    suite,
    signatures,
    store: browserKeyStore(() => indexedDB),
    wallTime: () => Date.now(),
    randomBytes,
  }),
  storage: (link) => link.memory ?? localStorage,
  goTo: (url) => location.assign(url),
  sessionParts(link) {
    const clock = browserClock(workerTimers());
    return {
      connect,
      parsePolicy,
      suite,
      signatures,
      clock,
      wallTime: () => Date.now(),
      seen: new SeenStore(() => link.memory ?? localStorage),
      kept: new KeptStore(() => sessionStorage),
      dial: async (config) => {
        if (config.pipe.kind !== "through-server") {
          const socket = await openHostSocket(config.pipe.url);
          return config.pipe.kind === "direct" ? socket : await openVncPipe(socket, clock, randomBytes);
        }
        if (config.pipeToken === undefined)
          throw new SealttyError("bad-config", "The local server gave no pipe token");
        return await openWebSocketPipe(ownUrl("/pipe"), { firstMessage: config.pipeToken });
      },
    };
  },
  openHostView: (link, onFrame) => {
    if (link.config.hostViewToken !== undefined)
      openHostView(ownUrl("/host-view"), link.config.hostViewToken, onFrame);
  },
});
