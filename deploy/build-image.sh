#!/bin/sh
# Builds the image isobridge:<version> (and isobridge:latest) with whatever engine is here.
# ISOBRIDGE_CA=FILE names certificates for the way to the package index; default: what PIP_CERT says, if anything.
set -eu
cd "$(dirname "$0")/.."
# One build at a time: a second one waits, then finds the layers of the first. --close: no child may keep the lock.
if [ -z "${ISOBRIDGE_BUILDING:-}" ] && command -v flock >/dev/null; then
  mkdir -p build
  ISOBRIDGE_BUILDING=1 exec flock --close build/image.lock deploy/build-image.sh
fi
engine=$(deploy/engine.sh)
if [ -z "$engine" ]; then
  echo "no container engine: install docker, or (as root) podman and runc" >&2
  exit 2
fi
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
ca=${ISOBRIDGE_CA:-${PIP_CERT:-}}
present() { $engine image inspect "$base" >/dev/null 2>&1; }
present || $engine pull --quiet "$base" >/dev/null 2>&1 || deploy/base-image.sh "$engine" "$base"
# The docker format keeps the health check; podman's own format has no place for it. chroot isolation needs no privileges of its own.
case $engine in
  podman*) options="--format docker --isolation chroot --pull=never" ;;
  *) options="" ;;
esac
[ -z "$ca" ] || options="$options --secret id=ca,src=$ca"
# shellcheck disable=SC2086
$engine build --quiet $options --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  -t "isobridge:$version" -t isobridge:latest .
