#!/usr/bin/env bash
# Detects in every scan of a folder, one boxes.json a scan, and lists all findings in a table. A second call does only
# what is missing or failed.
#
#   examples/batch.sh SCANS RESULTS [options of cxrcad detect, for example --model DIR --threshold 0.3]
#
# As a Slurm array, whose tasks share the scans among them (here eight; each writes a table of its own):
#
#   sbatch --array=0-7 --cpus-per-task=4 --mem=4G --time=02:00:00 examples/batch.sh SCANS RESULTS --threads 4
#
# Exit code: 0 every scan was done, 1 some failed (they are named on stderr), 2 wrong usage. Needs cxrcad and jq.
set -euo pipefail

if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    echo "usage: $0 SCANS RESULTS [options of cxrcad detect]; SCANS is a folder" >&2
    exit 2
fi
scans=${1%/} results=${2%/}
shift 2

task=$((${SLURM_ARRAY_TASK_ID:-0} - ${SLURM_ARRAY_TASK_MIN:-0}))
tasks=${SLURM_ARRAY_TASK_COUNT:-1}
table=$results/findings-$task.csv
mkdir -p "$results"

files=()
while IFS= read -r -d '' file; do
    files+=("$file")
done < <(find "$scans" -type f \( -iname '*.dcm' -o -iname '*.img' -o -iname '*.png' \) -print0 | LC_ALL=C sort -z)

failed=0 mine=()
for ((index = task; index < ${#files[@]}; index += tasks)); do
    scan=${files[index]}
    name=${scan#"$scans"/}
    boxes=$results/${name//\//__}.json
    mine+=("$boxes")
    if [ -f "$boxes" ] && jq --exit-status '.failures == []' "$boxes" >/dev/null; then
        continue # done by an earlier call
    fi
    rm -f "$boxes"
    code=0
    cxrcad detect "$scan" --out "$boxes" "$@" 2>"$boxes.log" || code=$?
    case $code in
        0) rm -f "$boxes.log" ;;
        1)
            failed=$((failed + 1))
            if [ ! -f "$boxes" ]; then # not this scan but the model, the device or the disk
                cat "$boxes.log" >&2
                exit 1
            fi
            jq --raw-output '.failures[].error' "$boxes" >&2
            ;;
        *) # 2: an option is wrong, and would be for every scan; 130: stopped
            cat "$boxes.log" >&2
            rm -f "$boxes.log"
            exit "$code"
            ;;
    esac
done

echo "path,score,x_px,y_px,diameter_mm" >"$table"
if [ ${#mine[@]} -gt 0 ]; then
    jq --raw-output '
        .images[] | .path as $path | .findings[] | [$path, .score, .center_px[0], .center_px[1], .diameter_mm] | @csv
    ' "${mine[@]}" >>"$table"
fi
echo "$((${#mine[@]} - failed)) scans done, $failed failed; $(($(wc -l <"$table") - 1)) findings in $table"
[ "$failed" -eq 0 ]
