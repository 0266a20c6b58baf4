#!/usr/bin/env bash
# Runs a job on all GPUs of this machine.
# Usage: bash launch/one_machine.sh --flagfile=flags/NAME.flags [more flags]
set -euo pipefail
exec python -m tfpoison.launch --strategy=mirrored "$@"
