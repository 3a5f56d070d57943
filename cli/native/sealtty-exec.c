// sealtty-exec: `sealtty exec --master` without Node's start for each program. It hands its command line to a process that keeps a
// connection (cli/master/launched.ts), and carries standard streams, signals and the exit status. Where nobody keeps one, or it is
// nothing for them, it becomes `sealtty exec --master`. It knows no option, no file of the user's and no key.
//
// What is said on the socket, and the types below, are cli/master/wire.ts's; the command line's form is cli/master/launch.ts's.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SEALTTY_VERSION
#error "SEALTTY_VERSION is package.json's"
#endif

extern char **environ;

enum {
  INPUT = 2, END = 3, SIGNAL = 4, TAKEN = 7, LAUNCH = 11, BROKEN = 12, GO = 13,
  HELLO = 32, OUTPUT = 34, ERRORS = 35, FAILED = 37, ROOM = 38, SAID = 39,
  ELSEWHERE = 42, BEGUN = 43, ENDED = 44, HERE = 45,
};

#define OURS 255                       // exit status of whatever is not the guest's program
#define MAX_DATA (64 * 1024)           // of one frame
#define MAX_LAUNCH (256 * 1024 - 1024) // what is longer, `sealtty` itself refuses
#define MAX_WAITING (16 * 1024 * 1024) // bytes that are not written yet: far more than the other side sends ahead
#define ANSWER_WITHIN 2000             // ms, all of those that are asked: who hangs must not hold up what others could do
#define LAST_WRITES_WITHIN 2000        // ms without one, where an error ended it and somebody does not read
#define END_WITHIN 2                   // s after the third signal, should nobody heed it
#define NAME_LENGTH 45                 // of a socket's name: two digests in hexadecimal

static int link_fd = -1;
static char **arguments;
static bool committed; // something was done: from now on no other process may do it again

static void say(const char *code, const char *message) {
  bool json = false;
  for (char **each = arguments + 1; *each != NULL && strcmp(*each, "--") != 0; each++)
    if (strcmp(*each, "--json") == 0) json = true;
  if (json) dprintf(2, "{\"event\":\"error\",\"code\":\"%s\",\"message\":\"%s\"}\n", code, message);
  else dprintf(2, "sealtty: %s: %s\n", code, message);
}

static _Noreturn void fail(const char *message) {
  say("transport-lost", message);
  exit(OURS);
}
static _Noreturn void lost(void) {
  fail("The process that kept the connection (sealtty master) ended. Run the command again: that opens a new one.");
}
static _Noreturn void misbehaved(void) {
  fail("The process that keeps the connection sent something that is none of its answers; end it: sealtty master GUEST --stop");
}

/** Where nobody else does it. */
static _Noreturn void become_sealtty(void) {
  char own[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
  char *slash = NULL;
  if (length > 0) {
    own[length] = 0;
    slash = strrchr(own, '/');
  }
  static const char program[] = "sealtty.js";
  size_t count = 0;
  while (arguments[count] != NULL) count++;
  char **words = calloc(count + 5, sizeof *words);
  if (slash == NULL || slash + 1 + sizeof program > own + sizeof own || words == NULL) {
    say("device-unavailable", "Cannot find sealtty.js, which lies beside sealtty-exec.");
    exit(OURS);
  }
  memcpy(slash + 1, program, sizeof program);
  if (access(own, R_OK) < 0) {
    say("device-unavailable", "sealtty.js is not beside sealtty-exec: link to it, rather than copy it.");
    exit(OURS);
  }
  size_t at = 0;
  words[at++] = "node";
  words[at++] = own;
  words[at++] = "exec";
  words[at++] = "--master";
  for (char **each = arguments + 1; *each != NULL; each++) words[at++] = *each;
  execvp("node", words);
  say("device-unavailable", "Cannot start node, which sealtty runs on; put it on PATH.");
  exit(OURS);
}

static void *more(void *memory, size_t size) {
  void *found = realloc(memory, size);
  if (found != NULL) return found;
  if (!committed) become_sealtty();
  fail("There is no memory left on this machine.");
}

// Frames

static void put32(unsigned char *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}
static uint32_t get32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/** The other side always reads. @returns false where it is gone: what it said last is still to be read. */
static bool send_all(const unsigned char *bytes, size_t length) {
  while (length > 0) {
    ssize_t sent = send(link_fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return false;
    if (sent < 0) continue;
    bytes += sent;
    length -= (size_t)sent;
  }
  return true;
}

/** @param frame - five bytes of room before the body. */
static bool send_frame(int type, unsigned char *frame, size_t length) {
  put32(frame, (uint32_t)length + 1);
  frame[4] = (unsigned char)type;
  return send_all(frame, length + 5);
}

static unsigned char received[5 + MAX_DATA];
static size_t held;

/** One read of what is there. @returns false at its end. */
static bool receive(void) {
  ssize_t length = recv(link_fd, received + held, sizeof received - held, 0);
  if (length < 0) return errno == EINTR || errno == EAGAIN;
  held += (size_t)length;
  return length > 0;
}

/** @returns the length of the first frame with its head; 0 where it is not whole. */
static size_t whole_frame(void) {
  if (held < 5) return 0;
  uint32_t length = get32(received);
  if (length < 1 || length > sizeof received - 4) {
    // Something long that is for `sealtty` alone, as why there is no connection.
    if (!committed) become_sealtty();
    misbehaved();
  }
  return held < 4 + length ? 0 : 4 + length;
}

static void drop(size_t length) {
  held -= length;
  memmove(received, received + length, held);
}

// Who keeps a connection

static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}
static long asked_until;

/** Of sending and connecting. @param length - ms; 0: for ever. */
static void set_patience(long length) {
  struct timeval limit = {.tv_sec = length / 1000, .tv_usec = length % 1000 * 1000};
  setsockopt(link_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/** Whether a name of a file means the same to that process: it reads the policy that is named here. */
static bool has_same_files(pid_t process) {
  static const char *const views[] = {"ns/mnt", "root"};
  for (size_t i = 0; i < 2; i++) {
    char own[32], other[64];
    struct stat here, there;
    snprintf(own, sizeof own, "/proc/self/%s", views[i]);
    snprintf(other, sizeof other, "/proc/%ld/%s", (long)process, views[i]);
    if (stat(own, &here) < 0 || stat(other, &there) < 0) return false;
    if (here.st_dev != there.st_dev || here.st_ino != there.st_ino) return false;
  }
  return true;
}

static bool connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return false;
  strcpy(address.sun_path, path);
  held = 0;
  if (link_fd >= 0) close(link_fd);
  link_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  long patience = asked_until - milliseconds();
  if (link_fd < 0 || patience <= 0) return false;
  set_patience(patience);
  if (connect(link_fd, (struct sockaddr *)&address, sizeof address) < 0) return false;
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(link_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == getuid() &&
         has_same_files(peer.pid);
}

/** As cli/master/place.ts has it. @returns false where it is not ours alone, or there is none. */
static bool find_directory(char *name, size_t size) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  int length;
  if (runtime != NULL && runtime[0] == '/') {
    length = snprintf(name, size, "%s/sealtty", runtime);
  } else {
    const char *temporary = NULL;
    static const char *const variables[] = {"TMPDIR", "TMP", "TEMP"};
    for (size_t i = 0; i < 3 && (temporary == NULL || *temporary == 0); i++) temporary = getenv(variables[i]);
    if (temporary == NULL || *temporary == 0) temporary = "/tmp";
    size_t own = strlen(temporary);
    if (own > 1 && temporary[own - 1] == '/') own--;
    length = snprintf(name, size, "%.*s/sealtty-%u", (int)own, temporary, (unsigned)getuid());
  }
  struct stat found;
  return length > 0 && (size_t)length < size && lstat(name, &found) == 0 && S_ISDIR(found.st_mode) &&
         found.st_uid == getuid() && (found.st_mode & 077) == 0;
}

static unsigned char *launch; // the frame
static size_t launch_length;

static void add(const void *bytes, size_t length) {
  if (launch_length + length > MAX_LAUNCH) become_sealtty();
  memcpy(launch + launch_length, bytes, length);
  launch_length += length;
}
static void add_text(const char *text) {
  unsigned char length[4];
  size_t bytes = strlen(text);
  if (bytes > MAX_LAUNCH) become_sealtty();
  put32(length, (uint32_t)bytes);
  add(length, 4);
  add(text, bytes);
}
static void add_list(char *const *list) {
  unsigned char count[4];
  size_t length = 0;
  while (list[length] != NULL) length++;
  put32(count, (uint32_t)length);
  add(count, 4);
  for (; *list != NULL; list++) add_text(*list);
}

static void make_launch(void) {
  char directory[PATH_MAX];
  if (getcwd(directory, sizeof directory) == NULL) become_sealtty();
  launch = more(NULL, MAX_LAUNCH);
  launch_length = 5;
  add_text(SEALTTY_VERSION);
  add_text(directory);
  unsigned char terminals = 0;
  for (int fd = 0; fd < 3; fd++)
    if (isatty(fd)) terminals |= (unsigned char)(1 << fd);
  add(&terminals, 1);
  add_list(arguments + 1);
  add_list(environ);
}

/** Asks whoever is connected. @returns whether it does it; false: it does not answer. `elsewhere` holds who does, or nothing. */
static bool ask(char *elsewhere, size_t size) {
  elsewhere[0] = 0;
  if (!send_frame(LAUNCH, launch, launch_length - 5)) return false;
  for (;;) {
    size_t length = whole_frame();
    if (length == 0) {
      struct pollfd ready = {.fd = link_fd, .events = POLLIN};
      long patience = asked_until - milliseconds();
      if (patience <= 0 || poll(&ready, 1, (int)patience) <= 0 || !receive()) return false;
      continue;
    }
    switch (received[4]) {
      case HELLO:
      case SAID: // to those who came before us
        drop(length);
        continue;
      case HERE: {
        drop(length);
        unsigned char go[5];
        committed = true;
        set_patience(0);
        if (!send_frame(GO, go, 0)) lost();
        return true;
      }
      case ERRORS: // why it cannot be done, and soon its status
      case ENDED:
        set_patience(0);
        return true;
      case ELSEWHERE:
        if (length - 5 < size) {
          memcpy(elsewhere, received + 5, length - 5);
          elsewhere[length - 5] = 0;
        }
        return false;
      default:
        return false;
    }
  }
}

/** Returns once somebody does it. */
static void find_keeper(void) {
  char directory[PATH_MAX], path[PATH_MAX], elsewhere[PATH_MAX];
  if (!find_directory(directory, sizeof directory)) become_sealtty();
  DIR *list = opendir(directory);
  if (list == NULL) become_sealtty();
  bool found = false;
  asked_until = milliseconds() + ANSWER_WITHIN;
  for (struct dirent *entry = readdir(list); entry != NULL && !found; entry = readdir(list)) {
    if (strlen(entry->d_name) != NAME_LENGTH) continue;
    int length = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    if (length <= 0 || (size_t)length >= sizeof path || !connect_to(path)) continue;
    found = ask(elsewhere, sizeof elsewhere);
    if (!found && elsewhere[0] == 0) continue; // it hangs, ended, or is another version's; or says that it is for `sealtty`
    if (!found) {
      strcpy(path, elsewhere);
      found = connect_to(path) && ask(elsewhere, sizeof elsewhere);
    }
    break;
  }
  if (!found) become_sealtty();
  closedir(list);
}

// Signals

static const int passed[] = {SIGINT, SIGTERM, SIGHUP};
static const char *const names[] = {"SIGINT", "SIGTERM", "SIGHUP"};
static volatile sig_atomic_t counts[3];
static volatile sig_atomic_t ending; // the signal that came for the third time
static int signal_pipe[2];

static void end_by_signal(int number) {
  signal(number, SIG_DFL);
  raise(number);
}
static void on_alarm(int number) {
  (void)number;
  end_by_signal(ending);
}

static void on_signal(int number) {
  int error = errno;
  for (unsigned char i = 0; i < 3; i++) {
    if (passed[i] != number) continue;
    // The keeper ends it at the third, and we do where that does not answer.
    if (++counts[i] > 3) end_by_signal(number);
    if (counts[i] == 3 && ending == 0) {
      ending = number;
      signal(SIGALRM, on_alarm); // not before: an alarm of whoever started us ends us
      alarm(END_WITHIN);
    }
    if (write(signal_pipe[1], &i, 1) < 0) break; // it is full of others
  }
  errno = error;
}

static void pass_signals(void) {
  for (int i = 0; i < 3; i++) {
    struct sigaction before, action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    // As nohup, or a shell for what runs in the background, wants it.
    if (sigaction(passed[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(passed[i], &action, NULL);
  }
}

static void forward_signals(void) {
  unsigned char which[16];
  ssize_t length = read(signal_pipe[0], which, sizeof which);
  for (ssize_t i = 0; i < length; i++) {
    unsigned char frame[5 + 8];
    size_t name = strlen(names[which[i]]);
    memcpy(frame + 5, names[which[i]], name);
    send_frame(SIGNAL, frame, name);
  }
}

// Standard streams. None of them may hold up the others, and what they share with other processes stays as it is: a pipe or a
// terminal is opened once more, so that it is ours alone that does not block.

struct stream {
  int fd;
  bool is_socket;
  bool is_file;   // never blocks, and has to be written at once: two streams may go into one
  size_t at_once; // bytes that can be asked for without blocking, once it is ready
  bool over;
  unsigned char *waiting;
  size_t begin, end, size;
};
static struct stream streams[3];

static void open_stream(int fd) {
  struct stream *stream = &streams[fd];
  struct stat status;
  *stream = (struct stream){.fd = fd, .at_once = MAX_DATA};
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fstat(fd, &status) < 0) return;
  stream->is_socket = S_ISSOCK(status.st_mode);
  stream->is_file = S_ISREG(status.st_mode);
  unsigned terminal;
  bool opens_another = ioctl(fd, TIOCGPTN, &terminal) == 0; // a terminal's other end: each opening makes a new terminal
  if (opens_another && fd != 0) stream->at_once = PIPE_BUF;
  if (opens_another || (!S_ISFIFO(status.st_mode) && !isatty(fd))) return;
  int wanted = fd == 0 ? O_RDONLY : O_WRONLY;
  int has = flags & O_ACCMODE;
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int own = has == wanted || has == O_RDWR ? open(path, wanted | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
  if (own >= 0) stream->fd = own;
  else if (fd != 0) stream->at_once = PIPE_BUF;
}

static void tell_broken(int which, int error) {
  unsigned char frame[5 + 5];
  streams[which].over = true;
  frame[5] = (unsigned char)which;
  put32(frame + 6, (uint32_t)error);
  send_frame(BROKEN, frame, 5);
}

static void tell_taken(int which, size_t length) {
  unsigned char frame[5 + 5];
  frame[5] = (unsigned char)which;
  put32(frame + 6, (uint32_t)length);
  send_frame(TAKEN, frame, 5);
}

static size_t least(size_t one, size_t other) { return one < other ? one : other; }

/** @returns bytes that were written; 0 where it takes none now, or none any more. */
static size_t write_some(int which, const unsigned char *bytes, size_t length) {
  struct stream *stream = &streams[which];
  length = least(length, stream->at_once);
  ssize_t wrote = stream->is_socket ? send(stream->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : write(stream->fd, bytes, length);
  if (wrote >= 0) return (size_t)wrote;
  if (errno != EINTR && errno != EAGAIN) tell_broken(which, errno);
  return 0;
}

static void flush(int which) {
  struct stream *stream = &streams[which];
  size_t wrote = write_some(which, stream->waiting + stream->begin, stream->end - stream->begin);
  stream->begin += wrote;
  if (stream->over || stream->begin == stream->end) stream->begin = stream->end = 0;
  if (wrote > 0) tell_taken(which, wrote);
}

/** What is not written at once waits. */
static void put_out(int which, const unsigned char *bytes, size_t length) {
  struct stream *stream = &streams[which];
  if (stream->over) return;
  size_t waits = stream->end - stream->begin;
  // The first bytes of a pipe that was not opened once more have to wait until it says that it takes them.
  if (waits == 0 && (stream->fd != which || stream->is_socket || stream->is_file)) {
    size_t wrote = write_some(which, bytes, length);
    if (wrote > 0) tell_taken(which, wrote);
    if (stream->over) return;
    bytes += wrote;
    length -= wrote;
  }
  if (length == 0) return;
  if (stream->begin > 0) {
    memmove(stream->waiting, stream->waiting + stream->begin, waits);
    stream->begin = 0;
    stream->end = waits;
  }
  if (waits + length > MAX_WAITING) misbehaved();
  if (waits + length > stream->size) {
    stream->size = 2 * (waits + length);
    stream->waiting = more(stream->waiting, stream->size);
  }
  memcpy(stream->waiting + waits, bytes, length);
  stream->end += length;
}

/** @returns bytes that were read and sent on. */
static size_t take_input(size_t room) {
  static unsigned char frame[5 + MAX_DATA];
  struct stream *stream = &streams[0];
  size_t length = least(room, MAX_DATA);
  ssize_t got = stream->is_socket ? recv(stream->fd, frame + 5, length, MSG_DONTWAIT) : read(stream->fd, frame + 5, length);
  if (got < 0) {
    if (errno != EINTR && errno != EAGAIN) tell_broken(0, errno);
    return 0;
  }
  stream->over = got == 0;
  send_frame(got == 0 ? END : INPUT, frame, (size_t)got);
  return (size_t)got;
}

/** @returns the exit status. */
static int carry(void) {
  size_t room = 0;      // bytes of input that may be sent
  int status = -1;      // once it is known
  for (;;) {
    for (size_t length = whole_frame(); length > 0 && status < 0; drop(length), length = whole_frame()) {
      const unsigned char *body = received + 5;
      switch (received[4]) {
        case OUTPUT:
        case ERRORS:
          committed = true;
          put_out(received[4] == OUTPUT ? 1 : 2, body, length - 5);
          break;
        case ROOM:
          if (length != 5 + 4) misbehaved();
          room += get32(body);
          break;
        case BEGUN:
          pass_signals();
          break;
        case ENDED:
          if (length != 5 + 1) misbehaved();
          status = body[0];
          break;
        case FAILED:
          lost();
        default:
          misbehaved();
      }
    }
    // What came before an error is still written, as long as somebody reads it.
    bool has_ended = status >= 0;
    if (has_ended && (ending != 0 || (streams[1].end == 0 && streams[2].end == 0))) return status;
    bool reads = room > 0 && !streams[0].over && !has_ended;
    struct pollfd ready[5] = {
        {.fd = has_ended ? -1 : link_fd, .events = POLLIN},
        {.fd = signal_pipe[0], .events = POLLIN},
        {.fd = reads ? streams[0].fd : -1, .events = POLLIN},
        {.fd = streams[1].end > 0 ? streams[1].fd : -1, .events = POLLOUT},
        {.fd = streams[2].end > 0 ? streams[2].fd : -1, .events = POLLOUT},
    };
    int count = poll(ready, 5, has_ended ? LAST_WRITES_WITHIN : -1);
    if (count == 0) return status;
    if (count < 0) {
      if (errno != EINTR) fail("Cannot wait for the streams of this process.");
      continue;
    }
    if (ready[1].revents != 0) forward_signals();
    if (ready[3].revents != 0) flush(1);
    if (ready[4].revents != 0) flush(2);
    if (ready[2].revents != 0) room -= take_input(room);
    if (ready[0].revents != 0 && !receive()) lost();
  }
}

int main(int count, char **words) {
  if (count < 1) return OURS;
  arguments = words;
  // A stream that is closed is not one to be mistaken for a file that is opened here.
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0) become_sealtty();
  make_launch();
  find_keeper();
  free(launch);
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0) fail("Cannot make a pipe.");
  signal(SIGPIPE, SIG_IGN);
  for (int fd = 0; fd < 3; fd++) open_stream(fd);
  int status = carry();
  if (counts[2] > 0) { // the terminal is gone: as its other programs end
    signal(SIGHUP, SIG_DFL);
    raise(SIGHUP);
  }
  return status;
}
