"""Many files: in order, each for itself, bad ones named; folders expanded to their radiographs."""

from __future__ import annotations

import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cxrcad.core import Failure, Radiograph, Result
from cxrcad.files import sha256_of
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference import batch, reading
from cxrcad.inference.batch import detect_each, detect_paths, expand_paths, reading_for
from cxrcad.inference.detector import Detector
from cxrcad.inference.inputs import find_inputs
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


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, as they are."""
    paths: list[Path] = []

    def counted(path: Path, force: bool) -> Radiograph:
        paths.append(path)
        return read_radiograph(path)

    monkeypatch.setattr(reading, "read_radiograph", counted)
    return paths


def test_each_result_comes_with_its_radiograph_which_was_read_once(
    tmp_path: Path, detector: Detector, read: list[Path]
) -> None:
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
            "radiograph, or add --force if it is one",
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


class Session:
    """A session that fails on more than `most` images at once and gives no numbers for those that are 1 at `odd`.

    `sizes` has how many it was given each time.
    """

    def __init__(self, real: Any, most: int = 99, odd: tuple[int, int] = (0, 0)) -> None:
        self.real, self.most, self.odd = real, most, odd
        self.sizes: list[int] = []

    def run(self, names: list[str], given: dict[str, Any]) -> list[Any]:
        images = given["image"]
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise RuntimeError("no memory")
        outputs = self.real.run(names, given)
        outputs[0][images[:, 0, *self.odd] == 1] = np.nan
        return outputs


class TestTogether:
    """Images of one grid through the network at once: what is found is what is found one by one."""

    @pytest.fixture
    def paths(self, tmp_path: Path) -> list[Path]:
        """Twelve images of two sizes, a damaged file among them, and one that is not there."""
        from PIL import Image

        paths = [write_png(tmp_path / f"{number:02}.png", (20 + 3 * number, 40, 240)) for number in range(12)]
        for path in paths[2::3]:
            Image.open(path).crop((0, 12, 128, 128)).save(path)
        paths[5].write_bytes(paths[0].read_bytes()[:60])
        return [*paths[:9], tmp_path / "none.dcm", *paths[9:]]

    def outcomes(self, paths: list[Path], detector: Detector, notes: list[str] | None = None) -> list[Any]:
        inputs, reading = find_inputs(paths), reading_for(detector, force=False, pixels=False)
        told = [] if notes is None else notes
        with closing(detect_each(inputs, detector, reading, min_score=0.0, note=told.append)) as found:
            return [outcome for outcome, _ in found]

    def check_same(self, found: list[Any], wanted: list[Any]) -> None:
        assert [one.path for one in found] == [one.path for one in wanted]
        assert [type(one) for one in found] == [type(one) for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            if isinstance(one, Failure):
                assert one == other
                continue
            assert len(one.findings) == len(other.findings) > 0
            for mine, theirs in zip(one.findings, other.findings, strict=True):
                assert mine.score == pytest.approx(theirs.score, abs=1e-5)
                assert (mine.box_px, mine.center_px) == (theirs.box_px, theirs.center_px)

    @pytest.mark.parametrize("batch", [2, 5, 8, 64])
    def test_it_is_the_same_in_the_same_order(self, paths: list[Path], detector: Detector, batch: int) -> None:
        session = Session(detector.session)
        found = self.outcomes(paths, replace(detector, session=session, batch=batch))
        self.check_same(found, self.outcomes(paths, detector))
        assert [one.path for one in found] == list(map(str, paths))
        assert sum(session.sizes) == 11
        sizes = {2: [2, 1, 1, 1, 2, 1, 2, 1], 5: [4, 1, 2, 1, 2, 1], 8: [6, 1, 2, 2], 64: [8, 3]}
        assert session.sizes == sizes[batch]

    def test_what_it_took_is_shared(self, paths: list[Path], detector: Detector) -> None:
        found = self.outcomes(paths[:2], replace(detector, batch=2))
        assert found[0].seconds["infer"] == found[1].seconds["infer"] > 0

    def test_too_many_for_the_device_are_halved(self, paths: list[Path], detector: Detector) -> None:
        notes: list[str] = []
        session = Session(detector.session, most=3)
        found = self.outcomes(paths, replace(detector, session=session, batch=8), notes)
        self.check_same(found, self.outcomes(paths, detector))
        assert notes == [
            "tiny: ONNX Runtime failed on 6 images of 128 x 128 (no memory); give a smaller --batch; 3 at a time "
            "from here on"
        ]
        assert session.sizes == [6, 3, 1, 3, 1, 1, 1, 1]

    def test_a_device_without_room_for_one_fails_each(self, paths: list[Path], detector: Detector) -> None:
        notes: list[str] = []
        session = Session(detector.session, most=0)
        found = self.outcomes(paths[:4], replace(detector, session=session, batch=4), notes)
        assert [one.error.split("; ")[-1] for one in found] == ["use --device cpu or free memory"] * 4
        assert [note.split("; ")[-1] for note in notes] == ["1 at a time from here on"]

    def test_a_bad_image_spoils_no_other(self, paths: list[Path], detector: Detector) -> None:
        session = Session(detector.session, odd=(24, 45))  # only the second one's block has this row and not row 21
        first, second, third = self.outcomes(paths[1::3][:3], replace(detector, session=session, batch=3))
        assert session.sizes == [3]
        assert "its lesion map of an image (128, 128) has 16384 values that are no numbers" in first.error
        self.check_same([second, third], self.outcomes(paths[4:8:3], detector))

    def test_as_many_are_read_ahead_as_are_taken_at_once(
        self, paths: list[Path], detector: Detector, read: list[Path]
    ) -> None:
        detector = replace(detector, batch=3)
        inputs, how = find_inputs(paths), reading_for(detector, force=False, pixels=False)
        with closing(detect_each(inputs, detector, how)) as found:
            next(found)
        assert 3 <= len(read) <= 6


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
