#!/usr/bin/env bash
# Checks the template: cfn-lint on it as written and on what AWS would make of it, then the rules
# of this project, after those have been seen to fail on planted mistakes.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
work="${CARGO_TARGET_DIR:-$root/target}/infra"
export PYTHONDONTWRITEBYTECODE=1

tools="$("$root/infra/install.sh" lint)"

lint() {
    echo "cfn-lint: $1"
    # Every level counts, informational too. One region is enough: the template names none.
    "$tools/cfn-lint" --regions us-east-1 --include-checks I --non-zero-exit-code informational --template "$2"
}

"$tools/python" "$here/transform.py" "$root/infra/template.yaml" "$work/template.json"
lint "the template as written" "$root/infra/template.yaml"
lint "the template as plain CloudFormation" "$work/template.json"

echo "rules and deployment: each sees its planted mistakes"
"$tools/python" -m unittest discover --start-directory "$here" --pattern "test_*.py"

echo "rules: the template"
"$tools/python" "$here/rules.py" "$work/template.json" "$root"
