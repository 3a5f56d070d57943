#!/bin/sh
# A guest of QEMU's with a console for sealtty: docs/recipes.md. The tests run this very file.
#   qemu.sh DIRECTORY     with vmlinuz and initrd in it; ACCEL=tcg where there is no KVM
set -eu
dir=$1
mkdir -p "$dir/tpm"

# Of the host's own: it shows what booted, and proves nothing against this host. It ends with QEMU.
swtpm socket --tpm2 --terminate --daemon --tpmstate dir="$dir/tpm" --ctrl type=unixio,path="$dir/swtpm.sock"

# The three lines with `sealtty` in them are the console: what sealttyd has as type = "virtio", name = "sealtty.0".
exec qemu-system-x86_64 \
  -M q35 -accel "${ACCEL:-kvm}" -cpu max -smp 2 -m 1024 \
  -nodefaults -no-user-config -display none -no-reboot \
  -bios /usr/share/ovmf/OVMF.fd \
  -kernel "$dir/vmlinuz" -initrd "$dir/initrd" -append "quiet console=ttyS0 panic=-1" \
  -chardev socket,id=tpm,path="$dir/swtpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
  -chardev file,id=serial,path="$dir/serial.log" -serial chardev:serial \
  -device virtio-serial-pci,id=sealtty-bus \
  -chardev socket,id=sealtty,path="$dir/sealtty.sock",server=on,wait=off \
  -device virtserialport,bus=sealtty-bus.0,chardev=sealtty,name=sealtty.0
