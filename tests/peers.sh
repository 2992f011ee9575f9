#!/bin/sh
# Other people's clients and converters, each in its own virtual environment because their pins conflict.
# "node" stands for those in JavaScript.
# Usage: tests/peers.sh NAME...   with the pins of NAME in tests/peers/NAME.txt, complete, so that nothing else is resolved.
set -eu
cd "$(dirname "$0")/.."
for name in "$@"; do
  if [ "$name" = node ]; then
    # JavaScript clients: exactly what the lock file says, no script of theirs is run.
    mark=".peers/node/.ready-$(cksum <tests/peers/node/package-lock.json | cut -d' ' -f1)"
    [ -e "$mark" ] && continue
    rm -rf .peers/node
    mkdir -p .peers/node
    cp tests/peers/node/package.json tests/peers/node/package-lock.json .peers/node/
    if ! (cd .peers/node && npm ci --silent --ignore-scripts --legacy-peer-deps --no-audit --no-fund); then
      rm -rf .peers/node
      echo "peer node could not be installed; its tests are skipped by name" >&2
      continue
    fi
    touch "$mark"
    continue
  fi
  list="tests/peers/$name.txt"
  mark=".peers/$name/.ready-$(cksum <"$list" | cut -d' ' -f1)"
  [ -e "$mark" ] && continue
  rm -rf ".peers/$name"
  mkdir -p .peers
  .venv/bin/python -m venv ".peers/$name"
  if ! ".peers/$name/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$list"; then
    rm -rf ".peers/$name"
    echo "peer $name could not be installed; its tests are skipped by name" >&2
    continue
  fi
  touch "$mark"
done
