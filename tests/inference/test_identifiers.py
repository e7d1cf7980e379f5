"""What inputs are called without identifiers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.core import Failure, Result, Skipped
from cxrcad.imaging.remote import path_of
from cxrcad.inference.identifiers import UNNOTED, UNSAID, Names
from cxrcad.inference.inputs import Inputs

UID = "1.2.840.113619.2.5.1762583153"


def inputs(*paths: str, failed: tuple[str, ...] = ()) -> Inputs:
    return Inputs(tuple(map(Path, paths)), {}, (), (), tuple(Failure(path, f"{path}: cut") for path in failed))


def test_why_a_file_failed_is_not_said() -> None:
    names = Names(inputs("doe/john.dcm"), identifiers=False)
    for kind, why in ((Failure, "error"), (Skipped, "reason")):
        written = names.written(kind("doe/john.dcm", "doe/john.dcm: Rows is 'Doe', but one number is needed"))
        assert written.path == "input-1"
        assert getattr(written, why) == f"input-1: {UNSAID}"


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


def test_a_file_whose_path_is_temporary_is_called_by_its_lasting_name_in_all_that_is_told() -> None:
    names = Names(inputs("/tmp/x/1.dcm", "b.dcm"), lasting={"/tmp/x/1.dcm": UID})
    found = Result("/tmp/x/1.dcm", "a" * 64, 64, 64, None, None, ())
    assert names.written(found) == replace(found, path=UID)
    assert names.files == {UID: "/tmp/x/1.dcm"}
    assert names.written(Failure("/tmp/x/1.dcm", "/tmp/x/1.dcm: cut short")) == Failure(UID, f"{UID}: cut short")
    assert names.written(Skipped("/tmp/x/1.dcm", "/tmp/x/1.dcm: a hand")) == Skipped(UID, f"{UID}: a hand")
    assert names.of("/tmp/x/1.dcm") == UID
    assert names.told("/tmp/x/1.dcm", "no object: /tmp/x/1.dcm: no UID") == f"no object: {UID}: no UID"
    assert names.of("b.dcm") == names.told("b.dcm", "b.dcm") == "b.dcm"


def test_a_file_is_called_by_its_content_and_what_cannot_be_read_by_its_number_in_all_parts(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"nothing")
    (tmp_path / "folder").mkdir()
    some = inputs("none.dcm", str(tmp_path / "b.txt"), failed=(str(tmp_path / "folder"),))
    names = Names(some, identifiers=False)
    digest = hashlib.sha256(b"nothing").hexdigest()
    assert names.of(str(tmp_path / "folder")) == "input-3"
    assert names.of(str(tmp_path / "b.txt")) == digest
    assert names.written(Skipped("none.dcm", "none.dcm: empty, 0 bytes")) == Skipped("input-1", f"input-1: {UNSAID}")
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
    assert failed == Failure("input-1", f"input-1: {UNSAID}")
