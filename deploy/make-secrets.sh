#!/bin/sh
# Makes the passwords that compose.yaml needs, once, in secrets/. Never changes what is there. Needs root, because each file belongs to the
# user that reads it inside its container and to nobody else.
# Usage: deploy/make-secrets.sh [DIRECTORY]
set -eu
cd "$(dirname "$0")/.."
directory=${1:-secrets}
umask 077
mkdir -p "$directory"
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
write() { # NAME OWNER, content on standard input
  [ -e "$directory/$1" ] && return
  cat >"$directory/$1"
  chown "$2" "$directory/$1"
}
gateway=10001
[ -e "$directory/postgres.password" ] || password | write postgres.password 0
[ -e "$directory/orthanc.password" ] || password | write orthanc.password $gateway
printf 'postgres:5432:*:isobridge:%s\n' "$(cat "$directory/postgres.password")" | write pgpass $gateway
printf '{"RegisteredUsers": {"isobridge": "%s"}}\n' "$(cat "$directory/orthanc.password")" | write orthanc.secret.json 0
echo "$directory: $(ls "$directory" | tr '\n' ' ')"
