"""One training at a time in a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cxrcad.core import TrainingError, WriteError
from cxrcad.training.locks import check_free, locked

ROOT = Path(__file__).resolve().parents[2]
HOLD = "import sys, time\nfrom pathlib import Path\nfrom cxrcad.training.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`/fold1."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "fold1")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()


def test_a_folder_that_another_process_trains_in_is_refused_at_once_and_names_it(holder, tmp_path):
    words = rf"fold1: is being trained by process {holder.pid} on .*, since .*; wait for it, end it, or name another"
    with pytest.raises(TrainingError, match=words), locked(tmp_path / "fold1"):
        pass
    with pytest.raises(TrainingError, match=words):
        check_free(tmp_path / "fold1")
    with locked(tmp_path / "fold2"):  # another fold trains beside it
        pass


def test_the_lock_of_a_killed_process_counts_for_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "fold1" / ".lock").is_file()
    check_free(tmp_path / "fold1")
    with locked(tmp_path / "fold1"):
        pass


def test_nothing_is_left_behind(tmp_path):
    check_free(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "new" / "fold1"):
        assert (tmp_path / "new" / "fold1" / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list((tmp_path / "new" / "fold1").iterdir()) == []


def test_two_threads_of_one_process_are_kept_apart_and_one_may_wait(tmp_path):
    order = []

    def second():
        with locked(tmp_path, wait=True):
            order.append("second")

    with locked(tmp_path):
        with pytest.raises(TrainingError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]


FORK = "import os\n" + HOLD.replace("    print(", "    if not os.fork(): print(os.getpid(), ")


def test_a_process_that_was_forked_off_does_not_keep_the_lock(tmp_path):
    command = [sys.executable, "-c", FORK, str(tmp_path / "fold1")]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline().split()[0])
    try:
        with pytest.raises(TrainingError, match=f"by process {parent.pid} on"):
            check_free(tmp_path / "fold1")
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # is still there
        check_free(tmp_path / "fold1")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file: cannot be written"), locked(tmp_path / "file"):
        pass
