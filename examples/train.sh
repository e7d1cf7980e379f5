#!/usr/bin/env bash
# One fold of a training, as a task of a Slurm array: five tasks train the five folds of one run. A task that was killed
# goes on where it was when it is submitted again.
#
#   sbatch --array=1-5 --requeue --gpus=1 --cpus-per-task=8 --time=12:00:00 examples/train.sh RUN --data DATA
#   cxrcad evaluate --run RUN    # when all tasks are done
#
# More arguments go to cxrcad train. With several tasks per array task (--ntasks-per-node 4 --gpus-per-node 4), write srun
# before cxrcad: they then train the fold together.
set -euo pipefail
[ $# -ge 1 ] && [ "${SLURM_ARRAY_TASK_ID:-}" ] ||
    { echo "usage: sbatch --array=1-5 $0 RUN [options of cxrcad train]" >&2; exit 2; }
run=$1 fold=$SLURM_ARRAY_TASK_ID
shift
resume=()
[ ! -e "$run/fold$fold" ] || resume=(--resume)
exec cxrcad train --fold "$fold" --run "$run" "${resume[@]}" "$@"
