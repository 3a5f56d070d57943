// The real page with a scripted guest instead of a connection: a test turns it with `window.fake`. Never shipped.

import type { Policy } from "../../../protocol/attestation/policy.ts";
import { type Assurance, VerifiedGuest } from "../../../protocol/attestation/verified-guest.ts";
import { SealttyError, type Refusal, type SealttyErrorCode } from "../../../protocol/errors.ts";
import { utf8 } from "../../../protocol/bytes.ts";
import type {
  AttestedGuest,
  Channel,
  ChannelRequest,
  ConnectionState,
  ConnectOptions,
  ExitStatus,
  Guest,
  ReceiveStream,
} from "../../../protocol/session/api.ts";
import { browserClock } from "../../../client/browser-clock.ts";
import type { WireFrame } from "../../../client/host-view-source.ts";
import { runPage, takeToken } from "../../../client/page.ts";
import "./window.ts";
import { LinkRefused } from "../../../client/server-link.ts";

const query = new URLSearchParams(location.search);
const is = (name: string): boolean => query.get(name) === "1";
const policy: Policy = {
  version: 1,
  name: "build-7 reference values",
  minimumAssurance: (query.get("assurance") ?? "host-vouched") as Assurance,
  anyInstance: is("any"),
  tpm: undefined,
  simulated: undefined,
};

function verified(assurance: Assurance): VerifiedGuest {
  return VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    {
      type: assurance === "simulated" ? "simulated" : "tpm",
      assurance,
      signedBy: "TPM attestation key 000b4f1c…9e21",
      instance: is("any")
        ? "Any machine (the policy says so); this one has the TPM attestation key 000b4f1c7a"
        : "The machine with the TPM attestation key 000b4f1c7ad0e5b2c9f83466a1d7e0b5f2c4889be3d1a6f70c5e2b9481d3f6a09e21",
      anyInstance: is("any"),
      verified: [
        { check: "tpm.signature", words: "That key signed the quote", value: "ECDSA P-256 with SHA-256" },
        {
          check: "tpm.binding",
          words:
            "The quote was made for this connection and no other: this key exchange, this nonce, this guest key",
        },
        {
          check: "tpm.pcr",
          words: "PCR 4 (boot loader and kernel) holds an accepted value",
          value: "9f1cc2a7d04be8315a6e772c1b90fd43e8a5d6027be1f94c3085ad16e7b2409c",
        },
        {
          check: "tpm.pcr",
          words: "PCR 11 (unified kernel image) holds an accepted value",
          value: "3b8a61f0e2d94c7758a1b6d30f2ce94187d5a06b4e3f19c2d8770ae5b16c92f4",
        },
        { check: "tpm.event-log", words: "Replaying the event log gives the quoted value of PCR 4, 11" },
      ],
      notVerified: [
        "That the host does not read the guest's memory: no processor vouches for this guest",
        "PCRs quoted but not pinned by the policy: 0, 1, 2, 3, 5, 7",
      ],
      warnings:
        assurance === "host-vouched"
          ? ["The TPM is a program of the host: a host that wants to lie, can"]
          : [],
      policyText: "version = 1\n",
    },
  );
}

class FakeStream implements ReceiveStream {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  credit = 0;

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#wake?.();
  }
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }
  fail(error: Error): void {
    this.#error = error;
    this.#wake?.();
  }
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) return chunk;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  consumed(length: number): void {
    this.credit += length;
  }
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
  #stdout = new FakeStream();
  #exit: { resolve(exit: ExitStatus): void; reject(error: Error): void } | undefined;
  #closeConnection: ((reason: string) => void) | undefined;
  #onFrame: ((frame: WireFrame) => void) | undefined;

  connect(options: ConnectOptions): Promise<AttestedGuest> {
    this.#options = options;
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
  }
  attest(assurance: Assurance): void {
    const stats = {
      roundTripMs: 23.4,
      packetsSent: 41,
      packetsReceived: 57,
      packetsLost: 0,
      packetsRefused: 0,
      pipes: 1,
    };
    const shared = { verified: verified(assurance), stats, close: async () => undefined };
    const guest: Guest = {
      ...shared,
      openChannel: async (request) => this.#open(request),
      closed: new Promise((resolve) => {
        this.#closeConnection = resolve;
      }),
    };
    this.state({ phase: "attested" });
    this.#attest?.({
      ...shared,
      evidence: { type: "tpm", quote: new Uint8Array(), aux: new Uint8Array() },
      authenticate: () =>
        new Promise((resolve, reject) => {
          this.#admit = () => resolve(guest);
          this.#deny = reject;
        }),
    });
  }
  admit(): void {
    this.#admit?.();
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
    this.#stdout.fail(error);
    this.#exit?.reject(error);
  }
  closeConnection(): void {
    this.#closeConnection?.("done");
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

  #open(request: ChannelRequest): Channel {
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
      exit,
    };
  }
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
        address: "ws://127.0.0.1:5901/",
        pipe: { kind: "through-server" },
        pipeToken: "unused",
        policyText: "",
        simulated: is("simulated"),
        user: "operator",
        auth,
        publicKey: Uint8Array.of(1),
        identity: query.get("identity") ?? "db-primary",
        hostView: is("host"),
        hostViewToken: "unused",
        nextToken: undefined,
        encoding: "auto",
      },
      sign: async () => new Uint8Array(),
    };
  },
  sessionParts: () => ({
    connect: (options) => fake.connect(options),
    parsePolicy: () => {
      if (is("bad-policy")) throw new SealttyError("bad-policy", "Line 3: [tpm] needs at least one PCR");
      return policy;
    },
    suite: new Proxy({} as ConnectOptions["suite"], { get: neverUsed }),
    signatures: { verify: neverUsed },
    clock: browserClock(),
    dial: neverUsed,
    sign: async () => new Uint8Array(),
  }),
  openHostView: (_link, onFrame) => {
    fake.onFrame = onFrame;
  },
});
