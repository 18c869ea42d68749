#!/usr/bin/env bash
# Render the manifest of a program, sign it, and print the policy that pins the build.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: build_enclave.sh --key FILE [OPTION]...

Builds the enclave of an installed program with Gramine 1.9, and prints MRENCLAVE, MRSIGNER,
ISV_PROD_ID and ISV_SVN as the JSON of an enclave policy. The same files, options and key give the
same MRENCLAVE.

  --key FILE             RSA-3072 key of the signer (gramine-sgx-gen-private-key makes one)
  --program NAME         enclave (default) or server
  --mode MODE            enclave: serve (default) takes jobs over HTTP, run runs /job/request.json
                         server: run (default), init makes the directory /data/server
  --name NAME            server, init: what the server is called
  --public-host HOST     server, init: the name by which enclaves and people reach it
  --output DIR           where the build goes (default: the current directory)
  --install DIR          virtual environment that holds the program (default: /opt/clf)
  --enclave-size SIZE    memory of the enclave (default: 4G; with --edmm: at most 64G)
  --max-threads N        thread slots of the enclave, at least 32 (default: 32)
  --compute-threads N    threads of numerical libraries (default: 4)
  --isv-prod-id N        the signer's product (default: 1; server: 2)
  --isv-svn N            security version, raised when a flaw is mended (default: 1)
  --spill                enclave: jobs with a memory limit write what does not fit, sealed, to the
                         host's folder /spill, which must be there; without it they use /tmp, which
                         is the enclave's memory
  --edmm                 add memory on demand; needs Linux 6.0 and a CPU with EDMM
  --help                 print this text

Writes clf_NAME.manifest, clf_NAME.manifest.sgx, clf_NAME.sig and clf_NAME.policy.json.
HELP
}

fail() {
    echo "build_enclave.sh: $1" >&2
    exit 2
}

key='' program=enclave mode='' name='' public_host='' output=. install=/opt/clf
enclave_size='' max_threads=32 compute_threads=4 isv_prod_id='' isv_svn=1 edmm=false spill=false
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage; exit 0 ;;
        --edmm) edmm=true; shift; continue ;;
        --spill) spill=true; shift; continue ;;
        --*) [[ $# -gt 1 ]] || fail "$1 needs a value" ;;
        *) fail "what is $1? see --help" ;;
    esac
    case $1 in
        --key) key=$2 ;;
        --program) program=$2 ;;
        --mode) mode=$2 ;;
        --name) name=$2 ;;
        --public-host) public_host=$2 ;;
        --output) output=$2 ;;
        --install) install=$2 ;;
        --enclave-size) enclave_size=$2 ;;
        --max-threads) max_threads=$2 ;;
        --compute-threads) compute_threads=$2 ;;
        --isv-prod-id) isv_prod_id=$2 ;;
        --isv-svn) isv_svn=$2 ;;
        *) fail "there is no option $1; see --help" ;;
    esac
    shift 2
done

[[ -n $key ]] || fail "--key is missing; gramine-sgx-gen-private-key FILE makes one"
[[ -r $key ]] || fail "the key $key can't be read"
case $program:$mode in
    enclave:) mode=serve ;;
    server:) mode=run ;;
    enclave:serve | enclave:run | server:run) ;;
    server:init)
        # These go into the manifest between quotes.
        [[ $name =~ ^[a-z0-9][a-z0-9_.-]*$ ]] || fail "--mode init needs --name, such as clinic"
        [[ $public_host =~ ^[A-Za-z0-9][A-Za-z0-9.:-]*$ ]] || fail "--mode init needs --public-host"
        ;;
    *) fail "there is no program '$program' with the mode '$mode'; see --help" ;;
esac
[[ $program == enclave || $spill == false ]] || fail "--spill belongs to the enclave app"
[[ -n $isv_prod_id ]] || { [[ $program == enclave ]] && isv_prod_id=1 || isv_prod_id=2; }
[[ -n $enclave_size ]] || { [[ $edmm == true ]] && enclave_size=64G || enclave_size=4G; }
[[ $enclave_size =~ ^[1-9][0-9]*[MG]$ ]] || fail "--enclave-size must be such as 512M or 4G"
for number in "$max_threads" "$compute_threads" "$isv_prod_id" "$isv_svn"; do
    [[ $number =~ ^[0-9]{1,5}$ ]] || fail "$number is not a number"
done
((max_threads >= 32)) || fail "--max-threads must be at least 32: Python, its libraries and Gramine need them"
((compute_threads >= 1 && compute_threads <= max_threads / 4)) ||
    fail "--compute-threads must be from 1 to a quarter of --max-threads"
((isv_prod_id <= 65535 && isv_svn <= 65535)) || fail "--isv-prod-id and --isv-svn have 16 bits"
for tool in gramine-manifest gramine-sgx-sign ldd; do
    command -v "$tool" >/dev/null || fail "$tool is not installed; Gramine brings it"
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$install/bin/python
[[ -x $python ]] || fail "there is no program in $install; --install names its virtual environment"
interpreter=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
stdlib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
triplet=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH"))')

# Trusted are the shared libraries that are needed, and no folder of them. Gramine brings glibc.
find_libraries() {
    {
        echo "$interpreter"
        find "$stdlib" "$packages" -type f -name '*.so*'
    } | xargs ldd 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
        sed "s#^/lib/$triplet/#/usr/lib/$triplet/#" | grep "^/usr/lib/$triplet/" |
        grep -Ev '/(libc|libm|libdl|libpthread|librt|libutil|libresolv|libanl|libmvec|ld-linux[^/]*)\.so[.0-9]*$' |
        sort -u
}
libraries=$(find_libraries | tr '\n' ' ')

mkdir -p "$output"
build=$output/clf_$program
gramine-manifest \
    -Darch_libdir="/lib/$triplet" \
    -Dpython="$interpreter" \
    -Dstdlib="$stdlib" \
    -Dpackages="$packages" \
    -Dlibraries="$libraries" \
    -Dmode="$mode" \
    -Dname="$name" \
    -Dspill="$spill" \
    -Dpublic_host="$public_host" \
    -Disv_prod_id="$isv_prod_id" \
    -Disv_svn="$isv_svn" \
    -Denclave_size="$enclave_size" \
    -Dmax_threads="$max_threads" \
    -Dcompute_threads="$compute_threads" \
    -Dedmm="$edmm" \
    "$here/clf_$program.manifest.template" "$build.manifest"
# A date would make two signatures of one build differ.
gramine-sgx-sign --manifest "$build.manifest" --output "$build.manifest.sgx" --key "$key" \
    --date 0000-00-00 >&2
"$python" - "$build.sig" >"$build.policy.json" <<'PYTHON'
import json
import sys

from clf_sdk.attestation import parse_sigstruct

with open(sys.argv[1], "rb") as file:
    policy = parse_sigstruct(file.read()).policy()
print(json.dumps(policy.to_json(), indent=2))
PYTHON
cat "$build.policy.json"
