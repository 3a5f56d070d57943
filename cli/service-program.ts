// A service of the guest's (protocol/session/service-request.ts): reached, opened, and left in order, whatever ends it.

import type { Readable } from "node:stream";
import { SealttyError } from "../protocol/errors.ts";
import type { ServiceRequest } from "../protocol/session/service-request.ts";
import type { Exit, ExecOptions, RemoteProcess } from "./api/types.ts";
import { EXIT_OUTPUT_CLOSED, signalStatus } from "./exit-status.ts";
import type { Input } from "./options.ts";
import { OutputClosed } from "./output.ts";
import { escapeBytes } from "./printable.ts";
import { enter, reach } from "./reach.ts";
import type { Reporter } from "./report.ts";
import type { Services } from "./services.ts";

/** Of a program that has a sentence to say, at most. */
const MAX_COMPLAINT = 2000;

export interface ServiceUse {
  readonly input: Input;
  readonly services: Services;
  readonly reporter: Reporter;
  /** As `exec` of the API has it; absent: none. */
  readonly stdin?: ExecOptions["stdin"];
}

/** @param use - what is done with its program. @returns its exit status, or that of a signal. @throws SealttyError. */
export async function useService(
  guestName: string,
  service: ServiceRequest,
  { input, services, reporter, stdin }: ServiceUse,
  use: (program: RemoteProcess) => Promise<number>,
): Promise<number> {
  const reached = await reach(guestName, input, services, reporter, { key: true });
  const offs: (() => void)[] = [];
  try {
    const guest = await enter(reached);
    const program = await guest.service(service, stdin === undefined ? {} : { stdin });
    const interrupted = new Promise<number>((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
        offs.push(services.onSignal(signal, () => resolve(signalStatus(signal))));
    });
    try {
      return await Promise.race([use(program), interrupted]);
    } catch (error) {
      if (error instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
      throw error;
    } finally {
      program.hangUp();
    }
  } finally {
    for (const off of offs) off();
    await reached.end();
  }
}

/** What the guest's program said of its own failure, escaped. Reads to the end; never rejects. */
export async function complaintOf({ stderr }: { readonly stderr: Readable }): Promise<string> {
  let said = Buffer.alloc(0);
  try {
    for await (const piece of stderr as AsyncIterable<Buffer>)
      said = Buffer.concat([said, piece.subarray(0, MAX_COMPLAINT - said.length)]);
  } catch {
    // how the connection ended, the program's exit tells as well
  }
  return escapeBytes(said, MAX_COMPLAINT)
    .replace(/\\x0a$/, "")
    .replaceAll("\\x0a", " ");
}

/** @param what - a sentence's beginning. @param complaint - as complaintOf() has it. */
export function serviceFailed(what: string, { status, signal }: Exit, complaint: string): SealttyError {
  return new SealttyError(
    "program-failed",
    complaint === ""
      ? `${what} (${signal ?? `status ${status}`}). The guest's own log may say why (journalctl -u sealttyd, in the guest).`
      : `${what}: ${complaint}`,
  );
}
