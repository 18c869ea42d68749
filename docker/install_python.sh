#!/bin/sh
# Install Python and Debian packages into an image, so that two builds give the same files.
set -eu

if [ "${1:-}" = --help ]; then
    cat <<'HELP'
Usage: install_python.sh [PACKAGE]...

Runs inside a build: installs python3 and the Debian packages PACKAGE, then removes what differs
from one build to the next (logs, caches, dated byte code).
HELP
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --yes --quiet=2 --no-install-recommends python3 "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old \
    /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old
find /var/log -type f -delete

# Byte code that the packages wrote carries the times of files; this one carries their hash. It is
# written by one process, because it also depends on what its process has compiled before.
find /usr/lib/python3* -depth -type d -name __pycache__ -exec rm -rf {} +
PYTHONHASHSEED=0 python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /usr/lib/python3*
