#!/usr/bin/env bash
# Runs a job as one of several workers that train together. Start it once for each worker.
#
#   WORKERS  host:port of every worker with commas between, in the same order everywhere
#   INDEX    which of them this one is, from 0; worker 0 writes the results
#
# --output_dir must be a directory that all workers share. Two workers on one machine:
#   WORKERS=localhost:12345,localhost:12346 INDEX=0 bash launch/multi_worker.sh --flagfile=... &
#   WORKERS=localhost:12345,localhost:12346 INDEX=1 bash launch/multi_worker.sh --flagfile=...
set -euo pipefail
: "${WORKERS:?host:port of every worker with commas between}" "${INDEX:?number of this worker}"
export TF_CONFIG="{\"cluster\": {\"worker\": [\"${WORKERS//,/\", \"}\"]}, \"task\": {\"type\": \"worker\", \"index\": ${INDEX}}}"
exec python -m tfpoison.launch --strategy=multi_worker "$@"
