#!/usr/bin/env bash
# Build the image of the enclave app.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/_build_image.sh" "${0##*/}" enclave "$@"
