"""Libraries: a missing or too old one is broken; the extra for training may be missing."""

from __future__ import annotations

import importlib.metadata

import pytest

from cxrcad.doctor import libraries
from cxrcad.doctor.checks import ABSENT, BROKEN, OK, WARNING

REQUIRED = [
    "numpy>=1.26",
    "onnxruntime-gpu>=1.20; sys_platform == 'linux'",
    "click >= 8.1",
    'torch>=2.6; extra == "train"',
]


@pytest.fixture
def installed(monkeypatch):
    """`installed(numpy="2.0", ...)`: these versions and no other."""

    def use(**versions):
        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(libraries.importlib.metadata, "requires", lambda name: REQUIRED)
        monkeypatch.setattr(libraries.importlib.metadata, "version", version)
        return {check.name: check for check in libraries.check_libraries()}

    return use


def test_what_is_there_and_new_enough_is_ok(installed):
    checks = installed(numpy="1.26", click="8.10.1", torch="2.13.0+cpu")
    assert {name: check.state for name, check in checks.items()} == dict.fromkeys(("numpy", "click", "extra train"), OK)
    assert checks["extra train"].told == "torch 2.13.0+cpu"


def test_what_is_missing_or_too_old_is_broken(installed):
    checks = installed(numpy="1.9.5")
    assert (checks["numpy"].state, checks["numpy"].told) == (BROKEN, "1.9.5 is too old; 1.26 or newer is needed")
    assert (checks["click"].state, checks["click"].remedy) == (BROKEN, "pip install click")


def test_the_extra_for_training_may_be_missing_but_not_old(installed):
    assert installed(numpy="2", click="9")["extra train"].state == ABSENT
    assert installed(numpy="2", click="9", torch="2.5.1")["extra train"].state == WARNING


def test_a_folder_that_is_not_installed_says_so(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.importlib.metadata, "requires", requires)
    (check,) = libraries.check_libraries()
    assert check.state == WARNING
