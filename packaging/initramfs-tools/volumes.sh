# Whether the encrypted volumes that are open are encrypted. LUKS2's header is the host's to write: it can say that the data behind
# it is not encrypted at all, and the owner's passphrase opens that as well. What the kernel does shows in device-mapper's tables.
# For the initramfs's sh, and without awk and grep, which it need not have: docs/unlock.md.

# Names of the volumes' devices, one a line; those below them are among them.
# $1: /sys/block
sealtty_volumes() {
  for sealtty_device in "$1"/dm-*; do
    [ -e "$sealtty_device" ] || continue # none: the pattern itself
    sealtty_uuid=
    sealtty_name=
    read -r sealtty_uuid <"$sealtty_device/dm/uuid" || :
    read -r sealtty_name <"$sealtty_device/dm/name" || :
    case $sealtty_uuid in
    CRYPT-*) printf "%s\n" "$sealtty_name" ;;
    esac
  done
}

# Whether $1 is one of the lines of $2.
sealtty_is_line_of() {
  case "
$2
" in
  *"
$1
"*) return 0 ;;
  esac
  return 1
}

# A sentence about the first volume that will not do; nothing where all will.
# $1: /sys/block
# $2: a file with the ciphers that may be, one a line, as device-mapper has them; where there is none, any that encrypts.
sealtty_volume_problem() {
  [ -d "$1" ] || {
    echo "there is no $1, which names the volumes"
    return
  }
  sealtty_all=$(sealtty_volumes "$1")
  sealtty_known=
  [ ! -s "$2" ] || sealtty_known=$(cat "$2")
  [ -z "$sealtty_all" ] || printf "%s\n" "$sealtty_all" | while read -r sealtty_volume; do
    sealtty_table=$(dmsetup table "$sealtty_volume" 2>/dev/null) || sealtty_table=
    [ -n "$sealtty_table" ] || {
      echo "what the volume $sealtty_volume is made of cannot be seen"
      return
    }
    sealtty_problem=$(printf "%s\n" "$sealtty_table" | while read -r _ _ sealtty_target sealtty_cipher _; do
      sealtty_target_problem "$sealtty_volume" "$sealtty_target" "$sealtty_cipher"
    done)
    [ -z "$sealtty_problem" ] || {
      echo "$sealtty_problem"
      return
    }
  done
}

# $1: the volume's name
# $2, $3: a line of its table: target, and cipher where it is crypt
sealtty_target_problem() {
  case $2 in
  crypt)
    case $3 in
    '' | *null*) echo "the volume $1 is not encrypted (${3:-no cipher})" ;;
    *)
      [ -z "$sealtty_known" ] || sealtty_is_line_of "$3" "$sealtty_known" ||
        echo "the volume $1 has the cipher $3, which no disk had when this initramfs was made"
      ;;
    esac
    ;;
  integrity)
    # Below a volume that is looked at itself: cryptsetup names it so.
    case $1 in
    ?*_dif) sealtty_is_line_of "${1%_dif}" "$sealtty_all" && return ;;
    esac
    echo "the volume $1 is not encrypted (integrity alone)"
    ;;
  *) echo "the volume $1 is not encrypted ($2)" ;;
  esac
}

# The ciphers of this system's own volumes, one a line, each once: those of crypttab that are open here. An image is made on machines
# with other disks, which do not count.
# $1: crypttab
sealtty_ciphers() {
  [ -r "$1" ] || return 0
  sealtty_found=
  while read -r sealtty_name _ || [ -n "$sealtty_name" ]; do # the last line need not end
    case $sealtty_name in
    '' | '#'*) continue ;;
    esac
    # Nothing where that device is not there.
    for sealtty_cipher in $(dmsetup table --target crypt "$sealtty_name" 2>/dev/null </dev/null |
      while read -r _ _ _ sealtty_cipher _; do echo "$sealtty_cipher"; done); do
      sealtty_is_line_of "$sealtty_cipher" "$sealtty_found" && continue
      sealtty_found="$sealtty_found
$sealtty_cipher"
      echo "$sealtty_cipher" || return
    done
  done <"$1"
}
