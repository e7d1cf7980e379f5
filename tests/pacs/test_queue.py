"""The queue on disk: its states, what comes twice, what a kill leaves, one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxrcad.core import DataError, UsageError, WriteError
from cxrcad.pacs.queue import DETECTED, FAILED, RECEIVED, SENT, SKIPPED, STATES, Queue, listing, retry

ROOT = Path(__file__).resolve().parents[2]


def add(queue: Queue, name: str = "1.2.3", content: bytes = b"pixels", sender: str = "MODALITY") -> str:
    """Take an image in as a listener does: its file becomes the queue's."""
    file = queue.incoming / f"{name}.{threading.get_ident()}"
    file.write_bytes(content)
    said = queue.add(name, hashlib.sha256(content).hexdigest(), file, sender, move=True)
    assert not file.exists()
    return said


def detect(queue: Queue, findings: int = 2) -> bool:
    entry = queue.next(RECEIVED)
    assert queue.begin(entry)
    queue.results_of(entry).mkdir()
    (queue.results_of(entry) / "sr.dcm").write_bytes(b"report")
    return queue.detected(queue.next(RECEIVED), findings)


def files(queue: Queue) -> list[str]:
    return sorted(path.name for path in queue.folder.rglob("*.dcm"))


@pytest.fixture
def queue(tmp_path):
    with Queue(tmp_path / "queue", "model") as queue:
        yield queue


def test_an_image_goes_from_received_to_sent_and_leaves_no_file(queue):
    assert add(queue) == ""
    entry = queue.next(RECEIVED)
    assert (entry.name, entry.sender, entry.file.read_bytes(), entry.findings) == ("1.2.3", "MODALITY", b"pixels", None)
    assert detect(queue)
    assert queue.next(RECEIVED) is None
    entry = queue.next(DETECTED)
    assert (entry.findings, entry.setup, entry.tries) == (2, "model", 0)
    assert len(files(queue)) == 2
    queue.sent(entry)
    assert files(queue) == []
    assert queue.counts() == {RECEIVED: 0, DETECTED: 0, SENT: 1, SKIPPED: 0, FAILED: 0}


@pytest.mark.parametrize("state", [RECEIVED, DETECTED, SENT, SKIPPED])
def test_the_same_image_again_does_not_double(queue, state):
    add(queue)
    if state in (DETECTED, SENT):
        detect(queue)
    if state == SENT:
        queue.sent(queue.next(DETECTED))
    if state == SKIPPED:
        queue.skipped(queue.next(RECEIVED), "a lateral view")
    before = files(queue)
    assert add(queue, sender="OTHER") == f"1.2.3: came again from OTHER, is {state}"
    assert files(queue) == before
    assert queue.counts() == {**dict.fromkeys(STATES, 0), state: 1}


@pytest.mark.parametrize("state", [RECEIVED, DETECTED, SENT, FAILED])
def test_other_content_under_one_uid_takes_its_place_and_is_said(queue, state):
    add(queue)
    entry = queue.next(RECEIVED)
    if state in (DETECTED, SENT):
        detect(queue)
    if state == SENT:
        queue.sent(queue.next(DETECTED))
    if state == FAILED:
        queue.failed(entry, "damaged")
    assert add(queue, content=b"other") == (
        "1.2.3: came again with other content from MODALITY; it is detected in again"
    )
    assert queue.counts() == {**dict.fromkeys(STATES, 0), RECEIVED: 1}
    assert queue.next(RECEIVED).file.read_bytes() == b"other"
    assert len(files(queue)) == 1


def test_results_of_content_that_was_replaced_meanwhile_do_not_count(queue):
    add(queue)
    entry = queue.next(RECEIVED)
    queue.begin(entry)
    add(queue, content=b"other")
    queue.results_of(entry).mkdir()
    assert not queue.detected(entry, 1)
    queue.failed(entry, "no such file")
    assert queue.next(RECEIVED).file.read_bytes() == b"other"


def test_what_failed_or_was_done_by_another_model_is_done_again_when_it_comes_again(queue):
    add(queue)
    queue.failed(queue.next(RECEIVED), "damaged")
    assert add(queue).endswith("came again from MODALITY; it is detected in again")
    detect(queue)
    queue.sent(queue.next(DETECTED))
    queue.setup = "another model"
    assert add(queue).endswith("it is detected in again")
    assert queue.next(RECEIVED).file.read_bytes() == b"pixels"


def test_a_file_of_a_watched_folder_stays_there(queue, tmp_path):
    scan = tmp_path / "scan.png"
    scan.write_bytes(b"png")
    assert queue.add(str(scan), "a" * 64, scan, "folder") == ""
    detect(queue)
    queue.sent(queue.next(DETECTED))
    assert scan.read_bytes() == b"png"
    assert not queue.is_seen(scan)
    queue.see(scan, (1, 2, 3))
    assert not queue.is_seen(scan)
    from cxrcad.files import stamp

    queue.see(scan, stamp(scan))
    assert queue.is_seen(scan)


def test_a_step_that_does_not_go_waits_twice_as_long_each_time_then_is_failed_with_the_sentence(queue):
    add(queue)
    detect(queue)
    waits = []
    for _ in range(3):
        entry = queue._entry("SELECT * FROM entries")
        waits.append(queue.later(entry, "PACS: is down", 10, 4))
    assert waits == [10, 20, 40]
    assert queue.next(DETECTED) is None  # not yet
    assert queue.later(queue._entry("SELECT * FROM entries"), "PACS: is down", 10, 4) is None
    counts, (failed,), waiting = listing(queue.folder)
    assert waiting == ()
    assert counts[FAILED] == 1
    assert failed.said == "tried 4 times, PACS: is down"
    assert retry(queue.folder) == 1
    assert queue.next(DETECTED).tries == 0
    assert (queue.results_of(failed) / "sr.dcm").is_file()


def test_what_waits_for_its_next_try_is_told_and_tried_at_once_when_that_is_asked_for(queue):
    add(queue)
    assert listing(queue.folder)[2] == ()
    detect(queue)
    queue.later(queue.next(DETECTED), "PACS: is down", 10, 4)
    add(queue, "1.2.4", b"good")
    queue.later(queue.next(RECEIVED), "the disk is full", 60, 9)
    assert [one.said for one in listing(queue.folder)[2]] == ["PACS: is down", "the disk is full"]
    assert (queue.next(DETECTED), queue.next(RECEIVED)) == (None, None)
    assert retry(queue.folder) == 2
    assert listing(queue.folder)[2] == ()
    assert (queue.next(DETECTED).name, queue.next(RECEIVED).name) == ("1.2.3", "1.2.4")


def test_what_failed_before_detection_is_detected_in_again(queue):
    add(queue)
    queue.failed(queue.next(RECEIVED), "out of memory")
    assert retry(queue.folder) == 1
    assert queue.next(RECEIVED).file.is_file()


def test_a_detection_that_ended_by_no_fault_of_the_image_does_not_count(queue):
    add(queue)
    entry = queue.next(RECEIVED)
    assert queue.begin(entry)
    assert queue.next(RECEIVED).tries == 1
    assert queue.end(entry)
    assert queue.next(RECEIVED).tries == 0


def test_a_clock_that_is_set_back_makes_no_image_wait(queue, monkeypatch):
    add(queue)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 365 * 86400)
    queue.later(queue.next(RECEIVED), "PACS: is down", 3600, 9)
    assert queue.next(RECEIVED) is None
    monkeypatch.setattr(time, "time", lambda: now)
    assert queue.next(RECEIVED).tries == 1


def test_an_image_whose_file_was_renamed_is_found_under_its_new_name(queue, tmp_path):
    for name in ("scan.dcm", "renamed.dcm"):
        (tmp_path / name).write_bytes(b"pixels")
        queue.add("1.2.3", "a" * 64, tmp_path / name, "folder")
    assert queue.next(RECEIVED).file == tmp_path / "scan.dcm"
    (tmp_path / "scan.dcm").unlink()
    queue.add("1.2.3", "a" * 64, tmp_path / "renamed.dcm", "folder")
    assert queue.next(RECEIVED).file == tmp_path / "renamed.dcm"


def test_what_is_detected_in_again_has_no_findings_until_then(queue):
    add(queue)
    detect(queue)
    assert queue.again(queue.next(DETECTED))
    entry = queue.next(RECEIVED)
    assert (entry.findings, entry.tries) == (None, 0)
    queue.failed(entry, "damaged")
    retry(queue.folder)
    assert queue.next(RECEIVED) is not None


def test_images_and_results_are_for_no_other_user_s_eyes(queue):
    for part in ("images", "results", "incoming"):
        assert (queue.folder / part).stat().st_mode & 0o777 == 0o700


def test_a_queue_is_gone_on_with_from_another_folder(queue, tmp_path, monkeypatch):
    add(queue)
    queue.close()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Queue(Path("../queue")) as again:
        assert again.next(RECEIVED).file.read_bytes() == b"pixels"


HOLD = """
import sys
from pathlib import Path
from cxrcad.pacs.queue import Queue
queue = Queue(Path(sys.argv[1]))
for line in sys.stdin:
    name = line.strip()
    file = queue.incoming / name
    file.write_bytes(name.encode() * 1000)
    queue.add(name, name * 4, file, "CHILD", move=True)
    print(name, flush=True)
"""


@pytest.fixture
def child(tmp_path):
    """A process that works on the queue: it takes in an image for each line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "queue")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write("1\n")
    process.stdin.flush()
    assert process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_which_holds_it_but_may_look(child, tmp_path):
    with pytest.raises(UsageError, match=rf"queue: process {child.pid} on .*, since .* works on it; end that, or name"):
        Queue(tmp_path / "queue")
    assert listing(tmp_path / "queue")[0][RECEIVED] == 1


def test_a_kill_in_the_middle_loses_nothing_that_was_acknowledged_and_leaves_no_half_file(child, tmp_path):
    names = [f"1.{number}" for number in range(2, 500)]
    writer = threading.Thread(target=lambda: feed(child, names))
    writer.start()
    acknowledged = {"1", *(child.stdout.readline().strip() for _ in range(40))}
    os.kill(child.pid, signal.SIGKILL)
    acknowledged |= {line.strip() for line in child.stdout.read().splitlines()}
    writer.join()
    assert len(acknowledged) < 499
    with Queue(tmp_path / "queue") as queue:
        held = {}
        while (entry := queue.next(RECEIVED)) is not None:
            held[entry.name] = entry.file.read_bytes()
            queue.skipped(entry, "looked at")
        assert acknowledged <= set(held)
        assert len(held) <= len(acknowledged) + 1  # one row may be written whose acknowledgement was not
        assert all(content == name.encode() * 1000 for name, content in held.items())
        assert files(queue) == []
        assert list(queue.incoming.iterdir()) == []


def feed(child, names):
    with contextlib.suppress(OSError):
        child.stdin.write("".join(f"{name}\n" for name in names))
        child.stdin.flush()


def test_files_that_no_row_knows_are_removed_at_the_start(queue):
    add(queue)
    detect(queue)
    for part in ("images", "incoming"):
        (queue.folder / part / "left.dcm").write_bytes(b"half")
    (queue.folder / "results" / "9-abc").mkdir()
    queue.close()
    with Queue(queue.folder) as again:
        assert len(files(again)) == 2
        assert [path.name for path in (again.folder / "results").iterdir()] == [
            again.results_of(again.next(DETECTED)).name
        ]
        assert list(again.incoming.iterdir()) == []


def test_a_look_into_a_queue_writes_nothing(queue):
    add(queue)
    queue.close()
    before = (queue.folder / "queue.sqlite").read_bytes()
    assert listing(queue.folder)[0][RECEIVED] == 1
    assert (queue.folder / "queue.sqlite").read_bytes() == before


def test_a_damaged_queue_a_later_one_and_none_are_sentences(tmp_path):
    folder = tmp_path / "queue"
    with pytest.raises(UsageError, match=r"holds no queue; name the folder that `listen` or `watch` works with"):
        listing(folder)
    Queue(folder).close()
    with contextlib.closing(sqlite3.connect(folder / "queue.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match=r"queue.sqlite: was made by a later cxrcad"):
        Queue(folder)
    (folder / "queue.sqlite").write_bytes(b"nothing of the kind" * 1000)
    with pytest.raises(DataError, match=r"queue.sqlite: is no queue or damaged"):
        Queue(folder)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"--queue .*file.*: .*; name a folder on a disk of this machine"):
        Queue(tmp_path / "file" / "queue")


def test_a_closed_queue_takes_nothing(queue):
    queue.close()
    with pytest.raises(WriteError, match="is closed"):
        queue.counts()


def test_threads_take_in_at_once(queue):
    def send(part):
        for number in range(20):
            add(queue, f"1.{part}.{number}", f"{part}/{number}".encode())

    threads = [threading.Thread(target=send, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.counts()[RECEIVED] == 80
    assert len(files(queue)) == 80
