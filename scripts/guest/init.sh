#!/bin/busybox sh
# Process 1 of the test guest: mounts, modules, then sealttyd on every pipe that exists. Everything printed here
# goes to ttyS0, which the host reads: never a secret.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
say() { echo "sealtty-init: $*"; }

chmod 755 / # as the kernel makes it everybody may write there
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run /tmp
mount -t devpts -o mode=620,ptmxmode=666,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t securityfs securityfs /sys/kernel/security
ln -sf /proc/self/fd /dev/fd
hostname sealtty-guest
ip link set lo up
echo 0 >/proc/sys/kernel/sysrq # the host can press SysRq on ttyS0

while read -r module; do
  insmod "$module" || say "insmod $module failed"
done </etc/modules-load

# sealtty.only=NAME on the kernel command line: start that instance and no other; "none" starts nothing.
# sealtty.screen: start one on the machine's screen and keys as well.
only= screen=
for word in $(cat /proc/cmdline); do
  case $word in
    sealtty.only=*) only=${word#*=} ;;
    sealtty.screen) screen=yes ;;
  esac
done

# supervise NAME: runs sealttyd with NAME.toml, again when it ends, slower each time; one that ran for a minute starts afresh.
supervise() {
  delay=1 starts=0
  while [ "$starts" -lt 20 ]; do
    starts=$((starts + 1)) began=$(cut -d. -f1 /proc/uptime)
    SEALTTY_PTY_ADDON=/usr/lib/sealtty/pty.node node /usr/lib/sealtty/sealttyd.js --config "/etc/sealtty/$1.toml" </dev/null
    echo "ended with status $?"
    [ "$1" = screen ] && node /usr/lib/sealtty/sealttyd.js --give-back-console
    [ $(($(cut -d. -f1 /proc/uptime) - began)) -gt 60 ] && delay=1 starts=0
    sleep $delay
    [ $delay -lt 16 ] && delay=$((delay * 2))
  done
  echo "gave up after $starts starts"
}

start() {
  [ -z "$only" ] || [ "$only" = "$1" ] || return 0
  say "starting sealttyd on $1"
  supervise "$1" 2>&1 | while IFS= read -r line; do echo "sealttyd[$1]: $line"; done &
}

# virtio ports appear a moment after their driver.
tries=0
while [ $tries -lt 50 ] && ! ls /sys/class/virtio-ports/* >/dev/null 2>&1 && [ ! -c /dev/hvc0 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
for name in /sys/class/virtio-ports/*/name; do
  [ -e "$name" ] && say "port $(cat "$name")"
done
[ -c /dev/tpmrm0 ] && say "tpm /dev/tpmrm0"
[ -c /dev/hvc0 ] && say "console /dev/hvc0"

grep -qsx sealtty.0 /sys/class/virtio-ports/*/name && start virtio
[ -c /dev/hvc0 ] && start hvc0
[ -n "$screen" ] && start screen
for script in /etc/sealtty/init.d/*; do
  [ -x "$script" ] && "$script"
done
say "ready after $(cut -d' ' -f1 /proc/uptime) s"

trap 'poweroff -f' USR1 USR2
trap 'reboot -f' TERM
# Process 1 must not end, and collects every orphan.
while :; do
  wait
  sleep 1
done
