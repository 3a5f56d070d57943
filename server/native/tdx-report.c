// One TDREPORT from /dev/tdx_guest: the TDX module's own word on this TD, which never passes through the host as a quote does.
//   tdx-report DEVICE        stdin: 64 bytes of report data; stdout: TDREPORT, 1024 bytes
//   --help, or no argument   a line for people
//   stderr on failure: one line "STEP ERRNO EXITINFO2" (decimal, 16 zeros), exit status 1
// Layout: include/uapi/linux/tdx-guest.h of the kernel, written here by hand.

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REPORT_DATA = 64, REPORT = 1024 };

struct report_request {
  uint8_t report_data[REPORT_DATA];
  uint8_t report[REPORT];
};
_Static_assert(offsetof(struct report_request, report) == 64, "struct tdx_report_req");
_Static_assert(sizeof(struct report_request) == 1088, "struct tdx_report_req");

#define TDX_GET_REPORT0 _IOWR('T', 1, struct report_request)

static int fail(const char *step, int error) {
  fprintf(stderr, "%s %d %016d\n", step, error, 0);
  return 1;
}

static int usage(FILE *to, int status) {
  fputs("usage: tdx-report DEVICE     (64 bytes of report data on standard input)\n", to);
  return status;
}

int main(int argc, char **argv) {
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) return usage(stdout, 0);
  if (argc < 2) return usage(stderr, 1);
  if (argc != 2) return fail("usage", EINVAL);
  static struct report_request request;
  size_t at = 0;
  while (at < REPORT_DATA) {
    const ssize_t got = read(STDIN_FILENO, request.report_data + at, REPORT_DATA - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail("input", EINVAL);
    at += (size_t)got;
  }
  const int device = open(argv[1], O_RDWR | O_CLOEXEC);
  if (device < 0) return fail("open", errno);
  if (ioctl(device, TDX_GET_REPORT0, &request) != 0) return fail("ioctl", errno);
  close(device);
  if (fwrite(request.report, 1, REPORT, stdout) != REPORT || fflush(stdout) != 0) return fail("output", errno);
  return 0;
}
