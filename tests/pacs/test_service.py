"""The work on a queue, with a detection that is played: what fails, what is gone, what comes again meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cxrcad.config import ServiceConfig
from cxrcad.core import DataError, Failure, PeerError, Result, Skipped, WriteError
from cxrcad.pacs import service as module
from cxrcad.pacs.peers import Peer, read_objects
from cxrcad.pacs.queue import DETECTED, FAILED, RECEIVED, SENT, Queue, listing
from cxrcad.pacs.service import MOST_DETECTIONS, Service
from tests.pacs.conftest import radiograph, until
from tests.pacs.test_queue import add

PEER = Peer("PACS", "127.0.0.1", 104)


class Notes(list):
    def note(self, text: str) -> None:
        self.append(text)


class Played:
    """A detection that writes one object, after it called `first`."""

    def __init__(self) -> None:
        self.first = lambda file: None
        self.answer = lambda file: Result(str(file), "a" * 64, 64, 64, None, None, ())

    def outcome(self, file: Path):
        self.first(file)
        return self.answer(file), None

    def write(self, result: Result, examined: object, name: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "boxes.json").write_text("{}")
        radiograph(1).save_as(folder / "sr.dcm", enforce_file_format=True)


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "queue", "model") as queue:
        yield queue


@pytest.fixture
def came(monkeypatch):
    """The names of the files that came to the peer; what is in `came.faults` is raised first."""

    class Came(list):
        faults: list[Exception]

    came = Came()

    def store(peer, files, ae_title, seconds):
        if came.faults:
            raise came.faults.pop(0)
        read_objects(files)
        came.extend(file.name for file in files)

    came.faults = []
    monkeypatch.setattr(module, "store", store)
    return came


@pytest.fixture
def service(queue, came, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(module, "FULL_SECONDS", 0.01)
    return Service(queue, Played(), ServiceConfig(retry_seconds=0.01), PEER, Notes())


def run(service: Service, state: str = SENT) -> None:
    """Work until the one image is in this state."""
    service.start()
    until(lambda: service.queue.counts()[state] or service.stopped.is_set(), state)
    service.stop()
    assert not any(thread.is_alive() for thread in service._threads)


def to_detected(service: Service) -> None:
    """Do the first step alone."""
    service._detect(service.queue.next(RECEIVED))
    assert service.queue.counts()[DETECTED] == 1


def test_an_image_is_detected_in_and_its_object_is_sent(service, came):
    add(service.queue)
    run(service)
    assert came == ["sr.dcm"]
    assert service.progress == ["1.2.3: 0 findings", "1.2.3: sent to PACS@127.0.0.1:104"]


def test_results_of_other_settings_are_made_again_and_not_sent(service, came):
    add(service.queue)
    to_detected(service)
    service.queue.setup = "model and more objects"
    run(service)
    assert came == ["sr.dcm"]
    assert service.progress[1] == "1.2.3: its results are gone, or of other settings; all are made again"
    assert service.queue._entry("SELECT * FROM entries").setup == "model and more objects"


@pytest.mark.parametrize("damage", ["folder", "object"])
def test_results_that_are_gone_or_damaged_are_made_again(service, came, damage):
    import shutil

    add(service.queue)
    to_detected(service)
    folder = service.queue.results_of(service.queue.next(DETECTED))
    if damage == "folder":
        shutil.rmtree(folder)
    else:
        (folder / "sr.dcm").write_bytes(b"half")
    run(service)
    assert came == ["sr.dcm"]
    assert "; all are made again" in service.progress[1]


def test_a_peer_that_has_no_object_to_get_is_not_said_to_have_one(service, came, tmp_path):
    service.config = ServiceConfig(out=tmp_path / "out", retry_seconds=0.01)
    service.detection.write = lambda result, examined, name, folder: folder.mkdir() or "no DICOM object: a PNG"
    add(service.queue)
    run(service)
    assert service.progress[-1] == f"1.2.3: sent to {tmp_path / 'out'}"


def test_a_full_disk_is_waited_for_and_does_not_count_as_an_end_of_the_process(service, came):
    full = [WriteError("results: cannot be written (No space left on device)")] * (MOST_DETECTIONS + 2)

    def first(file):
        if full:
            raise full.pop()

    service.detection.first = first
    add(service.queue)
    run(service)
    assert came == ["sr.dcm"]
    assert service.progress.count("results: cannot be written (No space left on device); tried again in 0.01 s") == 7


def test_a_queue_that_cannot_be_written_for_a_while_does_not_end_the_work(service, came, monkeypatch):
    add(service.queue)
    begin, faults = service.queue.begin, [WriteError("queue.sqlite: cannot be written (database or disk is full)")]
    monkeypatch.setattr(service.queue, "begin", lambda entry: begin(entry) if not faults else throw(faults.pop()))
    run(service)
    assert came == ["sr.dcm"]


def throw(error: Exception) -> None:
    raise error


def test_an_error_that_nobody_expects_is_raised_where_the_service_runs(service):
    service.detection.first = lambda file: throw(DataError("queue.sqlite: damaged"))
    add(service.queue)
    service.start()
    with pytest.raises(DataError, match="damaged"):
        service.run()
    service.stop()


def test_an_image_at_which_the_process_ended_too_often_is_failed(service):
    add(service.queue)
    for _ in range(MOST_DETECTIONS):
        assert service.queue.begin(service.queue.next(RECEIVED))
    run(service, FAILED)
    sentence = "1.2.3: the process ended 5 times while it worked on this image"
    assert service.progress == [f"failed: {sentence}"]
    assert listing(service.queue.folder)[1][0].said == sentence


@pytest.mark.parametrize("outcome", ["result", "failure", "skipped", "unread"])
def test_what_becomes_of_content_that_was_replaced_meanwhile_is_not_told(service, came, outcome):
    def replaced(file):
        service.detection.first = lambda file: None
        add(service.queue, content=b"other")

    answers = {
        "result": service.detection.answer,
        "failure": lambda file: Failure(str(file), f"{file}: there is no such file"),
        "skipped": lambda file: Skipped(str(file), f"{file}: a lateral view"),
    }
    add(service.queue)
    entry = service.queue.next(RECEIVED)
    if outcome == "unread":
        add(service.queue, content=b"other")
    else:
        service.detection.answer, before = answers[outcome], service.detection.answer
        service.detection.first = replaced
    service._detect(entry)
    assert service.progress == []
    assert service.queue.counts()[RECEIVED] == 1
    service.detection.answer = before if outcome != "unread" else service.detection.answer
    run(service)
    assert came == ["sr.dcm"]


def test_a_peer_that_is_down_is_told_once_and_tried_again(service, came):
    came.faults += [PeerError("PACS: cannot be reached")] * 3
    add(service.queue)
    run(service)
    assert [note for note in service.progress if "cannot be reached" in note] == [
        "PACS: cannot be reached; 1.2.3 is sent again in 0.01 s, and then more rarely"
    ]
    assert came == ["sr.dcm"]


def test_a_stop_waits_once_for_the_images_at_hand(service, monkeypatch):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.1)
    go = threading.Event()
    service.detection.first = lambda file: go.wait(60)
    add(service.queue)
    service.start()
    until(lambda: service.queue.next(RECEIVED).tries == 1, "its beginning")
    service.stop()
    assert service.queue.counts()[RECEIVED] == 1
    go.set()
    for thread in service._threads:
        thread.join(60)
