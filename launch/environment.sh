# Sourced by the scripts beside it: makes .venv at the repository's root and installs tfpoison.
# Usage: . launch/environment.sh [extra]; the extra is one of setup.cfg's, "test" or "cuda".
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}"
export PATH="$PWD/.venv/bin:$PATH"
