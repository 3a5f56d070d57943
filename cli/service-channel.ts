// A service of the guest's (protocol/session/service-request.ts): reached, opened, and left in order, whatever ends it.

import { SealttyError } from "../protocol/errors.ts";
import type { Channel, ExitStatus, ReceiveStream } from "../protocol/session/channel-api.ts";
import type { ServiceRequest } from "../protocol/session/service-request.ts";
import { EXIT_OUTPUT_CLOSED, signalStatus } from "./exit-status.ts";
import type { Input } from "./options.ts";
import { OutputClosed } from "./output.ts";
import { escapeBytes } from "./printable.ts";
import { authenticate, reach } from "./reach.ts";
import type { Reporter } from "./report.ts";
import type { Services } from "./services.ts";

/** Of a program that has a sentence to say, at most. */
const MAX_COMPLAINT = 2000;

/** @param use - what is done with the channel. @returns its exit status, or that of a signal. @throws SealttyError. */
export async function useService(
  guestName: string,
  service: ServiceRequest,
  {
    input,
    services,
    reporter,
  }: { readonly input: Input; readonly services: Services; readonly reporter: Reporter },
  use: (channel: Channel) => Promise<number>,
): Promise<number> {
  const reached = await reach(guestName, input, services, reporter, { key: true });
  const offs: (() => void)[] = [];
  try {
    const guest = await authenticate(reached);
    const channel = await guest.openChannel({ kind: "service", service });
    const interrupted = new Promise<number>((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        offs.push(services.onSignal(signal, () => resolve(signalStatus(signal))));
    });
    const changed = reached.watch.frozen.then((error): never => {
      throw error;
    });
    try {
      return await Promise.race([use(channel), interrupted, changed]);
    } catch (error) {
      if (error instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
      throw error;
    } finally {
      channel.hangUp();
    }
  } finally {
    for (const off of offs) off();
    reached.explain.end();
    await reached.attested.close().catch(() => undefined);
  }
}

/** What the guest's program said of its own failure, escaped. Reads to the end; never rejects. */
export async function complaintOf(stderr: ReceiveStream): Promise<string> {
  let said = Buffer.alloc(0);
  try {
    for (let piece = await stderr.read(); piece !== undefined; piece = await stderr.read()) {
      said = Buffer.concat([said, piece.subarray(0, MAX_COMPLAINT - said.length)]);
      stderr.consumed(piece.length);
    }
  } catch {
    // how the connection ended, the channel's exit tells as well
  }
  return escapeBytes(said, MAX_COMPLAINT)
    .replace(/\\x0a$/, "")
    .replaceAll("\\x0a", " ");
}

/** @param what - a sentence's beginning. @param complaint - as complaintOf() has it. */
export function serviceFailed(what: string, exit: ExitStatus, complaint: string): SealttyError {
  const how = exit.kind === "exited" ? `status ${exit.status}` : exit.signal;
  return new SealttyError(
    "program-failed",
    complaint === ""
      ? `${what} (${how}). The guest's own log may say why (journalctl -u sealttyd, in the guest).`
      : `${what}: ${complaint}`,
  );
}
