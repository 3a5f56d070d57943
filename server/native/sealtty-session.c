// Becomes a user with all that PAM gives one who logs in (limits, groups, environment, systemd's session), then the program.
//   sealtty-session open SERVICE USER UID GID DIRECTORY PROGRAM [ARGUMENT…]
//                  DIRECTORY: entered as the user, else "/". Where standard input is a terminal, utmp and wtmp name it.
//                  Of its environment the program gets SEALTTY_OWN_NAME as NAME, PAM's over that, and SEALTTY_SET_NAME as it is.
//                  Status 126 where PAM refuses, with its words on stderr; 126 and 127 of a program that cannot be started.
//   sealtty-session account SERVICE USER     may the user in? status 0, or 126 and PAM's words on stderr
//   sealtty-session become USER UID GID PROGRAM [ARGUMENT…]     the user with its groups, without PAM; its environment is the program's
//                  Status 126 where it cannot become the user; 126 and 127 of a program that cannot be started.
//   sealtty-session signal UID GID PID SIGNAL     one process of that user's and group's sends it. UID: not root's. PID: negative for a group,
//                  and none of 0, 1, -1. SIGNAL: a number. Status 0; 1 where kill(2) refuses; 126 where it cannot become the user
//   sealtty-session probe                    status 0; 1 and what is not there on stderr; 2 where something else is wrong with it
//   --help, or no argument                   a line for people
// This process stays what was started: it becomes the program, so status, signals, process group and terminal are the
// program's own. Another one, root's, waits for its end, and closes the session (as systemd does it for services).
// PAM is loaded when it runs: an image without it needs no file more, and building needs no header. The values below are
// those of Linux-PAM's _pam_types.h, written here by hand.

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmpx.h>

enum { STATUS_NOT_STARTED = 126, STATUS_NOT_FOUND = 127 };
enum { PAM_SUCCESS = 0, PAM_BUF_ERR = 5, PAM_NEW_AUTHTOK_REQD = 12, PAM_CONV_ERR = 19 };
enum { PAM_USER = 2, PAM_TTY = 3 };
enum { PAM_ERROR_MSG = 3, PAM_TEXT_INFO = 4 };
enum { PAM_ESTABLISH_CRED = 2, PAM_DELETE_CRED = 4 };
enum { MOST_WORDS = 4096, MOST_MESSAGES = 32 };

struct pam_handle;
struct pam_message {
  int style;
  const char *text;
};
struct pam_response {
  char *text;
  int reserved;
};
struct pam_conversation {
  int (*talk)(int, const struct pam_message **, struct pam_response **, void *);
  void *of;
};

static struct {
  int (*start)(const char *, const char *, const struct pam_conversation *, struct pam_handle **);
  int (*set_item)(struct pam_handle *, int, const void *);
  int (*get_item)(const struct pam_handle *, int, const void **);
  int (*acct_mgmt)(struct pam_handle *, int);
  int (*setcred)(struct pam_handle *, int);
  int (*open_session)(struct pam_handle *, int);
  int (*close_session)(struct pam_handle *, int);
  int (*end)(struct pam_handle *, int);
  char **(*getenvlist)(struct pam_handle *);
  const char *(*strerror)(struct pam_handle *, int);
} pam;

/** What PAM said: at once on a terminal; elsewhere only with a refusal, as it would stand among a program's errors. */
static struct {
  int at_once;
  size_t length;
  char text[MOST_WORDS];
} words;

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 // the same on every machine
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static int open_pidfd(void) { return (int)syscall(SYS_pidfd_open, getpid(), 0); }

/** What was inherited, and what PAM's modules have in its place: nothing that anybody chose. */
static char **inherited;
static char *fixed[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
static const char own_prefix[] = "SEALTTY_OWN_", set_prefix[] = "SEALTTY_SET_";

static void put_environment_away(void) {
  inherited = environ;
  environ = fixed;
}

enum { MISSING = 1, BROKEN = 2 };

/** @param kind - MISSING only where it is certain that it is not there. @returns what is wrong, or NULL. */
static const char *load_pam(int *kind) {
  *kind = BROKEN;
  void *library = dlopen("libpam.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    // There is no other way to learn why. Of a library that it needs itself the message has that one's name.
    const char *why = dlerror();
    if (why == NULL || strncmp(why, "libpam.so.0: ", 13) != 0 || strstr(why, ": No such file or directory") == NULL)
      return "libpam.so.0 cannot be loaded";
    *kind = MISSING;
    return "there is no libpam.so.0";
  }
#define LOAD(name) (pam.name = (__typeof__(pam.name))dlsym(library, "pam_" #name)) == NULL
  if (LOAD(start) || LOAD(set_item) || LOAD(get_item) || LOAD(acct_mgmt) || LOAD(setcred) || LOAD(open_session) ||
      LOAD(close_session) || LOAD(end) || LOAD(getenvlist) || LOAD(strerror))
    return "libpam.so.0 is not what it should be";
#undef LOAD
  const int pidfd = open_pidfd();
  if (pidfd < 0) {
    if (errno == ENOSYS) *kind = MISSING;
    return "the kernel has no pidfd_open (Linux 5.3)";
  }
  close(pidfd);
  return NULL;
}

static void say(const char *text) {
  if (words.at_once) {
    fprintf(stderr, "%s\n", text);
    return;
  }
  const int room = (int)(sizeof words.text - words.length);
  const int written = snprintf(words.text + words.length, (size_t)room, "%s\n", text);
  if (written > 0) words.length += written < room ? (size_t)written : (size_t)room - 1;
}

/** Nobody can be asked anything here: who logs in has been found out. */
static int talk(int count, const struct pam_message **messages, struct pam_response **responses, void *of) {
  (void)of;
  *responses = NULL;
  if (count < 1 || count > MOST_MESSAGES) return PAM_CONV_ERR;
  for (int i = 0; i < count; i++)
    if (messages[i]->style != PAM_ERROR_MSG && messages[i]->style != PAM_TEXT_INFO) return PAM_CONV_ERR;
  *responses = calloc((size_t)count, sizeof **responses);
  if (*responses == NULL) return PAM_BUF_ERR;
  for (int i = 0; i < count; i++)
    if (messages[i]->text != NULL) say(messages[i]->text);
  return PAM_SUCCESS;
}

static int refuse(const char *user, const char *why) {
  fwrite(words.text, 1, words.length, stderr);
  fprintf(stderr, "sealttyd: no session for %s: %s\n", user, why);
  return STATUS_NOT_STARTED;
}

/** @returns 0, or the status to end with; what is to be said was said. */
static int check_account(struct pam_handle *handle, const char *user) {
  const int result = pam.acct_mgmt(handle, 0);
  if (result == PAM_SUCCESS) return 0;
  if (result == PAM_NEW_AUTHTOK_REQD) return refuse(user, "the password has expired; log in with it to change it");
  return refuse(user, pam.strerror(handle, result));
}

static int start_pam(const char *service, const char *user, struct pam_handle **handle) {
  static const struct pam_conversation conversation = {talk, NULL};
  int kind;
  const char *missing = load_pam(&kind);
  if (missing != NULL) return refuse(user, missing);
  if (pam.start(service, user, &conversation, handle) != PAM_SUCCESS) return refuse(user, "PAM cannot be started");
  return 0;
}

/** Leaves 0 to 2. */
static void close_others(void) {
  if (syscall(SYS_close_range, 3U, ~0U, 0) == 0) return;
  DIR *own = opendir("/proc/self/fd");
  if (own == NULL) return;
  int open[4096], count = 0;
  for (struct dirent *entry; (entry = readdir(own)) != NULL;) {
    const int fd = atoi(entry->d_name);
    if (fd > 2 && fd != dirfd(own) && count < 4096) open[count++] = fd;
  }
  closedir(own);
  for (int i = 0; i < count; i++) close(open[i]);
}

/** Of a field that need not end with a zero. */
static void fill(char *field, size_t size, const char *text) {
  const size_t length = strlen(text);
  memcpy(field, text, length < size ? length : size);
}

static void record(short type, const char *user, const char *line, pid_t process) {
  struct utmpx entry;
  memset(&entry, 0, sizeof entry);
  entry.ut_type = type;
  entry.ut_pid = process;
  const size_t length = strlen(line);
  fill(entry.ut_id, sizeof entry.ut_id, length > sizeof entry.ut_id ? line + length - sizeof entry.ut_id : line);
  fill(entry.ut_line, sizeof entry.ut_line, line);
  if (type == USER_PROCESS) {
    fill(entry.ut_user, sizeof entry.ut_user, user);
    fill(entry.ut_host, sizeof entry.ut_host, "sealtty");
  }
  struct timeval now;
  gettimeofday(&now, NULL);
  entry.ut_tv.tv_sec = (__typeof__(entry.ut_tv.tv_sec))now.tv_sec;
  entry.ut_tv.tv_usec = (__typeof__(entry.ut_tv.tv_usec))now.tv_usec;
  setutxent();
  pututxline(&entry);
  endutxent();
#ifdef __GLIBC__
  updwtmpx("/var/log/wtmp", &entry);
#endif
}

/** The last signal that would have ended this process; not SIGPIPE, which says nothing to the program. */
static volatile sig_atomic_t told;

static void on_signal(int signal) {
  if (signal != SIGPIPE) told = signal;
}

/** Handlers, and no mask and nothing ignored: programs that PAM's modules start would have these, too. */
static void hold_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE};
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) sigaction(ends[i], &action, NULL);
}

struct session {
  struct pam_handle *handle;
  const char *user;
  const char *line; // "pts/3", or NULL
  pid_t process;
  int pidfd; // readable once the process has ended
};

static void close_session(const struct session *session) {
  pam.setcred(session->handle, PAM_DELETE_CRED);
  pam.end(session->handle, pam.close_session(session->handle, 0));
}

/**
 * In a process of its own, which holds nothing of the program's: neither its streams nor its terminal or group. Signals do
 * not end it: whoever stops sealttyd may signal all of its processes, and the program may take its time.
 */
static void keep(const struct session *session) {
  setsid();
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (null > 2) close(null);
  if (chdir("/") != 0) _exit(1);
  struct pollfd end = {session->pidfd, POLLIN, 0};
  while (poll(&end, 1, -1) < 0 && errno == EINTR) continue;
  if (session->line != NULL) record(DEAD_PROCESS, session->user, session->line, session->process);
  close_session(session);
  _exit(0);
}

/** @returns 0, or -1 where there is no process to be had. */
static int start_keeper(const struct session *session, const struct rlimit *limits, char *first, size_t length) {
  const pid_t between = fork(); // so that the program has no child that it knows nothing of
  if (between < 0) return -1;
  if (between > 0) {
    int status;
    while (waitpid(between, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
  }
  // The user's limits are not for root's files, such as a wtmp that is longer than the user's may be.
  for (int which = 0; which < RLIM_NLIMITS; which++) setrlimit((__typeof__(RLIMIT_CPU))which, &limits[which]);
  if (session->line != NULL) record(USER_PROCESS, session->user, session->line, session->process);
  const pid_t keeper = fork();
  if (keeper != 0) _exit(keeper < 0);
  // The program may hide its arguments (a password); this process must not go on showing them.
  memset(first, 0, length);
  prctl(PR_SET_NAME, "sealtty-keeper", 0, 0, 0);
  keep(session);
  _exit(1);
}

static int put_those(char **list, const char *prefix, size_t skip) {
  for (size_t i = 0; list != NULL && list[i] != NULL; i++)
    if (strncmp(list[i], prefix, strlen(prefix)) == 0 && strchr(list[i] + skip, '=') != NULL &&
        putenv(list[i] + skip) != 0) // putenv: the list stays
      return -1;
  return 0;
}

/**
 * The program's. PAM's words over sealttyd's; what the user chose has other names until the user's own shell sets it
 * (launch.ts).
 */
static int make_environment(struct pam_handle *handle) {
  environ = NULL;
  if (put_those(inherited, own_prefix, strlen(own_prefix)) != 0) return -1;
  if (put_those(pam.getenvlist(handle), "", 0) != 0) return -1;
  return put_those(inherited, set_prefix, 0);
}

static int become(const char *user, uid_t uid, gid_t gid) {
  if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return refuse(user, strerror(errno));
  if (uid != 0 && setuid(0) == 0) return refuse(user, "root's rights stay");
  return 0;
}

static int not_started(const char *program, int error) {
  fputs("sealttyd: ", stderr);
  for (const char *c = program; *c != '\0'; c++) fputc(*c >= 0x20 && *c < 0x7f ? *c : '?', stderr);
  if (error == ENOENT) {
    fputs(": not found\n", stderr);
    return STATUS_NOT_FOUND;
  }
  fprintf(stderr, ": cannot be started (%s)\n", strerror(error));
  return STATUS_NOT_STARTED;
}

static int number(const char *text, unsigned *value) {
  char *end;
  errno = 0;
  const unsigned long read = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || read > UINT32_MAX - 1) return -1;
  *value = (unsigned)read;
  return 0;
}

/** Without PAM: what setpriv does, where there is none. */
static int become_only(char **argv) {
  const char *user = argv[2];
  unsigned uid, gid;
  if (number(argv[3], &uid) != 0 || number(argv[4], &gid) != 0) return refuse(user, "no number of a user or group");
  close_others();
  if (initgroups(user, gid) != 0) return refuse(user, strerror(errno));
  const int status = become(user, uid, gid);
  if (status != 0) return status;
  environ = inherited;
  execvp(argv[5], argv + 5);
  return not_started(argv[5], errno);
}

/**
 * As the user, so that the kernel says whom it reaches. Becoming one is done here and not before: whoever starts this
 * process waits until it is this program, and whom the user stops before that would let nobody go on.
 */
static int send_signal(char **argv) {
  const int group = argv[4][0] == '-';
  unsigned uid, gid, target, signal;
  if (number(argv[2], &uid) != 0 || number(argv[3], &gid) != 0 || number(argv[4] + group, &target) != 0 ||
      number(argv[5], &signal) != 0 || uid == 0 || target < 2 || target > INT32_MAX || signal < 1 || signal >= NSIG)
    return STATUS_NOT_STARTED;
  if (setgroups(0, NULL) != 0) return STATUS_NOT_STARTED;
  if (become("a signal", uid, gid) != 0) return STATUS_NOT_STARTED;
  const pid_t to = group ? -(pid_t)target : (pid_t)target;
  return kill(to, (int)signal) == 0 ? 0 : 1;
}

static int open_and_become(int argc, char **argv) {
  const char *service = argv[2], *user = argv[3], *directory = argv[6];
  unsigned uid, gid;
  if (number(argv[4], &uid) != 0 || number(argv[5], &gid) != 0) return refuse(user, "no number of a user or group");
  close_others();
  char terminal[64];
  const int on_terminal = ttyname_r(STDIN_FILENO, terminal, sizeof terminal) == 0;
  words.at_once = on_terminal;

  hold_signals(); // until the keeper is there: an end before would leave a session that nobody closes
  struct rlimit limits[RLIM_NLIMITS];
  for (int which = 0; which < RLIM_NLIMITS; which++) getrlimit((__typeof__(RLIMIT_CPU))which, &limits[which]);

  struct session session = {.user = user, .process = getpid()};
  int status = start_pam(service, user, &session.handle);
  if (status != 0) return status;
  struct pam_handle *handle = session.handle;
  if (on_terminal && pam.set_item(handle, PAM_TTY, terminal) != PAM_SUCCESS) return refuse(user, "PAM takes no terminal");
  if ((status = check_account(handle, user)) != 0) return status;
  const void *renamed = NULL;
  if (pam.get_item(handle, PAM_USER, &renamed) != PAM_SUCCESS || renamed == NULL || strcmp(renamed, user) != 0)
    return refuse(user, "PAM names another user");
  if (initgroups(user, gid) != 0) return refuse(user, strerror(errno));
  // It may add groups. Without an authentication of PAM's own many a module has nothing to give: as with sshd, that is no refusal.
  pam.setcred(handle, PAM_ESTABLISH_CRED);
  const int opened = pam.open_session(handle, 0);
  if (opened != PAM_SUCCESS) {
    pam.setcred(handle, PAM_DELETE_CRED);
    return refuse(user, pam.strerror(handle, opened));
  }
  session.line = on_terminal && strncmp(terminal, "/dev/", 5) == 0 ? terminal + 5 : NULL;
  session.pidfd = open_pidfd();
  char *last = argv[argc - 1];
  if (session.pidfd < 0 || start_keeper(&session, limits, argv[1], (size_t)(last + strlen(last) - argv[1])) != 0) {
    close_session(&session);
    return refuse(user, "there is no process to be had");
  }
  if ((status = become(user, uid, gid)) != 0) return status;
  if (make_environment(handle) != 0) return refuse(user, strerror(ENOMEM));
  if (chdir(directory) != 0 && chdir("/") != 0) return refuse(user, strerror(errno));
  close_others(); // of PAM's modules
  for (int signal = 1; signal < NSIG; signal++) sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
  if (told != 0) raise(told); // late, but meant for the program
  execvp(argv[7], argv + 7);
  return not_started(argv[7], errno);
}

static int account_only(const char *service, const char *user) {
  struct pam_handle *handle;
  int status = start_pam(service, user, &handle);
  if (status != 0) return status;
  status = check_account(handle, user);
  pam.end(handle, status == 0 ? PAM_SUCCESS : PAM_CONV_ERR);
  return status;
}

static int probe(void) {
  int kind;
  const char *missing = load_pam(&kind);
  if (missing == NULL) return 0;
  fprintf(stderr, "%s\n", missing);
  return kind;
}

static int usage(FILE *to, int status) {
  fputs("usage: sealtty-session open SERVICE USER UID GID DIRECTORY PROGRAM [ARGUMENT...] | account SERVICE USER |"
        " become USER UID GID PROGRAM [ARGUMENT...] | signal UID GID PID SIGNAL | probe\n", to);
  return status;
}

int main(int argc, char **argv) {
  put_environment_away();
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) return usage(stdout, 0);
  if (argc >= 8 && strcmp(argv[1], "open") == 0) return open_and_become(argc, argv);
  if (argc == 4 && strcmp(argv[1], "account") == 0) return account_only(argv[2], argv[3]);
  if (argc >= 6 && strcmp(argv[1], "become") == 0) return become_only(argv);
  if (argc == 6 && strcmp(argv[1], "signal") == 0) return send_signal(argv);
  if (argc == 2 && strcmp(argv[1], "probe") == 0) return probe();
  return usage(stderr, STATUS_NOT_STARTED);
}
