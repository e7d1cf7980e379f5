"""PATHS of the commands: lists on standard input and in files, and patterns that the shell did not expand."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """Radiographs of 64 x 64 pixels, two with names that a shell or a list may take for something else."""
    for number, name in enumerate(("a.png", "b b.png", "deep/c.png", "d[1].png", "d1.png", "e\nf.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) // 20 + number
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / name)
    (tmp_path / "deep" / "notes.txt").write_text("not a scan")
    return tmp_path


@pytest.fixture
def info(cxrcad, monkeypatch):
    """`info(..., given=bytes)` -> the paths that `cxrcad info` described, or its answer where it failed."""

    def run(*arguments, given=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        answer = cxrcad("info", "--json", *arguments)
        if answer.code:
            return answer
        documents = answer.out.replace("}\n{", "}\0{").split("\0")
        return [json.loads(document)["path"] for document in documents]

    return run


@pytest.mark.parametrize(
    ("data", "options", "paths"),
    [
        (b"a.png\nb b.png\n", [], ["a.png", "b b.png"]),
        (b"a.png\nb b.png", [], ["a.png", "b b.png"]),
        (b"\n\nb b.png\n\na.png\n", [], ["b b.png", "a.png"]),
        (b"a.png\r\nb b.png\r\n", [], ["a.png", "b b.png"]),
        (b"\xef\xbb\xbfa.png\n", [], ["a.png"]),
        ("\ufeffa.png\r\nb b.png\r\n".encode("utf-16-le"), [], ["a.png", "b b.png"]),
        (b"./a.png\ndeep/c.png\n", [], ["a.png", "deep/c.png"]),
        (b"a.png\0e\nf.png\0", [], ["a.png", "e\nf.png"]),
        (b"e\nf.png", ["--null"], ["e\nf.png"]),
        (b"e\nf.png\0", ["-0"], ["e\nf.png"]),
        (b"d[1].png\n", [], ["d[1].png"]),
    ],
)
@pytest.mark.parametrize("where", ["stdin", "file"])
def test_a_list_names_files_a_line_or_nul_separated(info, folder, data, options, paths, where):
    if where == "stdin":
        assert info("-", *options, given=data) == paths
    else:
        (folder / "list").write_bytes(data)
        assert info("--list", "list", *options) == paths


def test_lists_and_names_are_taken_together_in_order(info, folder):
    (folder / "one").write_bytes(b"d1.png\n")
    (folder / "two").write_bytes(b"deep/c.png\0")
    assert info("b b.png", "-", "--list", "one", "--list", "two", given=b"a.png\n") == [
        "b b.png", "a.png", "d1.png", "deep/c.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "given", "code", "sentence"),
    [
        (["-"], b"", 1, "standard input: an empty list; check what wrote it"),
        (["-"], b"\n\r\n", 1, "standard input: an empty list"),
        (["--list", "none"], b"", 2, "--list none: there is no such file; check the path"),
        (["--list", "deep"], b"", 2, "--list deep: cannot be read (Is a directory); name a file that holds a path a"),
        (["--list", "a.png"], b"", 2, "--list a.png: holds no list of paths but other data; give a path a line"),
        (["-"], b"a" * 5000, 2, "standard input: holds no list of paths but other data"),
        (["--null", "a.png"], b"", 2, "--null: is for lists; give one on standard input (-), or with --list FILE"),
        ([""], b"", 2, "PATHS: an empty name, as of a variable that is not set; name a file or folder"),
        ([], b"", 2, "Missing argument 'PATHS...'."),
        (["*.dcm"], b"", 2, "*.dcm: no file has such a name, and no file matches it as a pattern; check the path"),
        (["-"], b"d[2].png\n", 1, "d[2].png: there is no such file; check the path"),
    ],
)
def test_what_is_no_list_is_one_sentence(info, folder, arguments, given, code, sentence):
    answer = info(*arguments, given=given)
    assert (answer.code, answer.out) == (code, "")
    assert f"Error: {sentence}" in answer.err


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("?.png", ["a.png"]),
        ("*/*.png", ["deep/c.png"]),
        ("**/[ac].png", ["a.png", "deep/c.png"]),
        ("d[1].png", ["d[1].png"]),
        ("d[12].png", ["d1.png"]),
    ],
)
def test_a_pattern_in_quotes_is_expanded_and_a_name_goes_before_it(info, folder, pattern, paths):
    assert info(pattern) == paths
    assert info(folder / pattern) == [str(folder / path) for path in paths]


def test_parts_are_taken_by_a_pattern_and_from_a_list(cxrcad, make_toy, folder, monkeypatch):
    make_toy(folder / "toy")
    for part in ("1", "2"):
        answer = cxrcad("detect", "*.png", "--model", "toy", "--shard", f"{part}/2", "--out", f"part-{part}.json")
        assert answer.code == 0, answer.err
    assert cxrcad("merge", "part-*.json").code == 0
    names = [image["path"] for image in json.loads((folder / "boxes.json").read_text())["images"]]
    assert names == ["a.png", "b b.png", "d1.png", "d[1].png", "e\nf.png"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"part-1.json\npart-2.json\n")))
    assert cxrcad("merge", "-", "--out", "again.json").code == 0
    assert (folder / "again.json").read_bytes() == (folder / "boxes.json").read_bytes()


def test_detect_takes_a_list_of_a_find_and_a_missing_name_is_a_failure(cxrcad, make_toy, folder, monkeypatch):
    make_toy(folder / "toy")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"./a.png\0./e\nf.png\0gone.png\0./a.png\0")))
    answer = cxrcad("detect", "-", "--model", "toy")
    assert answer.code == 1
    document = json.loads((folder / "boxes.json").read_text())
    assert [image["path"] for image in document["images"]] == ["a.png", "e\nf.png"]
    assert [failure["path"] for failure in document["failures"]] == ["gone.png"]


def test_a_pattern_that_matches_nothing_fails_while_the_others_are_done(cxrcad, make_toy, folder):
    make_toy(folder / "toy")
    answer = cxrcad("detect", "none/**/*.dcm", "a.png", "--model", "toy")
    assert answer.code == 1
    document = json.loads((folder / "boxes.json").read_text())
    assert [image["path"] for image in document["images"]] == ["a.png"]
    sentence = "none/**/*.dcm: no file has such a name, and no file matches it as a pattern; check the path"
    assert document["failures"] == [{"path": "none/**/*.dcm", "error": sentence}]
    told = [cxrcad("detect", "none/*", "--model", "toy", "--shard", f"{part}/3").code for part in (1, 2, 3)]
    assert sorted(told) == [0, 0, 1]


def test_a_file_among_the_matches_of_a_pattern_that_is_no_radiograph_is_skipped(cxrcad, make_toy, folder):
    make_toy(folder / "toy")
    assert cxrcad("detect", "deep/*", "--model", "toy").code == 0
    document = json.loads((folder / "boxes.json").read_text())
    assert [one["path"] for one in document["images"] + document["skipped"]] == ["deep/c.png", "deep/notes.txt"]
    assert cxrcad("detect", "deep/*.txt", "--model", "toy").code == 1
    error = json.loads((folder / "boxes.json").read_text())["failures"][0]["error"]
    assert error.startswith("deep/*.txt: a pattern without a radiograph (1 other file skipped); name one that holds a")


def test_a_closed_standard_input_is_one_sentence(folder):
    done = subprocess.run(
        f"exec {sys.executable} -m cxrcad info - <&-",
        shell=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: standard input: is closed; give the list with --list FILE\n"


ODD = os.fsdecode(b"caf\xe9 \n.png")


@pytest.fixture
def odd(folder):
    """A radiograph whose name is no UTF-8 and has a line break, in bytes."""
    os.rename(folder / "a.png", folder / ODD)
    return os.fsencode(ODD)


def test_a_name_that_is_no_utf_8_goes_through_all_that_is_written(cxrcad, make_toy, folder, odd, monkeypatch):
    make_toy(folder / "toy")
    arguments = ("detect", "-", "--model", "toy", "--resume", "--overlay", "drawn", "--html", "page.html")
    for tables in (("--csv", "t.csv"), ("--coco", "coco.json")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(odd + b"\0none\xe9\0")))
        answer = cxrcad(*arguments, *tables)
        assert answer.code == 1
        assert "failed: none\\udce9: there is no such file; check the path\n" in answer.err
    assert "1 of 2 files done before" in answer.err
    document = json.loads((folder / "boxes.json").read_text())
    image = document["images"][0]
    assert os.fsencode(image["path"]) == odd
    assert (folder / image["overlay"]).is_file()
    assert os.fsencode(document["failures"][0]["path"]) == b"none\xe9"
    assert "caf\\udce9 " in (folder / "t.csv").read_text()
    assert os.fsencode(json.loads((folder / "coco.json").read_text())["images"][0]["file_name"]) == odd
    assert "caf\\udce9 " in (folder / "page.html").read_text()


def test_info_prints_a_name_that_is_no_utf_8(folder, odd):
    start = [sys.executable, "-m", "cxrcad", "info"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    told = subprocess.run([*start, odd], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert "path          caf\\udce9 \\n.png\n" in told.stdout
    told = subprocess.run([*start, "--json", odd], cwd=folder, env=environment, capture_output=True, check=True)
    assert os.fsencode(json.loads(told.stdout)["path"]) == odd


def test_a_name_that_is_no_utf_8_is_read_in_every_format_of_itk(folder):
    import SimpleITK

    from cxrcad.imaging.read import read_radiograph

    picture = SimpleITK.GetImageFromArray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    for name in ("a.mha", "a.mhd", "b.nii", "c.nii.gz", "d.hdr"):
        SimpleITK.WriteImage(picture, str(folder / name))
        odd = folder / os.fsdecode(b"caf\xe9" + name.encode())
        (folder / name).rename(odd)
        if name == "d.hdr":
            (folder / "d.img").rename(odd.with_suffix(".img"))
        found = read_radiograph(odd)
        assert (found.rows, found.cols, found.source.path) == (64, 64, str(odd))
