"""The contract of all outputs: what is found is written whole, and read back as predictions of the same images.

A new format is its row in `OUTPUTS`, and in `MEMBERS` how its findings are read back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.cli.options import TABLES
from cxrcad.core import Box, Case, Failure, Finding, ModelIdentity, Result, UsageError
from cxrcad.files import write_atomically
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.outputs import OUT_ENDINGS, OUTPUTS, Output, check_ending, output_for
from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import TruthSet

IDENTITY = ModelIdentity("toy", "0" * 64, 0.5, "CPUExecutionProvider")
LARGE = Finding("nodule", 0.87, Box(10, 20, 30.5, 40), (20.2, 30.0), 300.0, Box(5, 10, 15.3, 20), 75.0, 9.8, 0.5)
SMALL = Finding("nodule", 0.25, Box(50, 50, 60, 61), (55.0, 55.5), 80.0)
NAMES = ("a.dcm", "b, copy.dcm", 'c "2".dcm')
RESULTS = (
    Result(NAMES[0], "1" * 64, 64, 64, (0.5, 0.5), "PixelSpacing", (LARGE, SMALL), ("inverted",), {"read": 0.1}),
    Result(NAMES[1], "2" * 64, 64, 64, None, None, (replace(SMALL, score=1.0),), uids={"SOPInstanceUID": "1.2.3"}),
    Result(NAMES[2], "3" * 64, 64, 64, None, None, ()),
)

Boxes = dict[str, tuple[Finding, ...]]


def predicted(path: Path) -> Boxes:
    truth = TruthSet(tuple(Case(name, Path(name), 64, 64) for name in NAMES))
    return read_predictions(path, truth, missing="empty")


MEMBERS: dict[str, Callable[[Path], Boxes]] = dict.fromkeys(("boxes.json", "CSV", "COCO", "NODE21"), predicted)


@pytest.fixture(params=OUTPUTS, ids=lambda output: output.name)
def output(request: pytest.FixtureRequest) -> Output:
    return request.param


def test_every_output_holds_each_box_and_score(output: Output, tmp_path: Path) -> None:
    path = tmp_path / f"found{output.ending}"
    write_atomically(
        path, output.write(Found(IDENTITY, RESULTS, (Failure("d.dcm", "d.dcm: cut; copy it again"),), None))
    )
    found = MEMBERS[output.name](path)
    for result in RESULTS:
        written = [(finding.score, finding.box_px) for finding in found[result.path]]
        assert written == [(finding.score, finding.box_px) for finding in result.findings]


def test_a_name_that_is_no_utf_8_can_be_written(output: Output, tmp_path: Path) -> None:
    path = tmp_path / f"found{output.ending}"
    write_atomically(path, output.write(Found(IDENTITY, [replace(RESULTS[0], path="a\udcff.dcm")])))
    assert "\\udcff.dcm" in path.read_text("utf-8")


def test_every_output_of_nothing_is_a_file_that_can_be_read(output: Output, tmp_path: Path) -> None:
    path = tmp_path / f"found{output.ending}"
    write_atomically(path, output.write(Found(IDENTITY, ())))
    assert MEMBERS[output.name](path) == dict.fromkeys(NAMES, ())


def test_the_same_results_give_the_same_bytes(output: Output) -> None:
    assert "".join(output.write(Found(IDENTITY, RESULTS))) == "".join(output.write(Found(IDENTITY, RESULTS)))


def test_every_output_has_its_option_and_the_first_of_an_ending_is_taken_by_out() -> None:
    assert sorted(MEMBERS) == sorted(output.name for output in OUTPUTS)
    assert [f"--{name}" for name in TABLES] == [output.option for output in OUTPUTS[1:]]
    for ending in OUT_ENDINGS:
        first = next(output for output in OUTPUTS if output.ending == ending)
        assert output_for(Path(f"x{ending.upper()}")) is first
        check_ending("--out", Path(f"x{ending.upper()}"), [ending])
    assert output_for(Path("found")) is output_for(Path("found.txt")) is OUTPUTS[0]


@pytest.mark.parametrize("ending", [".html", ".jsonl", ".XLSX", ".nii.gz", ".dcm"])
def test_no_file_gets_the_ending_of_another_format(ending: str) -> None:
    check_ending("--out", Path("found"), [".json"])
    check_ending("--out", Path("found.part-3"), [".json"])
    with pytest.raises(UsageError, match=rf"^--out x{ending}: its ending is \.\w+; end the name in \.json or \.csv$"):
        check_ending("--out", Path(f"x{ending}"), OUT_ENDINGS)
