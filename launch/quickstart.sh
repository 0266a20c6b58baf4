#!/usr/bin/env bash
# Sets everything up and trains a defended network on the embedded digits.
# Usage: bash launch/quickstart.sh [more flags]
set -euo pipefail
. "$(dirname "$0")/environment.sh"
exec python -m tfpoison.launch --flagfile=flags/quickstart.flags "$@"
