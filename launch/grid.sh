#!/usr/bin/env bash
# Runs a grid of trials by several processes of this machine, which share the work.
# Usage: PROCESSES=4 bash launch/grid.sh --flagfile=flags/small/NAME.flags [more flags]
set -euo pipefail
processes=()
for _ in $(seq "${PROCESSES:-2}"); do
    python -m tfpoison.launch --job=experiment "$@" &
    processes+=($!)
done
# Processes in the background do not hear of Ctrl-C by themselves.
trap 'kill "${processes[@]}" 2>/dev/null || true' INT TERM
# All are waited for; the script fails where one of them does.
status=0
for process in "${processes[@]}"; do wait "$process" || status=$?; done
exit "$status"
