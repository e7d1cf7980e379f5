"""Fixtures shared by all tests: where open data may lie, and a small open-jsrt made from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder with nih/ and lidc-nodules.npz ($CXRCAD_OPEN_DATA, else ../shared/data), or a skip."""
    folder = Path(os.environ.get("CXRCAD_OPEN_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "nih" / "metadata.csv").is_file():
        pytest.skip(f"no open data at {folder}; set CXRCAD_OPEN_DATA")
    return folder
