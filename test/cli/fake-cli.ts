// Services for the CLI's commands with nothing real in them: streams in memory, a guest that does what the test says.

import { PassThrough } from "node:stream";
import type { Services, SignalName } from "../../cli/services.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { type AppraisedClaims, VerifiedGuest } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AttestedGuest, ConnectOptions, Guest, UserAuth } from "../../protocol/session/api.ts";
import type {
  Channel,
  ChannelRequest,
  ExitStatus,
  ReceiveStream,
} from "../../protocol/session/channel-api.ts";
import { checkEvents } from "../support/json-events.ts";
import { NO_SESSIONS } from "../support/no-sessions.ts";

export const POLICY_TEXT =
  'version = 1\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "test"\n';

export const CLAIMS: AppraisedClaims = {
  type: "simulated",
  assurance: "simulated",
  verdict: "This proves nothing",
  what: "Nothing is known of what runs",
  signedBy: "nobody",
  instance: 'Simulated instance "test"',
  fresh: "Made for this connection",
  instanceDocument: undefined,
  anyInstance: false,
  verified: [{ check: "simulated.binding", words: "made for this connection", value: "00ff" }],
  notVerified: ["everything"],
  warnings: ["SIMULATED evidence: nothing is proven"],
  values: [{ name: "simulated.instance", words: "Simulated instance", value: "test", scope: "lasting" }],
  policyText: POLICY_TEXT,
};

const STATS = {
  roundTripMs: 1,
  packetsSent: 0,
  packetsReceived: 0,
  packetsLost: 0,
  packetsRefused: 0,
  pipes: 1,
  carries: { encoding: "binary", burst: 0, rate: 0 },
} as const;

/** A stream of the guest's, written by the test. */
export class FakeReceive implements ReceiveStream {
  readonly #chunks: (Uint8Array | undefined | SealttyError)[] = [];
  #wake: () => void = () => undefined;
  consumedBytes = 0;

  push(chunk: Uint8Array | string | undefined | SealttyError): void {
    this.#chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    this.#wake();
  }
  async read(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const chunk = this.#chunks.shift();
    if (chunk instanceof SealttyError) throw chunk;
    return chunk;
  }
  consumed(length: number): void {
    this.consumedBytes += length;
  }
}

export class FakeChannel implements Channel {
  readonly stdout = new FakeReceive();
  readonly stderr = new FakeReceive();
  readonly events: string[] = [];
  readonly input: Uint8Array[] = [];
  readonly exit: Promise<ExitStatus>;
  #settle!: { resolve(exit: ExitStatus): void; reject(error: SealttyError): void };
  /** Awaited before input counts as taken. */
  takes: () => Promise<unknown> = () => Promise.resolve();
  onEnd: () => void = () => undefined;

  constructor() {
    this.exit = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.exit.catch(() => undefined);
  }
  async write(bytes: Uint8Array): Promise<void> {
    await this.takes();
    this.input.push(bytes.slice());
  }
  end(): void {
    this.events.push("end");
    this.onEnd();
  }
  resize(columns: number, rows: number): void {
    this.events.push(`resize ${columns} ${rows}`);
  }
  signal(name: string): void {
    this.events.push(name);
  }
  hangUp(): void {
    this.events.push("hang-up");
  }
  finish(exit: ExitStatus): void {
    this.stdout.push(undefined);
    this.stderr.push(undefined);
    this.#settle.resolve(exit);
  }
  lose(): void {
    const error = new SealttyError("transport-lost", "The connection was lost");
    this.stdout.push(error);
    this.stderr.push(error);
    this.#settle.reject(error);
  }
  get inputText(): string {
    return Buffer.concat(this.input).toString();
  }
}

export class FakeTerminal extends PassThrough {
  isTTY = false;
  columns = 80;
  rows = 24;
  readonly rawModes: boolean[] = [];
  setRawMode(raw: boolean): void {
    this.rawModes.push(raw);
  }
}

/** A guest whose user is in. */
export function fakeGuest(
  verified: VerifiedGuest,
  openChannel: (request: ChannelRequest) => Promise<Channel>,
): Guest {
  return {
    ...NO_SESSIONS,
    verified,
    stats: STATS,
    openChannel: async (request) => {
      const channel = await openChannel(request);
      return Object.assign(channel, { hangUpUnsent: () => channel.hangUp() });
    },
    reattest: () => Promise.resolve(),
    frozen: false,
    goOn: () => undefined,
    close: () => Promise.resolve(),
    closed: new Promise<string>(() => undefined),
  };
}

export interface FakeCli {
  readonly services: Services;
  readonly stdin: FakeTerminal;
  readonly stdout: FakeTerminal;
  readonly stderr: FakeTerminal;
  readonly channel: FakeChannel;
  readonly requests: ChannelRequest[];
  readonly auths: UserAuth[];
  readonly connects: Partial<ConnectOptions>[];
  readonly suspensions: number[];
  /** What it printed; JSON events in it are held against docs/json.md. */
  out(): string;
  errors(): string;
  signal(name: SignalName): void;
  /** As the process would when it ends. */
  exit(): void;
}

export function fakeCli(changes: Partial<Services> = {}): FakeCli {
  const [stdin, stdout, stderr] = [new FakeTerminal(), new FakeTerminal(), new FakeTerminal()];
  const channel = new FakeChannel();
  const requests: ChannelRequest[] = [];
  const auths: UserAuth[] = [];
  const connects: Partial<ConnectOptions>[] = [];
  const suspensions: number[] = [];
  const signals = new Map<string, Set<() => void>>();
  const exits = new Set<() => void>();
  const texts = { out: "", errors: "" };
  stdout.on("data", (chunk: Buffer) => {
    texts.out += chunk.toString();
  });
  stderr.on("data", (chunk: Buffer) => {
    texts.errors += chunk.toString();
  });
  const verified = VerifiedGuest.afterChecks(
    { signature: "valid", binding: "equal", instance: "pinned", referenceValues: "met", assurance: "met" },
    CLAIMS,
  );
  const evidence = { type: "simulated", quote: new Uint8Array(0), aux: new Uint8Array(0) } as const;
  const zeros = new Uint8Array(32);
  const context = { handshakeHash: zeros, guestStatic: zeros, exporter: zeros, clientNonce: zeros };
  const attested: AttestedGuest = {
    verified,
    evidence,
    context,
    stats: STATS,
    authenticate(auth) {
      auths.push(auth);
      return Promise.resolve(
        fakeGuest(verified, (request) => {
          requests.push(request);
          return Promise.resolve(channel);
        }),
      );
    },
    close: () => Promise.resolve(),
  };
  const services: Services = {
    stdin,
    stdout,
    stderr,
    environment: { TERM: "xterm" },
    localUser: "me",
    programDirectory: "/nowhere",
    version: "1.2.3",
    suite: nodeSuite,
    signatures: { verify: () => Promise.resolve(false) },
    clock: nodeClock,
    wallTime: () => Date.UTC(2026, 5, 15),
    connect(options) {
      connects.push(options);
      return Promise.resolve(attested);
    },
    inspectGuest(options) {
      connects.push(options);
      return Promise.resolve({ claims: CLAIMS, evidence, context });
    },
    parsePolicy,
    loadIdentity: (file) =>
      Promise.resolve({
        publicKey: Uint8Array.of(1),
        source: file ?? "default",
        sign: () => Promise.resolve(Uint8Array.of(2)),
      }),
    dial: () => Promise.reject(new SealttyError("transport-lost", "nobody is there")),
    onSignal(name, handler) {
      const handlers = signals.get(name) ?? new Set();
      signals.set(name, handlers.add(handler));
      return () => handlers.delete(handler);
    },
    onExit(handler) {
      exits.add(handler);
      return () => exits.delete(handler);
    },
    suspend: () => suspensions.push(1),
    openBrowser: () => false,
    ...changes,
  };
  return {
    services,
    stdin,
    stdout,
    stderr,
    channel,
    requests,
    auths,
    connects,
    suspensions,
    out() {
      checkEvents(texts.out, "stdout");
      return texts.out;
    },
    errors() {
      checkEvents(texts.errors, "stderr");
      return texts.errors;
    },
    signal: (name) => {
      for (const handler of signals.get(name) ?? []) handler();
    },
    exit: () => {
      for (const handler of exits) handler();
    },
  };
}
