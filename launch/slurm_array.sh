#!/usr/bin/env bash
# Runs a grid of trials by the tasks of a SLURM array, which share the work: --output_dir must be a
# directory that all nodes share. A task that is killed loses nothing; submit again to go on.
# Usage: sbatch --array=0-7 launch/slurm_array.sh --flagfile=flags/paper/NAME.flags [more flags]
#SBATCH --ntasks=1
#SBATCH --job-name=tfpoison
set -euo pipefail
exec srun python -m tfpoison.launch --job=experiment "$@"
