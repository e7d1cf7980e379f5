"""How long the command line takes to answer: the median and the slowest of some starts, beside the limit of 0.3 s.

python benchmarks/startup.py [starts]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT_SECONDS = 0.3
COMMANDS = (["--help"], ["--version"], ["detect", "--help"], ["train", "--help"], ["froc", "--help"], ["models"])


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cxrcad", *arguments], check=True, capture_output=True, timeout=60)
    return time.perf_counter() - start


def main() -> None:
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'command':<22} {'median s':>9} {'slowest s':>10}   (limit for help: {LIMIT_SECONDS} s, {starts} starts)")
    for arguments in COMMANDS:
        seconds(arguments)  # the first start compiles and fills the file cache
        times = [seconds(arguments) for _ in range(starts)]
        print(f"{'cxrcad ' + ' '.join(arguments):<22} {statistics.median(times):>9.3f} {max(times):>10.3f}")


if __name__ == "__main__":
    main()
