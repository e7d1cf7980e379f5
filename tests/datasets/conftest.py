"""A tiny data set in JSRT's layout, written by hand: 64 x 64 PNG images, and a real one made from open data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 64
TOOL = Path(__file__).resolve().parents[3] / "shared" / "tools" / "make_open_jsrt.py"

NODULES = (
    "JPCLN001.IMG\t5\t15\t53\tFemale\t512\t1024\tmalignant\tl.upper lobe\tlung cancer",
    "JPCLN002.IMG\t3\t30\t?\tMale\t1600\t640\tbenign\tr.lower lobe\ttuberculoma",
)
NORMALS = ("JPCNN001.IMG\t33 Female normal", "JPCNN002.IMG  ?   Male   normal")

Write = Callable[..., Path]


def write_mask(path: Path, box: tuple[int, int, int, int], side: int = SIDE) -> None:
    """A GIF with 255 in the box (x0, y0, x1, y1), as SCR writes masks."""
    mask = np.zeros((side, side), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write_png(path: Path, side: int = SIDE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(side * side, dtype=np.uint32).reshape(side, side).astype(np.uint8)).save(path)


def write_dicom(path: Path, side: int) -> None:
    """An uncompressed 12-bit digital radiograph."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dicom.SOPClassUID, dicom.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dicom.Modality, dicom.PhotometricInterpretation, dicom.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dicom.Rows = dicom.Columns = side
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 12, 11, 0
    dicom.PixelData = (np.arange(side * side, dtype=np.uint16) % 4096).tobytes()
    dicom.save_as(path, enforce_file_format=True)


@pytest.fixture
def jsrt(tmp_path: Path) -> Write:
    """A writer of the tiny data set: two nodules, two normals, images, masks; what it is given takes the place."""

    def write(nodules: tuple[str, ...] = NODULES, normals: tuple[str, ...] = NORMALS, **files: str) -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / "CLNDAT_EN.txt").write_bytes("".join(line + "\r\n" for line in nodules).encode())
        (folder / "CNNDAT_EN.TXT").write_text("".join(line + "\n" for line in normals))
        for name in ("JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"):
            write_png(folder / "images" / f"{name}.png")
            masks = folder / "scr" / ("fold1" if name.endswith("1") else "fold2") / "masks"
            write_mask(masks / "right lung" / f"{name}.gif", (8, 8, 28, 56))
            write_mask(masks / "left lung" / f"{name}.gif", (36, 8, 56, 56))
            write_mask(masks / "heart" / f"{name}.gif", (24, 30, 40, 56))
        for name, content in files.items():
            (folder / f"{name}.csv").write_text(content)
        return folder

    return write


@pytest.fixture(scope="session")
def open_jsrt_img(open_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cases of open-jsrt in JSRT's own format (.IMG, 2048 x 2048)."""
    if not TOOL.is_file():
        pytest.skip(f"no {TOOL}, which makes open-jsrt")
    folder = tmp_path_factory.mktemp("open-jsrt")
    command = [sys.executable, str(TOOL), str(folder), "--format", "img", "--limit", "12", "--data", str(open_data)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return folder
