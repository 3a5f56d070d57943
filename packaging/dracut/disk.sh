#!/bin/sh
# The root is mounted on /sysroot: whether it can be the owner's, while the owner still has a shell by sealtty. Where this fails,
# systemd does not switch to it: docs/unlock.md.
. /usr/lib/sealtty/initramfs-volumes.sh

# The kernel's log is what its console shows, and `sealtty log`.
refuse() {
  echo "<3>sealtty: $1; the system is not started" >/dev/kmsg
  echo "$1; the system is not started"
  exit 1
}

# Whether the kernel finds $1 on the root disk, and what it names to load it, without its doing anything: the dynamic linker only lists its
# libraries. An init without one is asked for its version. By the disk's env, as the linker would list chroot's own. One whose head is
# garbled is not told from a script (execvp); systemd gives nobody a shell for it, but stands still.
can_be_run() {
  chroot /sysroot /usr/bin/env LD_TRACE_LOADED_OBJECTS=1 "$1" --version </dev/null >/dev/null 2>&1
}

problem=$(sealtty_volume_problem /sys/block /etc/sealtty/ciphers) || refuse "the encrypted volumes could not be looked at"
[ -z "$problem" ] || refuse "$problem"

# Where systemd finds none of its own, of init= and of /sbin/init, or not what is to load it (ENOENT), it takes /bin/sh, on the console. A
# host that garbles the right blocks would have a shell of root's over a disk that is open.
can_be_run /sbin/init || refuse "there is no /sbin/init on the root disk that could be run"

# The image obeys no init=, and another one than the usual is a host's word for a shell, or an owner's that would go unheard. Without the
# quotes that systemd takes away, wherever in a word.
set -f
line=$(tr '\r' ' ' </proc/cmdline) || refuse "the kernel's command line could not be read"
while :; do
  case $line in
  *[\"\'\\]*) line=${line%%[\"\'\\]*}${line#*[\"\'\\]} ;;
  *) break ;;
  esac
done
for word in $line; do
  case $word in
  init=/sbin/init | init=/lib/systemd/systemd | init=/usr/lib/systemd/systemd) ;;
  init=* | rd.init=*) refuse "the command line names an init that is not the usual one" ;;
  esac
done
