#!/usr/bin/env bash
# A folder of scans in four parts at a time, with GNU parallel. What was killed goes on when this is called again.
#
#   PARTS=4 examples/parallel.sh SCANS RESULTS [options of cxrcad detect]
#
# With parallel's --sshlogin the parts go to several machines. Exit code 1 where scans failed; they are in boxes.json.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 SCANS RESULTS [options of cxrcad detect]" >&2; exit 2; }
scans=$1 results=$2 parts=${PARTS:-4} code=0
shift 2
mkdir -p "$results"
seq "$parts" | parallel --quote cxrcad detect "$scans" --shard "{}/$parts" --threads 1 --resume \
    --out "$results/part-{}-of-$parts.json" "$@" || code=1
cxrcad merge "$results"/part-*-of-"$parts".json --out "$results/boxes.json"
exit "$code"
