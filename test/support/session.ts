// A guest and a client in one process, over pipes in memory: everything real but the hardware and the programs.

import { encodeAux } from "../../protocol/attestation/aux.ts";
import { NO_COLLATERAL } from "../../protocol/attestation/collateral.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { GuestEndpoint } from "../../protocol/session/accept.ts";
import type { ConnectOptions } from "../../protocol/session/api.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { GuestProcess } from "../../protocol/session/guest-process.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { SessionRegistry } from "../../server/sessions/registry.ts";

export const SIMULATED_POLICY_TEXT =
  'version = 1\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "test"\n';
export const SIMULATED_POLICY = parsePolicy(SIMULATED_POLICY_TEXT);

/** A program made of callbacks: what it is given comes back through `onInput`, what it prints goes through `print`. */
export class FakeProcess implements GuestProcess {
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #wake: () => void = () => {};
  readonly exit: Promise<ExitStatus>;
  #exited!: (status: ExitStatus) => void;
  readonly stderr = { read: async () => undefined };
  readonly input: Uint8Array[] = [];
  readonly events: string[] = [];
  /** Awaited before input counts as taken. */
  reads: () => Promise<void> = () => Promise.resolve();
  onInput: (bytes: Uint8Array) => void = () => {};

  constructor() {
    this.exit = new Promise((resolve) => {
      this.#exited = resolve;
    });
  }

  readonly stdout = {
    read: async (): Promise<Uint8Array | undefined> => {
      while (this.#chunks.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      return this.#chunks.shift();
    },
  };

  /** Pieces printed and not yet taken. */
  get waiting(): number {
    return this.#chunks.length;
  }

  print(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#wake();
  }
  endOutput(): void {
    this.#chunks.push(undefined);
    this.#wake();
  }
  finish(status: ExitStatus): void {
    this.#exited(status);
    this.endOutput();
  }
  async write(bytes: Uint8Array): Promise<void> {
    await this.reads();
    this.input.push(bytes.slice());
    this.onInput(bytes);
  }
  endInput(): void {
    this.events.push("end");
  }
  resize(columns: number, rows: number): void {
    this.events.push(`resize ${columns}x${rows}`);
  }
  signal(name: string): void {
    this.events.push(name);
  }
  hangUp(): void {
    this.events.push("hang up");
    this.finish({ kind: "signalled", signal: "SIGHUP" });
  }
}

/** Prints back what it gets; a byte 0x04 ends it with status 7. */
export function echoProcess(): FakeProcess {
  const process = new FakeProcess();
  process.onInput = (bytes) => {
    const end = bytes.indexOf(4);
    process.print((end < 0 ? bytes : bytes.subarray(0, end)).slice());
    if (end >= 0) process.finish({ kind: "exited", status: 7 });
  };
  return process;
}

/** For a guest that believes whoever names a key. */
export const acceptAnyKey: GuestServices["verifyUserKey"] = async (_, publicKey) => ({
  key: nodeSuite.sha256(publicKey),
  restrictions: UNRESTRICTED,
});

export interface TestGuest {
  readonly endpoint: GuestEndpoint;
  readonly processes: FakeProcess[];
  readonly log: string[];
  readonly sessions: SessionRegistry;
}

export const SESSION_LIMITS = { ringBytes: 64 * 1024, idleMs: 3_600_000 };

export function testGuest(
  clock: Clock,
  own: Partial<GuestServices> = {},
  makeProcess: () => FakeProcess = echoProcess,
  suite: CryptoSuite = nodeSuite,
  limits = SESSION_LIMITS,
  startScreenThread?: StartScreenThread,
): TestGuest {
  const processes: FakeProcess[] = [];
  const log: string[] = [];
  const secretKey = suite.randomBytes(32);
  const aux = encodeAux(simulatedParts({ publicKey: suite.ed25519PublicKey(secretKey), instance: "test" }));
  const startProcess: GuestServices["startProcess"] = async (_, request) => {
    if (request.kind === "prompts") throw new SealttyError("user-refused", "Nobody answers prompts here");
    const process = makeProcess();
    processes.push(process);
    return process;
  };
  const sessions = new SessionRegistry({
    suite,
    clock,
    limits,
    startScreenThread,
    startProcess: (user, request) => (own.startProcess ?? startProcess)(user, request),
    log: (event) => log.push(event),
  });
  const services: GuestServices = {
    async collectEvidence({ makeBinder }) {
      const quote = signSimulatedQuote(suite, secretKey, makeBinder("simulated", aux));
      return { type: "simulated", quote, aux };
    },
    loginAllowed: true,
    keysAllowed: false,
    verifyUserKey: async () => undefined,
    wallTime: () => Date.now(),
    startProcess,
    sessions,
    log: (event) => log.push(event),
    ...own,
  };
  const endpoint = new GuestEndpoint({ suite, clock, staticKey: suite.x25519KeyPair(), services });
  return { endpoint, processes, log, sessions };
}

export function clientOptions(
  clock: Clock,
  dial: () => Promise<Pipe>,
  own: Partial<ConnectOptions> = {},
): ConnectOptions {
  return {
    dial,
    suite: nodeSuite,
    signatures: webCryptoSignatures(globalThis.crypto.subtle),
    clock,
    wallTime: () => Date.UTC(2026, 5, 15),
    collateral: NO_COLLATERAL,
    address: "memory:test",
    identity: "test",
    policy: SIMULATED_POLICY,
    acceptSimulated: true,
    timeout: 60_000,
    encoding: "auto",
    ...own,
  };
}
