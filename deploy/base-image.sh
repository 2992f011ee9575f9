#!/bin/sh
# Makes a stand-in for the Dockerfile's base image out of Debian packages, for machines that reach a Debian mirror but no image registry.
# Same Debian release and Python version as the real one (python:3.11-slim-bookworm), under its name. Needs root and mmdebstrap.
# Usage: deploy/base-image.sh "ENGINE" NAME
set -eu
engine=$1
name=$2
cd "$(dirname "$0")/.."
mkdir -p build
tar=build/base-bookworm.tar
# Two builds at once each make one of their own; the names change hands whole.
if [ ! -s "$tar" ]; then
  made=$(mktemp --suffix=.tar build/base-XXXXXX)
  trap 'rm -f "$made"' EXIT
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$made"
  mv "$made" "$tar"
fi
# shellcheck disable=SC2086
$engine import --message 'Debian bookworm with python3, in place of an image registry' "$tar" "$name" >/dev/null
