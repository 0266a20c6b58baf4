#!/usr/bin/env bash
# Sets everything up and runs the linters, the type checker and the tests.
# Usage: bash launch/test.sh [pytest options]
set -euo pipefail
. "$(dirname "$0")/environment.sh" test
ruff check .
ruff format --check .
mypy --config-file setup.cfg
lint-imports --config setup.cfg
exec python -m pytest tests --quiet --numprocesses auto --dist worksteal --durations 15 "$@"
