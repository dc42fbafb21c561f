#!/usr/bin/env bash
# Checks the template: cfn-lint on it as written and on what AWS would make of it, then the rules
# of this project, after those have been seen to fail on planted mistakes.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
work="${CARGO_TARGET_DIR:-$root/target}/infra"
venv="$work/venv"
export PYTHONDONTWRITEBYTECODE=1

mkdir -p "$work"
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    echo "installing the linters into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

lint() {
    echo "cfn-lint: $1"
    # Every level counts, informational too. One region is enough: the template names none.
    "$venv/bin/cfn-lint" --regions us-east-1 --include-checks I --non-zero-exit-code informational --template "$2"
}

"$venv/bin/python" "$here/transform.py" "$root/infra/template.yaml" "$work/template.json"
lint "the template as written" "$root/infra/template.yaml"
lint "the template as plain CloudFormation" "$work/template.json"

echo "rules: each sees its planted mistakes"
"$venv/bin/python" -m unittest discover --start-directory "$here" --pattern "test_*.py"

echo "rules: the template"
"$venv/bin/python" "$here/rules.py" "$work/template.json" "$root"
