#!/bin/sh
# sealttyd in a container that has this machine's own /usr and nothing else of it, for development: docs/recipes.md. The tests
# run this very file. Its evidence is simulated and proves nothing: whoever is root on this machine is root in there.
#   nspawn.sh DIRECTORY     with authorized_keys in it; the console is DIRECTORY/sealtty.sock. Needs root, and `npm run build`
set -eu
dir=$(realpath "$1")
programs=$(realpath "$(dirname "$0")/../../dist/bin")
node=$(node -p process.execPath)

cat >"$dir/sealttyd.toml" <<'END'
[pipe]
type = "unix"
path = "/srv/sealtty/sealtty.sock"
[evidence]
type = "simulated"
instance = "container"
i_know_this_proves_nothing = true
[users]
authorized_keys = "/srv/sealtty/authorized_keys"
names = ["root"]
login = ["/bin/sh"]
[daemon]
user = "root"   # one process: with two, the socket would be a link into the container's own /run
END
cat >"$dir/policy.toml" <<'END'
version = 1
name = "container"
minimumAssurance = "simulated"
[simulated]
instance = "container"
END
echo root:x:0:0:root:/root:/bin/sh >"$dir/passwd"

# Without systemd on the machine (in a container, in CI) nobody registers it or gives it a unit.
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --machine="sealtty-$$" \
  --directory=/ --volatile=yes --bind-ro="$dir/passwd:/etc/passwd" \
  --bind="$dir:/srv/sealtty" --bind-ro="$programs:/opt/sealtty" --bind-ro="$node:/opt/node" \
  /opt/node /opt/sealtty/sealttyd.js --config /srv/sealtty/sealttyd.toml
