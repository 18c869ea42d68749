#!/usr/bin/env bash
# Print, or run, what turns the image of the enclave app into one for Tencent Cloud's CCP.
set -euo pipefail
# shellcheck source=ccp/_ccp.sh
source "$(dirname "${BASH_SOURCE[0]}")/_ccp.sh"

app_image=clf-enclave:$version app_entry=/usr/bin/python3 start=/ memsize=8192M thread=64
tmpl=clf_enclave

usage() {
    cat <<HELP
Usage: convert_clf_enclave_to_ccp_image.sh [OPTION]...

Prints two commands, ready to paste: the one that packs the image of the enclave app for CCP, and the one
that runs it. Each value is an option, or a variable of the environment; ccp/README.md explains them.

  --port PORT            where jobs are taken (CCP_PORT; default: 4490)
$(common_help)
HELP
}

common_defaults
port=${CCP_PORT:-4490}
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --port) need "$1" $#; port=$2; shift 2 ;;
        *) common_option "$@"; shift "$shifted" ;;
    esac
done
common_check
check_port "$port"

options=(-it -p "$port:4490" --device /dev/sgx_enclave --device /dev/sgx_provision)
for host in "${hosts[@]}"; do
    options+=(--add-host="$host")
done
print_or_run docker run "${options[@]}" "$packed_image"
