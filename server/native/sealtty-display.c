// What a framebuffer and an input device are asked by ioctl, for which Node has no call. The device is standard input.
//   sealtty-display screen    prints "WIDTH HEIGHT BITS LINE-BYTES FIRST-BYTE RED GREEN BLUE" of a /dev/fb*; colours as OFFSET:BITS
//   sealtty-display grab      takes a /dev/input/event* for whoever opened it, alone, until that is closed: no terminal, login or
//                             SysRq hears it any more. The grab belongs to the open file, and outlives this program.
//   --help, or no argument    a line for people
// Status 0; 1 and words on stderr where the device refuses; 2 usage.

#include <errno.h>
#include <fcntl.h>
#include <linux/fb.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum { GOOD = 0, REFUSED = 1, USAGE = 2 };

static int refused(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return REFUSED;
}

static int screen(void) {
  struct fb_var_screeninfo shown;
  struct fb_fix_screeninfo memory;
  if (ioctl(0, FBIOGET_VSCREENINFO, &shown) != 0) return refused("FBIOGET_VSCREENINFO");
  if (ioctl(0, FBIOGET_FSCREENINFO, &memory) != 0) return refused("FBIOGET_FSCREENINFO");
  if (memory.type != FB_TYPE_PACKED_PIXELS || memory.visual != FB_VISUAL_TRUECOLOR) {
    fputs("its pixels are not true colours, one behind the other\n", stderr);
    return REFUSED;
  }
  const unsigned long long first =
      (unsigned long long)shown.yoffset * memory.line_length + shown.xoffset * (shown.bits_per_pixel / 8ULL);
  printf("%u %u %u %u %llu %u:%u %u:%u %u:%u\n", shown.xres, shown.yres, shown.bits_per_pixel, memory.line_length, first,
         shown.red.offset, shown.red.length, shown.green.offset, shown.green.length, shown.blue.offset,
         shown.blue.length);
  return fflush(stdout) == 0 ? GOOD : refused("writing");
}

/** What starts a program makes its standard input blocking, for everybody who has it open: that is undone. */
static int grab(void) {
  if (ioctl(0, EVIOCGRAB, (void *)1) != 0) return refused("EVIOCGRAB");
  const int flags = fcntl(0, F_GETFL);
  return flags >= 0 && fcntl(0, F_SETFL, flags | O_NONBLOCK) == 0 ? GOOD : refused("O_NONBLOCK");
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "screen") == 0) return screen();
  if (count == 2 && strcmp(words[1], "grab") == 0) return grab();
  fputs("sealtty-display screen|grab <DEVICE: asks a framebuffer, grabs an input device; sealttyd uses it\n", stderr);
  return USAGE;
}
