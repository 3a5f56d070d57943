/*
 * Starts a program that may do less from then on: what sealttyd puts around the half that the host talks to.
 *
 *   sealtty-confine [--inet] [--read PATH]... [--own DIRECTORY] -- PROGRAM ARGUMENT...
 *
 *   --inet   the program may connect to and listen on internet addresses, and read what a resolver needs in /run
 *   --read   it may read, and run programs, in this directory as well (or this file)
 *   --own    it may make and remove sockets in this directory
 *
 * Landlock (Linux 5.13): no file is made, changed or removed, but for devices that are there, and --own; only the system's own
 * directories are read. From ABI 6 on no signal and no abstract socket leaves it.
 * seccomp: no call that mounts, traces, loads code into the kernel or makes namespaces, none that changes users, the clock or whose
 * and for whom a file is, or leaves the process group, none that changes another process's limits or turns (Landlock knows neither of
 * the two), no memory or queues that outlive it, no io_uring, and no sockets but unix ones (and --inet). A list of what is refused rather than of what is allowed: Node and the C
 * library find new calls to make with each version, and a console that does not start any more helps nobody.
 *
 * What the kernel does not have is said on standard error, with a priority for the log in front, and left out; what it has and
 * does not do is an error. Whoever starts this takes privileges away first; no_new_privs is set here as well.
 * Exit status: 125 for an error of its own, 126 the program cannot be run, 127 it is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FAILED = 125, CANNOT_RUN = 126, NOT_THERE = 127 };

/* linux/landlock.h, by hand: headers may be older than the kernel. The numbers are the same on all architectures. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };
enum { ASK_VERSION = 1, BENEATH_PATH = 1 };
#define EXECUTE (1ULL << 0)
#define WRITE_FILE (1ULL << 1)
#define READ_FILE (1ULL << 2)
#define READ_DIR (1ULL << 3)
#define REMOVE_FILE (1ULL << 5)
#define MAKE_SOCK (1ULL << 9)
#define ALL_OF_ABI_1 ((1ULL << 13) - 1)
#define REFER (1ULL << 13)    /* ABI 2 */
#define TRUNCATE (1ULL << 14) /* ABI 3 */
#define SCOPE_ALL 3ULL        /* ABI 6: abstract unix sockets, signals */
#define OF_FILES (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE)

struct ruleset {
  uint64_t files;
  uint64_t net;    /* ABI 4 */
  uint64_t scoped; /* ABI 6 */
};

struct beneath {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

static uint64_t handled;

/* A directory that this machine does not have needs no rule. */
static int allow(int ruleset, const char *path, uint64_t rights) {
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -1;
  struct beneath rule = {.allowed = rights & handled, .parent = fd};
  long failed = syscall(ADD_RULE, ruleset, BENEATH_PATH, &rule, 0);
  if (failed && errno == EINVAL) { /* a file takes only what a file can have */
    rule.allowed &= OF_FILES;
    failed = syscall(ADD_RULE, ruleset, BENEATH_PATH, &rule, 0);
  }
  close(fd);
  return failed ? -1 : 0;
}

struct wishes {
  int inet;
  const char *own;
};

/*
 * --read is looked up in the arguments again: there may be any number of them.
 * Returns the ABI that was used, 0 where the kernel has none, -1 with errno.
 */
static int confine_files(int argc, char **argv, const struct wishes *wishes) {
  long abi = syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);
  if (abi < 1) return 0; /* older kernel, not enabled, or a container's own filter */
  handled = ALL_OF_ABI_1 | (abi >= 2 ? REFER : 0) | (abi >= 3 ? TRUNCATE : 0);
  struct ruleset attributes = {.files = handled, .net = 0, .scoped = abi >= 6 ? SCOPE_ALL : 0};
  size_t size = abi >= 6 ? sizeof attributes : sizeof attributes.files;
  int ruleset = (int)syscall(CREATE_RULESET, &attributes, size, 0);
  if (ruleset < 0) return -1;

  static const char *const programs[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
                                         "/nix/store", "/gnu/store"}; /* where NixOS and Guix have all of it */
  static const char *const texts[] = {"/etc", "/proc", "/sys"};
  const uint64_t read = READ_FILE | READ_DIR;
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
    if (allow(ruleset, programs[i], read | EXECUTE)) return -1;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (allow(ruleset, texts[i], read)) return -1;
  /* Terminals, the console's device, which may come back under another name, and /dev/null. */
  if (allow(ruleset, "/dev", read | WRITE_FILE | TRUNCATE)) return -1;
  if (wishes->inet && allow(ruleset, "/run", read)) return -1;
  for (int i = 1; i + 1 < argc && strcmp(argv[i], "--"); i++)
    if (!strcmp(argv[i], "--read") && allow(ruleset, argv[++i], read | EXECUTE)) return -1;
  if (wishes->own && allow(ruleset, wishes->own, read | WRITE_FILE | REMOVE_FILE | MAKE_SOCK)) return -1;
  if (syscall(RESTRICT_SELF, ruleset, 0)) return -1;
  close(ruleset);
  return (int)abi;
}

#if defined __x86_64__
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef THIS_ARCH
/* Refused whatever their arguments are. Those that an architecture has not are left out. */
static const int refused[] = {
    /* other processes */
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, 438 /* pidfd_getfd */,
    440 /* process_madvise */, SYS_migrate_pages, SYS_move_pages,
    /* who may do what with a file: one that is this user's may be another program's */
    SYS_fchmod, SYS_fchmodat, 452 /* fchmodat2 */, SYS_fchown, SYS_fchownat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr,
    SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, 463, 466 /* setxattrat, removexattrat */, 469 /* file_setattr */,
    /* what stays when all that made it is gone */
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_semget, SYS_semop,
    SYS_semtimedop, SYS_semctl, SYS_mq_open, SYS_mq_unlink,
    /* out of the process group: whoever ends it ends all that it started */
    SYS_setsid, SYS_setpgid,
    /* the kernel's own machines, which have been the way into it */
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, 425, 426, 427 /* io_uring */, SYS_add_key, SYS_request_key,
    SYS_keyctl,
    /* namespaces and file systems */
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, 428, 429, 430, 431, 432, 433,
    442 /* open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr */, SYS_swapon, SYS_swapoff,
    SYS_quotactl, SYS_acct, SYS_fanotify_init, SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_mknodat,
    /* the machine */
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_syslog, SYS_settimeofday,
    SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_vhangup,
    SYS_personality,
    /* users */
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid,
    SYS_setgroups, SYS_capset,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef __x86_64__
    SYS_chmod, SYS_chown, SYS_lchown, SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_mknod, SYS_uselib, SYS_create_module, SYS_lookup_dcookie,
#endif
};

/* Refused unless their first argument is 0, which is the process that asks: others of its user have turns and limits, too. */
static const int for_itself[] = {SYS_prlimit64, SYS_sched_setattr, SYS_sched_setscheduler, SYS_sched_setparam,
                                 SYS_sched_setaffinity};
/* Likewise, where the first says what the second is. */
static const struct {
  int call;
  uint32_t a_process;
} for_one[] = {{SYS_setpriority, PRIO_PROCESS}, {SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */}};

enum { MAX_STEPS = 512, SYS_clone3_NUMBER = 435 };
static struct sock_filter steps[MAX_STEPS];
static unsigned short count;

static void step(uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
  if (count < MAX_STEPS) steps[count] = (struct sock_filter){code, yes, no, k};
  count++; /* beyond the end it is seen below */
}

static void load(size_t offset) { step(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0); }
static void answer(uint32_t what) { step(BPF_RET | BPF_K, what, 0, 0); }
static void answer_if_equal(uint32_t value, uint32_t what) {
  step(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  answer(what);
}
static uint32_t failing_with(uint32_t error) { return SECCOMP_RET_ERRNO | error; }

/* The low half: what the kernel itself looks at, for a domain, for flags and for an ioctl's number. */
static size_t argument(int index) {
  return offsetof(struct seccomp_data, args) + (size_t)index * sizeof(uint64_t); /* little endian, both of them */
}

static int confine_calls(int inet) {
  if (prctl(PR_GET_SECCOMP) < 0) return 0;
  /* And no child of the one that started this: that knows nothing of it, and would never take its end. */
  const uint32_t not_in_clone = CLONE_PARENT | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */;
  load(offsetof(struct seccomp_data, arch));
  step(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
  answer(SECCOMP_RET_KILL_PROCESS);
  load(offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
  step(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1); /* the same calls under other numbers (x32) */
  answer(failing_with(ENOSYS));
#endif
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    answer_if_equal((uint32_t)refused[i], failing_with(EPERM));
  /* Its flags are in memory, out of a filter's sight: the C library then takes clone(). */
  answer_if_equal(SYS_clone3_NUMBER, failing_with(ENOSYS));

  /* Each part below is jumped over, the number still loaded, unless it is about this call. */
  step(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
  load(argument(0));
  step(BPF_JMP | BPF_JSET | BPF_K, not_in_clone, 0, 1);
  answer(failing_with(EPERM));
  answer(SECCOMP_RET_ALLOW);

  for (size_t i = 0; i < sizeof for_itself / sizeof *for_itself; i++) {
    step(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)for_itself[i], 0, 4);
    load(argument(0));
    answer_if_equal(0, SECCOMP_RET_ALLOW);
    answer(failing_with(EPERM));
  }
  for (size_t i = 0; i < sizeof for_one / sizeof *for_one; i++) {
    step(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)for_one[i].call, 0, 6);
    load(argument(0));
    step(BPF_JMP | BPF_JEQ | BPF_K, for_one[i].a_process, 0, 3);
    load(argument(1));
    answer_if_equal(0, SECCOMP_RET_ALLOW);
    answer(failing_with(EPERM));
  }

  step(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 8);
  load(argument(1));
  answer_if_equal(TIOCSTI, failing_with(EPERM)); /* types into a terminal */
  answer_if_equal(TIOCSETD, failing_with(EPERM)); /* line disciplines, which are modules */
  answer_if_equal(TIOCLINUX, failing_with(EPERM));
  answer(SECCOMP_RET_ALLOW);

  step(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0);
  answer(SECCOMP_RET_ALLOW);
  load(argument(0));
  answer_if_equal(AF_UNIX, SECCOMP_RET_ALLOW);
  if (inet) {
    answer_if_equal(AF_INET, SECCOMP_RET_ALLOW);
    answer_if_equal(AF_INET6, SECCOMP_RET_ALLOW);
    step(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 3); /* getaddrinfo asks which addresses there are: protocol 0 */
    load(argument(2));
    answer_if_equal(0, SECCOMP_RET_ALLOW);
  }
  answer(failing_with(EAFNOSUPPORT));

  if (count > MAX_STEPS) {
    errno = E2BIG;
    return -1;
  }
  struct sock_fprog program = {.len = count, .filter = steps};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -1 : 1;
}
#else
static int confine_calls(int inet) {
  (void)inet;
  return 0; /* nobody looked at this architecture's calls yet */
}
#endif

static int usage(void) {
  fputs("usage: sealtty-confine [--inet] [--read PATH]... [--own DIRECTORY] -- PROGRAM ARGUMENT...\n", stderr);
  return FAILED;
}

static int failed(const char *what) {
  fprintf(stderr, "<3>sealtty-confine: %s: %s\n", what, strerror(errno));
  return FAILED;
}

/* Of the user's, threads as well: front and keeper have a dozen or two each, one more for each screen, and start a program now and then. */
enum { MAX_PROCESSES = 1024 };

static int bound_processes(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NPROC, &limit)) return -1;
  if (limit.rlim_max > MAX_PROCESSES) limit.rlim_max = MAX_PROCESSES;
  if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NPROC, &limit);
}

int main(int argc, char **argv) {
  struct wishes wishes = {0};
  int at = 1;
  for (; at < argc && strcmp(argv[at], "--"); at++) {
    if (!strcmp(argv[at], "--inet")) wishes.inet = 1;
    else if (!strcmp(argv[at], "--read") && at + 1 < argc) at++;
    else if (!strcmp(argv[at], "--own") && at + 1 < argc) wishes.own = argv[++at];
    else return usage();
  }
  if (at + 1 >= argc) return usage();
  char **program = argv + at + 1;

  if (bound_processes()) return failed("a limit of processes");
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none)) return failed("no core files"); /* they would hold connections' keys */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return failed("no new privileges");
  const int files = confine_files(argc, argv, &wishes);
  if (files < 0) return failed("Landlock");
  if (files == 0) fputs("<4>not confined by Landlock: this kernel has none, or it is switched off\n", stderr);
  const int calls = confine_calls(wishes.inet);
  if (calls < 0) return failed("seccomp");
  if (calls == 0) fputs("<4>not confined by seccomp: this kernel or architecture has none\n", stderr);

  execv(program[0], program);
  const int missing = errno == ENOENT;
  failed(program[0]);
  return missing ? NOT_THERE : CANNOT_RUN;
}
