#!/bin/sh
# Make the tools of a build, and the wheel of this project, in /build.
set -eu

if [ "${1:-}" = --help ]; then
    cat <<'HELP'
Usage: build_wheel.sh

Runs inside a build, in the project's folder: installs the pinned and hashed tools into the virtual
environment /build, and builds the project's wheel into /build/wheels.
HELP
    exit 0
fi

python3 -m venv /build
/build/bin/pip install --quiet --disable-pip-version-check --require-hashes \
    --requirement docker/requirements-build.txt
/build/bin/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir /build/wheels .
