"""A line for each input as it is done: kept whatever ends the work, gone on with, bound to model and settings."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.core import Box, Failure, Finding, ModelIdentity, Result, Skipped, UsageError, WriteError
from cxrcad.interchange import boxes
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.journal import Journal

IDENTITY = ModelIdentity("m", "a" * 64, 0.5, "CPU")
FIND = {"method": "peaks", "min_score": 0.5}


def result(name: str, *scores: float) -> Result:
    found = tuple(
        Finding("nodule", score, Box(1, 2, 5, 7), (3.0, 4.5), 20.0, Box(0.5, 1, 2.5, 3.5), 5.0, 2.5, None)
        for score in scores
    )
    return Result(name, (name[0] * 64)[:64], 64, 48, (0.5, 0.5), "header", found, ("a note",), {"read": 0.125})


A, B, C = result("a.png", 0.75, 0.5), result("b\udcff.png"), result("c.png", 0.625)


def journal(path: Path | None, resume: Path | None = None, **changes: object) -> Journal:
    return Journal(path, replace(IDENTITY, **changes), FIND, resume=resume)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "boxes.json.jsonl"


@pytest.mark.parametrize("kept", [True, False])
def test_results_come_back_in_any_order(place: Path, kept: bool) -> None:
    with journal(place if kept else None) as written:
        for outcome in (A, Failure("f", "f: cut"), B, Skipped("s", "s: text"), C):
            written.add(outcome)
        order = [C.path, "none.png", A.path, B.path]
        read = list(written.results(order))
        assert [boxes.image_document(one) for one in read] == [boxes.image_document(one) for one in (C, A, B)]
        assert (len(written), written.findings) == (3, 3)
        assert (written.failures, written.skipped) == ([Failure("f", "f: cut")], [Skipped("s", "s: text")])
        written.add(result("d.png"))
        assert len(list(written.results([*order, "d.png"]))) == 4


def test_the_document_equals_that_of_results_in_memory(place: Path) -> None:
    with journal(place) as written:
        for one in (A, B, C):
            written.add(one)
        text = "".join(boxes.write(Found(IDENTITY, written.results([A.path, C.path]), find=FIND)))
    assert text == boxes.to_text(boxes.to_document(Found(IDENTITY, (A, C), find=FIND)))
    assert json.loads("".join(boxes.write(Found(IDENTITY, (), complete=False))))["complete"] is False
    assert "complete" not in json.loads(text)


def test_a_line_that_was_cut_off_is_not_there_and_the_next_one_is_whole(place: Path) -> None:
    with journal(place) as written:
        written.add(A)
        written.add(C)
    whole = place.read_bytes()
    for cut in (1, 40):
        place.write_bytes(whole[:-cut])
        with journal(place, resume=place) as again:
            assert (len(again), again.sha256_of(A.path), again.sha256_of(C.path)) == (1, A.sha256, None)
            again.add(B)
            assert [one.path for one in again.results([B.path, A.path])] == [B.path, A.path]


def test_what_failed_is_not_gone_on_with_and_the_last_result_counts(place: Path) -> None:
    with journal(place) as written:
        written.add(Failure("f", "f: cut"))
        written.add(result("a.png"))
        written.add(A)
    with journal(place, resume=place) as again:
        assert (again.failures, again.findings) == ([], 2)
        again.keep_only([C.path])
        assert len(again) == 0


def test_a_damaged_line_is_passed_over(place: Path) -> None:
    with journal(place) as written:
        written.add(A)
        written.add(C)
    lines = place.read_text().splitlines()
    place.write_text("\n".join([lines[0], lines[1][:50], "[1]", '{"image": {"path": 3}}', lines[2], ""]))
    with journal(place, resume=place) as again:
        assert [one.path for one in again.results([A.path, C.path])] == [C.path]


@pytest.mark.parametrize(
    ("changes", "find", "words"),
    [
        ({"sha256": "b" * 64}, FIND, "with sha256 'aaaa"),
        ({"threshold": 0.4}, FIND, r"with threshold 0\.5, and now it is threshold 0\.4; give the model and settings"),
        ({}, {**FIND, "min_score": 0.1}, r"with min_score 0\.5, and now it is min_score 0\.1"),
        ({}, {**FIND, "calibrated": True}, "with calibrated absent, and now it is calibrated true"),
    ],
)
def test_another_model_or_other_settings_are_refused(place: Path, changes: dict, find: dict, words: str) -> None:
    document = place.with_name("boxes.json")
    with journal(place) as written:
        written.add(A)
        document.write_text("".join(boxes.write(Found(IDENTITY, written.results([A.path]), find=FIND))))
    for resume in (place, document):
        if resume == document:
            place.unlink()
        with pytest.raises(UsageError, match=rf"--resume: {resume} was made {words}"):
            Journal(place, replace(IDENTITY, **changes), find, resume=resume)
        assert place.exists() is (resume == place)
        with journal(place, resume, provider="CUDA") as again:
            assert again.sha256_of(A.path) == A.sha256


def test_without_resume_what_was_there_is_put_aside(place: Path) -> None:
    with journal(place) as written:
        written.add(A)
    before = place.read_bytes()
    with journal(place) as anew:
        assert anew.put_aside == place.with_name("boxes.json.jsonl.before")
        assert anew.put_aside.read_bytes() == before
        assert len(anew) == 0
        anew.remove()
    assert not place.exists()
    with journal(place) as third:
        assert third.put_aside is None


def _hold(place: Path, ready: object, go: object) -> None:
    with journal(place) as written:
        written.add(A)
        ready.set()  # type: ignore[attr-defined]
        go.wait(60)  # type: ignore[attr-defined]


def test_two_processes_do_not_write_one_journal(place: Path) -> None:
    pytest.importorskip("fcntl")
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(place, ready, go))
    other.start()
    try:
        assert ready.wait(60)
        for resume in (None, place):
            with pytest.raises(UsageError, match=r"jsonl: another cxrcad detect writes it; wait for its end, or name"):
                journal(place, resume=resume)
    finally:
        go.set()
        other.join()
    with journal(place, resume=place) as again:
        assert len(again) == 1


def test_a_full_disk_is_told_with_what_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal(place) as written:
        written.add(A)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("cxrcad.interchange.journal.os.fsync", full)
        monkeypatch.setattr("cxrcad.interchange.journal.SYNC_SECONDS", 0)
        with pytest.raises(
            WriteError, match=r"jsonl: cannot be written \(No space left on device\); .*it holds 1 image, "
        ):
            written.add(C)
