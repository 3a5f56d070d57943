/* One direction of one stream over packets, and the same keys over a new pipe: docs/protocol.md §5.2, §5.4, §5.5, §7.2 to
 * §7.4, §8.4, §8.5. The client sends N bytes to the guest; acknowledgements and credit come back. The host between them
 * loses, doubles, reorders and holds back.
 *
 *   in the model                  in the code
 *   send, take, lose, arrive      protocol/streams/send-buffer.ts (take, onLost, onArrived), stream-connection.ts (next, #requeue)
 *   rto, clientTakes, newPipe     protocol/packets/recovery.ts (onTimeout, onAck, onNewPipe)
 *   guestTakes: seen, next        protocol/packets/replay-window.ts (isNew, mark), packet-cipher.ts (open)
 *   guestTakes: got               protocol/packets/received-numbers.ts, stream-connection.ts (receive: "not acknowledged")
 *   guestTakes: port              protocol/session/guest-connection.ts (receive: only the newest packet moves it)
 *   push, consume                 protocol/streams/reassembly.ts (push, #wait, #closeGap, consume)
 *
 * Two readings of the host. Without LIVE it may at any time deliver any packet that was ever sent, again and again, or
 * never, and every timeout may come too early, without end. With LIVE there are MISCHIEF acts at any moments: a packet is
 * lost, doubled, or not kept, a pipe is cut, a timeout or a WINDOW comes too early, the client closes. Else the host only
 * delivers what it has, in any order. There `progress` is asked.
 *
 * The value of byte i is i. BUG_… plants one mistake; formal/expected-spin.json says which property then fails. */

#ifndef N
#define N 4 /* bytes of the stream */
#endif
#ifndef W
#define W 2 /* the window: StreamWindows.receive */
#endif
#ifndef P
#define P 10 /* packet numbers in use at once, at most 10 */
#endif
#ifndef PIPES
#define PIPES 2
#endif
#define FLIGHT 2 /* packets out at once: Recovery.room */
#define REPLAY 3 /* REPLAY_WINDOW */
#define REORDER 2 /* REORDER_TOLERANCE */
#define UNKNOWN 15
#ifdef SLOTS2
#define BUSY win1
#else
#define BUSY win0
#endif

/* What a packet carries: offset, length << 3, end << 5, and flags. */
#define OFF(c) (c & 7)
#define LEN(c) ((c >> 3) & 3)
#define END 32
#define PING 64
#define CLOSE 128
#define BIT(n) (1 << (n))
#define SPAN(off, len) ((BIT(len) - 1) << (off))
#define ALL (BIT(N) - 1)

#ifdef LIVE
#ifndef MISCHIEF
#define MISCHIEF 2
#endif
byte mischief = MISCHIEF;
#define MAY (mischief > 0)
#define SPEND mischief--
#else
#define MAY true
#define SPEND skip
#endif

/* Client, the sender. */
byte content[P], port[P]; /* of packet n; port is the pipe it was sent on */
byte number;              /* PacketSealer.#next */
short out, given;         /* Recovery.#sent, #givenUp */
byte lost, arrived;       /* SendBuffer.#lost, #arrived, one bit a byte */
byte sent;
byte credit = W;
bool ended, endSent, endArrived, pingDue;
byte closing; /* 0 no, 1 CLOSE is due, 2 out, 3 acknowledged */
byte pipe;    /* the one the client reads */

/* Guest, the receiver. */
short seen, got; /* ReplayWindow; ReceivedNumbers */
byte next;       /* one above the highest number opened */
byte at;         /* the pipe it answers on: GuestConnection.port */
byte waiting;    /* Reassembly.#waiting, one bit a byte */
byte delivered, consumed, count; /* count: what the program got, whatever the receiver believes */
byte limit = W;
byte length = UNKNOWN;
bool ackDue, windowDue;
byte fate; /* what the reader is told: 0 nothing, 1 a clean end, 2 closed before the end */

/* The host: packets to the guest that it has, and two packets to the client: what they acknowledge, limit | pipe << 3.
 * A slot is empty at 255. */
short held;
short ack0, ack1;
byte win0 = 255, win1 = 255;

#define FINISHED (endArrived && arrived == ALL)
#define DONE (closing == 3 && fate != 0 || FINISHED && fate == 1 && consumed == N)
#define WORK (lost != 0 || sent < N && sent < credit || ended && !endSent && sent == N)
#define OUT(m) ((m & 1) + (m >> 1 & 1) + (m >> 2 & 1) + (m >> 3 & 1) + (m >> 4 & 1) + (m >> 5 & 1) + (m >> 6 & 1) + \
                 (m >> 7 & 1) + (m >> 8 & 1) + (m >> 9 & 1) + (m >> 10 & 1) + (m >> 11 & 1) + (m >> 12 & 1) + (m >> 13 & 1))
#ifdef LIVE /* the timeout does not come too early: nothing is on its way that would acknowledge what is out */
#define REACHES(w) ((w >> 3) == pipe) /* or it went into a pipe that nobody reads */
#define QUIET ((held & out) == 0 && !((ackDue || windowDue) && at == pipe && (got & out) != 0) && \
               !(win0 != 255 && REACHES(win0) && (ack0 & out) != 0) && !(win1 != 255 && REACHES(win1) && (ack1 & out) != 0))
#else
#define REACHES(w) true
#define QUIET true
#endif

inline lose(c) {
  if
  :: c & CLOSE -> if :: closing == 2 -> closing = 1 :: else fi
  :: else ->
     lost = (lost | SPAN(OFF(c), LEN(c))) & ~arrived;
     if :: (c & END) && !endArrived -> endSent = false :: else fi;
     if :: c & PING -> pingDue = true :: else fi
  fi
}

inline arrive(c) {
  if
  :: c & CLOSE -> closing = 3
  :: else ->
     arrived = arrived | SPAN(OFF(c), LEN(c));
     lost = lost & ~SPAN(OFF(c), LEN(c));
     if :: c & END -> endArrived = true :: else fi
  fi
}

#if !defined(LIVE) && !defined(BUG_NO_REPLAY_WINDOW) && !defined(BUG_OLD_PIPE_MOVES)
#define REFUSED(n) ((seen & BIT(n)) || n + REPLAY < next)
#else
#define REFUSED(n) false /* a copy that was opened counts: for the bug, or because the host must get rid of it */
#endif
#define USED (held | out | given)
#define NEWEST(m) (m == 0 -> 0 : (m >> 9 -> BIT(9) : (m >> 8 -> BIT(8) : (m >> 7 -> BIT(7) : (m >> 6 -> BIT(6) : \
                   (m >> 5 -> BIT(5) : (m >> 4 -> BIT(4) : (m >> 3 -> BIT(3) : (m >> 2 -> BIT(2) : (m >> 1 -> BIT(1) : 1))))))))))

/* Fewer states, the same behaviour: what nobody can ask for again counts as nothing, and numbers that are in nobody's
 * memory are cut off below, so that a run may have any number of packets, and P is only how far apart they are. */
inline tidy() {
  i = 0;
  do
  :: i < number ->
     if :: REFUSED(i) -> held = held & ~BIT(i) :: else fi;
     if :: !(USED & BIT(i)) -> content[i] = 0; port[i] = 0 :: else fi;
     i++
  :: else -> break
  od;
  seen = seen & held;
  got = (got & (out | given)) | NEWEST(got);
  ack0 = (ack0 & (out | given)) | NEWEST(ack0);
  ack1 = (ack1 & (out | given)) | NEWEST(ack1);
  do
  :: ((USED | got | ack0 | ack1) & 1) == 0 && next > 0 && number > 1 ->
     held = held >> 1; out = out >> 1; given = given >> 1; seen = seen >> 1;
     got = got >> 1; ack0 = ack0 >> 1; ack1 = ack1 >> 1;
     i = 1;
     do :: i < number -> content[i - 1] = content[i]; port[i - 1] = port[i]; i++ :: else -> break od;
     number--; next--;
     content[number] = 0; port[number] = 0
  :: else -> break
  od;
  i = 0
}

/* A packet counts as lost; the newest such is remembered (MAX_GIVEN_UP is 1 here). */
inline giveUp(n) {
  lose(content[n]);
  out = out & ~BIT(n);
  given = BIT(n)
}

/* An acknowledgement and perhaps credit, at the client. */
inline clientTakes(acks, w) {
  assert(acks < BIT(number)); /* acknowledges only what was sent */
  i = 0; top = 0;
  do :: i < P -> if :: acks & BIT(i) -> top = i :: else fi; i++ :: else -> break od;
  i = 0;
  do
  :: i < number ->
     if
     :: (acks & BIT(i)) && ((out | given) & BIT(i)) -> arrive(content[i]); out = out & ~BIT(i); given = given & ~BIT(i)
     :: !(acks & BIT(i)) && (out & BIT(i)) && i + REORDER <= top -> giveUp(i)
     :: else
     fi;
     i++
  :: else -> break
  od;
  if
  :: (w & 7) == 0
#ifdef BUG_CREDIT_TWICE
  :: else -> credit = credit + 1 /* an increment, not a limit */
#else
  :: (w & 7) > credit -> credit = w & 7
  :: else
#endif
  fi;
  tidy()
}

inline give(from, to) {
  j = from;
  do
  :: j < to -> assert(j == count && j < sent); count++; j++ /* the next byte of what was sent, once */
  :: else -> break
  od;
  delivered = to
}

inline push(c) {
  top = OFF(c) + LEN(c);
  assert(top <= limit); /* credit is never exceeded */
  if
  :: c & END -> assert(length == UNKNOWN || length == top); length = top
  :: else
  fi;
  assert(length == UNKNOWN || top <= length);
  if
  :: top <= delivered
  :: top > delivered && OFF(c) > delivered ->
#ifdef BUG_ACCEPT_GAP
     give(OFF(c), top)
#else
     if
     :: waiting = waiting | SPAN(OFF(c), LEN(c))
     :: MAY -> SPEND; kept = false /* MAX_STREAM_PIECES */
     fi
#endif
  :: top > delivered && OFF(c) <= delivered ->
     give(delivered, top);
     do
     :: waiting & BIT(delivered) -> give(delivered, delivered + 1)
     :: else -> break
     od;
     waiting = waiting & ~(BIT(delivered) - 1)
  fi;
  if
#ifdef BUG_END_EARLY
  :: fate == 0 && length != UNKNOWN -> fate = 1
#else
  :: fate == 0 && length != UNKNOWN && delivered == length -> fate = 1
#endif
  :: else
  fi
}

/* Packet n at the guest, out of the pipe that it was sent on. */
inline guestTakes(n) {
  if
#ifndef BUG_NO_REPLAY_WINDOW
  :: (seen & BIT(n)) || n + REPLAY < next /* refused */
#endif
  :: else ->
     assert(!(seen & BIT(n))); /* a packet takes effect once */
     kept = true;
     if
     :: content[n] & CLOSE ->
#ifdef BUG_CLOSE_IS_END
        if :: fate == 0 -> fate = 1 :: else fi
#else
        if :: fate == 0 -> fate = 2 :: else fi
#endif
     :: !(content[n] & CLOSE) && ((content[n] & END) || LEN(content[n]) > 0) -> push(content[n])
     :: else
     fi;
     seen = seen | BIT(n);
     if :: kept -> got = got | BIT(n); ackDue = true :: else fi;
     if
#ifdef BUG_OLD_PIPE_MOVES
     :: true ->
#else
     :: n >= next ->
#endif
        assert(port[n] >= at); /* a pipe that was left is never gone back to */
        if
        :: port[n] != at -> at = port[n]; windowDue = windowDue || limit > W /* onNewPipe: the credit counts as lost */
        :: else
        fi
     :: else
     fi;
     if :: n >= next -> next = n + 1 :: else fi;
     assert(fate != 1 || count == N && ended); /* a clean end is the end, of everything */
  fi;
  tidy()
}

active proctype Client() {
  byte i, room, c;
#ifdef LIVE
  ended = true;
#endif
  do
  :: d_step { !ended && closing == 0 -> ended = true } /* end(); the N bytes are written from the start */
  :: atomic { closing == 0 && !FINISHED && MAY -> SPEND; closing = 1 }
  :: atomic { /* send: next */
       number < P && OUT(out) < FLIGHT && (closing == 1 || closing == 0 && (pingDue || WORK)) ->
       if
       :: closing == 1 -> c = CLOSE; closing = 2
       :: else ->
          c = (pingDue -> PING : 0);
          pingDue = false;
          if
          :: !WORK
          :: lost != 0 -> /* take: lost bytes first */
             i = 0;
             do :: !(lost & BIT(i)) -> i++ :: else -> break od;
             if :: room = 1 :: (lost & BIT(i + 1)) -> room = 2 fi;
             lost = lost & ~SPAN(i, room)
          :: WORK && lost == 0 ->
             i = sent;
             if
             :: sent < N && sent < credit -> room = 1
             :: sent + 1 < N && sent + 1 < credit -> room = 2
             :: sent == N -> room = 0
             fi;
             sent = sent + room
          fi;
          if
          :: room > 0 || i == N ->
             c = c | i | room << 3;
             if :: ended && i + room == N -> c = c | END; endSent = true :: else fi
          :: else
          fi
       fi;
       content[number] = c; port[number] = pipe;
       out = out | BIT(number); held = held | BIT(number);
       number++;
       c = 0; i = 0; room = 0
     }
  :: d_step { /* rto: the two oldest */
       out != 0 && QUIET ->
       i = 0;
       do :: i < number && room < 2 -> if :: out & BIT(i) -> giveUp(i); room++ :: else fi; i++ :: else -> break od;
       i = 0; room = 0
     }
  od
}

active proctype Guest() {
  byte w;
  do
  :: d_step { /* the reader takes what there is: Reassembly.consume */
       consumed < delivered && fate != 2 ->
       consumed = delivered;
       if :: consumed + W > limit -> limit = consumed + W; windowDue = true :: else fi
     }
  :: d_step { /* acknowledgements, and credit where it is due */
       (ackDue || windowDue) && BUSY == 255 ->
       w = (windowDue -> limit : 0);
#ifdef LIVE
       w = w | at << 3;
#endif
       ackDue = false; windowDue = false;
       if
       :: win0 == 255 || got > ack0 || got == ack0 && w >= win0 ->
          ack1 = ack0; win1 = win0; ack0 = got; win0 = w /* the order in the slots means nothing: one is enough */
       :: else -> ack1 = got; win1 = w
       fi;
       w = 0
     }
     /* A WINDOW has its acknowledgement, too, which is not in the model: the guest is told when one is lost. */
  :: d_step { credit < limit && !windowDue && (win0 == 255 || (win0 & 7) < limit) && (win1 == 255 || (win1 & 7) < limit) ->
       windowDue = true }
  :: atomic { limit > W && !windowDue && MAY -> SPEND; windowDue = true }
  od
}

inline empty0() { ack0 = ack1; win0 = win1; ack1 = 0; win1 = 255 }
inline empty1() { ack1 = 0; win1 = 255 }

/* The host, each way. */
active proctype ToGuest() {
  byte i, j, n, top;
  bool kept;
  do
  :: atomic {
       held != 0 ->
       if /* which */
       :: held & BIT(0) -> n = 0 :: held & BIT(1) -> n = 1 :: held & BIT(2) -> n = 2 :: held & BIT(3) -> n = 3
       :: held & BIT(4) -> n = 4 :: held & BIT(5) -> n = 5 :: held & BIT(6) -> n = 6
       :: held & BIT(7) -> n = 7 :: held & BIT(8) -> n = 8 :: held & BIT(9) -> n = 9
       fi;
#ifdef LIVE
       if
       :: held = held & ~BIT(n); guestTakes(n)
       :: MAY -> SPEND; guestTakes(n) /* it keeps a copy */
       :: MAY -> SPEND; held = held & ~BIT(n); tidy() /* lost */
       fi;
#else
       guestTakes(n);
#endif
       n = 0; top = 0; j = 0; kept = false
     }
  od
}

active proctype ToClient() {
  byte i, top;
  do
  :: atomic {
       win0 != 255 ->
       if
       :: if :: REACHES(win0) -> clientTakes(ack0, win0) :: else fi; empty0()
       :: MAY -> SPEND; empty0()
       :: MAY && REACHES(win0) -> SPEND; clientTakes(ack0, win0)
       fi;
       top = 0
     }
  :: atomic {
       win1 != 255 ->
       if
       :: if :: REACHES(win1) -> clientTakes(ack1, win1) :: else fi; empty1()
       :: MAY -> SPEND; empty1()
       :: MAY && REACHES(win1) -> SPEND; clientTakes(ack1, win1)
       fi;
       top = 0
     }
  od
}

/* What the host does to pipes and to time. It may also do nothing, for ever. */
active proctype Weather() {
  byte i;
  do
  :: atomic { /* newPipe: whatever was out counts as lost, a PING tells the guest */
       pipe < PIPES - 1 && closing != 3 && MAY ->
       SPEND;
       pipe++;
       i = 0;
       do :: i < number -> if :: out & BIT(i) -> lose(content[i]) :: else fi; i++ :: else -> break od;
       out = 0; given = 0; i = 0;
#ifndef BUG_NO_PING
       pingDue = true;
#endif
#ifdef LIVE
       if :: held = 0 :: skip fi; /* gone with the old pipe, or let out late */
#endif
       tidy()
     }
#ifdef LIVE
  :: d_step { out != 0 && MAY -> SPEND; /* a timeout too early */
       i = 0;
       do :: i < number -> if :: out & BIT(i) -> giveUp(i); break :: else fi; i++ :: else -> break od;
       i = 0 }
  :: true -> skip
#endif
  od
}

#ifdef LIVE
ltl progress { <> DONE }
#endif
