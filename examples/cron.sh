#!/usr/bin/env bash
# Detection in what has come into a folder, from cron. In the crontab:
#
#   MAILTO=imaging@hospital.example
#   */15 * * * * /opt/cxrcad/examples/cron.sh /archive/incoming /archive/results
#
# cron mails what a job prints, and this one prints only where something failed; all it said is in RESULTS/log. A run that
# is still at work is left to it. Exit code as cxrcad detect's. More arguments go to cxrcad detect.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 SCANS RESULTS [options of cxrcad detect]" >&2; exit 2; }
scans=$1 results=$2
shift 2
mkdir -p "$results"
exec 9> "$results/lock"
flock --nonblock 9 || exit 0
code=0
cxrcad detect "$scans" --resume --out "$results/boxes.json" "$@" > "$results/log" 2>&1 || code=$?
[ "$code" = 0 ] || cat "$results/log"
exit "$code"
