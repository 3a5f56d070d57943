// One SEV-SNP report from /dev/sev-guest, for kernels without configfs-tsm: Node has no ioctl.
//   sev-guest-report DEVICE VMPL        stdin: 64 bytes of report data
//   stdout on success: u32 length, the report, u32 length, the certificate table as the host gave it (big-endian lengths)
//   stderr on failure: one line "STEP ERRNO EXITINFO2" (decimal, 16 hex digits), exit status 1
//   --help, or no argument              a line for people
// Layouts: Documentation/virt/coco/sev-guest.rst and include/uapi/linux/sev-guest.h of the kernel, written here by hand.

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REPORT_DATA = 64, REPORT = 1184, FIRST_CERTS = 16 * 1024, MOST_CERTS = 64 * 1024, PAGE = 4096 };

struct report_request {
  uint8_t user_data[REPORT_DATA];
  uint32_t vmpl;
  uint8_t reserved[28]; // zero
};
_Static_assert(sizeof(struct report_request) == 96, "struct snp_report_req");

struct extended_request {
  struct report_request data;
  uint64_t certs_address;
  uint32_t certs_len; // multiple of a page; too short: the kernel puts the needed length here
};
_Static_assert(offsetof(struct extended_request, certs_address) == 96, "struct snp_ext_report_req");
_Static_assert(offsetof(struct extended_request, certs_len) == 104, "struct snp_ext_report_req");
_Static_assert(sizeof(struct extended_request) == 112, "struct snp_ext_report_req");

struct report_response {
  // MSG_REPORT_RSP of the firmware: u32 status, u32 size, 24 bytes, the report; little-endian like the CPU
  uint32_t status;
  uint32_t size;
  uint8_t reserved[24];
  uint8_t report[REPORT];
  uint8_t rest[4000 - 32 - REPORT];
};
_Static_assert(sizeof(struct report_response) == 4000, "struct snp_report_resp");

struct guest_request {
  uint8_t message_version; // not zero
  uint64_t request;
  uint64_t response;
  uint64_t exitinfo2; // low half: the firmware's error, high half: the hypervisor's
};
_Static_assert(offsetof(struct guest_request, request) == 8, "struct snp_guest_request_ioctl");
_Static_assert(offsetof(struct guest_request, exitinfo2) == 24, "struct snp_guest_request_ioctl");
_Static_assert(sizeof(struct guest_request) == 32, "struct snp_guest_request_ioctl");

#define SNP_GET_EXT_REPORT _IOWR('S', 0x2, struct guest_request)
#define VMM_INVALID_LENGTH 1u

static int fail(const char *step, int error, uint64_t exitinfo2) {
  fprintf(stderr, "%s %d %016llx\n", step, error, (unsigned long long)exitinfo2);
  return 1;
}

static int usage(FILE *to, int status) {
  fputs("usage: sev-guest-report DEVICE VMPL     (VMPL: 0 to 3; 64 bytes of report data on standard input)\n", to);
  return status;
}

static int read_all(uint8_t *to, size_t length) {
  size_t at = 0;
  while (at < length) {
    ssize_t got = read(STDIN_FILENO, to + at, length - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return -1;
    at += (size_t)got;
  }
  return 0;
}

static int write_part(const uint8_t *from, uint32_t length) {
  const uint8_t prefix[4] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
  return fwrite(prefix, 1, 4, stdout) == 4 && fwrite(from, 1, length, stdout) == length ? 0 : -1;
}

int main(int argc, char **argv) {
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) return usage(stdout, 0);
  if (argc < 2) return usage(stderr, 1);
  if (argc != 3 || strlen(argv[2]) != 1 || argv[2][0] < '0' || argv[2][0] > '3') return fail("usage", EINVAL, 0);
  struct extended_request extended;
  memset(&extended, 0, sizeof extended);
  extended.data.vmpl = (uint32_t)(argv[2][0] - '0');
  if (read_all(extended.data.user_data, REPORT_DATA) != 0) return fail("input", EINVAL, 0);

  int device = open(argv[1], O_RDWR | O_CLOEXEC);
  if (device < 0) return fail("open", errno, 0);

  static struct report_response response;
  uint8_t *certs = NULL;
  uint32_t length = FIRST_CERTS; // mostly enough: each further request costs the security processor
  for (int attempt = 1;; attempt++) {
    free(certs);
    certs = aligned_alloc(PAGE, length);
    if (certs == NULL) return fail("memory", ENOMEM, 0);
    memset(certs, 0, length);
    memset(&response, 0, sizeof response);
    extended.certs_address = (uint64_t)(uintptr_t)certs;
    extended.certs_len = length;
    struct guest_request request;
    memset(&request, 0, sizeof request);
    request.message_version = 1;
    request.request = (uint64_t)(uintptr_t)&extended;
    request.response = (uint64_t)(uintptr_t)&response;
    const int result = ioctl(device, SNP_GET_EXT_REPORT, &request);
    if (result == 0 && request.exitinfo2 == 0) break;
    const int error = result == 0 ? EIO : errno;
    const uint32_t needed = extended.certs_len;
    const int short_buffer = (uint32_t)(request.exitinfo2 >> 32) == VMM_INVALID_LENGTH;
    // The host says how much it has: believed within bounds, and once.
    if (!short_buffer || attempt > 1 || needed <= length || needed > MOST_CERTS || needed % PAGE != 0)
      return fail("ioctl", error, request.exitinfo2);
    length = needed;
  }
  close(device);
  if (response.status != 0 || response.size != REPORT) return fail("firmware", EIO, response.status);
  if (write_part(response.report, REPORT) != 0 || write_part(certs, length) != 0 || fflush(stdout) != 0)
    return fail("output", errno, 0);
  return 0;
}
