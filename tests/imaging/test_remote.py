"""Radiographs on a web server of this machine and in an object store of this process."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import NotRadiographError, ReadError
from cxrcad.imaging import remote
from cxrcad.imaging.read import content_sha256, read_radiograph
from cxrcad.imaging.remote import RemoteFolder, RemotePath, path_of, remote_files

fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
pytest.importorskip("aiohttp", reason="the extra remote is not installed")


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder; some names give other answers. A key or a user is asked for in private/."""

    def log_message(self, *_words: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "broken.png":
            self.send_response(200)
            self.send_header("Content-Length", "9999")
            self.end_headers()
            self.wfile.write(b"\x89PNG")
        elif name == "huge.png":
            self.send_response(200)
            self.send_header("Content-Length", str(2**40))
            self.end_headers()
        elif name == "silent.png":
            threading.Event().wait(3)
        elif name in ("500.png", "403.png"):
            self.send_error(int(name[:3]))
        elif "/private/" in self.path and "sig=k3y" not in self.path and "Authorization" not in self.headers:
            self.send_error(401)
        else:
            super().do_GET()


@pytest.fixture(scope="module")
def png():
    content = io.BytesIO()
    rows, cols = np.mgrid[:64, :64]
    image = 60 + rows + cols + 60 * ((rows - 30) ** 2 + (cols - 12) ** 2 < 16)
    Image.fromarray(image.astype(np.uint8)).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def server(png, tmp_path_factory):
    """`http://...` of a folder with a.png, more/b.png, notes.txt and private/c.png."""
    folder = tmp_path_factory.mktemp("server")
    for name in ("a.png", "more/b.png", "private/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png)
    (folder / "more" / "notes.txt").write_text("no scan")
    http = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(folder)))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


@pytest.fixture
def store(png):
    """`memory://...`, an object store with a.png, more/b.png and more/.c.png."""
    system = fsspec.filesystem("memory")
    for name in ("a.png", "more/b.png", "more/.c.png"):
        system.pipe(f"/store/{name}", png)
    yield "memory://store"
    system.rm("/store", recursive=True)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/a/b.dcm", "s3://bucket/a/b.dcm"),
        ("https://me:pass@host/a.dcm", "https://host/a.dcm"),
        ("https://host/wado?objectUID=1.2&token=s3cret", "https://host/wado?objectUID=1.2"),
        ("https://host/a.dcm?X-Amz-Date=1&X-Amz-Signature=s3cret&X-Amz-Credential=me", "https://host/a.dcm"),
        ("https://host/a.dcm?se=2026&sp=r&sig=s3cret", "https://host/a.dcm"),
    ],
)
def test_an_address_is_named_without_its_keys_and_keeps_them_for_the_process_that_reads(address, name):
    path = path_of(address)
    assert (type(path), str(path), path.name) == (RemotePath, name, name.rpartition("/")[2])
    content = pickle.dumps(path)
    remote._addresses.clear()
    again = pickle.loads(content)
    assert (again, str(again)) == (path, name)
    assert remote._addresses.get(name, name) == address


def test_what_stands_for_many_files_ends_in_a_slash_or_is_a_pattern():
    assert isinstance(path_of("s3://bucket/a/"), RemoteFolder)
    assert isinstance(path_of("s3://bucket/*.dcm", patterns=True), RemoteFolder)
    assert not isinstance(path_of("s3://bucket/*.dcm"), RemoteFolder)
    assert not isinstance(path_of("https://host/wado?objectUID=1.2", patterns=True), RemoteFolder)
    assert path_of("file:///a/b.png") == Path("/a/b.png")
    assert type(path_of("a/b.png")) is type(Path())


def test_a_file_is_copied_while_it_is_read_and_no_longer(server, store, png, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "a.png").write_bytes(png)
    here = read_radiograph(tmp_path / "a.png")
    for address in (f"{server}/a.png", f"{store}/a.png"):
        there = read_radiograph(path_of(address))
        assert np.array_equal(there.pixels, here.pixels)
        assert (there.source.path, there.source.sha256) == (address, here.source.sha256)
        assert content_sha256(path_of(address)) == here.source.sha256
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.png", "there is no such file on the server; check the address; that of a folder ends in /"),
        ("403.png", "may not be read (HTTP 403); give the user's credentials: ~/.netrc or a signed address"),
        ("private/c.png", "may not be read (HTTP 401); give the user's credentials"),
        ("500.png", "cannot be copied from the server (HTTP 500); try again with --resume"),
        ("broken.png", "cannot be copied from the server (the connection broke); try again with --resume"),
        ("silent.png", "the server has not answered in time; try again with --resume"),
    ],
)
def test_what_cannot_be_copied_is_a_sentence_without_a_key(server, monkeypatch, name, sentence):
    monkeypatch.setattr(remote, "SILENCE_SECONDS", 0.5)
    address = f"{server}/{name}"
    with pytest.raises(ReadError) as fault:
        read_radiograph(path_of(f"{address}?token=s3cret"))
    assert str(fault.value).startswith(f"{address}: {sentence}")
    assert "s3cret" not in str(fault.value)


def test_a_file_that_is_too_large_is_not_copied(server, store, monkeypatch):
    with pytest.raises(NotRadiographError, match="more than 536,870,912 bytes, which no radiograph has"):
        read_radiograph(path_of(f"{server}/huge.png"))
    monkeypatch.setattr(remote, "LARGEST_BYTES", 100)
    with pytest.raises(NotRadiographError, match="more than 100 bytes"):
        read_radiograph(path_of(f"{store}/a.png"))


def test_no_server_no_package_and_no_such_kind_are_sentences(monkeypatch):
    with pytest.raises(ReadError, match=r"http://127.0.0.1:9/a.png: cannot be copied from the server \(Connection ref"):
        read_radiograph(path_of("http://127.0.0.1:9/a.png"))
    with pytest.raises(ReadError, match="nosuch:// is no kind of address that is known; copy the file here"):
        read_radiograph(path_of("nosuch://a/b.png"))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ReadError, match=r"reads s3:// is not installed; pip install 'cxrcad\[remote\]'$"):
        read_radiograph(path_of("s3://bucket/b.png"))


def test_folders_and_patterns_are_listed(server, store):
    def names(address):
        folder = path_of(address, patterns=True)
        assert isinstance(folder, RemoteFolder)
        return [str(path) for path in remote_files(folder)]

    assert names(f"{store}/") == [f"{store}/a.png", f"{store}/more/b.png"]
    assert names(f"{store}/**/*.png") == [f"{store}/a.png", f"{store}/more/b.png"]
    assert names(f"{server}/more/") == [f"{server}/more/b.png", f"{server}/more/notes.txt"]
    assert names(f"{server}/more/*.png") == [f"{server}/more/b.png"]


def test_detection_takes_addresses_goes_on_and_keeps_keys_to_itself(server, cxrcad, make_toy, tmp_path, png):
    make_toy(tmp_path / "toy")
    (tmp_path / "list").write_text(f"{server}/private/c.png?sig=k3y\n{server}/none.png?token=k3y\n")
    given = ["--list", "list", f"{server}/more/", f"{server}/*.png", f"http://me:k3y@{server[7:]}/private/c.png"]
    arguments = ["detect", *given, "--model", "toy", "--overlay", "drawn"]
    answer = cxrcad(*arguments)
    assert answer.code == 1
    text = (tmp_path / "boxes.json").read_text()
    document = json.loads(text)
    names = ["more/b.png", "a.png", "private/c.png"]
    assert sorted(image["path"] for image in document["images"]) == sorted(f"{server}/{name}" for name in names)
    assert [one["path"] for one in document["failures"]] == [f"{server}/none.png"]
    assert [one["path"] for one in document["skipped"]] == [f"{server}/more/notes.txt"]
    assert all((tmp_path / image["overlay"]).is_file() for image in document["images"])
    assert "k3y" not in text + answer.err
    again = cxrcad(*arguments, "--resume", "--workers", "2")
    assert "3 of 4 files done before" in again.err
    parts = []
    for part in ("1", "2"):
        cxrcad(*arguments, "--shard", f"{part}/2", "--out", f"part-{part}.json", "--workers", "2")
        parts += json.loads((tmp_path / f"part-{part}.json").read_text())["images"]
    assert sorted(image["path"] for image in parts) == sorted(f"{server}/{name}" for name in names)
