#!/bin/sh
# sealtty's own commands from a shell: exec, sealtty-exec, cp, proxy, forward, sessions, and how each refuses.
#
#   GUEST=ws://127.0.0.1:7000/ POLICY=db1.toml KEYS=directory sh with-sealtty.sh
#
# In KEYS are root (lets root in), limited (permitopen="127.0.0.1:7001" alone), stranger (unknown to the guest) and certified (a
# certificate of the guest's authority beside it, and over-cert.pub, which is over). In the guest 127.0.0.1:7001 and :7002 answer with the SHA-256 of what they
# were sent, and 127.0.0.1:8080 is a web server. Files are made in the current directory, and in a new directory of the guest's.
# SECRET goes in every way that is used here; what the host sees is searched for it afterwards.
set -eu
. "$(dirname "$0")/steps.sh"
: "${GUEST:?}" "${POLICY:?}" "${KEYS:?}" "${SECRET:?}"

common="--policy $POLICY -l root -q"
own="$common -i $KEYS/root"
run() { sealtty exec "$GUEST" $own "$@"; }
copy() { sealtty cp --guest "$GUEST" $own "$@"; }
kept() { sealtty exec "$GUEST" $own --master "$@"; }

step "exec: input, output, both streams apart, exit status, words, place"
echo "in: $SECRET" | status 37 run --cwd /usr --env "WORD=$SECRET" -- sh -c 'cat; pwd >&2; echo "$WORD" "$1" >&2; exit 37' sh "a  'b'" >out 2>err
equal "$(cat out)" "in: $SECRET"
equal "$(cat err)" "/usr
$SECRET a  'b'"

there=$(run -n -- mktemp -d)

step "exec: a megabyte there and back"
head -c 1000000 /dev/urandom >megabyte
run -- tee $there/megabyte <megabyte | cmp - megabyte
equal "$(run -n -- sha256sum $there/megabyte)" "$(sum megabyte)  $there/megabyte"

step "exec: a signal to it, by a signal, not there, out of time"
mkfifo up
sealtty exec "$GUEST" $own -n -- sh -c 'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.1; done' >up &
client=$!
{ read -r word && equal "$word" up && kill -TERM "$client" && read -r word; } <up
equal "$word" got
status 9 wait "$client"
status 137 run -n -- sh -c 'kill -9 $$'
status 127 run -n -- no-such-program 2>/dev/null
status 126 run -n --cwd /no/such -- true 2>/dev/null
refused "timeout: The command did not end within" run -n --run-timeout 1 -- sleep 600

step "exec: whoever reads its output left"
{ status 141 run -n -- yes; } 2>err | head -c 2 >/dev/null
[ ! -s err ] || fail "$(cat err)"

step "exec --master: twenty over one connection"
for i in $(seq 1 20); do equal "$(kept -n -- echo "$i")" "$i"; done
status 5 kept -n -- sh -c 'exit 5'

step "sealtty-exec: thirty over the same one, without Node"
fast=$(command -v sealtty-exec)
native() { PATH=/nowhere "$fast" "$GUEST" $own "$@"; }
for i in $(seq 1 30); do equal "$(native -n -- echo "$i")" "$i"; done
echo "in: $SECRET" | status 37 native --env "WORD=$SECRET" -- sh -c 'cat; echo "$WORD" >&2; exit 37' >out 2>err
equal "$(cat out)" "in: $SECRET"
equal "$(cat err)" "$SECRET"
native -- cat <megabyte | cmp - megabyte
sealtty master "$GUEST" $own --stop >/dev/null

step "cp: a tree with modes, times, links, holes and odd names, there and back"
mkdir -p tree/below tree/empty
cp megabyte tree/below/megabyte
echo "$SECRET" >tree/secret
for i in $(seq 1 100); do echo "file $i" >"tree/below/$i"; done
echo odd >"tree/$(printf 'a name\nof two lines')"
ln -s below/1 tree/link
ln -s /nowhere/at/all tree/dangling
truncate -s 4M tree/sparse
printf end >>tree/sparse
chmod 0750 tree/below
touch -d @1000000000 tree/secret
copy -r -p tree :$there/
copy -r -p :$there/tree tree.back
diff -r --no-dereference tree tree.back
equal "$(stat -c '%a %Y' tree.back/below tree.back/secret | cut -d' ' -f1 | tr '\n' ' ')$(stat -c %Y tree.back/secret)" "750 644 1000000000"
[ "$(stat -c %b tree.back/sparse)" -lt 1000 ] || fail "the hole was filled here"
[ "$(run -n -- stat -c %b $there/tree/sparse)" -lt 1000 ] || fail "the hole was filled in the guest"

step "cp: standard input and output"
tar cf - tree/below | copy - :$there/below.tar
equal "$(copy :$there/below.tar - | tar tf - | wc -l)" 102

step "cp: cut in the middle, and on with --resume"
run -n -- sh -c 'head -c 6000000 /dev/urandom >"$1"' sh "$there/large"
sealtty cp --guest "$GUEST" $own --resume :$there/large . &
client=$!
large_enough() { [ "$(stat -c %s .large.sealtty-part 2>/dev/null || echo 0)" -gt 1500000 ]; }
until_true large_enough
kill -KILL "$client"
wait "$client" 2>/dev/null || true
[ ! -e large ] || fail "half a file has the name"
copy --resume :$there/large .
equal "$(run -n -- sha256sum $there/large)" "$(sum large)  $there/large"
[ ! -e .large.sealtty-part ] || fail "the hidden file is still there"

step "cp: a full file system, a read-only one, a source that is not there"
run -n -- sh -c 'mkdir -p /small /fixed; mount -t tmpfs -o size=200k none /small; mount -t tmpfs -o ro none /fixed'
status 1 copy megabyte :/small/x 2>err
grep -q "in the guest: /small/x: no space is left" err
status 1 copy megabyte :/fixed/x 2>err
grep -q "in the guest: /fixed/x: the file system is read-only" err
status 1 copy :$there/none . 2>err
grep -q "in the guest: $there/none: there is no such file" err
equal "$(run -n -- ls -A /small /fixed)" "/fixed:

/small:"

step "proxy: a port in the guest, half-closed"
equal "$(sealtty proxy "$GUEST" $own 127.0.0.1:7001 <megabyte)" "$(sum megabyte)  -"
refused "program-failed: 127.0.0.1:1: Nobody listens there" sealtty proxy "$GUEST" $own 127.0.0.1:1

step "forward: -L into the guest, -R out of it again"
# The page's program asks 127.0.0.1:8081 in the guest, which leads here, and from here to the guest's web server.
sealtty forward "$GUEST" $own --json -L "$PWD/web:127.0.0.1:8080" -R "8081:$PWD/web" 2>listening &
forward=$!
both_listen() { [ "$(grep -c '"event":"listening"' listening)" = 2 ]; }
until_true both_listen
equal "$(curl -sS --unix-socket web http://guest/cgi-bin/around)" "once around: $SECRET"
kill -INT "$forward"
status 0 wait "$forward"
[ ! -e web ] || fail "the socket is still there"

step "permitopen: one place, and no other"
limited="$common -i $KEYS/limited"
equal "$(echo x | sealtty proxy "$GUEST" $limited 127.0.0.1:7001)" "$(echo x | sum)  -"
refused user-refused sealtty proxy "$GUEST" $limited 127.0.0.1:7002

step "sessions: one that outlives its client, listed and ended"
mkfifo keys
sealtty connect "$GUEST" $own --keep <keys >shown 2>&1 &
client=$!
exec 3>keys
echo 'echo here-$((6*7))' >&3
until_true grep -q here-42 shown
kill -HUP "$client"
status 129 wait "$client"
exec 3>&-
sealtty sessions "$GUEST" $own >list
[ "$(wc -l <list)" = 2 ] && ! grep -q " ended " list || fail "$(cat list)"
sealtty sessions "$GUEST" $own --kill last >/dev/null
sealtty sessions "$GUEST" $own | grep -q " ended "

step "a key that the guest does not know, a certificate, and one that is over"
refused "user-refused: The guest refused this key" sealtty exec "$GUEST" $common -i "$KEYS/stranger" -- id
equal "$(sealtty exec "$GUEST" $common -i "$KEYS/certified" -n -- id -u)" 0
refused "this certificate expired at 2020-01-0" sealtty exec "$GUEST" $common -i "$KEYS/certified" --certificate "$KEYS/over-cert.pub" -- id
echo "passed"
