// Connections and listeners of forwarding, told to the audit: whose, of which kind, how many bytes. Not to where: paths and
// hosts are the user's.

import type { Clock } from "../../protocol/clock.ts";
import type { ListenPlace, StreamPlace } from "../../protocol/forward/target.ts";
import type { AuthenticatedUser, GuestProcess } from "../../protocol/session/guest-process.ts";
import type {
  GuestListener,
  GuestStreams,
  ListenerEvents,
  StreamRefusal,
  WaitingStream,
} from "../../protocol/session/guest-streams.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { type CarrierEvent, secondsSince } from "../audit/events.ts";

interface Whose {
  readonly user?: string;
  readonly key?: string;
}

export class ToldStreams implements GuestStreams {
  readonly #streams: GuestStreams;
  readonly #clock: Clock;
  readonly #say: (event: CarrierEvent) => void;
  #next = 1;

  constructor(streams: GuestStreams, clock: Clock, say: (event: CarrierEvent) => void) {
    this.#streams = streams;
    this.#clock = clock;
    this.#say = say;
  }

  async open(user: AuthenticatedUser, place: StreamPlace): Promise<GuestProcess | StreamRefusal> {
    const target = place.kind === "service" ? "ssh" : place.kind;
    return this.#opened(whose(user), target, await this.#streams.open(user, place));
  }

  async listen(
    user: AuthenticatedUser,
    place: ListenPlace,
    events: ListenerEvents,
  ): Promise<GuestListener | StreamRefusal> {
    const who = whose(user);
    const target = place.kind;
    const listener = await this.#streams.listen(user, place, {
      isLive: () => events.isLive(),
      incoming: (stream) => events.incoming(this.#waiting(who, stream)),
    });
    if ("code" in listener) {
      this.#say({ event: "listen-refused", ...who, target, why: `code ${listener.code}` });
      return listener;
    }
    this.#say({ event: "listen-open", ...who, target });
    const began = this.#clock.now();
    let closed = false;
    return {
      port: listener.port,
      close: () => {
        listener.close();
        if (closed) return;
        closed = true;
        this.#say({ event: "listen-end", user: who.user, target, seconds: secondsSince(this.#clock, began) });
      },
    };
  }

  #waiting(who: Whose, stream: WaitingStream): WaitingStream {
    return {
      accept: async () => this.#opened(who, "incoming", await stream.accept()),
      dismiss: () => stream.dismiss(),
    };
  }

  #opened(who: Whose, target: string, stream: GuestProcess | StreamRefusal): GuestProcess | StreamRefusal {
    if ("code" in stream) {
      this.#say({ event: "stream-refused", ...who, target, why: `code ${stream.code}` });
      return stream;
    }
    const number = this.#next++;
    this.#say({ event: "stream-open", stream: number, ...who, target });
    const began = this.#clock.now();
    const counts = { bytes_in: 0, bytes_out: 0 };
    let tellEnd = (): void => {};
    const readWhole = new Promise<void>((resolve) => {
      tellEnd = resolve;
    });
    void Promise.all([stream.exit, readWhole]).then(() =>
      this.#say({
        event: "stream-end",
        stream: number,
        user: who.user,
        target,
        ...counts,
        seconds: secondsSince(this.#clock, began),
      }),
    );
    const { stdout } = stream;
    return {
      stdout: {
        read: async () => {
          const chunk = await stdout.read();
          if (chunk === undefined) tellEnd();
          else counts.bytes_out += chunk.length;
          return chunk;
        },
      },
      stderr: stream.stderr,
      exit: stream.exit,
      write: (bytes) => {
        counts.bytes_in += bytes.length;
        return stream.write(bytes);
      },
      endInput: () => stream.endInput(),
      resize: (columns, rows) => stream.resize(columns, rows),
      signal: (name) => stream.signal(name),
      hangUp: () => stream.hangUp(),
    };
  }
}

function whose(user: AuthenticatedUser): Whose {
  return user.method === "none" ? {} : { user: user.name, key: fingerprintOf(user.key) };
}
