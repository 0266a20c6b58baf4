#!/usr/bin/env bash
# Runs a grid of trials by several processes of this machine, which share the work.
# Usage: PROCESSES=4 bash launch/grid.sh --flagfile=flags/small/NAME.flags [more flags]
set -euo pipefail
processes=()
# Processes in the background do not hear of Ctrl-C by themselves.
trap 'kill "${processes[@]}" 2>/dev/null || true' INT TERM HUP
for _ in $(seq "${PROCESSES:-2}"); do
    python -m tfpoison.launch --job=experiment "$@" &
    processes+=($!)
done
# All are waited for; the script fails where one of them does.
status=0
for process in "${processes[@]}"; do
    code=0
    wait "$process" || code=$?
    # A signal ends the waiting, and the process only a little later.
    while kill -0 "$process" 2>/dev/null; do
        code=0
        wait "$process" || code=$?
    done
    [ "$code" = 0 ] || status=$code
done
exit "$status"
