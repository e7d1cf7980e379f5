"""Processes that read: the same results in the same order, and a file that ends or hangs one costs itself alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrcad.config import GridConfig
from cxrcad.core import Failure, ModelError, Radiograph, Result, UsageError, WorkerError
from cxrcad.inference import workers as module
from cxrcad.inference.batch import Detections, detect_files, detect_paths
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Inferred
from cxrcad.inference.model import Bundle
from cxrcad.inference.reading import Prepared, Reading
from cxrcad.inference.workers import Readers, Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no processes read on Windows")

READING = Reading(GridConfig(side=64), 16, force=False, pixels=False)

ODD = '''
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.inference.examining import Inferred

@dataclass
class Odd:
    reading: Any

    def read(self, path):
        number = len(list(path.parent.glob(path.name + ".try*")))
        path.with_name(f"{path.name}.try{number}").touch()
        if path.name == "kill.png" or (path.name == "once.png" and number == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "exit.png":
            os._exit(3)
        if path.name == "hang.png":
            time.sleep(600)
        if path.name == "interrupt.png":
            os.kill(os.getpid(), signal.SIGINT)
        if path.name == "whose.png":
            path.with_suffix(".pid").write_text(str(os.getpid()))
            print("nothing is printed")
            Path(os.environ["TMPDIR"], "left").touch()
        return self.reading.read(path)

class OddInferred(Inferred):
    """Maps of which each attempt to cut findings is told in a file; some end the process at it."""

    def result(self):
        with Path(self.given.source.path + ".cut").open("a") as file:
            print(os.getpid(), self.given.image.size, file=file)
        if os.environ["ODD_CALLER"] != str(os.getpid()):
            if "kill" in self.given.source.path:
                os.kill(os.getpid(), signal.SIGKILL)
            if "hang" in self.given.source.path:
                time.sleep(600)
            if "fault" in self.given.source.path:
                raise OddError("one", "two")
        return super().result()

class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(one)
'''


def write_png(path: Path, seed: int = 0) -> Path:
    rows, cols = np.mgrid[:96, :80]
    image = 40 + rows + cols // 2 + 90 * ((rows - 30) ** 2 + (cols - 12 - 7 * seed) ** 2 < 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)
    return path


def read(paths: list[Path], reading: Any, workers: Workers) -> list[tuple[Path, Any]]:
    with Readers(reading, workers) as readers:
        return [(path, answer.result()) for path, answer in readers.read(paths)]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A reading that ends, kills or hangs its process at files of certain names."""
    (tmp_path / "odd_reading.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ODD_CALLER", str(os.getpid()))
    import odd_reading  # type: ignore[import-not-found]

    yield odd_reading.Odd(READING)
    del sys.modules["odd_reading"]


def test_what_is_found_is_what_is_found_without(tmp_path: Path, tiny: Bundle) -> None:
    from pydicom.data import get_testdata_file

    folder = tmp_path / "scans"
    for number in range(6):
        write_png(folder / f"s{number}.png", number)
    (folder / "cut.png").write_bytes((folder / "s0.png").read_bytes()[:-40])
    (folder / "ct").write_bytes(Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes())
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "s3.png", "inner/a.png")
        archive.write(folder / "cut.png", "inner/cut.png")
    paths, detector = [folder, tmp_path / "none.dcm", folder / "ct"], Detector.open(tiny, "cpu", threads=1)

    def found(workers: Workers | None, force: bool) -> tuple[Detections, list[Radiograph], list[str]]:
        pixels: list[Radiograph] = []
        seen: list[str] = []
        done = detect_paths(
            paths, detector, min_score=0.0, force=force, workers=workers,
            on_result=lambda _, radiograph: pixels.append(radiograph), on_done=lambda one: seen.append(one.path),
        )  # fmt: skip
        untimed = tuple(replace(one, seconds=dict.fromkeys(one.seconds, 0.0)) for one in done.results)
        return replace(done, results=untimed), pixels, seen

    for force in (False, True):
        (one, own, order), (other, theirs, again) = found(None, force), found(Workers(1 if force else 2, 60), force)
        assert order == again
        assert [str(each) for each in (*one.results, *one.failures, *one.skipped)] == [
            str(each) for each in (*other.results, *other.failures, *other.skipped)
        ]
        assert one == other
        assert len(one.failures) == (3 if force else 4)
        assert [each.source for each in own] == [each.source for each in theirs]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(own, theirs, strict=True))
        assert {each.pixels.dtype for each in theirs} == {np.dtype(np.float32)}


def test_pixels_cross_only_where_they_are_wanted(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png")
    for pixels in (False, True):
        with Readers(replace(READING, pixels=pixels), Workers(1, 60)) as readers:
            ((_, answer),) = readers.read([path])
            read = answer.result()
        assert isinstance(read, Prepared)
        assert (read.radiograph is not None) == pixels
        assert read.image.flags.writeable


def test_a_process_cuts_the_findings_and_the_caller_where_it_ends_at_it(tmp_path: Path, odd: Any, tiny: Bundle) -> None:
    made, detector = sys.modules["odd_reading"].OddInferred, Detector.open(tiny, "cpu", threads=1)
    inferred = []
    for name in ("good.png", "kill.png", "nan.png"):
        ((_, prepared),) = read([write_png(tmp_path / name)], replace(READING, pixels=True), Workers(1, 60))
        done = detector.infer(prepared)
        inferred.append(made(done.bundle, done.given, done.maps, done.seconds))
    inferred[2].maps["lesion"][0, 0] = np.nan

    with Readers(odd, Workers(1, 60)) as readers:
        good, killed, bad = map(readers.result, inferred)
        for future, wanted in ((good, inferred[0]), (killed, inferred[1])):
            (one, other) = (replace(each, seconds={}) for each in (future.result(), made.result(wanted)))
            assert one == other
            assert one.findings
        with pytest.raises(ModelError, match=r"its lesion map of an image .* has 1 values that are no numbers"):
            bad.result()
    own, image = str(os.getpid()), str(inferred[0].given.image.size)
    (first, mine), (once, twice, caller, _), (last,) = (
        [line.split() for line in (tmp_path / f"{name}.png.cut").read_text().splitlines()]
        for name in ("good", "kill", "nan")
    )
    assert first[0] != own
    assert once[0] != twice[0] != own
    assert (caller, mine) == ([own, image], [own, image])
    assert {each[1] for each in (first, once, twice, last)} == {"0"}


@pytest.mark.parametrize("name", ["hang", "fault"])
def test_the_caller_cuts_what_a_process_cannot(tmp_path: Path, odd: Any, tiny: Bundle, name: str) -> None:
    ((_, prepared),) = read([write_png(tmp_path / f"{name}.png")], READING, Workers(1, 60))
    done = Detector.open(tiny, "cpu", threads=1).infer(prepared)
    inferred = sys.modules["odd_reading"].OddInferred(done.bundle, done.given, done.maps, done.seconds)
    with Readers(odd, Workers(1, 2)) as readers:
        assert readers.result(inferred).result().findings
    assert str(os.getpid()) in (tmp_path / f"{name}.png.cut").read_text()


def test_what_is_being_cut_at_a_close_is_cut_by_nobody(tmp_path: Path, odd: Any, tiny: Bundle) -> None:
    ((_, prepared),) = read([write_png(tmp_path / "hang.png")], READING, Workers(1, 60))
    done = Detector.open(tiny, "cpu", threads=1).infer(prepared)
    inferred = sys.modules["odd_reading"].OddInferred(done.bundle, done.given, done.maps, done.seconds)
    with Readers(odd, Workers(1, 300)) as readers:
        result = readers.result(inferred)
        while not (tmp_path / "hang.png.cut").exists():
            time.sleep(0.05)
    with pytest.raises(WorkerError, match="stopped"):
        result.result()
    assert len((tmp_path / "hang.png.cut").read_text().splitlines()) == 1


@pytest.mark.parametrize("together", [1, 3])
def test_results_do_not_wait_for_a_file_that_is_still_read(
    tmp_path: Path, odd: Any, tiny: Bundle, together: int
) -> None:
    paths = [write_png(tmp_path / f"s{number}.png", number) for number in range(3)] + [write_png(tmp_path / "hang.png")]
    detector = replace(Detector.open(tiny, "cpu", threads=1), batch=together)
    with closing(detect_files(paths, detector, odd, 0.0, Workers(2, 300))) as outcomes:
        assert [Path(outcome.path) for outcome, _ in islice(outcomes, 3)] == paths[:3]


def test_the_network_goes_on_until_a_few_results_wait(tmp_path: Path, tiny: Bundle, monkeypatch: Any) -> None:
    paths = [write_png(tmp_path / f"s{number}.png") for number in range(9)]
    waiting, began = list[tuple[Future[Result], Inferred]](), threading.Event()

    def end() -> None:
        for future, inferred in waiting:
            if not future.done():
                future.set_result(inferred.result())
        began.set()

    def cut(self: Readers, inferred: Inferred) -> Future[Result]:
        waiting.append((Future[Result](), inferred))
        if len(waiting) == 1:
            threading.Timer(3, end).start()  # in this time as many are inferred as may be
        if began.is_set():
            end()
        return waiting[-1][0]

    monkeypatch.setattr(Readers, "result", cut)
    detector = Detector.open(tiny, "cpu", threads=1)
    with closing(detect_files(paths, detector, READING, 0.0, Workers(2, 60))) as outcomes:
        next(outcomes)
        assert len(waiting) == 5
        assert len(list(outcomes)) == 8


def test_no_more_than_a_few_files_are_ahead(tmp_path: Path, odd: Any) -> None:
    paths = [write_png(tmp_path / "scans" / f"s{number:02}.png", number % 6) for number in range(14)]
    with Readers(odd, Workers(2, 60)) as readers:
        reads = readers.read(paths)
        seen = []
        for path, answer in islice(reads, 3):
            answer.result()
            seen.append(path)
        time.sleep(0.5)
        begun = len(list((tmp_path / "scans").glob("*.try*")))
        assert begun <= 3 + 4
        seen += [path for path, _ in reads]
    assert seen == paths


def test_a_process_that_is_killed_is_replaced_and_its_file_tried_again_once(tmp_path: Path, odd: Any) -> None:
    names = ("a.png", "once.png", "b.png", "kill.png", "exit.png", "interrupt.png", "c.png")
    paths = [write_png(tmp_path / "scans" / name) for name in names]
    answers = dict(read(paths, odd, Workers(2, 60)))
    remedy = "free memory or give fewer --workers, and report it with the file where that does not help"
    failures = {path.name: read.error for path, read in answers.items() if isinstance(read, Failure)}
    assert failures == {
        "kill.png": f"{paths[3]}: the process that read it was ended by SIGKILL, twice; {remedy}",
        "exit.png": f"{paths[4]}: the process that read it ended with code 3, twice; {remedy}",
    }
    assert all(isinstance(answers[path], Prepared) for path in paths if path.name not in failures)
    tries = {name: len(list((tmp_path / "scans").glob(f"{name}.try*"))) for name in names}
    assert tries == {**dict.fromkeys(names, 1), "once.png": 2, "kill.png": 2, "exit.png": 2}


def test_a_reader_that_hangs_is_ended(tmp_path: Path, odd: Any) -> None:
    paths = [write_png(tmp_path / "scans" / name) for name in ("a.png", "hang.png", "b.png")]
    start = time.monotonic()
    answers = [answer for _, answer in read(paths, odd, Workers(1, 6.0))]
    assert time.monotonic() - start < 60
    remedy = "copy the file to a disk of this machine, or give a larger --timeout"
    assert answers[1] == Failure(str(paths[1]), f"{paths[1]}: not read after 6 s; {remedy}")
    assert isinstance(answers[0], Prepared)
    assert isinstance(answers[2], Prepared)
    assert len(list((tmp_path / "scans").glob("hang.png.try*"))) == 1


@pytest.mark.parametrize("last", ["a.png", "hang.png"])
def test_nothing_is_left_behind(
    tmp_path: Path, odd: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], last: str
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    paths = [write_png(tmp_path / "scans" / name) for name in ("whose.png", last)]
    with Readers(odd, Workers(1, 60)) as readers:
        next(readers.read(paths))[1].result()
        process = int(paths[0].with_suffix(".pid").read_text())
        os.kill(process, 0)
        assert [path.name for path in place.glob("*/*")] == ["left"]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert list(place.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_processes_that_do_not_start_end_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_png(tmp_path / "a.png")]
    for program, how in ((tmp_path / "none", "No such file or directory"), (Path("/bin/false"), "ended with code 1")):
        monkeypatch.setattr(module.sys, "executable", str(program))
        with pytest.raises(WorkerError, match=f"cannot be started.*{how}.*; give --workers 0 to read without any"):
            read(paths, READING, Workers(1, 60))


def test_the_main_module_of_the_caller_does_not_run_again(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"`, which processes of multiprocessing would run anew."""
    path = write_png(tmp_path / "a.png")
    script = tmp_path / "script.py"
    script.write_text(
        f"print('begins')\nfrom pathlib import Path\nfrom {module.__name__} import Readers, Workers\n"
        "from cxrcad.config import GridConfig\nfrom cxrcad.inference.reading import Reading\n"
        "with Readers(Reading(GridConfig(side=64), 16, False, False), Workers(1, 60)) as readers:\n"
        f"    print([read.result().image.shape for _, read in readers.read([Path({str(path)!r})])])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["begins", "[(80, 64)]"]


def test_modules_of_the_folder_in_which_the_user_is_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_png(tmp_path / "a.png")
    for name in ("cxrcad", "numpy", "random"):
        (tmp_path / f"{name}.py").write_text(f"from pathlib import Path\nPath({name!r} + '-ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    reading = Reading(GridConfig(side=64), 16, False, False)
    assert [type(answer) for _, answer in read([path], reading, Workers(1, 60))] == [Prepared]
    assert not list(tmp_path.glob("*-ran"))


def test_how_many_there_are_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, number in ((1, None), (2, 1), (6, 3), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert Workers.fitting(1000, None, 9.0) == (number and Workers(number, 9.0))
    assert Workers.fitting(19, None, 9.0) is None
    assert Workers.fitting(3, 8, 9.0) == Workers(3, 9.0)
    assert Workers.fitting(1000, 0, 9.0) is None
    assert Workers.fitting(0, 2, 9.0) is None
    monkeypatch.setattr(module.os, "name", "nt")
    assert Workers.fitting(1000, None, 9.0) is None
    with pytest.raises(UsageError, match="--workers 2: processes that read are for Linux and macOS; give --workers 0"):
        Workers.fitting(1000, 2, 9.0)


def test_a_process_has_little_to_load() -> None:
    """Each of them loads what this imports, and what reads its files."""
    code = "import sys, cxrcad.inference.workers; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"onnxruntime", "scipy", "SimpleITK", "pydicom", "PIL", "torch", "click", "rich"}
