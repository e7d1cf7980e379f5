"""`cxrcad watch`: a file is taken once, when it is whole, and its results go to the folder and the peer."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal

import pytest

from cxrcad.files import _host
from cxrcad.pacs.queue import RECEIVED, Queue, listing
from cxrcad.pacs.watch import Watch
from tests.pacs.conftest import radiograph, until

QUICK = ("--poll-seconds", 0.1, "--settle-seconds", 0.3, "--retry-seconds", 0.05)


class Notes(list):
    def note(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "queue") as queue:
        yield queue


def dicom(number: int) -> bytes:
    buffer = io.BytesIO()
    radiograph(number).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def taken(queue: Queue) -> list[str]:
    """The names of what is received, in order, taken out."""
    names = []
    while (entry := queue.next(RECEIVED)) is not None:
        names.append(entry.name)
        queue.skipped(entry, "looked at")
    return names


def test_a_file_is_taken_when_it_stopped_growing(folder, queue):
    watch = Watch(folder, queue, 0.0, Notes())
    data, path = dicom(1), folder / "a.dcm"
    path.write_bytes(data[:3000])
    assert watch.look() == 1
    path.write_bytes(data[:6000])
    assert watch.look() == 1
    assert taken(queue) == []
    path.write_bytes(data)
    assert watch.look() == 1
    assert watch.look() == 0
    assert taken(queue) == [radiograph(1).SOPInstanceUID]


def test_what_is_no_file_of_an_image_or_is_being_written_is_left(folder, queue, disc_data):
    notes = Notes()
    watch = Watch(folder, queue, 0.0, notes)
    for name in (".hidden.dcm", "a.dcm.part", "b.TMP"):
        (folder / name).write_bytes(dicom(1))
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.dcm").write_bytes(b"")
    os.symlink(folder / "nowhere", folder / "link.dcm")
    (folder / "deep").mkdir()
    shutil.copy(disc_data / "images" / "JPCLN001.png", folder / "deep" / "scan.png")
    for _ in range(3):
        watch.look()
    assert [name for name in taken(queue) if not name.endswith("empty.dcm")] == [str(folder / "deep" / "scan.png")]
    assert any("link.dcm: cannot be read" in note for note in notes)


def test_one_instance_under_two_names_comes_once_and_changed_content_again(folder, queue):
    notes = Notes()
    watch = Watch(folder, queue, 0.0, notes)
    (folder / "a.dcm").write_bytes(dicom(1))
    (folder / "b.dcm").write_bytes(dicom(1))
    (folder / "c.dcm.gz").write_bytes(gzip.compress(dicom(2)))
    for _ in range(2):
        watch.look()
    assert queue.counts()[RECEIVED] == 2
    assert any("came again" in note for note in notes)
    (folder / "a.dcm").write_bytes(dicom(1) + b"\0" * 100)
    for _ in range(2):
        watch.look()
    assert any("came again with other content" in note for note in notes)


def test_a_restart_reads_no_file_again(folder, queue, monkeypatch):
    (folder / "a.dcm").write_bytes(dicom(1))
    watch = Watch(folder, queue, 0.0, Notes())
    for _ in range(2):
        watch.look()
    again = Watch(folder, queue, 0.0, Notes())
    monkeypatch.setattr("cxrcad.pacs.watch._name_of", lambda path: pytest.fail(f"read {path}"))
    assert again.look() == 0
    assert again.look() == 0


def test_a_name_that_is_no_utf_8_a_uid_that_is_none_and_a_folder_that_is_gone_are_told(folder, queue):
    notes = Notes()
    watch = Watch(folder, queue, 0.0, notes)
    try:
        (folder / os.fsdecode(b"scan\xff.dcm")).write_bytes(dicom(1))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    odd = radiograph(2)
    odd.SOPInstanceUID = odd.file_meta.MediaStorageSOPInstanceUID = "../../elsewhere"
    odd.save_as(folder / "odd.dcm", enforce_file_format=True)
    for _ in range(3):
        watch.look()
    assert taken(queue) == [str(folder / "odd.dcm")]
    assert [note for note in notes if "its name is no UTF-8, which the queue needs; rename it" in note] == notes[:1]
    shutil.rmtree(folder)
    for _ in range(2):
        assert watch.look() == 0
    assert [note for note in notes if note.startswith(f"{folder}: cannot be read (No such file")] == notes[-1:]


def test_a_file_that_is_renamed_before_its_detection_is_found(folder, queue):
    (folder / "a.dcm").write_bytes(dicom(1))
    watch = Watch(folder, queue, 0.0, Notes())
    for _ in range(2):
        watch.look()
    (folder / "a.dcm").rename(folder / "b.dcm")
    for _ in range(2):
        watch.look()
    assert queue.next(RECEIVED).file == folder / "b.dcm"


def test_a_queue_that_cannot_be_written_for_a_while_does_not_end_the_watch(folder, tmp_path, monkeypatch):
    from contextlib import contextmanager

    from cxrcad.commands import watch as command
    from cxrcad.config import WatchConfig
    from cxrcad.core import WriteError

    waits: list[float] = []

    class Stopped:
        def is_set(self):
            return len(waits) == 2

        def wait(self, seconds):
            waits.append(seconds)

    class Service:
        queue, stopped, run = None, Stopped(), lambda self: None

    @contextmanager
    def serving(*settings):
        yield Service()

    answers = [1, WriteError("queue.sqlite: cannot be written (database or disk is full)")]

    def look(self):
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(command, "serving", serving)
    monkeypatch.setattr(command.Watch, "look", look)
    notes = Notes()
    command.watch(WatchConfig(), folder, notes)
    assert notes[1:] == ["queue.sqlite: cannot be written (database or disk is full); tried again in 60 s"]
    assert waits == [60.0, 2.0]


def test_results_go_to_the_folder_beside_those_of_before_a_kill(run, folder, tmp_path, disc_data):
    (folder / "sub").mkdir()
    for number in range(12):
        (folder / "sub" / f"scan{number}.dcm").write_bytes(dicom(number))
    shutil.copy(disc_data / "images" / "JPCLN001.png", folder / "scan.png")
    (folder / "bad.dcm").write_bytes(dicom(20)[:3000])
    first = run("watch", folder, *QUICK, "--out", "results")
    first.wait_for(": sent to results", 2)
    first.end(signal.SIGKILL)
    killed = tmp_path / "results" / "sub" / f".scan1.dcm.boxes.json@{_host()}@{first.process.pid}@x.tmp"
    killed.touch()
    again = run("watch", folder, *QUICK, "--out", "results")

    def counts():
        return {state: number for state, number in listing(tmp_path / "cxrcad-queue")[0].items() if number}

    until(lambda: counts() == {"sent": 13, "failed": 1}, "13 done, one failed")
    assert again.end() == 143
    names = {"scan.png.boxes.json", *(f"sub/scan{number}.dcm.boxes.json" for number in range(12))}
    results = tmp_path / "results"
    assert {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()} == names
    document = json.loads((results / "sub" / "scan3.dcm.boxes.json").read_text())
    assert document["images"][0]["path"] == "sub/scan3.dcm"
    assert len(document["images"][0]["findings"]) == 1
    assert "bad.dcm" in listing(tmp_path / "cxrcad-queue")[1][0].said


def test_reports_go_to_a_peer_but_of_a_png_there_is_none(run, archive, folder, tmp_path, disc_data):
    (folder / "scan.dcm").write_bytes(dicom(1))
    shutil.copy(disc_data / "images" / "JPCLN001.png", folder / "scan.png")
    watcher = run("watch", folder, *QUICK, "--send-to", archive.peer)
    watcher.wait_for(": sent to ")
    watcher.wait_for("failed: ")
    watcher.wait_for("scan.png: a file that is no DICOM names no patient, study or image")
    assert [one.Modality for one in archive.came] == ["SR"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none", "--out", "out"), "none: is no folder; name the folder that radiographs come into"),
        (("in", "--out", "in/out"), "--out in/out: lies in the watched folder; name one elsewhere"),
        (("in", "--out", "out", "--queue", "in"), "--queue in: lies in the watched folder"),
        (("in",), "results go nowhere"),
    ],
)
def test_folders_that_cannot_be_are_sentences(cxrcad, folder, toy, arguments, words):
    answer = cxrcad("watch", *arguments, "--model", toy)
    assert answer.code == 2
    assert words in answer.err
