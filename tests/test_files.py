"""Files: written whole or not at all, read with a sentence for each fault."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cxrcad.core import DataError, ModelError, UsageError, WriteError
from cxrcad.files import check_out, names_in, read_json, sha256_of, write_atomically, write_json

# Writing


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "Größe\r\n")
    write_atomically(tmp_path / "b.bin", b"\x00\xff\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\r\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff\r\n"


def test_parent_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "runs" / "1" / "log.txt", "one")
    write_atomically(tmp_path / "runs" / "1" / "log.txt", "two")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "runs",
        "runs/1",
        "runs/1/log.txt",
    ]
    assert (tmp_path / "runs" / "1" / "log.txt").read_text() == "two"


def test_the_file_gets_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "atomic", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_writing_leaves_the_process_s_umask_alone_for_other_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("changed"))
    write_atomically(tmp_path / "atomic", "")


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WriteError, match=r"a\.json: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "a.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="folder: cannot be written"):
        write_atomically(tmp_path / "folder", "x")
    with pytest.raises(WriteError, match="below: cannot be written"):
        write_atomically(tmp_path / "file" / "below", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [letter * 200_000 for letter in "ab"]
    write_atomically(path, contents[0])
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        write_atomically(path, contents[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)


def test_json_is_readable_by_people_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Größe", "side": [1, 2]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Größe" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "Größe", "side": [1, 2]}


def test_json_refuses_what_json_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


# Reading


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None, 0.25]})
    assert read_json(tmp_path / "a.json", DataError) == {"a": [1, None, 0.25]}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "there is no such file; check the path"),
        (b"", "not JSON (Expecting value: line 1 column 1 (char 0)); make the file again"),
        (b'{"a": 1', "not JSON (Expecting ',' delimiter: line 1 column 8 (char 7)); make the file again"),
    ],
    ids=["missing", "empty", "cut"],
)
def test_a_file_that_is_no_json_raises_the_error_asked_for(tmp_path: Path, content: bytes | None, fault: str) -> None:
    path = tmp_path / "card.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_json(path, ModelError)
    assert str(error.value) == f"{path}: {fault}"


def test_bytes_that_are_no_text_and_a_folder_raise_it_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.json: not JSON \(it is not text in UTF-8\)"):
        read_json(tmp_path / "a.json", DataError)
    with pytest.raises(DataError, match="cannot be read \\(Is a directory\\)"):
        read_json(tmp_path, DataError)


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "long").write_bytes(b"0123456789" * 300_000)
    assert sha256_of(tmp_path / "long") == hashlib.sha256(b"0123456789" * 300_000).hexdigest()


def test_out_in_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "1"):
        with pytest.raises(UsageError, match=r"file is a file, not a folder; name another place"):
            check_out(out)
    for fine in (None, tmp_path, tmp_path / "new" / "er"):
        check_out(fine)


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("old")
    (tmp_path / "link.json").symlink_to("target.json")
    write_atomically(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "target.json").read_text() == "new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# What a killed process leaves

WRITE = "import os, signal, sys\nfrom pathlib import Path\nfrom cxrcad import files\n"
WRITE += "files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
WRITE += "files.write_atomically(Path(sys.argv[1]), b'0' * 10)\n"


def test_a_killed_write_is_removed_when_the_folder_is_written_to_again(tmp_path: Path) -> None:
    script = [sys.executable, "-c", WRITE, str(tmp_path / "model.onnx")]
    killed = subprocess.run(script, cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert re.fullmatch(rf"\.model\.onnx@{re.escape(socket.gethostname())}@\d+@\w+\.tmp", left.name)
    running = left.with_name(re.sub(r"@\d+@", f"@{os.getpid()}@", left.name))
    elsewhere = left.with_name(left.name.replace(f"@{socket.gethostname()}@", "@another-host@"))
    foreign = tmp_path / ".notes.tmp"
    for path in (running, elsewhere, foreign):
        path.touch()
    check_out(tmp_path)
    assert set(tmp_path.iterdir()) == {running, elsewhere, foreign}


def test_what_no_utf_8_can_hold_is_written_as_json_does_and_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("ä" * 127)
    write_atomically(path, 'caf\u00e9, "caf\udce9.png"')
    assert path.read_bytes() == b'caf\xc3\xa9, "caf\\udce9.png"'
    assert os.fsencode(json.loads(path.read_text().split(", ")[1])) == b"caf\xe9.png"
    assert os.listdir(tmp_path) == [path.name]


def test_files_of_one_stem_get_numbers_that_no_other_file_has(tmp_path):
    files = [Path(name) for name in ("1/a.png", "2/a.png", "a-2.png", "3/a.dcm", "a-2.dcm", "4/a.png")]
    names = names_in(tmp_path, files, ".png", [], "--overlay")
    assert [path.name for path in names.values()] == [
        "a.png", "a-2.png", "a-2-2.png", "a-3.png", "a-2-3.png", "a-4.png"
    ]  # fmt: skip
    many = [Path(f"{number}/a.png") for number in range(20_000)]
    assert names_in(tmp_path, many, ".png", [], "--overlay")["19999/a.png"].name == "a-20000.png"
