"""What paths come to: files to read, those beside them that hold no radiograph, and archives and DICOMDIRs opened."""

from __future__ import annotations

import contextlib
import gzip
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Failure, Skipped
from cxrcad.inference.inputs import Inputs, find_inputs


def write_png(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(path, format="PNG")
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo()
            info.filename = name
            archive.writestr(info, content)
    return path


def write_dicomdir(path: Path, *names: str | list[str]) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        records.append(record)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.DirectoryRecordSequence = records
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    return write_png(tmp_path / "elsewhere" / "a.png").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"


@pytest.fixture
def found(folder: Path) -> Callable[..., list[str]]:
    """The files of inputs, from the folder."""
    return lambda inputs: [path.relative_to(folder).as_posix() for path in inputs.files]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for path in Path(name).rglob("*"):
            path.chmod(0o755)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user whom permissions bind, as they do not bind root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def reasons(inputs: Inputs, folder: Path) -> dict[str, str]:
    """What is said of each skipped file, by its path from the folder."""
    for one in inputs.skipped:
        assert one.reason.startswith(f"{one.path}: ")
    return {
        Path(one.path).relative_to(folder).as_posix(): one.reason.removeprefix(f"{one.path}: ")
        for one in inputs.skipped
    }


class TestFolders:
    def test_what_is_no_image_is_skipped_with_the_reason(self, folder: Path, found: Callable[..., list[str]]) -> None:
        write_png(folder / "a.png")
        for name, content in {
            "table.csv": b"a,b",
            "report": b"no image",
            "letter.pdf": b"%PDF-1.7",
            "sub/core": bytes(9),
            "sub/mask.gif": b"GIF89a",
            "DICOMDIR": b"text",
            "empty": b"",
            ".hidden": b"",
            "broken.dcm": b"",
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        inputs = find_inputs([folder])
        assert found(inputs) == ["a.png", "broken.dcm"]
        assert inputs.failures == ()
        give = "give a DICOM, PNG, TIFF, JPEG, MHA, NIfTI or JSRT .IMG file"
        assert reasons(inputs, folder) == {
            "DICOMDIR": f"text, not an image (4 bytes); {give}",
            "empty": "empty, 0 bytes; copy the file again",
            "letter.pdf": f"a PDF document; export the radiograph as {give.removeprefix('give ')}",
            "report": f"text, not an image (8 bytes); {give}",
            "sub/core": f"not recognised as an image by its content (9 bytes); {give}",
            "sub/mask.gif": "a .gif file, not tried in a folder; name it if it is a radiograph",
            "table.csv": "a .csv file, not tried in a folder; name it if it is a radiograph",
        }

    def test_what_was_named_too_is_not_skipped(self, folder: Path, found: Callable[..., list[str]]) -> None:
        write_png(folder / "a.png")
        (folder / "b.txt").write_text("text")
        for paths in ([folder / "b.txt", folder], [folder, folder / "b.txt"]):
            inputs = find_inputs(paths)
            assert sorted(found(inputs)) == ["a.png", "b.txt"]
            assert set(inputs.origin) == {folder / "a.png"}
            assert inputs.skipped == () or paths[0] != folder

    def test_a_folder_that_cannot_be_read_is_a_failure(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_png(folder / "sub" / "a.png")
        real = os.scandir

        def scandir(path: str) -> object:
            if Path(path).name == "sub":
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        words = f"{folder / 'sub'}: a folder that cannot be read (Permission denied); check its permissions"
        assert find_inputs([folder]).failures == (Failure(str(folder / "sub"), words),)

    def test_links_to_folders_are_followed_and_each_folder_is_read_once(
        self, folder: Path, found: Callable[..., list[str]]
    ) -> None:
        write_png(folder / "real" / "a.png")
        write_png(folder / ".kept" / "b.png")
        write_png(folder.parent / "outside" / "deep" / "c.png")
        for name, target in {
            "a-first": folder / "real",
            "hidden": folder / ".kept",
            "other": folder.parent / "outside",
            "other-again": folder.parent / "outside",
            "part": folder.parent / "outside" / "deep",
            "real/loop": folder,
            "up": folder.parent / "outside" / "..",
        }.items():
            (folder / name).symlink_to(target)
        inputs = find_inputs([folder])
        assert found(inputs) == ["hidden/b.png", "part/c.png", "real/a.png"]
        assert inputs.failures == ()
        real, outside = os.path.realpath(folder / "real"), os.path.realpath(folder.parent / "outside")
        assert {name: words for name, words in reasons(inputs, folder).items() if not name.startswith("up")} == {
            name: f"leads to {place}, whose files are read there; each is read once"
            for name, place in {
                "a-first": real,
                "other-again": outside,
                "other/deep": f"{outside}/deep",
                "real/loop": os.path.realpath(folder),
            }.items()
        }

    def test_links_that_point_nowhere_are_failures(self, folder: Path) -> None:
        write_png(folder / "a.png")
        (folder / "gone.png").symlink_to("nowhere")
        (folder / "gone").symlink_to(folder.parent / "unmounted")
        (folder / "ring.dcm").symlink_to("ring.dcm")
        (folder / "table.csv").symlink_to("nowhere")
        inputs = find_inputs([folder])
        assert [Path(one.path).name for one in inputs.skipped] == ["table.csv"]
        assert {Path(one.path).name: one.error.removeprefix(f"{one.path}: ") for one in inputs.failures} == {
            "gone.png": "a link to nowhere, which is not there; mount or copy what it points to, or remove the link",
            "gone": f"a link to {folder.parent / 'unmounted'}, which is not there; mount or copy what it points to, or "
            "remove the link",
            "ring.dcm": "cannot be read (Too many levels of symbolic links); check the path and its permissions",
        }

    def test_what_permissions_forbid_is_a_failure(self, folder: Path, open_folder: Path) -> None:
        """A folder that may not be listed, one that may not be entered, a file that may not be read."""
        for name in ("listed/a.png", "entered/b.png", "entered/e.png", "c.png", "d"):
            write_png(open_folder / name)
        for name, mode in {"listed": 0o000, "entered": 0o444, "c.png": 0o000, "d": 0o000}.items():
            (open_folder / name).chmod(mode)
        with nobody():
            inputs = find_inputs(
                [open_folder, open_folder / "entered" / "b.png", open_folder / "listed" / "x" / "y.png"]
            )
        named = ("entered/b.png", "listed/x/y.png")
        assert inputs.files == tuple(open_folder / name for name in ("c.png", *named))
        assert inputs.skipped == ()
        faults = [one.error.removeprefix(f"{open_folder}/").split(": ") for one in inputs.failures]
        assert faults == [
            ["d", "no permission to read it; ask its owner, or chmod it"],
            ["entered/e.png", "cannot be read (Permission denied); check the path and its permissions"],
            ["listed", "a folder that cannot be read (Permission denied); check its permissions"],
        ]

    def test_what_nothing_names_is_what_it_is(self, tmp_path: Path) -> None:
        paths = (tmp_path / "none.dcm", tmp_path / "a\0b")
        assert find_inputs(paths) == Inputs(paths, {}, (), (), ())


class TestArchives:
    def test_the_files_of_an_archive_take_its_place(
        self, folder: Path, found: Callable[..., list[str]], png: bytes
    ) -> None:
        inner = write_zip(folder / "elsewhere.zip", {"a.png": png}).read_bytes()
        files = {"x/IM1": png, "x/a.png.gz": gzip.compress(png), "notes.txt": b"", "x/inner.zip": inner, "x/word": b"a"}
        path = write_zip(folder / "scans.zip", files)
        inputs = find_inputs([path])
        assert found(inputs) == ["scans.zip/x/IM1", "scans.zip/x/a.png.gz"]
        assert set(inputs.origin.values()) == {path}
        assert inputs.roots == (path,)
        assert reasons(inputs, folder) == {
            "scans.zip/notes.txt": "a .txt file, not tried in a folder; name it if it is a radiograph",
            "scans.zip/x/inner.zip": "an archive in an archive; unpack it first",
            "scans.zip/x/word": "text, not an image (1 bytes); give a DICOM, PNG, TIFF, JPEG, MHA, NIfTI or JSRT .IMG "
            "file",
        }
        assert found(find_inputs([folder])) == ["elsewhere.zip/a.png", *found(inputs)]
        assert inputs.on_disk == (path,)

    def test_the_name_decides_nothing(self, folder: Path, found: Callable[..., list[str]], png: bytes) -> None:
        write_zip(folder / "scans", {"a.png": png})
        write_zip(folder / "letter.docx", {"[Content_Types].xml": b"", "a.png": png})
        inputs = find_inputs([folder])
        assert found(inputs) == ["scans/a.png"]
        assert reasons(inputs, folder) == {"letter.docx": "a zip archive; unpack it first"}

    def test_names_that_lead_outside_are_said(self, folder: Path, png: bytes) -> None:
        path = write_zip(folder / "scans.zip", {"../../out.png": png, "/out.png": png})
        inputs = find_inputs([path])
        assert inputs.files == ()
        assert inputs.skipped == tuple(
            Skipped(str(path), f"{path}: it holds a file whose name leads outside of it ({name}); unpack it with care")
            for name in ("../../out.png", "/out.png")
        )

    def test_what_is_encrypted_or_damaged_is_a_failure(self, folder: Path, png: bytes) -> None:
        path = write_zip(folder / "scans.zip", {"a.png": png})
        data = bytearray(path.read_bytes())
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        (folder / "cut.zip").write_bytes(bytes(data[:-9]))
        for paths in ([folder], [folder / "cut.zip", path]):
            cut, encrypted = find_inputs(paths).failures
            assert cut.error.startswith(f"{folder / 'cut.zip'}: a damaged zip archive (")
            assert encrypted.path == str(path / "a.png")
            assert encrypted.error.startswith(f"{path / 'a.png'}: encrypted in its archive; ")


class TestDicomdir:
    @pytest.fixture
    def disc(self, folder: Path) -> Path:
        """A CD whose files are named in small letters."""
        for name in ("images/im1", "images/im2", "extra"):
            write_png(folder / name)
        return write_dicomdir(folder / "DICOMDIR", ["IMAGES", "IM2"], ["IMAGES", "IM1"])

    def test_the_files_that_it_names_take_its_place(self, disc: Path, found: Callable[..., list[str]]) -> None:
        inputs = find_inputs([disc])
        assert found(inputs) == ["images/im2", "images/im1"]
        assert (inputs.skipped, inputs.failures, inputs.roots) == ((), (), (disc,))

    def test_in_its_folder_all_files_are_found(self, disc: Path, found: Callable[..., list[str]]) -> None:
        inputs = find_inputs([disc.parent])
        assert found(inputs) == ["extra", "images/im1", "images/im2"]
        assert (inputs.skipped, inputs.failures) == ((), ())

    @pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
    def test_what_is_missing_or_outside_is_said(self, folder: Path, disc: Path) -> None:
        write_png(folder.parent / "out.png")
        write_dicomdir(disc, ["IMAGES", "IM1"], ["..", "OUT.PNG"], "/ETC/X", ["IMAGES", "IM3"], "IMAGES")
        words = (
            f"{disc}: names 2 files (../OUT.PNG, /ETC/X) outside its folder and names 2 files (IMAGES/IM3, IMAGES) "
            "that are not there; copy the whole folder again, or name the files in it"
        )
        named, in_folder = find_inputs([disc]), find_inputs([folder])
        assert named.files == (folder / "images" / "im1",)
        assert named.failures == (Failure(str(disc), words),)
        assert in_folder.skipped == (Skipped(str(disc), words),)
        assert in_folder.failures == ()

    def test_in_an_archive(self, folder: Path, disc: Path, found: Callable[..., list[str]], png: bytes) -> None:
        path = write_zip(
            folder / "cd.zip", {"CD/DICOMDIR": disc.read_bytes(), "CD/Images/IM1": png, "CD/Images/x": png}
        )
        inputs = find_inputs([path])
        assert found(inputs) == ["cd.zip/CD/Images/IM1", "cd.zip/CD/Images/x"]
        assert reasons(inputs, folder) == {
            "cd.zip/CD/DICOMDIR": "names 1 file (IMAGES/IM2) that is not there; copy the whole folder again, or name "
            "the files in it"
        }

    def test_damage_is_one_sentence(self, disc: Path) -> None:
        data = disc.read_bytes()
        disc.write_bytes(data[: data.index(b"SQ") + 30])
        inputs = find_inputs([disc])
        assert inputs.files == ()
        assert inputs.failures[0].error.startswith(f"{disc}: ")
