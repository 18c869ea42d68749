#!/usr/bin/env bash
# Build the image of an owner's server.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/_build_image.sh" "${0##*/}" server "$@"
