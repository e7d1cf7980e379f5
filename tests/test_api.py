"""The library's front door: `from cxrcad import ...` gives what its modules hold, and `import cxrcad` loads nothing."""

from __future__ import annotations

import importlib

import pytest

import cxrcad


@pytest.mark.parametrize("name", cxrcad.__all__)
def test_each_name_is_what_its_module_holds(name: str) -> None:
    thing = getattr(cxrcad, name)
    assert getattr(importlib.import_module(thing.__module__), name) is thing


def test_another_name_is_none() -> None:
    with pytest.raises(AttributeError, match="module 'cxrcad' has no attribute 'detector_of'"):
        cxrcad.detector_of  # noqa: B018
