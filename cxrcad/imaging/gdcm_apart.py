"""GDCM in a process of its own, which it ends at some damaged frames: what it decodes, and what it says."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["decoded", "fault_of"]

DECODE = """
import io, sys, numpy, pydicom
dataset = pydicom.dcmread(io.BytesIO(sys.stdin.buffer.read()))
dataset.pixel_array_options(decoding_plugin="gdcm")
content = io.BytesIO()
numpy.save(content, dataset.pixel_array)
sys.stdout.buffer.write(content.getvalue())
"""
READ = """
import sys, gdcm
gdcm.Trace.WarningOn()
reader = gdcm.ImageReader()
reader.SetFileName(sys.argv[1])
if not (reader.Read() and reader.GetImage().GetBuffer()):
    print("not decoded")
"""
SECONDS = 120
SYNTAXES = {0xC0: "50", 0xC1: "51", 0xC2: "55", 0xC3: "57", 0xF7: "80"}
"""The end of the transfer syntax of each frame marker: 1.2.840.10008.1.2.4."""
JPEG_LS = 0xF7
CORRUPT = re.compile(r"Corrupt JPEG data: (.*)")
"""How libjpeg's warnings start (jerror.h)."""
SURPLUS = "there are more coded data than pixels"


def decoded(dataset: Dataset) -> NDArray[Any]:
    """The pixels of a data set with one compressed frame. Raises ValueError with GDCM's last line where it fails."""
    content = _file(dataset)
    done = _run(DECODE, content=content)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        raise ValueError(words[-1])
    values: NDArray[Any] = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return values


def fault_of(stream: bytes, kind: int, rows: int, cols: int, samples: int, bits: int) -> str:
    """What libjpeg or CharLS in GDCM finds wrong with a JPEG stream, whose frame header has the marker `kind`.

    "" where it finds nothing, where GDCM is not installed, and where it does not know the kind.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    if kind not in SYNTAXES:
        return ""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(f"1.2.840.10008.1.2.4.{SYNTAXES[kind]}")
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PixelRepresentation = rows, cols, samples, 0
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "YBR_FULL"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as folder:
        path = Path(folder) / "a.dcm"
        path.write_bytes(_file(dataset))
        done = _run(READ, str(path))
    if kind == JPEG_LS:
        return SURPLUS if b"not decoded" in done.stdout else ""
    found = CORRUPT.search(done.stderr.decode(errors="replace"))
    return (SURPLUS if "extraneous" in found.group() else found.group(1)) if found else ""


def _file(dataset: Dataset) -> bytes:
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    content = io.BytesIO()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2")
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _run(code: str, *arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-c", code, *arguments]  # -P: no pydicom.py of the folder in which the user is
    return subprocess.run(command, input=content, capture_output=True, timeout=SECONDS, check=False)
