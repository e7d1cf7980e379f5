"""Small scored folds whose every figure can be counted by hand, with images beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, Case, Finding, ModelIdentity, Nodule
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext

CONTEXT = ScoringContext(
    "open-jsrt",
    "jsrt-247",
    HitRule(),
    ModelIdentity("net", "ab12" * 16, 0.5, "CPUExecutionProvider"),
    "mo-segnet",
    "multi",
    "best F1 on the fold's validation cases",
    3,
)


class Crafted:
    """Findings, scored images of 400 x 400 pixels (0.5 mm each) written to a folder, and folds of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def finding(score: float, x: float, y: float, side: float = 20) -> Finding:
        box = Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        return Finding("nodule", score, box, (x, y), side * side, diameter_mm=side / 2)

    def scored(self, name: str, nodules: tuple[Nodule, ...], *findings: Finding) -> ScoredImage:
        path = self.folder / f"{name}.png"
        rows, cols = np.mgrid[:400, :400]
        Image.fromarray(((rows + cols) % 256).astype(np.uint8)).save(path)
        case = Case(name, path, 400, 400, (0.5, 0.5), nodules, age_years=60, sex="Male")
        return ScoredImage(case, "", findings, (True,) * len(findings))

    @staticmethod
    def result(*scored_images: ScoredImage, **context: Any) -> FoldResult:
        own = replace(CONTEXT, **context)
        matches = tuple(match_image(d.case, d.findings, own.rule, lambda x, y: True) for d in scored_images)
        return FoldResult(own, matches, (None,) * len(scored_images), (), scored_images)

    def fold(self, number: int = 3, **context: Any) -> FoldResult:
        """Three nodules and a normal: hits at 0.9 (2 mm off) and 0.7 (3 mm off), one found at 0.4 only.

        Subtleties 5, 1, 1. False positives: 0.8 in the normal image, 0.6 (20 mm off) and 0.2 in the third.
        """
        easy = Nodule(100, 100, 20.0, subtlety=5, location="l.upper lobe")
        subtle = Nodule(300, 300, 10.0, subtlety=1)
        finding = self.finding
        return self.result(
            self.scored(f"A{number}", (easy,), finding(0.9, 104, 100)),
            self.scored(f"B{number}", (subtle,), finding(0.7, 300, 306)),
            self.scored(f"C{number}", (subtle,), finding(0.6, 340, 300), finding(0.4, 300, 302), finding(0.2, 20, 20)),
            self.scored(f"N{number}", (), finding(0.8, 50, 60)),
            **{"fold": number, **context},
        )


@pytest.fixture(scope="session")
def make_crafted() -> type[Crafted]:
    return Crafted


@pytest.fixture
def crafted(tmp_path: Path) -> Crafted:
    folder = tmp_path / "images"
    folder.mkdir()
    return Crafted(folder)
