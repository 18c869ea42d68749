#!/usr/bin/env bash
# Start the container of an owner's server.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/_options.sh
source "$here/_options.sh"

usage() {
    cat <<'HELP'
Usage: start_clf_server_container.sh [OPTION]... [-- COMMAND...]

Starts the container of an owner's server: without rights, with a read-only root file system. A
COMMAND, such as `server init /data/server --name clinic --host 0.0.0.0`, is run instead of the
server.

  --tag NAME:TAG         image (default: clf-server:<version>)
  --name NAME            name of the container (default: clf-server)
  --data VOLUME          folder or volume that is mounted at /data; it holds the server's directory
                         /data/server (default: the volume clf-server)
  --conf FILE            configuration, mounted at /data/server/clf_server.conf
  --certs DIR            certificates, mounted at /data/server/tls
  --port [ADDRESS:]PORT  where the control listener is published (default: 4433)
  --blob-port [ADDRESS:]PORT|off
                         where the listener for ciphertext is published (default: 4480)
  --network NAME         network of the container
  --add-host NAME:ADDRESS
                         a name that the container is to know; may be repeated
  --pccs ADDRESS         address of the PCCS, known to the container as pccs.service.com
  --sgx                  the image is clf-server-sgx: pass the SGX devices and AESM's socket
  --memory SIZE          limit of the container's memory, such as 4g
  --detach               go on in the background
  --dry-run              print the command only
  --help                 print this text
HELP
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../pyproject.toml")
tag='' name=clf-server data=clf-server port=4433 blob_port=4480 sgx=false dry_run=false life=--rm
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --) shift; break ;;
        --sgx) sgx=true; shift; continue ;;
        --detach) life=--restart=unless-stopped; options+=(--detach); shift; continue ;;
        --dry-run) dry_run=true; shift; continue ;;
        --tag | --name | --data | --conf | --certs | --port | --blob-port | --network | --add-host | \
            --pccs | --memory) need "$1" $# ;;
        *) fail "there is no option $1; see --help" ;;
    esac
    case $1 in
        --tag) tag=$2 ;;
        --name) name=$2 ;;
        --data) data=$2 ;;
        --conf)
            conf=$(existing --conf "$2")
            options+=(--volume "$conf:/data/server/clf_server.conf:ro")
            ;;
        --certs)
            certs=$(existing --certs "$2")
            options+=(--volume "$certs:/data/server/tls:ro")
            ;;
        --port) check_port "$2"; port=$2 ;;
        --blob-port) [[ $2 == off ]] || check_port "$2"; blob_port=$2 ;;
        --network) options+=(--network "$2") ;;
        --add-host) check_host "$2"; options+=(--add-host "$2") ;;
        --pccs) check_host "pccs.service.com:$2"; options+=(--add-host "pccs.service.com:$2") ;;
        --memory) options+=(--memory "$2") ;;
    esac
    shift 2
done

image=clf-server
if [[ $sgx == true ]]; then
    image+=-sgx
    readarray -t -O "${#options[@]}" options < <(sgx_options)
fi
# A folder of the host, unless it is a volume's name.
[[ $data != */* ]] || data=$(existing --data "$data")
options+=(--volume "$data:/data")
if [[ $# -eq 0 ]]; then
    options+=(--publish "$port:4433")
    [[ $blob_port == off ]] || options+=(--publish "$blob_port:4480")
fi
run_or_print "$dry_run" docker run "$life" --name "$name" --read-only --tmpfs /tmp --cap-drop ALL \
    --security-opt no-new-privileges "${options[@]}" "${tag:-$image:$version}" "$@"
