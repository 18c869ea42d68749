#!/usr/bin/env bash
# Start the container of the enclave app.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/_options.sh
source "$here/_options.sh"

usage() {
    cat <<'HELP'
Usage: start_clf_enclave_container.sh --sgx | --insecure-simulation DIR [OPTION]... [-- COMMAND...]

Starts the container of the enclave app: without rights, with a read-only root file system. It takes
jobs over HTTP. A COMMAND, such as `enclave doctor`, is run instead.

  --sgx                  the image is clf-enclave-sgx: pass the SGX devices and AESM's socket
  --insecure-simulation DIR
                         INSECURE: no SGX; quotes are made by the simulated TEE in the folder or
                         volume DIR. It needs no device
  --tag NAME:TAG         image (default: clf-enclave-sgx:<version>, or clf-enclave:<version>)
  --name NAME            name of the container (default: clf-enclave)
  --port [ADDRESS:]PORT  where jobs are taken (default: 127.0.0.1:4490)
  --network NAME         network of the container
  --add-host NAME:ADDRESS
                         a name that the container is to know, such as an owner's server; may be
                         repeated
  --pccs ADDRESS         address of the PCCS, known to the container as pccs.service.com
  --spill DIR            folder or volume for rows that do not fit in memory, sealed; an SGX image
                         must be built with --manifest "--spill", and then needs it. User 10001
                         must be able to write there
  --memory SIZE          limit of the container's memory, such as 16g
  --detach               go on in the background
  --dry-run              print the command only
  --help                 print this text
HELP
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../pyproject.toml")
tag='' name=clf-enclave port=127.0.0.1:4490 sgx=false simulation='' dry_run=false life=--rm
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --) shift; break ;;
        --sgx) sgx=true; shift; continue ;;
        --detach) life=--restart=unless-stopped; options+=(--detach); shift; continue ;;
        --dry-run) dry_run=true; shift; continue ;;
        --insecure-simulation | --tag | --name | --port | --network | --add-host | --pccs | --memory | \
            --spill)
            need "$1" $# ;;
        *) fail "there is no option $1; see --help" ;;
    esac
    case $1 in
        --insecure-simulation) simulation=$2 ;;
        --tag) tag=$2 ;;
        --name) name=$2 ;;
        --port) check_port "$2"; port=$2 ;;
        --network) options+=(--network "$2") ;;
        --add-host) check_host "$2"; options+=(--add-host "$2") ;;
        --pccs) check_host "pccs.service.com:$2"; options+=(--add-host "pccs.service.com:$2") ;;
        --spill)
            spill=$2
            [[ $spill != */* ]] || spill=$(existing --spill "$spill")
            options+=(--volume "$spill:/spill")
            ;;
        --memory) options+=(--memory "$2") ;;
    esac
    shift 2
done

command=("$@")
if [[ $sgx == true ]]; then
    [[ -z $simulation ]] || fail "--sgx and --insecure-simulation exclude each other"
    image=clf-enclave-sgx
    readarray -t -O "${#options[@]}" options < <(sgx_options)
elif [[ -n $simulation ]]; then
    image=clf-enclave
    [[ $simulation != */* ]] || simulation=$(existing --insecure-simulation "$simulation")
    options+=(--volume "$simulation:/simulation:ro")
    [[ $# -gt 0 ]] ||
        command=(enclave serve --host 0.0.0.0 --insecure-simulation /simulation)
else
    fail "choose --sgx, or --insecure-simulation DIR on a machine without SGX"
fi
[[ $# -gt 0 ]] || options+=(--publish "$port:4490")
run_or_print "$dry_run" docker run "$life" --name "$name" --read-only --tmpfs /tmp --cap-drop ALL \
    --security-opt no-new-privileges "${options[@]}" "${tag:-$image:$version}" "${command[@]}"
