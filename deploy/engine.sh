#!/bin/sh
# Prints the container engine to use, as the beginning of a command line: docker or podman where one works; else, as root, podman with a
# store of its own under build/ and settings that need no daemon, no systemd and no registry. Prints nothing where there is none.
# ISOBRIDGE_ENGINE overrides.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${ISOBRIDGE_ENGINE:-}" ]; then
  echo "$ISOBRIDGE_ENGINE"
elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  echo docker
elif command -v podman >/dev/null && command -v runc >/dev/null && [ "$(id -u)" = 0 ]; then
  # runc: crun 1.8 refuses hosts that mix both versions of cgroups. vfs is slow, but works where overlay does not (inside a container).
  store=$(pwd)/build/containers
  for driver in overlay vfs; do
    engine="podman --root $store/$driver --runroot $store/run-$driver --storage-driver $driver --cgroup-manager cgroupfs --runtime $(command -v runc)"
    $engine info >/dev/null 2>&1 && echo "$engine" && break
  done
elif command -v podman >/dev/null && podman info >/dev/null 2>&1; then
  echo podman
fi
