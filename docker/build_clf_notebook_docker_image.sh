#!/usr/bin/env bash
# Build the image of JupyterLab with the SDK.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/_build_image.sh" "${0##*/}" notebook "$@"
