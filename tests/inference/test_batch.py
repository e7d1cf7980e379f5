"""Many files: in order, each for itself, bad ones named; folders expanded to their radiographs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cxrcad.core import Failure, Radiograph, Result
from cxrcad.files import sha256_of
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference import batch, reading
from cxrcad.inference.batch import detect_paths, expand_paths
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import Bundle


def write_png(path: Path, *blocks: tuple[int, int, int]) -> Path:
    """A 128 x 128 PNG of 40, but for a corner, with 12 x 12 blocks (top, left, value)."""
    from PIL import Image

    pixels = np.full((128, 128), 40, dtype=np.uint8)
    pixels[-1, -4:] -= np.arange(1, 5, dtype=np.uint8)
    for top, left, value in blocks:
        pixels[top : top + 12, left : left + 12] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def detector(tiny: Bundle) -> Detector:
    return Detector.open(tiny, "cpu", threads=1)


def test_good_and_bad_files_are_told_apart_in_order(tmp_path: Path, detector: Detector) -> None:
    first = write_png(tmp_path / "a.png", (20, 20, 240))
    cut = tmp_path / "b.png"
    cut.write_bytes(first.read_bytes()[:60])
    missing = tmp_path / "c.dcm"
    last = write_png(tmp_path / "d.png", (60, 60, 240))
    seen: list[Result | Failure] = []
    done = detect_paths([first, cut, missing, last], detector, on_done=seen.append)
    assert [result.path for result in done.results] == [str(first), str(last)]
    assert [failure.path for failure in done.failures] == [str(cut), str(missing)]
    assert all(failure.error.startswith(f"{failure.path}: ") for failure in done.failures)
    assert "no such file" in done.failures[1].error
    assert [outcome.path for outcome in seen] == [str(first), str(cut), str(missing), str(last)]
    assert done.results[0].sha256 == sha256_of(first)
    assert done.results[1].findings[0].center_px == pytest.approx((66.0, 66.0), abs=0.01)
    assert set(done.results[0].seconds) == {"read", "infer", "find"}


def test_each_result_comes_with_its_radiograph_which_was_read_once(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path, force: bool) -> Radiograph:
        read.append(path)
        return read_radiograph(path)

    monkeypatch.setattr(reading, "read_radiograph", counted)
    paths = [write_png(tmp_path / f"{name}.png", (20, 20, 240)) for name in "ab"]
    events: list[str] = []

    def on_result(result: Result, radiograph: Radiograph) -> None:
        assert result.path == str(radiograph.source.path)
        events.append(f"result {Path(result.path).name}")

    paths.insert(1, tmp_path / "none.png")
    detect_paths(paths, detector, on_result=on_result, on_done=lambda one: events.append(f"done {Path(one.path).name}"))
    assert events == ["result a.png", "done a.png", "done none.png", "result b.png", "done b.png"]
    assert read == paths


def test_no_inputs_give_nothing(detector: Detector) -> None:
    done = detect_paths([], detector)
    assert (done.results, done.failures) == ((), ())


def test_findings_are_reported_from_the_threshold_or_the_asked_score(tmp_path: Path, detector: Detector) -> None:
    """After the stretch 40 -> 0 and 240 -> 1 the two blocks score 1.0 and 0.3; the threshold is 0.5."""
    image = write_png(tmp_path / "a.png", (20, 20, 240), (80, 80, 100))
    scores = {
        least: [item.score for item in detect_paths([image], detector, min_score=least).results[0].findings]
        for least in (None, 0.0, 0.25, 0.4)
    }
    assert scores[None] == pytest.approx([1.0])
    assert scores[0.0] == pytest.approx([1.0, 0.3])
    assert scores[0.25] == pytest.approx([1.0, 0.3])
    assert scores[0.4] == pytest.approx([1.0])


def test_an_unexpected_fault_is_that_files_alone(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_png(tmp_path / f"{name}.png", (20, 20, 240)) for name in "abc"]

    def read(path: Path, force: bool) -> Radiograph:
        if path.name == "b.png":
            raise ZeroDivisionError("division by zero")
        return read_radiograph(path)

    monkeypatch.setattr(reading, "read_radiograph", read)
    done = detect_paths(paths, detector)
    assert len(done.results) == 2
    assert done.failures == (
        Failure(
            str(paths[1]),
            f"{paths[1]}: not detected (internal error: ZeroDivisionError: division by zero); please report it with the"
            " file",
        ),
    )


def test_too_little_memory_is_that_files_alone(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, force: bool) -> Radiograph:
        raise MemoryError

    monkeypatch.setattr(reading, "read_radiograph", read)
    done = detect_paths([write_png(tmp_path / "a.png")], detector)
    assert "not enough memory" in done.failures[0].error


@pytest.mark.parametrize(("module", "where"), [(reading, "read_radiograph"), (batch, "select")])
def test_an_interrupt_passes_through(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch, module: ModuleType, where: str
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, where, interrupted)
    paths = [write_png(tmp_path / f"{name}.png", (20, 20, 240)) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        detect_paths(paths, detector)


def write_ct(path: Path) -> Path:
    from pydicom.data import get_testdata_file

    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes())
    return path


class TestSkipped:
    """What is whole and no radiograph: a failure where it was named, skipped where it was found."""

    def test_in_a_folder_and_named(self, tmp_path: Path, detector: Detector) -> None:
        folder = tmp_path / "study"
        ct, png = write_ct(folder / "ct"), write_png(folder / "x.png", (20, 20, 240))
        (folder / "notes.txt").write_text("")
        seen: list[Any] = []
        done = detect_paths([folder], detector, on_done=seen.append)
        assert [result.path for result in done.results] == [str(png)]
        assert done.failures == ()
        assert {Path(one.path).name: one.reason for one in done.skipped} == {
            "notes.txt": f"{folder / 'notes.txt'}: a .txt file, not tried in a folder; name it if it is a radiograph",
            "ct": f"{ct}: Modality CT (CT Image Storage), not a radiograph's (DX, CR, RG); give a frontal chest "
            "radiograph",
        }
        assert sorted(map(str, seen)) == sorted(map(str, (*done.results, *done.skipped)))
        named = detect_paths([ct, folder], detector)
        assert named.failures == (Failure(str(ct), next(one.reason for one in done.skipped if one.path == str(ct))),)
        assert [Path(one.path).name for one in named.skipped] == ["notes.txt"]

    def test_damage_in_a_folder_is_a_failure(self, tmp_path: Path, detector: Detector) -> None:
        path = write_png(tmp_path / "study" / "x.png", (20, 20, 240))
        path.write_bytes(path.read_bytes()[:-99])
        write_png(tmp_path / "study" / "y.png", (20, 20, 240))
        done = detect_paths([tmp_path / "study"], detector)
        assert ([failure.path for failure in done.failures], done.skipped) == ([str(path)], ())

    def test_a_folder_or_archive_of_nothing_else_is_a_failure(self, tmp_path: Path, detector: Detector) -> None:
        folder = tmp_path / "study"
        write_ct(folder / "ct")
        write_ct(folder / "ct2")
        archive = tmp_path / "scans.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.write(folder / "ct", "ct")
        for path, words in (
            (folder, "a folder without a radiograph (2 other files skipped)"),
            (archive, "a zip archive without a radiograph (1 other file skipped)"),
        ):
            (failure,) = detect_paths([path, write_png(tmp_path / "a.png")], detector).failures
            assert failure.path == str(path)
            assert failure.error.startswith(f"{path}: {words}; name one that holds a DICOM")

    def test_a_radiograph_in_an_archive(self, tmp_path: Path, detector: Detector) -> None:
        png = write_png(tmp_path / "a.png", (20, 20, 240))
        with zipfile.ZipFile(tmp_path / "scans.zip", "w") as file:
            file.write(png, "inner/a.png")
        path = tmp_path / "scans.zip" / "inner" / "a.png"
        plain, whole, named = (
            detect_paths([paths], detector).results[0] for paths in (png, tmp_path / "scans.zip", path)
        )
        assert (whole.path, whole.sha256, whole.findings) == (str(path), plain.sha256, plain.findings)
        assert named.findings == plain.findings


class TestExpandPaths:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A study as it comes: images with and without endings, tables, masks, hidden files, a DICOMDIR."""
        folder = tmp_path / "study"
        write_png(folder / "b" / "two.PNG")
        write_png(folder / "a.png")
        write_png(folder / "b" / "nameless.png").rename(folder / "b" / "IM0001")
        for name in ("table.csv", "boxes.json", "notes", ".hidden.png", "b/mask.gif", ".git/x.png", "DICOMDIR"):
            place = folder / name
            place.parent.mkdir(exist_ok=True)
            place.write_text("not an image")
        (folder / "broken.dcm").write_bytes(b"")
        return folder

    def test_a_folder_becomes_its_radiographs_in_order(self, folder: Path) -> None:
        inside = [str(path.relative_to(folder)) for path in expand_paths([folder])]
        assert inside == ["a.png", "broken.dcm", "b/IM0001", "b/two.PNG"]

    def test_files_stay_as_named_and_come_once(self, folder: Path) -> None:
        named = folder / "b" / "two.PNG"
        assert expand_paths([named, folder / "table.csv", folder])[:2] == (named, folder / "table.csv")
        assert len(expand_paths([named, folder, named])) == 4

    def test_what_is_not_there_and_an_empty_folder_are_failures(self, tmp_path: Path, detector: Detector) -> None:
        (tmp_path / "empty").mkdir()
        paths = expand_paths([tmp_path / "nothing.dcm", tmp_path / "empty"])
        failures = detect_paths(paths, detector).failures
        assert "no such file" in failures[0].error
        assert failures[1].error.startswith(f"{tmp_path / 'empty'}: a folder without a radiograph; name one that holds")
