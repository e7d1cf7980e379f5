"""How much memory it takes to refuse files that hold, or inflate to, far more than a radiograph.

Each file is read in a process of its own; told is the peak of its memory above that of a process that has read nothing.

python benchmarks/bombs.py FOLDER
"""

from __future__ import annotations

import argparse
import io
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from cxrcad.core import ReadError
from cxrcad.imaging.read import read_radiograph
from cxrcad.report.tables import Table

SIDE = 2000
GIGABYTES = 3
MILLION = 10**6


def dicom(pixels: bytes = b"", stated: int | None = None, **elements: object) -> bytes:
    """A DICOM file of SIDE x SIDE pixels of 16 bit, whose pixel data are `stated` bytes long by its header."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = "DX", SIDE, SIDE, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    for name, value in elements.items():
        setattr(dataset, name, value)
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    length = len(pixels) if stated is None else stated
    return content.getvalue() + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", length) + pixels


def deflated(file: bytes, zeros: int) -> bytes:
    """A DICOM file with its data set deflated (PS3.5, A.5), and `zeros` zero bytes behind it."""
    meta = 132 + 12 + struct.unpack_from("<I", file, 140)[0]
    head = file[:meta].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = head.replace(b"\x02\x00\x10\x00UI\x14\x00", b"\x02\x00\x10\x00UI\x16\x00")
    head = head[:140] + struct.pack("<I", len(head) - 144) + head[144:]
    return head + squeezed(zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), file[meta:], zeros)


def squeezed(engine: Any, start: bytes, zeros: int) -> bytes:
    """`start` and `zeros` zero bytes, compressed. The checksum at its end, where no reader comes, is wrong."""
    head = engine.compress(start) + engine.flush(zlib.Z_FULL_FLUSH)
    block = engine.compress(bytes(MILLION)) + engine.flush(zlib.Z_FULL_FLUSH)
    return head + block * (zeros // MILLION) + engine.flush()


def write(folder: Path, gigabytes: int = GIGABYTES) -> list[Path]:
    """The files, whose rest is zeros: sparse, or compressed."""
    zeros = gigabytes * 10**9
    nifti = bytearray(352)
    struct.pack_into("<i", nifti, 0, 348)
    struct.pack_into("<8h", nifti, 40, 2, SIDE, SIDE, 1, 1, 1, 1, 1)
    struct.pack_into("<2h", nifti, 70, 512, 16)
    struct.pack_into("<f", nifti, 108, 352)
    nifti[344:348] = b"n+1\0"
    meta = f"ObjectType = Image\nNDims = 2\nDimSize = {SIDE} {SIDE}\nElementType = MET_USHORT\n"
    packed = f"{meta}CompressedData = True\nElementDataFile = LOCAL\n".encode()
    frames = zeros // (2 * SIDE * SIDE)
    sparse = {
        "frames.dcm": dicom(stated=min(zeros, 2**32 - 2), NumberOfFrames=frames),
        "long.dcm": dicom(stated=min(zeros, 2**32 - 2)),
        "compressed.dcm": dicom(stated=2**32 - 1).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
        "long.nii": bytes(nifti),
        "long.mha": f"{meta}ElementDataFile = LOCAL\n".encode(),
    }
    whole = {
        "deflated.dcm": deflated(dicom(stated=min(zeros, 2**32 - 2)), zeros),
        "header.dcm": deflated(dicom()[:-12] + struct.pack("<HH2s2xI", 0x7FDF, 0x1000, b"OB", 2**32 - 2), zeros),
        "gzip.nii.gz": gzip_of(bytes(nifti), zeros),
        "zlib.mha": packed + squeezed(zlib.compressobj(9), b"", zeros),
    }
    for name, content in (sparse | whole).items():
        with (folder / name).open("wb") as file:
            file.write(content)
            if name in sparse:
                file.truncate(zeros)
    return [folder / name for name in sparse | whole]


def gzip_of(start: bytes, zeros: int) -> bytes:
    """`start` and `zeros` zero bytes, in a gzip file."""
    return squeezed(zlib.compressobj(9, zlib.DEFLATED, 31), start, zeros)


def peak(*paths: Path) -> tuple[int, list[str]]:
    """The peak of memory in MB, above that of start-up, of a process that reads the files; and what is said of each."""
    command = [sys.executable, __file__, "--read", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, *sentences = done.stdout.splitlines()
    return round(float(megabytes)), sentences


def read(paths: list[Path]) -> None:
    """Print the peak of memory that reading the files adds, and a line for each."""
    import pydicom.pixels  # noqa: F401
    import SimpleITK  # noqa: F401

    start, sentences = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for path in paths:
        try:
            read_radiograph(path)
            sentences.append("read")
        except ReadError as error:
            sentences.append(str(error).removeprefix(f"{path}: "))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1000, *sentences, sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+", help="where the files are written: sparse ones of 3 GB each")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read(options.folder)
    folder = options.folder[0]
    folder.mkdir(parents=True, exist_ok=True)
    measured = [(path, *peak(path)) for path in write(folder)]
    rows = [(path.name, f"{megabytes:,}", *sentences) for path, megabytes, sentences in measured]
    print("\n".join(Table(("file", "MB above start-up", "what is said"), rows).markdown()))


if __name__ == "__main__":
    main()
