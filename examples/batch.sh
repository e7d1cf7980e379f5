#!/usr/bin/env bash
# One task of a Slurm array over a folder of scans. Each task does its part; one that was killed goes on when it is
# submitted again, and does again only what failed.
#
#   sbatch --array=1-8 --requeue --cpus-per-task=4 --mem=4G --time=02:00:00 examples/batch.sh SCANS RESULTS
#   PARTS=8 sbatch --array=3,7 ... examples/batch.sh SCANS RESULTS   # some of the tasks again: name the number of all
#   cxrcad merge RESULTS/part-*-of-8.json --out RESULTS/boxes.json   # when all tasks are done
#
# More arguments go to cxrcad detect (--model DIR, --min-score 0.3). Without Slurm it does all in one part. Exit code as
# cxrcad detect's: 0 every scan was done, 1 some failed (named on stderr), 2 wrong usage.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 SCANS RESULTS [options of cxrcad detect]" >&2; exit 2; }
scans=$1 results=$2
shift 2
part=${SLURM_ARRAY_TASK_ID:-1} tasks=${SLURM_ARRAY_TASK_COUNT:-1}
[ "${PARTS:-}" ] || [ "${SLURM_ARRAY_TASK_MAX:-$tasks}" = "$tasks" ] ||
    { echo "$0: the array is not 1 to $tasks; give the number of all tasks, as PARTS=8" >&2; exit 2; }
parts=${PARTS:-$tasks}
mkdir -p "$results"
exec cxrcad detect "$scans" --shard "$part/$parts" --resume --out "$results/part-$part-of-$parts.json" "$@"
