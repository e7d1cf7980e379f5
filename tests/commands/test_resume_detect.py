"""A detection that is killed, stopped or divided: nothing that was finished is lost, and the whole is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.commands.detect import detect_to_file
from cxrcad.commands.merge import merge
from cxrcad.config import DetectConfig, build
from cxrcad.core import DataError, UsageError, WriteError
from tests.told import Told

COUNT = 12


@pytest.fixture
def scans(tmp_path):
    """Radiographs, two of them in a subfolder, one that is damaged, and a text."""
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    rows, cols = np.mgrid[:64, :64]
    for number in range(COUNT):
        image = 60 + rows + cols + 120 * ((rows - 30) ** 2 + (cols - 12 - 3 * number) ** 2 < 16)
        place = folder / "more" if number > 9 else folder
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / f"s{number:02d}.png")
    (folder / "cut.png").write_bytes((folder / "s00.png").read_bytes()[:-30])
    (folder / "report").write_text("nothing")
    return folder


def run(toy, paths, out, *, told=None, overlay=None, beside=None, **values):
    config = build(DetectConfig, {"model": str(toy), "device": "cpu", "min_score": 0.0, **values})
    return detect_to_file(config, paths, out, overlay, told or Told(), beside)


def read(out: Path) -> dict:
    """The document without what differs from run to run."""
    document = json.loads(out.read_text())
    for image in document["images"]:
        del image["seconds"]
    return document


def command(toy, scans, out, *options):
    words = ["detect", scans, "--model", toy, "--device", "cpu", "--min-score", 0, "--out", out, *options]
    return [sys.executable, "-m", "cxrcad", *map(str, words)]


def test_killed_at_any_moment_and_gone_on_with_the_document_is_the_same(toy, scans, tmp_path):
    whole, out, journal = tmp_path / "whole.json", tmp_path / "boxes.json", tmp_path / "boxes.json.jsonl"
    run(toy, [scans], whole)
    rng, kept = random.Random(3), []

    def images():
        return journal.read_bytes().count(b'{"image"') if journal.is_file() else 0

    for _ in range(4):
        process = subprocess.Popen(command(toy, scans, out, "--resume"), stderr=subprocess.DEVNULL)
        enough = images() + rng.randrange(1, 4)
        while process.poll() is None:
            if images() >= enough:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        assert process.wait() == -signal.SIGKILL
        kept.append(images())
    assert kept == sorted(kept)
    assert kept[0] > 0
    told = Told()
    run(toy, [scans], out, told=told, resume=True)
    assert told.notes[0].startswith(f"{kept[-1]} of {COUNT + 1} files done before")
    assert read(out) == read(whole)
    assert not journal.exists()


def test_a_finished_document_is_gone_on_with_where_files_came_or_changed(toy, scans, tmp_path):
    out, told = tmp_path / "boxes.json", Told()
    run(toy, [scans], out)
    (scans / "new.png").write_bytes((scans / "s03.png").read_bytes())
    (scans / "s04.png").write_bytes((scans / "s05.png").read_bytes())
    (scans / "s06.png").unlink()
    (scans / "cut.png").write_bytes((scans / "s01.png").read_bytes())
    summary = run(toy, [scans], out, told=told, resume=True)
    assert told.notes == [f"{COUNT - 2} of {COUNT + 1} files done before"]
    assert summary.failed == 0
    run(toy, [scans], tmp_path / "anew.json")
    assert read(out) == read(tmp_path / "anew.json")


def test_the_pixels_of_a_header_and_files_in_an_archive_count_as_content(toy, scans, tmp_path):
    header, pixels, archive = scans / "m.mhd", scans / "m.raw", tmp_path / "more.zip"
    header.write_text(
        "ObjectType = Image\nNDims = 2\nDimSize = 64 64\nElementType = MET_UCHAR\nElementDataFile = m.raw\n"
    )
    image = np.asarray(Image.open(scans / "s02.png"))
    pixels.write_bytes(image.tobytes())
    with zipfile.ZipFile(archive, "w") as file:
        file.write(scans / "s03.png", "inner/s.png")
    out, told = tmp_path / "boxes.json", Told()
    run(toy, [header, archive], out)
    run(toy, [header, archive], out, told=told, resume=True)
    pixels.write_bytes(image[::-1].tobytes())
    run(toy, [header, archive], out, told=told, resume=True)
    counts = ["2 of 2 files done before", "1 of 2 files done before"]
    assert [note for note in told.notes if "done before" in note] == counts
    run(toy, [header, archive], tmp_path / "anew.json")
    assert read(out) == read(tmp_path / "anew.json")


def test_overlays_that_are_missing_are_drawn(toy, scans, tmp_path):
    out, overlay = tmp_path / "boxes.json", tmp_path / "drawn"
    run(toy, [scans], out, overlay=overlay)
    (overlay / "s02.png").unlink()
    told = Told()
    run(toy, [scans], out, overlay=overlay, told=told, resume=True)
    assert told.notes[0] == f"{COUNT - 1} of {COUNT + 1} files done before"
    assert (overlay / "s02.png").is_file()


def test_an_overlay_belongs_to_its_image_whatever_comes_and_in_all_parts(toy, scans, tmp_path):
    """Three images of one name; one comes later, before the others in the order of the folder."""
    for folder in ("b", "c"):
        (scans / folder).mkdir()
        (scans / folder / "same.png").write_bytes((scans / "s01.png").read_bytes())
    out, overlay, told = tmp_path / "boxes.json", tmp_path / "drawn", Told()
    run(toy, [scans], out, overlay=overlay)
    (scans / "a").mkdir()
    (scans / "a" / "same.png").write_bytes((scans / "s05.png").read_bytes())
    run(toy, [scans], out, overlay=overlay, told=told, resume=True)
    assert told.notes[0].startswith(f"{COUNT} of {COUNT + 4} files done before")
    run(toy, [scans], tmp_path / "anew.json", overlay=tmp_path / "anew")
    written = [Path(image["overlay"]) for image in read(out)["images"]]
    again = [Path(image["overlay"]) for image in read(tmp_path / "anew.json")["images"]]
    assert [path.name for path in written] == [path.name for path in again]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    assert len(set(written)) == COUNT + 3
    named = []
    for number in (1, 2):
        run(toy, [scans], tmp_path / "part.json", overlay=tmp_path / "parts", shard=f"{number}/2")
        named += [Path(image["overlay"]).name for image in read(tmp_path / "part.json")["images"]]
    assert sorted(named) == sorted(path.name for path in again)


def test_work_that_is_stopped_says_so_in_the_document(toy, scans, tmp_path, monkeypatch, boxes_schema):
    from cxrcad.inference.detector import Detector

    infer, seen = Detector.infer, []

    def stop(self, radiograph):
        seen.append(radiograph)
        if len(seen) > 3:
            raise KeyboardInterrupt
        return infer(self, radiograph)

    monkeypatch.setattr(Detector, "infer", stop)
    out, told = tmp_path / "boxes.json", Told()
    words = f"^stopped; {out} holds the 4 of {COUNT + 1} files that were done; --resume goes on$"
    with pytest.raises(KeyboardInterrupt, match=words):
        run(toy, [scans], out, told=told)
    pytest.importorskip("jsonschema").validate(json.loads(out.read_text()), boxes_schema)
    assert read(out)["complete"] is False
    assert len(read(out)["images"]) == 3
    assert not any(note.startswith("stopped") for note in told.notes)
    with pytest.raises(UsageError, match=r"its work ended early; finish it with cxrcad detect --resume"):
        merge([out], tmp_path / "all.json")
    monkeypatch.undo()
    run(toy, [scans], out, resume=True)
    assert "complete" not in read(out)
    assert len(read(out)["images"]) == COUNT


def test_a_full_disk_found_when_the_document_is_written_loses_nothing(toy, scans, tmp_path):
    """The system refuses a file that is longer than the journal gets, and boxes.json is."""
    resource = pytest.importorskip("resource")
    out, journal, whole = tmp_path / "boxes.json", tmp_path / "boxes.json.jsonl", tmp_path / "whole.json"
    run(toy, [scans], whole)
    most = whole.stat().st_size * 9 // 10
    process = subprocess.run(
        command(toy, scans, out),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        f"Error: {out}: cannot be written (File too large); choose another place or make room; {journal} holds what "
        "was found, and --resume goes on from it"
    )
    assert not out.exists()
    told = Told()
    run(toy, [scans], out, told=told, resume=True)
    assert told.notes[0] == f"{COUNT} of {COUNT + 1} files done before"
    assert read(out) == read(whole)
    assert not journal.exists()


def test_an_overlay_that_cannot_be_written_ends_the_work_and_the_rest_is_told(toy, scans, tmp_path, monkeypatch):
    import cxrcad.commands.detect as module

    drawn = []

    def full(radiograph, findings, path, **more):
        drawn.append(path)
        if len(drawn) == 3:
            raise WriteError(f"{path}: cannot be written (No space left on device); make room")

    out, words = tmp_path / "boxes.json", "No space left on device.; make room; .*boxes.json holds the 4 of 13 files"
    monkeypatch.setattr(module, "write_overlay", full)
    with pytest.raises(WriteError, match=words):
        run(toy, [scans], out, overlay=tmp_path / "drawn")
    assert read(out)["complete"] is False


def test_a_stop_before_the_first_new_result_keeps_those_of_before(toy, scans, tmp_path, monkeypatch):
    from cxrcad.inference.detector import Detector

    out, infer, seen = tmp_path / "boxes.json", Detector.infer, []

    def stop(self, radiograph):
        seen.append(radiograph)
        if len(seen) in (4, 5):
            raise KeyboardInterrupt
        return infer(self, radiograph)

    monkeypatch.setattr(Detector, "infer", stop)
    (scans / "cut.png").unlink()
    with pytest.raises(KeyboardInterrupt, match="holds the 3 of"):
        run(toy, [scans], out)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped$"):
        run(toy, [scans], out, resume=True, overlay=tmp_path / "drawn")  # all are done again, for their overlays
    told = Told()
    run(toy, [scans], out, told=told, resume=True)
    assert told.notes[0].startswith("3 of ")


def test_a_finished_document_is_not_lost_to_a_stop_or_a_mistyped_path(toy, scans, tmp_path, monkeypatch):
    from cxrcad.inference.detector import Detector

    out, before, infer, seen = tmp_path / "boxes.json", tmp_path / "boxes.json.before", Detector.infer, []
    beside = {"--csv": tmp_path / "boxes.csv", "--html": tmp_path / "page.html"}
    run(toy, [scans], out, beside=beside)
    whole, table = out.read_bytes(), beside["--csv"].read_bytes()
    page = beside["--html"].read_bytes()

    def stop(self, radiograph):
        seen.append(radiograph)
        if len(seen) % 3 == 0:
            raise KeyboardInterrupt
        return infer(self, radiograph)

    monkeypatch.setattr(Detector, "infer", stop)
    held = f"^stopped; {out} holds the 3 of 13 files that were done; --resume goes on"
    all_before = [before, *(path.with_name(path.name + ".before") for path in beside.values())]
    words = ", ".join(map(str, all_before))
    with pytest.raises(KeyboardInterrupt, match=f"{held}; {words}: the result of the run before$"):
        run(toy, [scans], out, beside=beside)
    with pytest.raises(KeyboardInterrupt, match=f"{held}$"):
        run(toy, [scans], out, beside=beside)
    assert [path.read_bytes() for path in all_before] == [whole, table, page]
    assert len(beside["--csv"].read_bytes()) < len(table)
    monkeypatch.undo()
    os.replace(before, out)
    told = Told()
    for resume in (False, False, True):
        run(toy, [tmp_path / "nowhere"], out, told=told, resume=resume)
    assert [note for note in told.notes if "run before" in note] == [f"{before}: the result of the run before"]
    assert before.read_bytes() == whole
    assert [one["path"] for one in read(out)["failures"]] == [str(tmp_path / "nowhere")]


def test_shards_are_merged_to_the_whole_wherever_the_folder_lies(toy, scans, tmp_path):
    whole = tmp_path / "whole.json"
    run(toy, [scans], whole)
    parts, names = [tmp_path / f"part{number}.json" for number in (1, 2, 3)], []
    for number, part in enumerate(parts, 1):
        run(toy, [scans], part, shard=f"{number}/3")
        document = read(part)
        names.append({one["path"] for key in ("images", "failures", "skipped") for one in document[key]})
    assert all(names)
    assert sum(map(len, names)) == len(set.union(*names)) == COUNT + 2
    with pytest.raises(UsageError, match=r"^shard 2/3: not among the parts; name all parts of the whole at once$"):
        merge([parts[0], parts[2]], tmp_path / "all.json")
    merge(parts[:1], tmp_path / "copy.json")
    assert read(tmp_path / "copy.json")["shard"] == read(parts[0])["shard"] == "1/3"
    sentence = merge(parts, tmp_path / "all.json")
    assert sentence.startswith(f"3 parts: {COUNT} images, ")
    merged, expected = read(tmp_path / "all.json"), read(whole)
    assert sorted(merged["images"], key=str) == sorted(expected.pop("images"), key=str)
    merged.pop("images")
    assert merged == expected
    moved = tmp_path / "elsewhere"
    os.rename(scans, moved)
    run(toy, [moved], parts[0], shard="1/3")
    assert {name.replace(str(scans), str(moved)) for name in names[0]} == {
        one["path"] for key in ("images", "failures", "skipped") for one in read(parts[0])[key]
    }


def test_parts_of_other_settings_and_results_that_contradict_are_refused(toy, scans, tmp_path):
    one, two, three = (tmp_path / f"{name}.json" for name in ("one", "two", "three"))
    run(toy, [scans / "s00.png"], one)
    run(toy, [scans / "s01.png"], two, min_score=0.25)
    with pytest.raises(UsageError, match=r"two\.json: was made with min_score 0\.25, and .*one\.json with min_score 0"):
        merge([one, two], three)
    (scans / "s00.png").write_bytes((scans / "s02.png").read_bytes())
    run(toy, [scans / "s00.png"], two)
    with pytest.raises(DataError, match=r"s00\.png: has another result in .*one\.json than in .*two\.json"):
        merge([one, two], three)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"])
def test_what_is_no_part_is_refused(toy, scans, tmp_path, shard):
    with pytest.raises(UsageError, match=rf"--shard {shard}: is no part of a whole; it takes NUMBER/COUNT, as 3/16"):
        run(toy, [scans], tmp_path / "boxes.json", shard=shard)


def test_standard_output_cannot_be_gone_on_with(toy, scans, tmp_path):
    with pytest.raises(UsageError, match="--resume: what went to standard output"):
        run(toy, [scans], print, resume=True)
