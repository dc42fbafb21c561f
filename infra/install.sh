#!/usr/bin/env bash
# Installs the tools that FOLDER/requirements.txt names into an environment of their own under target/, unless they are
# there. Prints its folder of programs.
#
# Usage: install.sh FOLDER
set -euo pipefail

infra="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
wanted="$infra/$1/requirements.txt"
work="${CARGO_TARGET_DIR:-$infra/../target}/infra"
mkdir -p "$work"
venv="$(cd "$work" && pwd)/$1"

if ! cmp -s "$wanted" "$venv/installed.txt"; then
    echo "installing the tools of infra/$1 into $venv" >&2
    python3 -m venv --clear "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" >&2
    cp "$wanted" "$venv/installed.txt"
fi
echo "$venv/bin"
