"""What may happen to a batch that is left alone: killed, no room, no permission, files that change, a folder gone.

Whatever it is, what was done is kept, and after --resume the document is that of a run to which nothing happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.commands.detect import detect_to_file
from cxrcad.config import DetectConfig, build
from cxrcad.core import UsageError
from cxrcad.files import Silent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what the processes do")

COUNT = 16
COPIES = 40  # more than are done before a signal comes, on a busy machine too
SECONDS = 120
KILLS, KILLS_WITH_WORKERS, WORKERS_KILLED = 14, 2, 4


class Forks:
    """Detections, each in a fork of one process: begun, and awaited."""

    def __init__(self, toy: Path, *before: str) -> None:
        script = Path(__file__).with_name("forks.py")
        pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [*before, sys.executable, str(script)]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.settings = {"model": str(toy), "device": "cpu", "min_score": 0.0, "workers": 0, "threads": 1}

    def begin(self, paths, out, *, overlay=None, most_bytes=0, stops=(), **settings) -> int:
        """Begin a detection; its process, which has stopped where it is to stop once `stops` files are done."""
        job = {"out": str(out), "paths": list(map(str, paths)), "settings": {**self.settings, **settings}}
        job |= {"overlay": overlay and str(overlay), "most_bytes": most_bytes, "stops": stops}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        process = int(self.process.stdout.readline())
        assert not stops or waited_for(lambda: state_of(process) == "T")
        return process

    def end(self) -> str:
        """The sentence with which the detection that was begun ended; "" for one that was killed."""
        status, words = json.loads(self.process.stdout.readline())
        assert (status == 0) == bool(words)
        return words

    def run(self, *arguments, **more) -> str:
        """A whole detection."""
        self.begin(*arguments, **more)
        return self.end()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(SECONDS)


@pytest.fixture(scope="module")
def forks(toy):
    forks = Forks(toy)
    yield forks
    forks.close()


def write_scans(folder: Path) -> Path:
    """Radiographs, one that is damaged, and a text."""
    folder.mkdir()
    rows, cols = np.mgrid[:64, :64]
    for number in range(COUNT):
        image = 60 + rows + cols + 120 * ((rows - 30) ** 2 + (cols - 8 - 3 * number) ** 2 < 16)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"s{number:02d}.png")
    (folder / "cut.png").write_bytes((folder / "s00.png").read_bytes()[:-30])
    (folder / "report").write_text("nothing")
    return folder


@pytest.fixture
def scans(tmp_path):
    return write_scans(tmp_path / "scans")


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    """The radiographs, the document of a run that nothing disturbs, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    scans, out = write_scans(folder / "scans"), folder / "boxes.json"
    for _ in range(2):  # the first one waits until the process has loaded what it needs
        start = time.monotonic()
        assert f"{COUNT} images done" in forks.run([scans], out, overlay=folder / "drawn")
    return scans, read(out), time.monotonic() - start


def read(out: Path) -> dict:
    """The document without what differs from run to run, and the folder of the overlays."""
    document = json.loads(out.read_text())
    for image in document["images"]:
        del image["seconds"]
        if "overlay" in image:
            assert Path(image["overlay"]).is_file()
            image["overlay"] = Path(image["overlay"]).name
    return document


def images_in(journal: Path) -> int:
    return journal.read_bytes().count(b'{"image"') if journal.is_file() else 0


def children_of(process: int) -> list[int]:
    """The processes that a process has started, Linux's word for it."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def waited_for(what) -> bool:
    last = time.monotonic() + SECONDS
    while not what() and time.monotonic() < last:
        time.sleep(0.005)
    return bool(what())


def kill(process: int) -> bool:
    """SIGKILL for a process; whether there was one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def ignores_sigint(process: int) -> bool:
    """What a process that reads does first of all when it has started."""
    with contextlib.suppress(OSError):
        ignored = Path(f"/proc/{process}/status").read_text().split("SigIgn:")[1].split()[0]
        return bool(int(ignored, 16) & 1 << signal.SIGINT - 1)
    return False


def state_of(process: int) -> str:
    """Linux's letter for what a process does: T stopped, Z ended and not yet waited for; "" where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def is_running(process: int) -> bool:
    return state_of(process) not in ("", "Z", "X")


def go_on(process: int) -> None:
    os.kill(process, signal.SIGCONT)


def test_killed_at_random_moments(forks, undisturbed, tmp_path):
    scans, whole, seconds = undisturbed
    rng, done = random.Random(19), []
    for number in range(KILLS):
        out, journal = tmp_path / f"{number}.json", tmp_path / f"{number}.json.jsonl"
        process = forks.begin([scans], out, overlay=tmp_path / f"drawn{number}")
        time.sleep(rng.uniform(0, seconds))
        kill(process)
        forks.end()
        done.append(images_in(journal))
        forks.run([scans], out, overlay=tmp_path / f"drawn{number}", resume=True)
        assert read(out) == whole
        assert not journal.exists()
        assert not list(tmp_path.glob("**/.*"))
    assert any(0 < count < COUNT for count in done)


def test_processes_that_read_end_with_a_run_that_is_killed(forks, undisturbed, tmp_path):
    scans, whole, _ = undisturbed
    rng, out, overlay = random.Random(19), tmp_path / "boxes.json", tmp_path / "drawn"
    for _ in range(KILLS_WITH_WORKERS):
        process = forks.begin([scans], out, overlay=overlay, workers=2, resume=True)
        assert waited_for(lambda process=process: len(children_of(process)) == 2)
        time.sleep(rng.uniform(0, 1))
        readers = children_of(process)
        kill(process)
        forks.end()
        assert waited_for(lambda readers=readers: not any(map(is_running, readers)))
    forks.run([scans], out, overlay=overlay, resume=True)
    assert read(out) == whole


def test_a_process_that_reads_is_killed_at_random_moments(forks, undisturbed, tmp_path):
    """Between two kills the new reader has read an image: one that is killed twice in a row at its start ends the run.

    Of what the reader before has read, three images at most are still to be told.
    """
    scans, whole, _ = undisturbed
    rng, out, overlay = random.Random(19), tmp_path / "boxes.json", tmp_path / "drawn"
    process = forks.begin([scans], out, overlay=overlay, workers=1)
    journal, done = out.with_name("boxes.json.jsonl"), 0
    killed: list[int] = []
    while len(killed) < WORKERS_KILLED and is_running(process):
        for reader in set(filter(ignores_sigint, children_of(process))).difference(killed):
            if not killed or images_in(journal) > done + 3:
                time.sleep(rng.uniform(0, 0.05))
                done = images_in(journal)
                killed += [reader] * kill(reader)
        time.sleep(0.001)
    assert len(killed) > 1
    assert "images done" in forks.end()
    forks.run([scans], out, overlay=overlay, resume=True)
    assert read(out) == whole


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_reaches_the_run_and_not_the_processes_that_read(undisturbed, toy, tmp_path):
    scans, _, _ = undisturbed
    folder, out = tmp_path / "scans", tmp_path / "boxes.json"
    for number in range(COPIES):
        shutil.copytree(scans, folder / str(number))
    command = [sys.executable, "-m", "cxrcad", "detect", folder, "--model", toy, "--out", out, "--workers", 1]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert waited_for(lambda: images_in(tmp_path / "boxes.json.jsonl") > 2)
    readers = children_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    words = process.communicate()[1].splitlines()
    assert process.returncode == 130
    assert len(readers) == 1
    assert not any(map(is_running, readers))
    done = len(read(out)["images"]) + len(read(out)["failures"])
    assert (
        words[-1]
        == f"cxrcad: stopped; {out} holds the {done} of {COPIES * (COUNT + 1)} files that were done; --resume goes on"
    )
    assert not [line for line in words if "Traceback" in line or "process" in line]


def test_the_folder_of_the_output_is_removed_while_it_is_written(forks, undisturbed, tmp_path):
    scans, whole, _ = undisturbed
    out, overlay = tmp_path / "out" / "boxes.json", tmp_path / "out" / "drawn"
    journal = out.with_name("boxes.json.jsonl")
    process = forks.begin([scans], out, overlay=overlay, stops=(4, 7))
    shutil.rmtree(out.parent)
    go_on(process)
    assert waited_for(lambda: images_in(journal) > 4 and state_of(process) == "T")
    kill(process)
    forks.end()
    assert images_in(journal) == 6
    assert f"{COUNT} images done" in forks.run([scans], out, overlay=overlay, resume=True)
    assert read(out) == whole


def test_the_folder_of_the_output_becomes_another_thing(forks, undisturbed, tmp_path):
    scans, _, _ = undisturbed
    out = tmp_path / "out" / "boxes.json"
    process = forks.begin([scans], out, stops=(4,))
    shutil.rmtree(out.parent)
    out.parent.write_text("")
    go_on(process)
    lost = f"{out}.jsonl was removed too, and what was found is lost"
    words = f"WriteError: {out}: cannot be written (File exists); choose another place or make room; {lost}"
    assert forks.end() == words


def test_no_room_when_it_is_gone_on_with(forks, undisturbed, tmp_path):
    """The line of an image is cut off in its middle, and boxes.json has no room either."""
    scans, whole, _ = undisturbed
    out, journal = tmp_path / "boxes.json", tmp_path / "boxes.json.jsonl"
    kill(forks.begin([scans], out, stops=(4,)))
    forks.end()
    before = images_in(journal)
    for _ in range(2):
        room = journal.stat().st_size + 1000
        words = forks.run([scans], out, resume=True, most_bytes=room)
        assert words == (
            f"WriteError: {out}: cannot be written (File too large); choose another place or make room; {journal} "
            "holds what was found, and --resume goes on from it"
        )
        assert before < images_in(journal) < COUNT
        assert journal.stat().st_size <= room
        before = images_in(journal)
    forks.run([scans], out, overlay=tmp_path / "drawn", resume=True)
    assert read(out) == whole


def test_two_runs_on_one_output(forks, undisturbed, toy, tmp_path):
    scans, whole, _ = undisturbed
    out = tmp_path / "boxes.json"
    process = forks.begin([scans], out, overlay=tmp_path / "drawn", stops=(4,))
    words = "another cxrcad detect writes it; wait for its end, or name another --out"
    for resume in (False, True):
        config = build(DetectConfig, {**forks.settings, "resume": resume})
        with pytest.raises(UsageError, match=words):
            detect_to_file(config, [scans], out, None, Silent())
    go_on(process)
    assert f"{COUNT} images done" in forks.end()
    assert read(out) == whole


def test_files_that_are_cut_and_made_whole_while_they_are_read(forks, undisturbed, tmp_path):
    """Whatever moment it is, a file is read whole or is a failure in a sentence; --resume tries it again."""
    scans, whole, _ = undisturbed
    folder, out = tmp_path / "scans", tmp_path / "boxes.json"
    shutil.copytree(scans, folder)
    files = sorted(folder.glob("s*.png"))
    contents, rng = [file.read_bytes() for file in files], random.Random(19)
    process = forks.begin([folder], out)
    while is_running(process):
        for file, content in zip(files, contents, strict=True):
            with file.open("r+b") as target:
                target.truncate(rng.randrange(len(content)))
                target.write(content)
    assert "images done" in forks.end()
    assert not [one["error"] for one in read(out)["failures"] if "internal error" in one["error"]]
    forks.run([folder], out, overlay=tmp_path / "drawn", resume=True)
    assert json.dumps(read(out)) == json.dumps(whole).replace(str(scans), str(folder))


@pytest.fixture(scope="module")
def obedient(toy):
    """Detections that permissions are denied to, also where root runs the tests."""
    before = ()
    if os.geteuid() == 0:
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        if not shutil.which(before[0]) or subprocess.run([*before, "true"], check=False).returncode:
            pytest.skip("root cannot give up its power over permissions here")
    forks = Forks(toy, *before)
    yield forks
    forks.close()


def test_permission_is_denied(obedient, undisturbed, tmp_path):
    scans, whole, _ = undisturbed
    folder, places = tmp_path / "scans", tmp_path / "places"
    shutil.copytree(scans, folder)
    places.mkdir()
    out, journal = places / "boxes.json", places / "boxes.json.jsonl"
    (folder / "s03.png").chmod(0)
    process = obedient.begin([folder], out, stops=(4,))
    places.chmod(0o500)
    go_on(process)
    held = f"{journal} holds what was found, and --resume goes on from it"
    words = f"WriteError: {out}: cannot be written (Permission denied); choose another place or make room; {held}"
    assert obedient.end() == words
    words = f"WriteError: --out {out}: nothing can be written in {places}; name another place"
    assert obedient.run([folder], out, resume=True) == words
    places.chmod(0o700)
    journal.chmod(0o400)
    words = f"WriteError: {journal}: cannot be written (Permission denied); make room, or choose another place"
    assert obedient.run([folder], out, resume=True) == words
    journal.chmod(0o600)
    assert f"{COUNT - 1} images done" in obedient.run([folder], out, resume=True)
    (fault,) = [one["error"] for one in read(out)["failures"] if one["path"].endswith("s03.png")]
    assert fault == f"{folder / 's03.png'}: no permission to read it; ask its owner, or chmod it"
    (folder / "s03.png").chmod(0o600)
    obedient.run([folder], out, overlay=tmp_path / "drawn", resume=True)
    assert json.dumps(read(out)) == json.dumps(whole).replace(str(scans), str(folder))
