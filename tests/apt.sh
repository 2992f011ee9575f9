#!/bin/sh
# Installs the peers that tests talk to, when we may. Never starts a system service.
set -eu
cd "$(dirname "$0")/.."
missing=""
command -v dcmsend >/dev/null || missing="$missing dcmtk"
command -v dciodvfy >/dev/null || missing="$missing dicom3tools"
[ -x /usr/sbin/Orthanc ] || missing="$missing orthanc"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
# A container engine that needs no daemon, and the tool that makes its base image where no registry is reachable.
case $(deploy/engine.sh) in
  docker) ;;
  "") missing="$missing podman runc mmdebstrap" ;;
  *) command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap" ;;
esac
command -v chromium >/dev/null || missing="$missing chromium"
command -v npm >/dev/null || missing="$missing nodejs npm"
# Not every machine that may install packages has these; without them their tests are skipped by name.
wanted=""
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || wanted="$wanted orthanc-dicomweb"
command -v strace >/dev/null || wanted="$wanted strace"
[ -n "$missing$wanted" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed:$missing$wanted (their tests are skipped by name)" >&2
  exit 0
fi
# policy-rc.d with 101 keeps packages from starting their services while they are installed.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
for name in $wanted; do
  apt-get install -y -qq --no-install-recommends "$name" >/dev/null || echo "not installed: $name (its tests are skipped by name)" >&2
done
