#!/usr/bin/env bash
# Sets everything up, poisons the embedded digits, and trains networks on them with and without the
# defense.
# Usage: bash launch/quickstart.sh [more flags]
set -euo pipefail
. "$(dirname "$0")/environment.sh" ""  # Without an argument it would take the flags for an extra.
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"  # Warnings and errors of TensorFlow alone.
exec python -m tfpoison.launch --flagfile=flags/quickstart.flags "$@"
