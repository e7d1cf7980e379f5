"""What inputs are called without identifiers, and which sentences and notes are still said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cxrcad.core import Failure, Result, Skipped
from cxrcad.imaging.remote import path_of
from cxrcad.inference.identifiers import UNNOTED, UNSAID, Names
from cxrcad.inference.inputs import Inputs

UID = "1.2.840.113619.2.5.1762583153"


def inputs(*paths: str, failed: tuple[str, ...] = ()) -> Inputs:
    return Inputs(tuple(map(Path, paths)), {}, (), (), tuple(Failure(path, f"{path}: cut") for path in failed))


def said(sentence: str) -> str:
    """What is written of a failure of a file that is not there."""
    outcome = Names(inputs("doe/john.dcm"), identifiers=False).written(Failure("doe/john.dcm", sentence))
    assert isinstance(outcome, Failure)
    assert outcome.path == "input-1"
    return outcome.error.removeprefix("input-1: ")


@pytest.mark.parametrize(
    "sentence",
    [
        "pixel data ends after 5,000 of 8,388,608 bytes; copy the file again",
        "there is no such file; check the path",
        "text, not an image (13 bytes); give a DICOM file",
        "a .csv file, not tried in a folder",
        "Modality CT (CT Image Storage), not a radiograph's (DX, CR, RG); give a frontal chest radiograph",
        "30 rows x 2048 columns, but a side needs at least 64 pixels; give a frontal chest radiograph",
        "its compressed pixels are cut short or damaged (from row 1,204 on); copy the file again",
    ],
)
def test_a_sentence_of_our_words_and_numbers_is_said(sentence: str) -> None:
    assert said(f"doe/john.dcm: {sentence}") == sentence


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("a zip archive (Doe John); unpack it first", "a zip archive; unpack it first"),
        (
            "a damaged image header (cannot read 'doe.png'); copy the file again",
            "a damaged image header; copy the file again",
        ),
        ("no pixel data in its header; dcmodify -i Rows=7 john.dcm", "no pixel data in its header"),
    ],
)
def test_what_is_in_brackets_and_the_remedy_are_left_out_alone(sentence: str, kept: str) -> None:
    assert said(f"doe/john.dcm: {sentence}") == kept


@pytest.mark.parametrize(
    "sentence",
    [
        "doe/john.dcm: a link to 1234, which is not there; mount or copy what it points to, or remove the link",
        "doe/john.dcm: leads to /home/1234, whose files are read there; each is read once",
        "doe/john.dcm: its pixel data lie in 1234, which is not there; copy that file beside it",
        "doe/john.dcm: names 1 file (1234) that is not there; copy the whole folder again",
        "doe/john.dcm: 1234 holds no file 1234; check the path",
        "doe/john.dcm: Rows is '1234', but one number is needed; export the radiograph again",
        "doe/john.dcm: an unknown transfer syntax, 1234; export the radiograph again",
        "doe/john.dcm: PhotometricInterpretation DOE, but grey is MONOCHROME1 or MONOCHROME2; give it",
        f"doe/john.dcm: no frontal chest radiograph by its header (SOP class {UID}",
        "doe/john.dcm: cut at 24.12.1953; copy the file again",
        "doe/john.dcm: cut at 19531224; copy the file again",
        "something of doe/john.dcm",
    ],
)
def test_what_may_quote_a_name_is_not_said(sentence: str) -> None:
    assert said(sentence) == UNSAID


def test_a_result_is_called_by_its_content_without_uids_and_notes_that_quote(tmp_path: Path) -> None:
    notes = (
        "MONOCHROME1 inverted",
        "PixelSpacing is 'DOE', not two numbers: taken as unknown",
        "JOHN: read all the same",
    )
    found = Result(
        "doe.dcm", "a" * 64, 64, 64, None, None, (), notes, uids={"SOPInstanceUID": UID}, overlay="ov/doe.png"
    )
    names = Names(inputs("doe.dcm"), identifiers=False)
    written = names.written(found)
    assert isinstance(written, Result)
    assert (written.path, written.sha256, written.uids) == ("a" * 64, "a" * 64, {})
    assert written.notes == ("MONOCHROME1 inverted", UNNOTED)
    assert names.of("doe.dcm") == "a" * 64
    assert names.files == {"a" * 64: "doe.dcm"}
    assert Names(inputs("doe.dcm")).written(found) is found


def test_a_file_is_called_by_its_content_and_what_cannot_be_read_by_its_number_in_all_parts(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"nothing")
    (tmp_path / "folder").mkdir()
    some = inputs("none.dcm", str(tmp_path / "b.txt"), failed=(str(tmp_path / "folder"),))
    names = Names(some, identifiers=False)
    digest = hashlib.sha256(b"nothing").hexdigest()
    assert names.of(str(tmp_path / "folder")) == "input-3"
    assert names.of(str(tmp_path / "b.txt")) == digest
    assert names.written(Skipped("none.dcm", "none.dcm: empty, 0 bytes")) == Skipped(
        "input-1", "input-1: empty, 0 bytes"
    )
    assert names.given([str(tmp_path / "folder"), "none.dcm", "unasked"]) == ["input-1", "input-3"]


def test_a_remote_file_is_called_by_its_content_and_one_that_failed_is_not_fetched_again() -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/doe/john.png", b"nothing")
    some = Inputs((path_of("memory://doe/john.png"), path_of("memory://doe/jane.png")), {}, (), (), ())
    digest = hashlib.sha256(b"nothing").hexdigest()
    assert Names(some, identifiers=False).of("memory://doe/john.png") == digest
    failed = Names(some, identifiers=False).written(
        Failure("memory://doe/john.png", "memory://doe/john.png: empty, 0 bytes")
    )
    assert failed == Failure("input-1", "input-1: empty, 0 bytes")
