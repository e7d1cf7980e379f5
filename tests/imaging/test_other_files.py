"""Files that others made to try a reader with: each gives a radiograph or a sentence, never the interpreter's words."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pydicom.data
import pytest

from cxrcad.core import ReadError
from cxrcad.imaging import dicom
from cxrcad.imaging.faults import reason
from cxrcad.imaging.read import image_header, read_radiograph

INTERPRETER = re.compile(
    r"NoneType|Traceback|object (is|has)|invalid literal|could not convert|to unpack|unpack requires|<class|"
    r"out of (range|bounds)|argument|codec can't|\bError\b.*line \d|KeyError|cannot reshape|Please see"
)


def sentences(path: Path) -> list[str]:
    """What the radiograph's and the header's reader say of a file that they refuse."""
    found = []
    for reader in (read_radiograph, image_header):
        try:
            reader(path)
        except ReadError as error:
            found.append(str(error))
    assert all(each.startswith(f"{path}: ") and "; " in each for each in found)
    return [each.removeprefix(f"{path}: ") for each in found]


def bundled() -> list[Path]:
    """The test files, character sets and palettes that pydicom ships."""
    root = Path(pydicom.data.__file__).parent
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


@pytest.mark.parametrize("only_radiographs", [True, False])
def test_each_of_pydicoms_files_is_read_or_refused_in_a_sentence(monkeypatch, only_radiographs):
    """Also where modality and size would refuse them before their pixels are decoded."""
    if not only_radiographs:
        monkeypatch.setattr(dicom, "OTHER_MODALITIES", ())
        monkeypatch.setattr(dicom, "against_frontal_chest", lambda _: ())
        monkeypatch.setattr(dicom, "check_size", lambda *_: None)
    files = bundled()
    assert len(files) > 150
    told = {path.name: sentences(path) for path in files}
    assert not [(name, each) for name, found in told.items() for each in found if INTERPRETER.search(each)]
    assert list(told.values()).count([]) >= (1 if only_radiographs else 20)


def test_each_of_pylibjpeg_data_s_files_is_read_or_refused_in_a_sentence(monkeypatch):
    """Its module is ljdata (github.com/pydicom/pylibjpeg-data)."""
    data = pytest.importorskip("ljdata", reason="pylibjpeg-data is not installed (it is in no package registry)")
    monkeypatch.setattr(dicom, "OTHER_MODALITIES", ())
    monkeypatch.setattr(dicom, "against_frontal_chest", lambda _: ())
    monkeypatch.setattr(dicom, "check_size", lambda *_: None)
    endings = (".dcm", ".jpg", ".jls", ".j2k", ".jp2")
    files = [path for path in sorted(Path(data.__file__).parent.rglob("*")) if path.suffix in endings]
    assert len(files) > 50
    told = {path.name: sentences(path) for path in files}
    assert not [(name, each) for name, found in told.items() for each in found if INTERPRETER.search(each)]


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_of_a_header_leads_to_the_interpreter_s_words(make_dicom, make_pattern, seed):
    rng = random.Random(seed)
    path = make_dicom(
        make_pattern(64, 64), WindowCenter="2000", WindowWidth="1000", RescaleSlope="1", RescaleIntercept="0",
        PixelSpacing=[0.2, 0.2], PatientOrientation=["L", "F"], NumberOfFrames="1",
    )  # fmt: skip
    whole = path.read_bytes()
    for _ in range(20):
        data = bytearray(whole)
        for place in rng.sample(range(128, len(whole) - 8192 + 12), rng.choice((1, 3, 10))):
            data[place] = rng.randrange(256)
        path.write_bytes(data)
        assert not [each for each in sentences(path) if INTERPRETER.search(each)]


@pytest.mark.parametrize(
    "fault", [lambda: int("x"), lambda: float("1,0"), lambda: None + 1, lambda: [][0], lambda: json.loads(b"\xff"),
              lambda: np.zeros(3).reshape(2, 2), lambda: {}["a"], lambda: None.encode()],
)  # fmt: skip
def test_the_interpreter_s_words_are_not_passed_on(fault):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        fault()
    assert reason(caught.value) == "it cannot be parsed"


def test_a_library_s_words_are_passed_on():
    assert reason(OSError("image file is truncated.")) == "image file is truncated"
