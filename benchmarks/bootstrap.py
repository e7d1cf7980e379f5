"""How long 10,000 bootstrap resamples of 247 images take, all figures together, beside the limit of 2 s.

python benchmarks/bootstrap.py [resamples]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from cxrcad.core import ModelIdentity
from cxrcad.evaluation.bootstrap import bootstrap, compare
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.metrics import figures, tally
from cxrcad.evaluation.records import FoldResult, ScoringContext

LIMIT_SECONDS = 2.0
POSITIVES, IMAGES = 154, 247


def made_up(seed: int) -> FoldResult:
    """JSRT's numbers of images, one nodule in each positive, found in 4 of 5; 5 to 50 false candidates an image."""
    rng = np.random.default_rng(seed)
    matches = []
    for index in range(IMAGES):
        fps = tuple(FalsePositive(float(score), True) for score in rng.beta(1, 4, int(rng.integers(5, 50))))
        hits = (Hit(float(rng.beta(2, 2)), 0, 3.0),) if index < POSITIVES and rng.random() < 0.8 else ()
        matches.append(ImageMatch(str(index), int(index < POSITIVES), hits, fps))
    model = ModelIdentity("made up", "", 0.4, "none")
    context = ScoringContext("made up", "jsrt-247", HitRule(), model, "mo-segnet", "multi", "made up", 1)
    return FoldResult(context, tuple(matches), (None,) * IMAGES)


def main() -> None:
    resamples = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first, second = made_up(0), made_up(1)
    count = len(figures(tally([first]), np.ones((1, IMAGES))))
    bootstrap([first], 100, 0)  # the first call loads what it needs
    for what, call in (
        (f"bootstrap of {count} figures", lambda: bootstrap([first], resamples, 0)),
        ("compare two runs", lambda: compare([first], [second], resamples, 0)),
    ):
        start = time.perf_counter()
        call()
        print(f"{what:<26} {resamples:>7,} resamples, {IMAGES} images: {time.perf_counter() - start:5.2f} s")
    print(f"(limit for the bootstrap: {LIMIT_SECONDS:g} s)")


if __name__ == "__main__":
    main()
