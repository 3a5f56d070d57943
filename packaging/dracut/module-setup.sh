#!/bin/bash
# Puts sealttyd into an initramfs of dracut's, where /etc/sealtty/initramfs.toml says how it is to be there: docs/unlock.md.
# Everything in it lies unencrypted on the disk: no secret belongs there, and sealttyd refuses the one that could be named.
# As initramfs-tools' hook, whose scripts are beside this in the package's sources; here systemd starts what has to run.

config=/etc/sealtty/initramfs.toml
# By these process 1 takes the host's words when it starts: credentials, by which systemd's own units write files as root and set sysctls,
# and, of the EFI variable SystemdOptions, whatever a command line can say.
SEALTTY_HOSTS=(qemu_fw_cfg dmi-sysfs efivarfs)

# A broken module must be heard of: an initramfs without the console that somebody counts on is worse than the old one. dracut takes no
# notice of what install() returns.
sealtty_fail() {
  dfatal "sealtty: $*"
  exit 1
}

# called by dracut
check() {
  [[ $mount_needs ]] && return 1
  [[ -e "${dracutsysrootdir-}$config" ]]
}

# called by dracut
installkernel() {
  # By name: those that a kernel has not, or has built in, are passed over.
  hostonly='' instmods -s virtio_pci virtio_console tpm_crb tpm_tis qemu_fw_cfg sev-guest tdx-guest tsm
  local name
  for name in "${SEALTTY_HOSTS[@]}"; do
    # shellcheck disable=SC2154 # srcmods is dracut's
    grep -qs "/${name//[-_]/[-_]}\.ko$" "$srcmods/modules.builtin" || continue
    dwarn "sealtty: this kernel has $name built in, so what the host gives systemd by it is taken in the initramfs: docs/unlock.md"
  done
  return 0
}

# A program with its libraries, also where the file has no right to be executed, as an addon of Node's.
sealtty_install_program() {
  inst_simple "$1" || return 1
  # Where it needs none, ldd says so by its status.
  { ldd "$1" 2>/dev/null || :; } | while read -r first second third _; do
    case $first$second in
    /*) inst_library "$first" || return 1 ;;
    *'=>') inst_library "$third" || return 1 ;; # "not found" is none, either
    esac
  done
}

sealtty_install_files() {
  local kind file line
  while read -r kind file; do
    case $kind in
    program) sealtty_install_program "$file" || sealtty_fail "$file could not be copied" ;;
    file) inst_simple "$file" || sealtty_fail "$file could not be copied" ;;
    user) # whom the half becomes that talks to the host
      line=$(getent passwd "$file") || sealtty_fail "there is no user $file, whom [daemon] user names"
      grep -qs "^$file:" "$initdir/etc/passwd" || echo "$line" >>"$initdir/etc/passwd" ||
        sealtty_fail "the user $file could not be put into its passwd"
      ;;
    '') ;;
    *) sealtty_fail "sealttyd --check --initramfs says what this module does not know: $kind" ;;
    esac
  done <<<"$1"
}

# Root has no password in it: neither the system's, whose hash the host could try words on, nor an empty one.
sealtty_lock_root() {
  local line
  rm -f "$initdir/etc/shadow" "$initdir/etc/shadow-" || sealtty_fail "its passwords could not be taken out"
  while IFS= read -r line; do
    [[ $line == root:* ]] || printf '%s\n' "$line"
  done <"$initdir/etc/passwd" >"$initdir/etc/passwd.sealtty"
  {
    echo 'root:*:0:0:root:/:/bin/sh' >>"$initdir/etc/passwd.sealtty" &&
      chmod 644 "$initdir/etc/passwd.sealtty" &&
      mv "$initdir/etc/passwd.sealtty" "$initdir/etc/passwd"
  } || sealtty_fail "root's line of passwd could not be written"
}

# In place of whatever is there: inst_simple leaves that, and would say that all is well.
# $1: a file beside this one
# $2: its place in the image
sealtty_install_own() {
  rm -f "$initdir$2"
  inst_simple "$moddir/$1" "$2" || sealtty_fail "$1 could not be copied"
}

# In the image and not on the kernel's command line, as with rd.shell=0: that is the host's where nobody measures it.
sealtty_close_consoles() {
  local units="$initdir/etc/systemd/system" name
  mkdir -p "$units" || sealtty_fail "$units could not be made"
  for name in emergency rescue; do
    sealtty_install_own quiet.service "/etc/systemd/system/$name.service"
  done
  sealtty_install_own quiet-step.service /etc/systemd/system/dracut-emergency.service
  # Shells, words for the command line, and the passphrase's question, whose tries a host could use up.
  for name in debug-shell.service dracut-cmdline-ask.service getty@.service serial-getty@.service console-getty.service \
    systemd-ask-password-{console,plymouth,wall}.{path,service}; do
    ln -sfn /dev/null "$units/$name" || sealtty_fail "$name could not be masked"
  done
  # They make units, and masks, of what the command line says (systemd.debug_shell, systemd.mask=, systemd.run=), or start a system that
  # lies asleep on a disk, which is the host's.
  for name in debug getty hibernate-resume run ssh; do
    rm -f "$initdir"/{usr/,}lib/systemd/system-generators/systemd-$name-generator ||
      sealtty_fail "systemd-$name-generator could not be taken out"
  done
  # dracut's own, where systemd has none
  rm -f "$initdir"/{usr/,}lib/dracut/{parse-resume,resume}.sh ||
    sealtty_fail "waking a system that sleeps could not be taken out"
  {
    mkdir -p "$initdir/etc/systemd/system.conf.d" &&
      printf '[Manager]\nShowStatus=no\nCrashShell=no\n' >"$initdir/etc/systemd/system.conf.d/sealtty.conf"
  } || sealtty_fail "systemd's own shell could not be shut"
}

# The host's words to systemd beside the command line, which is the only way that can be measured.
sealtty_refuse_words() {
  local kind name
  mkdir -p "$initdir/etc/modprobe.d"
  # systemd and udev obey; sealttyd-early.service asks for the one that it needs by its name, when process 1 looks no more.
  printf 'blacklist %s\n' "${SEALTTY_HOSTS[@]}" >"$initdir/etc/modprobe.d/sealtty.conf" ||
    sealtty_fail "modprobe.d could not be written"
  # Where a driver is built in: no unit is given a credential. For all of a kind, as later modules and generators make more of them.
  for kind in service socket mount swap; do
    name="$initdir/etc/systemd/system/$kind.d"
    mkdir -p "$name"
    printf '%s\n' "[${kind^}]" LoadCredential= LoadCredentialEncrypted= SetCredential= SetCredentialEncrypted= ImportCredential= \
      >"$name/zzz-sealtty.conf" || sealtty_fail "credentials could not be refused"
  done
  # Its systemctl asks the variable for an init= once more. disk.sh has looked at what is started without one.
  sealtty_install_own no-init.conf /etc/systemd/system/initrd-switch-root.service.d/zzz-sealtty.conf
  # What it does to the root with its programs is done only behind a look, too.
  sealtty_install_own look-first.conf /etc/systemd/system/dracut-pre-pivot.service.d/zzz-sealtty.conf
}

# called by dracut
install() {
  local files name
  [[ -z ${dracutsysrootdir-} ]] || sealtty_fail "--sysroot is not for it: run dracut in that root"
  # Its units are systemd's, and what it keeps from the consoles is dracut-systemd's. Not as depends(): dracut would leave this out.
  for name in systemd-initrd dracut-systemd; do
    dracut_module_included "$name" || sealtty_fail "it needs dracut's module $name"
  done
  files=$(/usr/lib/sealtty/sealttyd.js --check --initramfs --config "$config") ||
    sealtty_fail "$config will not do in an initramfs"
  sealtty_install_files "$files"
  inst_simple "$config" /etc/sealtty/sealttyd.toml || sealtty_fail "$config could not be copied"
  sealtty_lock_root

  # For what is looked at before the system is started: what is open is to be encrypted, as this system's disks are where they are open here.
  inst_simple /usr/lib/sealtty/initramfs-volumes.sh || sealtty_fail "initramfs-volumes.sh could not be copied"
  sealtty_install_own disk.sh /usr/lib/sealtty/initramfs-disk.sh
  inst_multiple cat chroot dmsetup modprobe sh sleep tr || sealtty_fail "not all that it needs could be copied"
  . /usr/lib/sealtty/initramfs-volumes.sh
  mkdir -p "$initdir/etc/sealtty"
  sealtty_ciphers /etc/crypttab >"$initdir/etc/sealtty/ciphers" || sealtty_fail "the ciphers could not be written down"

  for name in sealttyd-early.service sealtty-disk.service; do
    sealtty_install_own "$name" "/etc/systemd/system/$name"
  done
  name="$initdir/etc/systemd/system/sysinit.target.wants"
  { mkdir -p "$name" && ln -sfn ../sealttyd-early.service "$name/sealttyd-early.service"; } ||
    sealtty_fail "sealttyd could not be had to start"
  for name in initrd-cleanup.service initrd-switch-root.service; do
    sealtty_install_own needs-disk.conf "/etc/systemd/system/$name.d/sealtty.conf"
  done
  sealtty_close_consoles
  sealtty_refuse_words
}
