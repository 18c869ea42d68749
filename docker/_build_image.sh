#!/usr/bin/env bash
# What the build_clf_*_docker_image.sh share.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/_options.sh
source "$here/_options.sh"
script=$1 kind=$2
shift 2

sgx_help() {
    [[ $kind == notebook ]] || cat <<HELP
  --sgx                  build clf-$kind-sgx: the program under Gramine, signed with --key;
                         the base is gramineproject/gramine:1.9-noble unless --base names another
  --key FILE             with --sgx: RSA-3072 key of the signer; it gets into no layer
  --manifest OPTIONS     with --sgx: options of enclave_app/build_enclave.sh, in one word,
                         such as "--enclave-size 8G --isv-svn 2 --edmm"
HELP
}

usage() {
    cat <<HELP
Usage: $script [OPTION]...

Builds the image clf-$kind from this folder's Dockerfile with BuildKit. Two builds of one commit on
one base hold the same files.

  --tag NAME:TAG         name of the image (default: clf-$kind:<version>)
  --base IMAGE           base image; name it with its digest (IMAGE@sha256:…) to pin it
                         (default: debian:trixie-slim)
$(sgx_help)
  --no-cache             build every step anew
  --dry-run              print the command only
  --help                 print this text
HELP
}

tag='' base='' sgx=false key='' manifest='' dry_run=false
more=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --dry-run) dry_run=true; shift ;;
        --no-cache) more+=(--no-cache); shift ;;
        --tag) need "$1" $#; tag=$2; shift 2 ;;
        --base) need "$1" $#; base=$2; shift 2 ;;
        --sgx) [[ $kind != notebook ]] || fail "a notebook runs in no enclave"; sgx=true; shift ;;
        --key) need "$1" $#; key=$2; shift 2 ;;
        --manifest) need "$1" $#; manifest=$2; shift 2 ;;
        *) fail "there is no option $1; see --help" ;;
    esac
done

cd "$here/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The commit's time stands in everything that holds one, so that a build has no time of its own.
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
target=clf-$kind
if [[ $sgx == true ]]; then
    [[ -n $key ]] || fail "--sgx needs --key; gramine-sgx-gen-private-key FILE makes one"
    key=$(existing --key "$key")
    target+=-sgx
    base=${base:-gramineproject/gramine:1.9-noble}
    more+=(--secret "id=signing_key,src=$key" --build-arg "MANIFEST=$manifest")
elif [[ -n $key$manifest ]]; then
    fail "--key and --manifest belong to --sgx"
fi

export DOCKER_BUILDKIT=1
run_or_print "$dry_run" docker build --file docker/Dockerfile --target "$target" \
    --tag "${tag:-$target:$version}" \
    --build-arg "BASE=${base:-debian:trixie-slim}" \
    --build-arg "VERSION=$version" \
    --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$(date --utc --date="@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
    --build-arg "SOURCE_DATE_EPOCH=$epoch" \
    "${more[@]}" .
