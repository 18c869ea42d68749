#!/usr/bin/env bash
# Print, or run, what turns the image of an owner's server into one for Tencent Cloud's CCP.
set -euo pipefail
# shellcheck source=ccp/_ccp.sh
source "$(dirname "${BASH_SOURCE[0]}")/_ccp.sh"

app_image=clf-server:$version app_entry=/usr/bin/python3 start=/ memsize=8192M thread=64
tmpl=clf_server

usage() {
    cat <<HELP
Usage: convert_clf_server_to_ccp_image.sh [OPTION]...

Prints two commands, ready to paste: the one that packs the image of an owner's server for CCP, and the
one that runs it. Each value is an option, or a variable of the environment; ccp/README.md explains them.

  --port PORT            where the control listener is published (CCP_PORT; default: 4433)
  --certs DIR            folder of the certificates, mounted at /data/server/tls
                         (CCP_CERTS; default: ./certs)
  --conf FILE            configuration, mounted at /data/server/clf_server.conf
                         (CCP_CONF; default: ./clf_server.conf)
$(common_help)
HELP
}

common_defaults
port=${CCP_PORT:-4433} certs=${CCP_CERTS:-./certs} conf=${CCP_CONF:-./clf_server.conf}
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --port) need "$1" $#; port=$2; shift 2 ;;
        --certs) need "$1" $#; certs=$2; shift 2 ;;
        --conf) need "$1" $#; conf=$2; shift 2 ;;
        *) common_option "$@"; shift "$shifted" ;;
    esac
done
common_check
check_port "$port"
if [[ $run == true ]]; then
    existing --certs "$certs" >/dev/null
    existing --conf "$conf" >/dev/null
fi

options=(-it -p "$port:4433" --device /dev/sgx_enclave --device /dev/sgx_provision
    -v "$(realpath --canonicalize-missing "$certs"):/data/server/tls"
    -v "$(realpath --canonicalize-missing "$conf"):/data/server/clf_server.conf")
for host in "${hosts[@]}"; do
    options+=(--add-host="$host")
done
print_or_run docker run "${options[@]}" "$packed_image"
