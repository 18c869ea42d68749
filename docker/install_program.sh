#!/bin/sh
# Install this project and what it needs into /opt/clf, so that two builds give the same files.
set -eu

if [ "${1:-}" = --help ]; then
    cat <<'HELP'
Usage: install_program.sh REQUIREMENTS LEFT_OUT...

Runs inside a build, after build_wheel.sh: installs the pinned and hashed packages of the file
REQUIREMENTS and the project's wheel into the virtual environment /opt/clf, without the project's
packages LEFT_OUT, and writes the bill of materials /opt/clf/sbom.cdx.json.
HELP
    exit 0
fi
requirements=${1:?name a file of requirements, or --help}
shift

python3 -m venv --without-pip /opt/clf
packages=$(/opt/clf/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
install() {
    /build/bin/pip --python /opt/clf/bin/python install --quiet --disable-pip-version-check \
        --root-user-action=ignore --no-compile "$@"
}
install --require-hashes --requirement "$requirements"
install --no-deps --no-index --find-links /build/wheels clf-sdk
for name in "$@"; do
    rm -r "${packages:?}/$name"
done
cp "$requirements" /opt/clf/requirements.txt
/build/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
    --output-file /opt/clf/sbom.cdx.json /opt/clf/bin/python

# Libraries bring their own tests and headers, which nothing here runs.
find "$packages" -depth -type d \( -name tests -o -path '*/pyarrow/include' \) -exec rm -rf {} +
# Byte code also depends on what its process has compiled before: one process for each package.
find "$packages" -mindepth 1 -maxdepth 1 \( -type d -o -name '*.py' \) ! -name __pycache__ -print0 |
    PYTHONHASHSEED=0 xargs -0 -n 1 -P "$(nproc)" \
        /opt/clf/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash
