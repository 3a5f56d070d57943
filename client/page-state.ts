// Every state the page can be in, and the words for each failure. Text of the guest or the host never gets in here.

import type { ClaimedValue } from "../protocol/attestation/verified-guest.ts";
import { SealttyError, type Refusal } from "../protocol/errors.ts";
import type { AttestationEvent, ConnectionState } from "../protocol/session/api.ts";
import type { ExitStatus } from "../protocol/session/channel-api.ts";
import type { SignInMethod } from "./page-config.ts";
import { plainText } from "./plain-text.ts";

export type GuestChanged = Extract<AttestationEvent, { kind: "changed" }>;

export type Step = "dialing" | "waiting-for-guest" | "handshaking" | "collecting-evidence" | "appraising";

/** A failure in words. `nothingSent` is true while no user has been authenticated and no terminal was shown. */
export interface Failure {
  readonly title: string;
  readonly what: string;
  readonly advice: readonly string[];
  readonly code: string;
  readonly nothingSent: boolean;
  readonly refusal: Refusal | undefined;
}

export type PageState =
  | { readonly kind: "loading" }
  | { readonly kind: "insecure-context" }
  | { readonly kind: "link-used" }
  | {
      readonly kind: "connecting";
      readonly step: Step;
      readonly attempt: number;
      /** Why it is another connection: the last one had waited too long for the user, or its sealttyd handed over. */
      readonly because?: ConnectingAnew;
    }
  | { readonly kind: "signing-in"; readonly user: string; readonly method: SignInMethod }
  /** The user is in; the terminal is there and still empty. */
  | { readonly kind: "opening" }
  | { readonly kind: "refused"; readonly failure: Failure }
  | { readonly kind: "user-refused"; readonly failure: Failure; readonly user: string }
  | { readonly kind: "failed"; readonly failure: Failure }
  | { readonly kind: "live" }
  /** The user is in, and the guest has no terminal to give, but asks for something: as an initramfs without a shell does. */
  | { readonly kind: "prompts"; readonly failure: Failure }
  /** The guest said that another sealttyd of it takes over. `otherwise`: where the page does not go on by itself. */
  | { readonly kind: "handed-over"; readonly before: HandOver; readonly otherwise: PageState }
  | {
      readonly kind: "reconnecting";
      readonly reason: string;
      /** What the line was lost from: only a session goes on in the guest meanwhile. */
      readonly during: "signing-in" | "opening" | "session" | "prompts";
    }
  /** The guest changed: covered by a dialog until the user chose. */
  | { readonly kind: "frozen" }
  | {
      readonly kind: "ended";
      readonly words: string;
      readonly clean: boolean;
      /** On the same connection. */
      readonly canOpenAgain: boolean;
      /** With a new one, from this page. */
      readonly canConnectAgain?: boolean;
    }
  | { readonly kind: "lost"; readonly failure: Failure };

export type ConnectingAnew = "late-answer" | "hand-over";

/** What had been verified of the guest whose sealttyd handed over. */
export interface HandOver {
  /** Milliseconds since 1970, UTC. */
  readonly at: number;
  readonly values: readonly ClaimedValue[];
}

/** For the session after a hand-over. @param unanswered - an answer's outcome had not been told. */
export function handedOverWords(unanswered: boolean): string {
  const words = [
    "The machine went on from its initramfs to its system. This is a new connection: checked anew against the same policy, with new keys, and you were signed in anew. The session before has ended with the initramfs, and its screen is not kept.",
  ];
  if (unanswered) words.push("What became of your last answer was not told before that.");
  return words.join(" ");
}

export const STEPS: readonly { readonly step: Step; readonly words: string; readonly detail: string }[] = [
  { step: "dialing", words: "Open the line", detail: "to the host that carries the console" },
  {
    step: "waiting-for-guest",
    words: "Call the guest",
    detail: "sealttyd inside the virtual machine answers, not the host",
  },
  { step: "handshaking", words: "Agree on keys", detail: "X25519 and ML-KEM-768, fresh for this connection" },
  {
    step: "collecting-evidence",
    words: "Receive evidence",
    detail: "the guest's hardware signs these very keys",
  },
  { step: "appraising", words: "Check it against your policy", detail: "here, in this page" },
];

export function stepOf(state: ConnectionState): Step | undefined {
  return STEPS.find(({ step }) => step === state.phase)?.step;
}

/** Why a session froze: another guest, evidence that does not meet the policy, or none that could be checked. */
export type ChangeKind = "changed" | "refused" | "unproven";

export function kindOfChange({ changes, refusal }: GuestChanged): ChangeKind {
  if (refusal !== undefined) return "refused";
  return changes.length > 0 ? "changed" : "unproven";
}

/** The user saw that something is different since last time, and closed. */
export const CLOSED_OVER_CHANGES: Failure = {
  title: "You closed the connection",
  what: "The guest met your policy, but something was different since you last looked, and you did not go on.",
  advice: [
    "Find out whether somebody changed this guest: an update, another image, a move to another machine.",
    "If your policy should not accept what is there now, take the value out of it.",
  ],
  code: "closed-by-you",
  nothingSent: true,
  refusal: undefined,
};

/** docs/protocol.md §8.2: what AUTHENTICATE_WITHIN of the guest means for a person. */
export const NOT_SIGNED_IN_IN_TIME: Failure = {
  title: "You were not signed in in time",
  what: "The guest waits two minutes for a user, then it closes the connection. Nobody had signed in by then.",
  advice: ["Try again, and touch the key, use the passkey or unlock the agent as soon as it asks."],
  code: "transport-lost",
  nothingSent: false,
  refusal: undefined,
};

/** The signal's name comes from the guest: only the shape of a signal name passes. */
export function exitWords(exit: ExitStatus): { words: string; clean: boolean } {
  if (exit.kind === "exited") {
    return exit.status === 0
      ? { words: "The session ended normally (exit status 0).", clean: true }
      : { words: `The session ended with exit status ${exit.status}.`, clean: false };
  }
  if (exit.signal === "SIGHUP") {
    return {
      words:
        "The session was hung up in the guest. Not this page did that: somebody ended it from elsewhere, as sealtty sessions --kill does.",
      clean: false,
    };
  }
  const signal = /^SIG[A-Z0-9+-]{1,12}$/.test(exit.signal) ? exit.signal : "a signal that has no known name";
  return { words: `The session was ended by ${signal}.`, clean: false };
}

export function sentence(words: string): string {
  return words === "" || /[.!?…]$/.test(words) ? words : `${words}.`;
}

const RUN_VERBOSE = "Run the same command with -v in a terminal to see each step.";

/** @param attested - the evidence had passed when it happened. */
export function failureOf(error: unknown, attested: boolean): Failure {
  const known = error instanceof SealttyError ? error : undefined;
  const code = known?.code ?? "internal";
  const { title, what, advice } = wordsFor(code, plainText(known?.message ?? "", 400));
  return { title, what: sentence(what), advice, code, nothingSent: !attested, refusal: known?.refusal };
}

function wordsFor(code: string, message: string): { title: string; what: string; advice: readonly string[] } {
  switch (code) {
    case "evidence-refused":
      return {
        title: "This guest was refused",
        what: `${message === "" ? "The evidence it showed does not meet your policy" : message.replace(/\.$/, "")}. It may be another machine, other software, or a host in between.`,
        advice: [],
      };
    case "evidence-unavailable":
      return {
        title: "The guest could not show evidence",
        what: message || "It answered, but its hardware signed nothing, so there is no reason to believe it.",
        advice: [
          "In the guest: does /dev/tpmrm0 or /sys/kernel/config/tsm exist, and may sealttyd read it?",
          "Run sealttyd --check in the guest: it says what is missing there.",
        ],
      };
    case "user-refused":
      return {
        title: "You were not let in",
        what: message || "The guest is the right one, but it refused this user or key.",
        advice: [
          "Is the user name right (-l USER)?",
          "Is this key among the keys in the guest's measured configuration?",
        ],
      };
    case "program-failed":
      return {
        title: "The guest could not start the session",
        what: message || "The guest is the right one, but its login program or shell could not be started.",
        advice: [
          "Its own log says why (journalctl -u sealttyd, in the guest).",
          "Run sealttyd --check in the guest: it says what is missing there.",
        ],
      };
    case "timeout":
      return {
        title: "The guest was not ready in time",
        what: message || "Answers came, but not all that was needed.",
        advice: ["Try again.", ...SILENCE_ADVICE],
      };
    case "guest-silent":
      return {
        title: "The guest has not answered",
        what: "The line to the host is open, but nothing came back that only the guest could have said.",
        advice: SILENCE_ADVICE,
      };
    case "version-unknown":
      return {
        title: "The guest speaks another version",
        what: message || "sealtty here and sealttyd in the guest have no protocol version in common.",
        advice: ["Update the older of the two. Nothing is negotiated down."],
      };
    case "bad-policy":
      return {
        title: "The policy cannot be used",
        what: message,
        advice: [
          "Correct the policy file and run sealtty open again.",
          "sealtty inspect --save-policy writes one that is complete.",
        ],
      };
    case "bad-config":
      return {
        title: "The configuration cannot be used",
        what: message,
        advice: ["Run sealtty open again."],
      };
    case "device-unavailable":
    case "transport-lost":
      return {
        title: "The line is gone",
        what: message || "The host closed the line, or it cannot be reached.",
        advice: [
          "Is the virtual machine running, and is its console port the one that you named?",
          "Is the sealtty command that opened this page still running?",
        ],
      };
    case "state-rolled-back":
      return {
        title: "The machine was set back",
        what: message || "One end is in an earlier state than this connection.",
        advice: [
          "Connect again: that is a new session, with new keys.",
          "If nobody of yours restored a snapshot, somebody else did.",
        ],
      };
    case "handed-over":
      return {
        title: "The machine starts its system",
        what: message || "The console of its initramfs ended, and that of the system takes over.",
        advice: ["Connect again: the machine is checked anew."],
      };
    case "session-gone":
      return {
        title: "The session has ended",
        what: message || "It ended in the guest, and what it printed last is not there any more.",
        advice: ["Connect again for a new session."],
      };
    case "limit-exceeded":
      return {
        title: "Too much at once",
        what: message || "A limit of this page or of the guest was reached.",
        advice: ["Close other sessions with this guest, then try again."],
      };
    case "peer-misbehaved":
    case "decrypt-failed":
      return {
        title: "The other side broke the protocol",
        what: message || "What came back is not what a guest would say.",
        advice: [
          "Try again. If it stays, the host may be interfering, or the guest's sealttyd is damaged.",
          RUN_VERBOSE,
        ],
      };
    default:
      return {
        title: "Something went wrong in this page",
        what: message || "This is a fault of sealtty, not of the guest.",
        advice: ["Run sealtty open again. If it stays, please report it."],
      };
  }
}

export const SILENCE_ADVICE: readonly string[] = [
  "Is the virtual machine running, and did it get as far as its initramfs?",
  "Does sealttyd run in it, on the port that the host attached (systemctl status sealttyd)?",
  "Is another program on the host holding the same port? A console carries one line at a time.",
];
