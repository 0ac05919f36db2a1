#!/bin/sh
# Make the virtual environment .venv with everything in pyproject.toml; quick when nothing changed.
set -eu
cd "$(dirname "$0")"

fail() {
    echo "setup: $1" >&2
    echo "  fix: $2" >&2
    exit 1
}

# The environment is finished when its stamp has the sum of what it was made from.
wanted=$(cat pyproject.toml constraints.txt setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/stamp 2>/dev/null || true)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo

install() {
    echo "setup: installing $*"
    command -v apt-get >/dev/null || fail "$* is missing" "install it with your package manager"
    if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
        fail "$* is missing" "as root: apt-get install $*"
    fi
    $as_root apt-get install -y -q "$@" >/dev/null 2>&1 || {
        $as_root apt-get update -q >/dev/null
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null ||
            fail "apt-get could not install $*" "run: $as_root apt-get install $*"
    }
}

find_python() {
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
}

python=$(find_python)
if [ -z "$python" ]; then
    install python3
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is missing" "install python3.11 or newer"
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || install python3-venv

started=$(date +%s)
echo "setup: making .venv with $("$python" --version) (about half a minute the first time)"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[dev]' ||
    fail "pip could not install the packages" "look at the message above; then run make again"
echo "$wanted" >.venv/stamp
echo "setup: .venv is ready after $(($(date +%s) - started)) s"
