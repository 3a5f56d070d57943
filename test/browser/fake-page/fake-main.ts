// The real page with a scripted guest instead of a connection: a test turns it with `window.fake`. Never shipped.

import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import {
  type Assurance,
  type AppraisedClaims,
  VerifiedGuest,
} from "../../../protocol/attestation/verified-guest.ts";
import { nobleSuite } from "../../../protocol/crypto/noble.ts";
import { webCryptoSignatures } from "../../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError, type Refusal, type SealttyErrorCode } from "../../../protocol/errors.ts";
import { utf8 } from "../../../protocol/bytes.ts";
import type { StreamTarget } from "../../../protocol/forward/target.ts";
import { encodeKernelLog } from "../../../protocol/kernel-log/messages.ts";
import {
  encodePromptsMessage,
  type Prompt,
  type PromptOutcome,
  PromptsDecoder,
} from "../../../protocol/prompts/messages.ts";
import type {
  AttestationEvent,
  AttestedGuest,
  ConnectionState,
  ConnectOptions,
  Guest,
} from "../../../protocol/session/api.ts";
import type {
  OwnChannel,
  ChannelRequest,
  ExitStatus,
  ReceiveStream,
} from "../../../protocol/session/channel-api.ts";
import { browserClock } from "../../../client/browser-clock.ts";
import { workerTimers } from "../../../client/worker-timers.ts";
import { fakeClaims, fakePolicy } from "./fake-claims.ts";
import type { WireFrame } from "../../../client/host-view-source.ts";
import { browserKeyStore } from "../../../client/key-store.ts";
import { PageKeys } from "../../../client/page-keys.ts";
import { takeToken } from "../../../client/page-token.ts";
import { runPage } from "../../../client/page.ts";
import { SeenStore } from "../../../client/seen-store.ts";
import { desktopRefusal, FakeDesktop } from "./fake-desktop.ts";
import { LinkRefused } from "../../../client/server-link.ts";
import { FakeStream } from "../../support/fake-stream.ts";
import { NO_SESSIONS } from "../../support/no-sessions.ts";

const query = new URLSearchParams(location.search);
const is = (name: string): boolean => query.get(name) === "1";
const policy = fakePolicy((query.get("assurance") ?? "host-vouched") as Assurance, is("any"));

function verified(assurance: Assurance, changes: Partial<AppraisedClaims>): VerifiedGuest {
  return VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    { ...fakeClaims(assurance, is("any")), ...changes },
  );
}

export class Fake {
  readonly input: number[] = [];
  readonly resizes: [number, number][] = [];
  readonly requests: ChannelRequest[] = [];
  #options: ConnectOptions | undefined;
  #attest: ((guest: AttestedGuest) => void) | undefined;
  #refuse: ((error: Error) => void) | undefined;
  #admit: (() => void) | undefined;
  #deny: ((error: Error) => void) | undefined;
  #openNow: (() => void) | undefined;
  #dontOpen: ((error: Error) => void) | undefined;
  #stdout = new FakeStream();
  #promptsOut = new FakeStream();
  #promptsError = new FakeStream();
  #logOut = new FakeStream();
  /** What the page answered to the guest's questions. */
  readonly answers: { readonly number: number; readonly text: string }[] = [];
  /** How often it asked for the kernel's log. */
  logRequests = 0;
  /** The desktops that the page was connected with; and to where it wanted to. */
  readonly desktops: FakeDesktop[] = [];
  readonly desktopPlaces: string[] = [];
  /** What goes wrong with the next one. */
  desktopMode = query.get("desktop") ?? "";
  #exit: { resolve(exit: ExitStatus): void; reject(error: Error): void } | undefined;
  #closeConnection: ((reason: string) => void) | undefined;
  #onFrame: ((frame: WireFrame) => void) | undefined;
  #verified: VerifiedGuest | undefined;
  #answerRecheck: (() => void) | undefined;
  #onGoOn: () => void = () => undefined;
  frozen = false;
  rechecks = 0;
  closes = 0;
  connects = 0;
  signIns = 0;
  /** What was handed to `connect`, as far as a test looks at it. */
  get collateralPieces(): number {
    const { certificates, crls, tcbInfos, qeIdentities } = this.#options?.collateral ?? NO_COLLATERAL;
    return certificates.length + crls.length + tcbInfos.length + qeIdentities.length;
  }
  get wallTime(): number {
    return this.#options?.wallTime() ?? 0;
  }

  connect(options: ConnectOptions): Promise<AttestedGuest> {
    this.#options = options;
    this.connects++;
    options.onState?.({ phase: "dialing", attempt: 1 });
    return new Promise((resolve, reject) => {
      this.#attest = resolve;
      this.#refuse = reject;
    });
  }

  state(state: ConnectionState): void {
    this.#options?.onState?.(state);
  }
  noise(text: string): void {
    this.#options?.onHostNoise?.(utf8(text));
  }
  fail(code: SealttyErrorCode, message: string, refusal?: Refusal): void {
    const error = new SealttyError(code, message, refusal === undefined ? {} : { refusal });
    this.#refuse?.(error);
    this.#deny?.(error);
    this.#dontOpen?.(error);
  }
  attest(assurance: Assurance, changes: Partial<AppraisedClaims> = {}): void {
    this.#verified = verified(assurance, changes);
    const stats = {
      roundTripMs: 23.4,
      packetsSent: 41,
      packetsReceived: 57,
      packetsLost: 0,
      packetsRefused: 0,
      pipes: 1,
      carries: { encoding: "binary", burst: 0, rate: 0 },
    } as const;
    const close = async (): Promise<void> => {
      this.closes++;
    };
    const guest = this.#guest(stats, close);
    this.state({ phase: "attested" });
    this.#attest?.({
      verified: this.#verified,
      stats,
      close,
      evidence: { type: "tpm", quote: new Uint8Array(), aux: new Uint8Array() },
      context: {
        handshakeHash: new Uint8Array(32),
        guestStatic: new Uint8Array(32),
        exporter: new Uint8Array(32),
        clientNonce: new Uint8Array(32),
      },
      authenticate: () =>
        new Promise((resolve, reject) => {
          this.signIns++;
          this.#admit = () => resolve(guest);
          this.#deny = reject;
        }),
    });
  }
  #guest(stats: Guest["stats"], close: () => Promise<void>): Guest {
    const current = (): VerifiedGuest => this.#verified ?? verified("simulated", {});
    const isFrozen = (): boolean => this.frozen;
    return {
      ...NO_SESSIONS,
      stats,
      close,
      get verified() {
        return current();
      },
      get frozen() {
        return isFrozen();
      },
      openChannel: async (request) => {
        if (request.kind === "prompts") return this.#openPrompts();
        if (request.kind === "service") return this.#openLog();
        if (request.kind === "stream") return this.#openDesktop(request.target);
        if (is("slow-opening")) {
          await new Promise<void>((resolve, reject) => {
            this.#openNow = resolve;
            this.#dontOpen = reject;
          });
        }
        if (is("no-shell"))
          throw new SealttyError("program-failed", "The guest could not start the program.");
        return this.#open(request);
      },
      reattest: () => {
        this.rechecks++;
        return new Promise((resolve) => {
          this.#answerRecheck = resolve;
        });
      },
      goOn: () => {
        this.frozen = false;
        this.#onGoOn();
      },
      closed: new Promise((resolve) => {
        this.#closeConnection = resolve;
      }),
    };
  }
  /** An answer to a check that was asked for, or that came by itself. */
  renew(changes: Partial<AppraisedClaims> = {}): void {
    const assurance = this.#verified?.claims.assurance ?? "hardware";
    this.#verified = verified(assurance, changes);
    this.#options?.onAttestation?.({ kind: "renewed", verified: this.#verified });
    this.#answerRecheck?.();
  }
  unavailable(reason: string, inARow: number): void {
    this.#options?.onAttestation?.({ kind: "unavailable", reason, inARow });
    this.#answerRecheck?.();
  }
  change(
    event: Omit<Extract<AttestationEvent, { kind: "changed" }>, "kind">,
    now: Partial<AppraisedClaims> = {},
  ): void {
    this.frozen = true;
    // As the protocol has it: the old one counts until the user goes on, and then, too, where there is no newer one.
    const newer = event.changes.length > 0 ? verified("hardware", now) : this.#verified;
    this.#onGoOn = () => {
      this.#verified = newer;
    };
    this.#options?.onAttestation?.({ kind: "changed", ...event });
    this.#answerRecheck?.();
  }
  admit(): void {
    this.#admit?.();
  }
  openNow(): void {
    this.#openNow?.();
  }
  output(text: string): void {
    this.#stdout.push(utf8(text));
  }
  outputBytes(base64: string): void {
    this.#stdout.push(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
  }
  get credit(): number {
    return this.#stdout.credit;
  }
  exit(exit: ExitStatus): void {
    this.#stdout.end();
    this.#exit?.resolve(exit);
  }
  lose(): void {
    const error = new SealttyError("transport-lost", "The host closed the line");
    for (const desktop of this.desktops) desktop.fail(error);
    this.#stdout.fail(error);
    this.#exit?.reject(error);
  }
  closeConnection(): void {
    this.#closeConnection?.("done");
  }
  /** As a sealttyd of an initramfs ends. */
  handOver(): void {
    const error = new SealttyError("handed-over", "The guest's early sealttyd ended");
    for (const stream of [this.#stdout, this.#promptsOut, this.#promptsError, this.#logOut])
      stream.fail(error);
    for (const desktop of this.desktops) desktop.fail(error);
    this.#exit?.reject(error);
    this.state({ phase: "closed", reason: "handed-over" });
    this.#closeConnection?.("handed-over");
  }
  ask(prompts: readonly Prompt[]): void {
    this.#promptsOut.push(encodePromptsMessage({ type: "pending", prompts }));
  }
  outcome(number: number, outcome: PromptOutcome): void {
    this.#promptsOut.push(encodePromptsMessage({ type: "outcome", number, outcome }));
  }
  promptsEnd(complaint: string): void {
    this.#promptsError.push(utf8(complaint));
    setTimeout(() => this.#promptsOut.end(), 20);
  }
  promptsBytes(bytes: readonly number[]): void {
    this.#promptsOut.push(Uint8Array.from(bytes));
  }
  /** @param records - as the kernel has them. @param wall - of a clock before them. */
  log(records: readonly string[], wall?: number): void {
    if (wall !== undefined) this.#logOut.push(encodeKernelLog({ type: "clock", uptime: 60_000_000, wall }));
    for (const record of records) this.#logOut.push(encodeKernelLog({ type: "record", bytes: utf8(record) }));
  }
  logCaughtUp(): void {
    this.#logOut.push(encodeKernelLog({ type: "caught-up" }));
  }
  get logCredit(): number {
    return this.#logOut.credit;
  }
  frames(count: number, size: number): void {
    for (let i = 0; i < count; i++) {
      const bytes = crypto.getRandomValues(new Uint8Array(size + (i % 5)));
      this.#onFrame?.({ direction: i % 3 === 0 ? "to-client" : "to-guest", bytes, at: 1000 + i * 20 });
    }
  }
  set onFrame(listener: (frame: WireFrame) => void) {
    this.#onFrame = listener;
  }

  #openPrompts(): OwnChannel {
    if (!is("prompts")) throw new SealttyError("program-failed", "The guest could not start the program.");
    this.#promptsOut = new FakeStream();
    this.#promptsError = new FakeStream();
    const decoder = new PromptsDecoder("client");
    const write = async (bytes: Uint8Array): Promise<void> => {
      for (const message of decoder.push(bytes))
        if (message.type === "answer")
          this.answers.push({
            number: message.number,
            text: new TextDecoder().decode(message.passphrase),
          });
    };
    return { ...silentChannel(this.#promptsOut), stderr: this.#promptsError, write };
  }

  #openDesktop(target: StreamTarget): OwnChannel {
    this.desktopPlaces.push(JSON.stringify(target));
    const refusal = desktopRefusal(this.desktopMode);
    if (refusal !== undefined) throw refusal;
    const desktop = new FakeDesktop(this.desktopMode);
    this.desktops.push(desktop);
    return desktop.channel();
  }

  #openLog(): OwnChannel {
    this.logRequests++;
    if (!is("log"))
      throw new SealttyError(
        "user-refused",
        "The guest does not do this for this user. Its owner names in sealttyd.toml who may have it.",
      );
    this.#logOut = new FakeStream();
    return silentChannel(this.#logOut);
  }

  #open(request: ChannelRequest): OwnChannel {
    this.requests.push(request);
    this.#stdout = new FakeStream();
    const exit = new Promise<ExitStatus>((resolve, reject) => {
      this.#exit = { resolve, reject };
    });
    exit.catch(() => undefined);
    return {
      stdout: this.#stdout,
      stderr: new FakeStream(),
      write: async (bytes) => void this.input.push(...bytes),
      end: () => undefined,
      resize: (columns, rows) => void this.resizes.push([columns, rows]),
      signal: () => undefined,
      hangUp: () => undefined,
      hangUpUnsent: () => undefined,
      exit,
    };
  }
}

/** A program that reads nothing and never ends. */
function silentChannel(stdout: ReceiveStream): OwnChannel {
  return {
    stdout,
    stderr: new FakeStream(),
    write: async () => undefined,
    end: () => undefined,
    resize: () => undefined,
    signal: () => undefined,
    hangUp: () => undefined,
    hangUpUnsent: () => undefined,
    exit: new Promise(() => undefined),
  };
}

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

const fake = new Fake();
window.fake = fake;

const auth = query.get("auth") === "none" ? "none" : "ssh-key";
const neverUsed = (): never => {
  throw new Error("the scripted page uses no cryptography");
};

void runPage(document.getElementById("page") ?? document.body, {
  secureContext: !is("insecure"),
  token: takeToken(location, history, sessionStorage),
  openServerLink: async () => {
    if (is("loading")) await new Promise(() => undefined);
    if (is("used")) throw new LinkRefused("closed");
    return {
      config: {
        page: "kept",
        keptPage: undefined,
        memory: undefined,
        address: "ws://127.0.0.1:5901/",
        pipe: { kind: "through-server" },
        pipeToken: "unused",
        policyText: "",
        simulated: is("simulated"),
        user: "operator",
        auth,
        publicKey: Uint8Array.of(1),
        keys: auth === "none" ? [] : [{ publicKey: Uint8Array.of(1), source: "~/.ssh/id_ed25519" }],
        identity: query.get("identity") ?? "db-primary",
        hostView: is("host"),
        hostViewToken: "unused",
        nextToken: undefined,
        encoding: "auto",
        obfuscate: "adaptive",
        collateral: NO_COLLATERAL,
      },
      sign: async () => new Uint8Array(),
      askForFresh: neverUsed,
    };
  },
  keys: new PageKeys({
    place: location,
    suite: nobleSuite(randomBytes),
    signatures: webCryptoSignatures(crypto.subtle),
    store: browserKeyStore(() => indexedDB),
    wallTime: () => Date.now(),
    randomBytes,
  }),
  storage: () => localStorage,
  goTo: neverUsed,
  sessionParts: () => ({
    connect: (options) => fake.connect(options),
    parsePolicy: () => {
      if (is("bad-policy")) throw new SealttyError("bad-policy", "Line 3: [tpm] needs at least one PCR");
      return policy;
    },
    suite: new Proxy({} as ConnectOptions["suite"], { get: neverUsed }),
    signatures: { verify: neverUsed },
    clock: browserClock(workerTimers()),
    wallTime: () => Date.now(),
    seen: new SeenStore(() => {
      if (is("no-storage")) throw new DOMException("The operation is insecure", "SecurityError");
      return localStorage;
    }),
    dial: neverUsed,
  }),
  openHostView: (_link, onFrame) => {
    fake.onFrame = onFrame;
  },
});
