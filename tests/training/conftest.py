"""What the tests of trainings share: a training of three steps needs as many drawn nodules as a long one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nodules_are_drawn_once() -> Iterator[None]:
    """Trainings with the same settings get the same projections; drawing them takes longer than those trainings do."""
    from cxrcad.training import data

    drawn, load = {}, data.load_projections

    def load_once(path: Path, *, exclude_series: Collection[str], spacing_mm: float, count: int, seed: int) -> object:
        key = (path, frozenset(exclude_series), spacing_mm, count, seed)
        if key not in drawn:
            drawn[key] = load(path, exclude_series=exclude_series, spacing_mm=spacing_mm, count=count, seed=seed)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "load_projections", load_once)
        yield
