"""The toy model, packaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrcad.inference.model import Bundle, load_bundle, write_card
from tests.toys import tiny_card, write_onnx

MakeModel = Callable[..., Bundle]


@pytest.fixture
def make_model() -> MakeModel:
    """A function (folder, outputs=..., bias=..., **card) -> Bundle that writes the tiny model."""

    def make(folder: Path, *, outputs: tuple[str, ...] = ("lesion", "lung"), bias: float = 0.75, **card: Any) -> Bundle:
        write_onnx(folder / "model.onnx", outputs, bias)
        write_card(folder, tiny_card(**card))
        return load_bundle(folder)

    return make


@pytest.fixture
def tiny(tmp_path: Path, make_model: MakeModel) -> Bundle:
    return make_model(tmp_path / "tiny")
