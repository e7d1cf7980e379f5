"""Decoders are really tried: a picture in every transfer syntax, and one that is missing or reads wrongly is told."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from pydicom.pixels.decoders import base
from pydicom.uid import AllTransferSyntaxes, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless

from cxrcad.doctor import syntaxes
from cxrcad.doctor.checks import BROKEN, OK

UNREAD = {"1.2.840.10008.1.2.1.98"}
"""Encapsulated Uncompressed Explicit VR, which few write; pydicom has a decoder in later versions."""


def by_uid():
    return {check.facts["uid"]: check for check in syntaxes.check_syntaxes()}


@pytest.fixture
def without(monkeypatch):
    """`without(uid, plugin, ...)`: those decoders of a syntax are not installed."""

    def remove(uid, *plugins):
        for plugin in plugins:
            monkeypatch.delitem(base.get_decoder(uid)._available, plugin)

    return remove


def test_every_syntax_with_a_decoder_is_tried_and_read():
    checks = by_uid()
    for uid in AllTransferSyntaxes:
        try:
            base.get_decoder(uid)
        except NotImplementedError:
            continue
        assert str(uid) in {*checks, *UNREAD}
    assert {check.state for check in checks.values()} == {OK}
    assert {"gdcm", "pylibjpeg"} <= set(checks[JPEGLSLossless].facts["decoders"])


def test_one_decoder_less_is_not_listed_and_the_syntax_is_still_read(without):
    without(JPEG2000Lossless, "pylibjpeg")
    check = by_uid()[JPEG2000Lossless]
    assert check.state == OK
    assert "pylibjpeg" not in check.facts["decoders"]


def test_a_syntax_without_a_decoder_is_broken_with_a_remedy(without):
    without(HTJ2KLossless, "pylibjpeg")
    checks = by_uid()
    broken = checks.pop(HTJ2KLossless)
    assert (broken.state, broken.told) == (BROKEN, "no decoder is installed")
    assert "pip install python-gdcm pylibjpeg" in broken.remedy
    assert {check.state for check in checks.values()} == {OK}


def test_a_decoder_with_other_values_does_not_count(monkeypatch):
    monkeypatch.setattr(syntaxes, "LOSS", -1)
    assert not by_uid()[JPEGLSLossless].facts["decoders"]


def test_a_picture_that_is_read_wrongly_is_broken(monkeypatch):
    real = syntaxes.read_radiograph

    def negative(path):
        radiograph = real(path)
        return replace(radiograph, pixels=1 - radiograph.pixels)

    monkeypatch.setattr(syntaxes, "read_radiograph", negative)
    checks = (*syntaxes.check_syntaxes(), *syntaxes.check_formats())
    assert {check.state for check in checks} == {BROKEN}
    assert "read wrongly: values differ by 100% of their range" in checks[0].told


def test_formats_are_read_and_a_missing_library_is_told(monkeypatch):
    assert {check.state for check in syntaxes.check_formats()} == {OK}
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    checks = {check.name: check for check in syntaxes.check_formats()}
    assert {name for name, check in checks.items() if check.state == BROKEN} == {"MHA", "NIfTI"}
    assert checks["MHA"].remedy == "pip install --force-reinstall SimpleITK"


def test_without_pydicom_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom.uid", None)
    (check,) = syntaxes.check_syntaxes()
    assert (check.state, check.remedy) == (BROKEN, "pip install pydicom")
