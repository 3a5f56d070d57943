#!/bin/sh
# OpenSSH's own programs, rsync and ansible into a guest that has no network and no sshd that listens: all of it goes through
# `sealtty proxy` over the console. Host keys come from the guest's verified evidence, and from nowhere else.
#
#   GUEST=ws://127.0.0.1:7000/ POLICY=db1.toml KEY=~/.ssh/id_ed25519 sh with-openssh.sh
#
# Its files are made in the current directory, and in a new directory of the guest's. SECRET goes in every way that is used here; what
# the host sees is searched for it afterwards.
set -eu
. "$(dirname "$0")/steps.sh"
: "${GUEST:?}" "${POLICY:?}" "${KEY:?}" "${SECRET:?}"

step "config-ssh"
sealtty config-ssh "$GUEST" --policy "$POLICY" -l root -i "$KEY" --host vm.sealtty --ssh-config "$PWD/ssh_config"
grep -q "StrictHostKeyChecking yes" ssh_config
options="-F $PWD/ssh_config"

step "ssh: command, input, output, both streams apart, exit status"
echo "in: $SECRET" | status 37 ssh $options vm.sealtty "cat; echo error >&2; exit 37" >out 2>err
equal "$(cat out)" "in: $SECRET"
equal "$(cat err)" "error"

there=$(ssh $options vm.sealtty mktemp -d)

step "ssh: a megabyte there and back"
head -c 1000000 /dev/urandom >megabyte
equal "$(ssh $options vm.sealtty "tee $there/megabyte | sha256sum" <megabyte)" "$(sum megabyte)  -"
ssh $options vm.sealtty cat $there/megabyte | cmp - megabyte

step "ssh: a terminal"
ssh $options -tt vm.sealtty "tty; exit 3" </dev/null >out 2>&1 || equal $? 3
grep -q "^/dev/pts/" out

step "scp: there and back"
head -c 200001 /dev/urandom >file
scp -q $options file vm.sealtty:$there/scp
scp -q $options vm.sealtty:$there/scp scp.back
cmp file scp.back

step "sftp: a batch"
printf '%s\n' "put file $there/sftp" "rename $there/sftp $there/renamed" "get $there/renamed sftp.back" >batch
sftp -q $options -b batch vm.sealtty >/dev/null
cmp file sftp.back

step "rsync: a tree there and back, and only what changed"
mkdir -p tree/below
echo "$SECRET" >tree/secret
for i in $(seq 1 100); do echo "file $i" >"tree/below/$i"; done
touch -d @1000000000 tree/below/1
rsync -a -e "ssh $options" tree/ vm.sealtty:$there/tree/
echo "another" >tree/below/2
rm tree/below/3
rsync -a --delete -i -e "ssh $options" tree/ vm.sealtty:$there/tree/ | grep -v ' below/$' >changes
equal "$(sed 's/.* //' changes | sort | tr '\n' ' ')" "below/2 below/3 "
mkdir tree.back
echo "not in the guest" >tree.back/stale
rsync -a --delete -e "ssh $options" vm.sealtty:$there/tree/ tree.back/
diff -r tree tree.back
equal "$(stat -c %Y tree.back/below/1)" 1000000000

step "ansible: ping, copy, a playbook"
# ansible shares one connection among its tasks: a pipe has a place for one client.
export ANSIBLE_SSH_ARGS="$options -o ControlMaster=auto -o ControlPersist=600s" ANSIBLE_SSH_CONTROL_PATH_DIR="$PWD/control"
export ANSIBLE_LOCAL_TEMP="$PWD/ansible" ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 ANSIBLE_NOCOLOR=1
ansible all -i vm.sealtty, -m ping >out || fail "$(cat out)"
grep -q '"ping": "pong"' out
ansible all -i vm.sealtty, -m copy -a "src=$PWD/file dest=$there/ansible mode=0640" >out || fail "$(cat out)"
cat >playbook.yml <<EOF
- hosts: all
  gather_facts: false
  tasks:
    - file: {path: $there/made, state: directory, mode: "0750"}
    - copy: {content: "hello {{ inventory_hostname }}\n", dest: $there/made/hello}
    - command: cat $there/made/hello
      changed_when: false
EOF
ansible-playbook -i vm.sealtty, playbook.yml >out || fail "$(cat out)"
grep -q "ok=3 *changed=2 .*failed=0" out
for socket in control/*; do ssh $options -o ControlPath="$socket" -O exit vm.sealtty 2>/dev/null; done
ssh $options vm.sealtty "stat -c %a $there/ansible; sha256sum <$there/ansible; cat $there/made/hello" >out
equal "$(cat out)" "640
$(sum file)  -
hello vm.sealtty"

step "an sshd with another key than the evidence names is refused"
sealtty exec "$GUEST" --policy "$POLICY" -l root -i "$KEY" -q -n -- cp /etc/ssh/other_key /etc/ssh/host_key
refused "HOST IDENTIFICATION HAS CHANGED\|Host key verification failed" ssh $options vm.sealtty echo in
echo "passed"
