"""`cxrcad phantom`: synthetic radiographs in a folder, and one sentence about them."""

from __future__ import annotations

from pathlib import Path

from cxrcad.config import PhantomConfig
from cxrcad.core import counted
from cxrcad.files import Progress
from cxrcad.synthesis.phantom.dataset import write_phantoms

__all__ = ["make_phantoms"]


def make_phantoms(out: Path, config: PhantomConfig, progress: Progress) -> str:
    """Write the phantoms to `out`, in place of an earlier set; how many they are. Raises UsageError, WriteError."""
    before = ", in place of those that were there" if (out / "CLNDAT_EN.txt").is_file() else ""
    cases = write_phantoms(out, config, progress)
    return f"{out}: {counted(len(cases), 'phantom')}, {sum(case.positive for case in cases)} with a nodule{before}"
