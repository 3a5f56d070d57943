# What both scripts of this directory use. Sourced; the script ends at the first thing that is not as it should be.

exec 9>&2 # the script's own standard error, also where a command's goes into a file
step() { echo "step: $*"; }
fail() {
  echo "failed: $*" >&9
  exit 1
}

# status WANTED COMMAND…: runs it and wants this exit status.
status() {
  wanted=$1
  shift
  got=0
  "$@" || got=$?
  [ "$got" = "$wanted" ] || fail "status $got in place of $wanted: $*"
}

# refused WORDS COMMAND…: status 255, these words on standard error, nothing on standard output.
refused() {
  words=$1
  shift
  status 255 "$@" </dev/null >refused.out 2>refused.err
  grep -q -e "$words" refused.err || fail "no \"$words\" in: $(cat refused.err)"
  [ ! -s refused.out ] || fail "something on standard output of: $*"
}

equal() { [ "$1" = "$2" ] || fail "\"$1\" in place of \"$2\""; }
sum() { sha256sum "$@" | cut -d' ' -f1; }

# until_true COMMAND…: waits for it; the test around the script has the limit.
until_true() { until "$@"; do sleep 0.1; done; }
