/* A session that outlives its connections: RESUME, which docs/protocol.md §8.4 does not have yet. What is modelled is the
 * design, for the code to follow; the parts that exist are named.
 *
 * A client that lost its keys handshakes anew, sees evidence and proves its user anew. On the new connection the guest
 * tells it the session's epoch. RESUME carries that epoch and the offset of the output byte that the client wants next.
 * If the epoch is still the session's, the guest raises it, and the older attachment counts no more: it is *fenced*. The answer
 * says from which input byte on the guest wants to hear, and whether the ring still has the output, or a snapshot of the
 * screen comes in its place. Else it is refused, with the epoch of now; only the newest attachment asks again.
 *
 * Each attachment is a connection of its own, whole and in order: that is what streams.pml is about
 * (protocol/streams/stream-connection.ts). Its streams count from 0, so an input byte does not say which byte of the session it
 * is. How far each connection gets is the host's choice, and so is when an old one goes on. The client of an old one may be
 * alive, too, in another tab, and still type.
 *
 *   in the model          in the code
 *   made, kept, RING      the session's ring (protocol/streams/byte-ring.ts); output held back at the source: guest-process.ts
 *   taken                 protocol/session/guest-channel.ts: what the program took
 *   shown                 protocol/session/client-channel.ts: what was read and consumed
 *
 * The value of output byte i and of input byte i is i. BUG_… plants one mistake; formal/expected-spin.json says which
 * property then fails. */

#ifndef N
#define N 4 /* bytes of output */
#endif
#ifndef INPUT
#define INPUT 2 /* bytes of input */
#endif
#ifndef ATTACHMENTS
#define ATTACHMENTS 3
#endif
#define RING 2 /* output bytes that the guest keeps for whoever comes back */
#define NONE 15

mtype = { resume, input, resumed, snapshot, output, refused };

chan up[ATTACHMENTS] = [2] of { mtype, byte, byte };   /* resume: offset, epoch.  input: byte */
chan down[ATTACHMENTS] = [2] of { mtype, byte, byte }; /* resumed, snapshot: offset, input byte.  output: byte.  refused: epoch */

/* Guest. */
byte made, kept; /* output so far; the ring holds kept … made − 1 */
byte unsent;     /* next output byte for the attachment that counts */
byte taken;      /* input bytes that the program got */
byte epoch;
byte current = NONE;
byte granted;    /* one above the newest attachment that was ever let in */

/* Client. It believes in the attachment that it made last. */
byte newest = NONE;
byte shown;      /* next output byte: all before it are on the screen */
byte typed[ATTACHMENTS];
bool in[ATTACHMENTS];

#define DONE (newest != NONE && in[newest] && shown == N && taken == INPUT)

active proctype Client() {
  do
  :: atomic { newest == NONE || newest + 1 < ATTACHMENTS ->
       newest = (newest == NONE -> 0 : newest + 1);
       up[newest]!resume(shown, epoch) } /* the epoch of now: it may be another when this arrives */
  od
}

active [ATTACHMENTS] proctype ClientEnd() {
  byte a = _pid - 1;
  byte x, y;
  do
  :: atomic { a == newest && nempty(down[a]) ->
       if
       :: down[a]?resumed(x, y) -> assert(x == shown); in[a] = true; typed[a] = y
       :: down[a]?snapshot(x, y) -> assert(x >= shown); shown = x; in[a] = true; typed[a] = y
       :: down[a]?output(x, y) -> assert(in[a] && x == shown); shown++ /* no gap, nothing twice */
       :: down[a]?refused(x, y) -> up[a]!resume(shown, x)
       fi;
#ifdef BUG_RESEND_ALL
       if :: in[a] && typed[a] == taken -> typed[a] = 0 :: else fi;
#endif
       x = 0; y = 0 }
  :: atomic { in[a] && typed[a] < INPUT && nfull(up[a]) -> up[a]!input(typed[a], 0); typed[a]++ } /* an old one, too */
  od
}

active [ATTACHMENTS] proctype GuestEnd() {
  byte a = _pid - 1 - ATTACHMENTS;
  byte x, y;
  do
  :: atomic { nempty(up[a]) && nfull(down[a]) ->
       if
       :: up[a]?resume(x, y) ->
          if
#ifdef BUG_ANY_EPOCH
          :: true ->
#else
          :: y == epoch ->
#endif
             assert(a >= granted); /* a late RESUME never unseats a newer attachment */
             granted = a + 1;
             epoch++;
             current = a;
             if
#ifdef BUG_SILENT_GAP
             :: x < kept -> unsent = kept; down[a]!resumed(x, taken)
#else
             :: x < kept -> unsent = made; down[a]!snapshot(made, taken)
#endif
#ifdef BUG_FROM_SENT
             :: x >= kept -> unsent = (unsent > x -> unsent : x); down[a]!resumed(x, taken)
#else
             :: x >= kept -> unsent = x; down[a]!resumed(x, taken)
#endif
             fi
          :: else -> down[a]!refused(epoch, 0)
          fi
       :: up[a]?input(x, y) ->
          if
#ifdef BUG_NOT_FENCED
          :: true ->
#else
          :: a == current ->
#endif
             assert(x == taken); /* each byte of input once, in order */
             taken++
          :: else
          fi
       fi;
       x = 0; y = 0 }
  :: atomic { a == current && unsent < made && nfull(down[a]) -> down[a]!output(unsent, 0); unsent++ }
  :: d_step { a == current && a != newest -> current = NONE } /* nobody there: the program runs on, detached */
  od
}

active proctype Program() {
  do
  :: d_step { made < N && (current == NONE || made - unsent < RING) -> /* held back rather than dropped unsent */
       made++;
       if :: made > RING && kept < made - RING -> kept = made - RING :: else fi }
  od
}

ltl progress { <> DONE }
