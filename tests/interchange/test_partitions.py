"""The folder of partitions: what is written is whole and single, what a kill or a fault left is done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrcad.core import Box, DataError, Failure, Finding, ModelIdentity, Result, Skipped, UsageError
from cxrcad.interchange import partitions
from cxrcad.interchange.boxes import Found, head_document
from cxrcad.interchange.partitions import MANIFEST, Partitions, read_partitions

IDENTITY = ModelIdentity("toy", "f" * 64, 0.5, "CPUExecutionProvider")


def head(**find):
    return head_document(Found(IDENTITY, (), find={"min_score": 0.5, **find}))


def result(path: str, sha256: str = "a" * 64, score: float = 0.9) -> Result:
    finding = Finding("nodule", score, Box(1.0, 2.0, 3.0, 4.0), (2.0, 3.0), float("nan"))
    return Result(path, sha256, 8, 8, None, None, (finding,), seconds={"read": 0.1})


def write(folder: Path, *outcomes, resume: bool = False, finish: bool = True) -> None:
    with Partitions(folder, head(), resume=resume) as kept:
        for outcome in outcomes:
            kept.add(outcome)
        if finish:
            kept.finish()


def rows(folder: Path) -> list[dict]:
    """All rows, as any reader of JSON lines finds them."""
    return [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.open()]


@pytest.fixture(autouse=True)
def of_two_rows(monkeypatch):
    monkeypatch.setattr(partitions, "ROWS", 2)


def test_a_row_has_status_sha256_and_findings_and_is_read_back(tmp_path):
    outcomes = (result("a.png"), Failure("b.png", "b.png: cut"), Skipped("c.txt", "c.txt: a text"))
    write(tmp_path, *outcomes)
    assert [(row["status"], row["path"], row["sha256"]) for row in rows(tmp_path)] == [
        ("done", "a.png", "a" * 64),
        ("failed", "b.png", None),
        ("skipped", "c.txt", None),
    ]
    assert rows(tmp_path)[0]["findings"][0]["score"] == 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "part-000000.jsonl", "part-000001.jsonl"]
    read = read_partitions(tmp_path)
    assert [one.path for one in read.results] == ["a.png"]
    assert (read.failures, read.skipped) == (outcomes[1:2], outcomes[2:])
    assert read.identity == IDENTITY
    assert "complete" not in read.head


def test_what_a_kill_left_is_what_was_whole_and_resume_goes_on_from_it(tmp_path):
    with Partitions(tmp_path, head(), resume=False) as kept:
        for name in "abc":
            kept.add(result(name))
    (tmp_path / "part-000001.jsonl").write_text("written, but not in the manifest\n")
    with (tmp_path / MANIFEST).open("a") as file:
        file.write('{"partition": "part-000001.jsonl", "ro')
    assert read_partitions(tmp_path).head["complete"] is False
    with Partitions(tmp_path, head(), resume=True) as kept:
        assert [kept.sha256_of(name) for name in "abc"] == ["a" * 64, "a" * 64, None]
        kept.add(result("c"))
        kept.finish()
    assert [row["path"] for row in rows(tmp_path)] == ["a", "b", "c"]
    assert len(read_partitions(tmp_path).results) == 3


def test_a_later_row_takes_the_place_of_an_earlier_one(tmp_path):
    write(tmp_path, result("a"), Failure("b", "b: no server"), result("c"))
    with Partitions(tmp_path, head(), resume=True) as kept:
        assert kept.sha256_of("b") is None  # it is tried again
        kept.add(result("b"))
        kept.add(result("c", sha256="c" * 64))
        assert (kept.count("done"), kept.count("failed"), kept.findings) == (3, 0, 3)
        kept.finish()
    assert sorted((row["path"], row["status"]) for row in rows(tmp_path)) == [(name, "done") for name in "abc"]
    assert {one.path: one.sha256[0] for one in read_partitions(tmp_path).results} == {"a": "a", "b": "a", "c": "c"}


def test_rows_that_a_killed_run_had_doubled_are_single_after_the_next(tmp_path):
    write(tmp_path, Failure("a", "a: no server"), result("b"))
    write(tmp_path, result("a"), result("c"), resume=True, finish=False)
    assert [row["path"] for row in rows(tmp_path)].count("a") == 2
    assert not read_partitions(tmp_path).failures  # the last counts
    write(tmp_path, resume=True)
    assert sorted(row["path"] for row in rows(tmp_path)) == ["a", "b", "c"]


def test_a_partition_that_was_changed_is_refused_and_done_again(tmp_path):
    write(tmp_path, *map(result, "abcd"))
    changed = tmp_path / "part-000000.jsonl"
    changed.write_text(changed.read_text().replace("0.9", "0.8"))
    with pytest.raises(DataError, match=r"part-000000.jsonl: not as manifest.jsonl says"):
        read_partitions(tmp_path)
    with Partitions(tmp_path, head(), resume=True) as kept:
        assert [kept.sha256_of(name) is not None for name in "abcd"] == [False, False, True, True]
        assert len(kept.unreadable) == 1
        for name in "ab":
            kept.add(result(name))
        kept.finish()
    assert sorted(row["path"] for row in rows(tmp_path)) == list("abcd")
    assert len(read_partitions(tmp_path).results) == 4


def test_one_content_is_one_row_without_identifiers(tmp_path):
    write(tmp_path, result("a" * 64), result("a" * 64))
    assert len(rows(tmp_path)) == 1


def test_what_may_not_be_gone_on_with_is_refused(tmp_path):
    write(tmp_path, result("a"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"holds 1 row of a run before; --resume goes on"):
        Partitions(tmp_path, head(), resume=False)
    with pytest.raises(UsageError, match=r"was made with min_score 0.5, and now it is min_score 0.1"):
        Partitions(tmp_path, head(min_score=0.1), resume=True)
    with Partitions(tmp_path, head(), resume=True), pytest.raises(UsageError, match="another cxrcad detect writes it"):
        Partitions(tmp_path, head(), resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "words"),
    [("{}", "'schema' is missing"), ('{"schema": "x"}', "schema 'x'"), ("[]", "of another type"), ("{", "damaged")],
)
def test_another_manifest_is_no_manifest(tmp_path, line, words):
    (tmp_path / MANIFEST).write_text(line + "\n")
    with pytest.raises(DataError, match=words):
        read_partitions(tmp_path)


def test_a_partition_lies_in_its_folder(tmp_path):
    write(tmp_path, result("a"))
    with (tmp_path / MANIFEST).open("a") as file:
        file.write(json.dumps({"partition": "../part-000000.jsonl", "rows": 1, "sha256": ""}) + "\n")
    with pytest.raises(DataError, match="a partition's name is none"):
        read_partitions(tmp_path)


def test_a_folder_without_a_manifest_is_none(tmp_path):
    with pytest.raises(DataError, match=r"holds no manifest.jsonl"):
        read_partitions(tmp_path)
