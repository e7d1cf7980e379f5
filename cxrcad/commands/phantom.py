"""`cxrcad phantom`: synthetic radiographs in a folder, and one sentence about them."""

from __future__ import annotations

from pathlib import Path

from cxrcad.config import PhantomConfig
from cxrcad.core import counted
from cxrcad.synthesis.phantom.dataset import write_phantoms

__all__ = ["make_phantoms"]


def make_phantoms(out: Path, config: PhantomConfig) -> str:
    """Write the phantoms to `out`, in place of an earlier set; how many they are. Raises UsageError, WriteError."""
    before = ", in place of those that were there" if (out / "CLNDAT_EN.txt").is_file() else ""
    written = write_phantoms(out, config)
    what = f"{counted(len(written.cases), 'phantom')}, {len(written.positives)} with a nodule"
    return f"{written.folder}: {what}{before}"
