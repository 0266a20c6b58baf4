#!/usr/bin/env bash
# Runs a job on the nodes of a SLURM allocation, one worker a node, each on all its GPUs.
# Usage: sbatch --nodes=2 launch/slurm.sh --flagfile=flags/NAME.flags [more flags]
#SBATCH --ntasks-per-node=1
#SBATCH --job-name=tfpoison
set -euo pipefail
port=${PORT:-12345}
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/:$port/" | paste -sd,)
export WORKERS
exec srun bash -c 'INDEX=$SLURM_PROCID exec bash launch/multi_worker.sh "$@"' multi_worker "$@"
