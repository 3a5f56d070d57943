// LD_PRELOAD: plays the kernel's /dev/sev-guest and /dev/tdx_guest for one program. TEE_SHIM says how it behaves. The SNP
// report that it gives is zero but for REPORT_DATA (0x50), the VMPL (0x30) and HOST_DATA (0xC0, all 0xAB); the TDREPORT
// but for its type, REPORTDATA (128) and MRCONFIGID (576, all 0xCD).

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE "/dev/sev-guest"
#define FD 777
#define TDX_DEVICE "/dev/tdx_guest"
#define TDX_FD 778

static const char *mode(void) {
  const char *value = getenv("TEE_SHIM");
  return value == NULL ? "" : value;
}
static int is(const char *name) { return strcmp(mode(), name) == 0; }

int open(const char *name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const int permissions = va_arg(arguments, int);
  va_end(arguments);
  const int tdx = strcmp(name, TDX_DEVICE) == 0;
  if (!tdx && strcmp(name, DEVICE) != 0) {
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return real(name, flags, permissions);
  }
  if (is("absent")) return errno = ENOENT, -1;
  if (is("forbidden")) return errno = EACCES, -1;
  return tdx ? TDX_FD : FD;
}

int close(int fd) {
  if (fd == FD || fd == TDX_FD) return 0;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
  return real(fd);
}

static int failed(uint8_t *request, int error, uint64_t exitinfo2) {
  memcpy(request + 24, &exitinfo2, 8);
  errno = error;
  return -1;
}

static int tdx_report(uint8_t *request) {
  if (is("busy")) return errno = EBUSY, -1;
  uint8_t *report = request + 64;
  memset(report, 0, 1024);
  report[0] = is("other-type") ? 0 : 0x81;
  memcpy(report + 128, request, 64);
  if (is("foreign-data")) report[128] ^= 1;
  memset(report + 576, 0xcd, 48);
  return 0;
}

int ioctl(int fd, unsigned long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  uint8_t *request = va_arg(arguments, uint8_t *);
  va_end(arguments);
  if (fd == TDX_FD && number == 0xc4405401UL) return tdx_report(request); // _IOWR('T', 1, 1088 bytes)
  if (fd != FD || number != 0xc0205302UL) return errno = ENOTTY, -1; // _IOWR('S', 2, 32 bytes)
  if (request[0] == 0) return errno = EINVAL, -1;
  uint64_t address;
  memcpy(&address, request + 8, 8);
  uint8_t *extended = (uint8_t *)(uintptr_t)address;
  memcpy(&address, request + 16, 8);
  uint8_t *response = (uint8_t *)(uintptr_t)address;
  memcpy(&address, extended + 96, 8);
  uint8_t *certs = (uint8_t *)(uintptr_t)address;
  uint32_t room;
  memcpy(&room, extended + 104, 4);
  if (room % 4096 != 0) return errno = EINVAL, -1;

  if (is("vmpck")) return errno = ENOTTY, -1;
  if (is("throttled")) return failed(request, EIO, 2ull << 32);
  if (is("firmware-error")) return failed(request, EIO, 0x16);
  if (is("hangs")) for (;;) pause();
  const uint32_t needed = is("long-certs") ? 0x8000 : is("greedy-host") ? 0x40000000 : is("odd-host") ? 0x5001 : 0x1000;
  if (room < needed) {
    memcpy(extended + 104, &needed, 4);
    return failed(request, EIO, 1ull << 32);
  }

  const uint32_t size = is("short-report") ? 512 : 1184;
  const uint32_t status = is("refused") ? 0x16 : 0;
  memcpy(response, &status, 4);
  memcpy(response + 4, &size, 4);
  uint8_t *report = response + 32;
  memcpy(report + 0x30, extended + 64, 4);
  memcpy(report + 0x50, extended, 64);
  if (is("foreign-data")) report[0x50] ^= 1;
  memset(report + 0xc0, 0xab, 32);

  memset(certs, 0, room);
  if (is("no-certs")) return 0;
  // One entry: GUID of the VCEK, offset 48, length 5; then the terminating one.
  static const uint8_t guid[16] = {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64,
                                   0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd};
  const uint32_t offset = is("bad-table") ? 0xfffffff0u : 48, length = is("long-certs") ? 0x7000 : 5;
  memcpy(certs, guid, 16);
  memcpy(certs + 16, &offset, 4);
  memcpy(certs + 20, &length, 4);
  if (!is("bad-table")) memset(certs + 48, 0xc5, length);
  return 0;
}
