"""Whether a damaged file is ever taken for a whole one: 300 of them, of all formats, made from one radiograph.

Bytes are flipped, tails cut, and compressed streams cut and wrapped again as if whole. Where a damaged file is read and
a finding of it or of the whole one has no counterpart in the other within 1 pixel and 0.02 of score, the format's
reference decoder reads it too: GDCM and DCMTK (where its commands are installed) DICOM files and bare JPEG and
JPEG 2000 streams, libtiff TIFF. What takes it without a word is named; pixels that are neither compressed nor have a
checksum no decoder can tell from others. What has a checksum of zlib's (PNG, MHA, .gz, .zip) has no excuse.

python benchmarks/fuzz.py RADIOGRAPH [--files 300] [--seed 1] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph, ReadError, Result
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import resolve_model
from cxrcad.report.tables import Table

MODEL = "deeplabv3plus-real"
NEAR_PX, NEAR_SCORE = 1.0, 0.02
LEAST_SCORE = 0.1
"""From here on findings are compared: some thirty of a radiograph, far below the model's threshold."""
SIDE, IMG_SIDE = 512, 2048
SYNTAXES = {
    "ll": "JPEGLosslessProcess14_1",
    "jpegls": "JPEGLSLossless",
    "near": "JPEGLSNearLossless",
    "j2k": "JPEG2000Lossless",
    "j2k_lossy": "JPEG2000",
}
EXPLICIT, IMPLICIT, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".1.99", ".5"))
BARE = {"jpg": "50", "jpg-progressive": "55", "jp2": "91"}
"""The transfer syntax, 1.2.840.10008.1.2.4.*, in which a bare stream is given to GDCM and DCMTK."""
BMP_HEADER = 54
"""Bytes, after which the palette and the pixels follow."""
DCMTK = ("dcmdjpeg", "dcmdjpls", "dcmdrle")
GDCM = """
import sys, gdcm
gdcm.Trace.WarningOn(), gdcm.Trace.ErrorOn()
reader = gdcm.ImageReader()
reader.SetFileName(sys.argv[1])
sys.exit(0 if reader.Read() and reader.GetImage().GetBuffer() else 1)
"""
LIBTIFF = """
import sys
from PIL import Image, TiffImagePlugin
TiffImagePlugin.READ_LIBTIFF = True
Image.open(sys.argv[1]).load()
"""
REFUSED, SAME, ALIKE, TAKEN, WRONG = "refused", "the same pixels", "like findings", "others take it too", "wrong"


class Kind(NamedTuple):
    """A format by a name that starts with its ending, a whole file, its `raw` pixels, and how its stream is cut."""

    name: str
    whole: bytes
    rewrap: Callable[[bytes, float, random.Random], bytes] | None = None
    raw: bytes = b""

    @property
    def ending(self) -> str:
        return "." + self.name.split("-")[0]


class Row(NamedTuple):
    file: str
    damage: str
    outcome: str
    told: str
    """Which decoder takes the file too, or why it is refused."""


def dicom(values: NDArray[Any], syntax: str = EXPLICIT, frame: bytes | None = None) -> bytes:
    """A DICOM file of grey values; with the one compressed `frame` in place of its pixels."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax if syntax != RLE else EXPLICIT)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    eight = values.dtype == np.uint8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8, 8, 7) if eight else (16, 12, 11)
    dataset.add_new("PixelData", "OB" if eight or frame else "OW", encapsulate([frame]) if frame else values.tobytes())
    dataset["PixelData"].is_undefined_length = frame is not None
    if syntax == RLE:
        dataset.compress(RLE)
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def with_gdcm(file: bytes, syntax: str) -> bytes:
    """A DICOM file compressed by GDCM."""
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))

    def write(path: Path) -> None:
        path.write_bytes(file)
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()

    return _through_file(write)


def pillow(values: NDArray[Any], kind: str, **options: Any) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(values).save(content, kind, **options)
    return content.getvalue()


def itk(values: NDArray[Any], ending: str, packed: bool) -> bytes:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values)
    return _through_file(lambda path: SimpleITK.WriteImage(image, str(path), useCompression=packed), ending)


def _through_file(write: Callable[[Path], object], ending: str = ".dcm") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        write(path)
        return path.read_bytes()


def cut(stream: bytes, part: float, rng: random.Random) -> bytes:
    """The first part of a JPEG, JPEG-LS or JPEG 2000 stream: bare, with an end marker, or filled with zeros."""
    short = stream[: int(len(stream) * part)]
    return rng.choice((short, short + b"\xff\xd9", short + bytes(len(stream) - len(short))))


def cut_frame(file: bytes, part: float, rng: random.Random) -> bytes:
    import pydicom
    from pydicom.encaps import encapsulate, get_frame

    dataset, content = pydicom.dcmread(io.BytesIO(file)), io.BytesIO()
    dataset.PixelData = encapsulate([cut(get_frame(dataset.PixelData, 0, number_of_frames=1), part, rng)])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(content)
    return content.getvalue()


def cut_deflated(file: bytes, part: float, _rng: random.Random) -> bytes:
    """A deflated DICOM file whose data set is cut, the bits of its end being a whole block's."""
    start = 144 + struct.unpack_from("<I", file, 140)[0]
    data = zlib.decompress(file[start:], -zlib.MAX_WBITS)
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return file[:start] + engine.compress(data[: int(len(data) * part)]) + engine.flush()


def cut_png(file: bytes, part: float, _rng: random.Random) -> bytes:
    """A PNG with its data cut, in one chunk with a right checksum."""
    data = b"".join(body for name, body in _chunks(file) if name == b"IDAT")
    parts = [(name, body) for name, body in _chunks(file) if name != b"IDAT"]
    parts.insert(-1, (b"IDAT", data[: int(len(data) * part)]))
    each = (struct.pack(">I4s", len(b), n) + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts)
    return file[:8] + b"".join(each)


def _chunks(file: bytes) -> Iterable[tuple[bytes, bytes]]:
    place = 8
    while place < len(file):
        length, name = struct.unpack_from(">I4s", file, place)
        yield name, file[place + 8 : place + 8 + length]
        place += 12 + length


def cut_meta(file: bytes, part: float, _rng: random.Random) -> bytes:
    head, body = file.split(b"LOCAL\n", 1)
    body = body[: int(len(body) * part)]
    return re.sub(rb"(CompressedDataSize = )\d+", rb"\g<1>%d" % len(body), head) + b"LOCAL\n" + body


def cut_strip(file: bytes, part: float, rng: random.Random) -> bytes:
    """A TIFF with one of its strips of JPEG cut, in the length that its header states or in a shorter one."""
    from PIL import Image

    with Image.open(io.BytesIO(file)) as image:
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        starts, lengths = np.atleast_1d(tags[273]).tolist(), np.atleast_1d(tags[279]).tolist()
    start, length = rng.choice(list(zip(starts, lengths, strict=True)))
    short = cut(file[start : start + length], part, rng)[:length]
    return file[:start] + short + bytes(length - len(short)) + file[start + length :]


def cut_gzip(file: bytes, part: float, _rng: random.Random) -> bytes:
    data = gzip.decompress(file)
    return gzip.compress(data[: int(len(data) * part)], mtime=0)


def zipped(file: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.dcm"), file)
    return content.getvalue()


def kinds(values: NDArray[np.uint16], dcmtk: Path | None = None) -> list[Kind]:
    """All formats of 12-bit values (rows, cols), with their upper 8 bits where the format has no more."""
    small = (values >> 4).astype(np.uint8)
    grown = np.kron(values, np.ones(np.array([IMG_SIDE, IMG_SIDE]) // values.shape, np.uint16)).astype(">u2").tobytes()
    plain, jpeg, bmp = dicom(values), pillow(small, "JPEG", quality=95), pillow(small, "BMP")
    found = [
        Kind("dcm", plain, raw=values.tobytes()),
        Kind("dcm-implicit", dicom(values, IMPLICIT), raw=values.tobytes()),
        Kind("dcm-deflated", dicom(values, DEFLATED), cut_deflated),
        Kind("dcm-rle", dicom(values, RLE), cut_frame),
        Kind("dcm-jpeg", dicom(small, "1.2.840.10008.1.2.4.50", jpeg), cut_frame),
        *(Kind(f"dcm-{name}", with_gdcm(plain, syntax), cut_frame) for name, syntax in SYNTAXES.items()),
        Kind("dcm.gz", gzip.compress(plain, mtime=0), cut_gzip),
        Kind("zip", zipped(plain)),
        Kind("png", pillow(values, "PNG"), cut_png),
        Kind("png-8", pillow(small, "PNG"), cut_png),
        Kind("jpg", jpeg, cut),
        Kind("jpg-progressive", pillow(small, "JPEG", quality=95, progressive=True), cut),
        Kind("jp2", pillow(small, "JPEG2000"), cut),
        Kind("bmp", bmp, raw=bmp[BMP_HEADER:]),
        Kind("tif", pillow(values, "TIFF"), raw=values.tobytes()),
        Kind("tif-lzw", pillow(values, "TIFF", compression="tiff_lzw")),
        Kind("tif-deflate", pillow(values, "TIFF", compression="tiff_adobe_deflate")),
        Kind("tif-packbits", pillow(small, "TIFF", compression="packbits")),
        Kind("tif-jpeg", pillow(small, "TIFF", compression="jpeg", quality=95), cut_strip),
        Kind("mha", itk(values, ".mha", False), raw=values.tobytes()),
        Kind("mha-packed", itk(values, ".mha", True), cut_meta),
        Kind("nii", itk(values, ".nii", False), raw=values.tobytes()),
        Kind("nii.gz", itk(values, ".nii.gz", True), cut_gzip),
        Kind("img", grown, raw=grown),
    ]
    if dcmtk:
        with tempfile.TemporaryDirectory() as folder:
            path, packed = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
            path.write_bytes(plain)
            subprocess.run([dcmtk / "dcmcjpeg", "+ee", path, packed], check=True)  # JPEG of 12 bit
            found.append(Kind("dcm-jpeg12", packed.read_bytes(), cut_frame))
    return found


def damaged(kind: Kind, rng: random.Random) -> tuple[str, bytes]:
    """What was done to a file of this kind, and the file."""
    part = rng.choice((0.05, 0.3, 0.6, 0.9, 0.95, 0.99, rng.random()))
    way = rng.choice(["flips", "cut"] + ["cut stream"] * 2 * (kind.rewrap is not None))
    if way == "cut":
        return f"cut at {part:.0%}", kind.whole[: int(len(kind.whole) * part)]
    if kind.rewrap and way == "cut stream":
        return f"stream cut at {part:.0%}", kind.rewrap(kind.whole, part, rng)
    data, count = bytearray(kind.whole), rng.choice((1, 2, 8))
    end = rng.choice((400, len(data)))  # a half of them in the header
    for place in rng.sample(range(end), count):
        data[place] ^= 1 << rng.randrange(8)
    return f"{count} bits of the first {end:,} bytes flipped", bytes(data)


def differ(one: Result, other: Result) -> bool:
    """Whether a finding of one, from LEAST_SCORE on, has no counterpart among all candidates of the other."""

    def lacks(these: Result, those: Result) -> bool:
        return any(
            not any(
                max(abs(a - b) for a, b in zip(finding.center_px, twin.center_px, strict=True)) <= NEAR_PX
                and abs(finding.score - twin.score) <= NEAR_SCORE
                for twin in those.findings
            )
            for finding in these.findings
            if finding.score >= LEAST_SCORE
        )

    return lacks(one, other) or lacks(other, one)


def taken_by(kind: Kind, path: Path, shape: tuple[int, int], dcmtk: Path | None) -> str:
    """Which decoder takes a damaged file without a word; "" where none does."""
    data, start = path.read_bytes(), kind.whole.index(kind.raw)
    end = start + len(kind.raw)
    if kind.raw and (data[:start], data[end:]) == (kind.whole[:start], kind.whole[end:]):
        return "all: only uncompressed pixels differ"
    ways: dict[str, list[Any]] = {}
    file = path
    if kind.name in BARE:
        file = path.with_suffix(".dcm")
        file.write_bytes(dicom(np.zeros(shape, np.uint8), f"1.2.840.10008.1.2.4.{BARE[kind.name]}", data))
    if file.suffix == ".dcm":
        ways["GDCM"] = [sys.executable, "-P", "-c", GDCM, file]
        ways |= {f"DCMTK's {name}": [dcmtk / name, file, os.devnull] for name in DCMTK} if dcmtk else {}
    elif file.suffix == ".tif":
        ways["libtiff"] = [sys.executable, "-P", "-c", LIBTIFF, file]
    for name, command in ways.items():
        done = subprocess.run(command, capture_output=True, check=False)
        if not done.returncode and not done.stderr.strip() and not done.stdout.strip():
            return name
    return ""


def outcome(kind: Kind, path: Path, whole: Radiograph, detector: Detector, dcmtk: Path | None) -> tuple[str, str]:
    """What comes of a damaged file at `path`, and which decoder takes it too, or why it is refused."""
    try:
        radiograph = read_radiograph(_named(path))
    except ReadError as error:
        return REFUSED, str(error).removeprefix(f"{_named(path)}: ")
    if np.array_equal(radiograph.pixels, whole.pixels):
        return SAME, ""
    if radiograph.pixels.shape == whole.pixels.shape:
        one, other = (detector.detect(replace(each, source=whole.source)) for each in (whole, radiograph))
        if not differ(one, other):
            return ALIKE, ""
    name = taken_by(kind, path, whole.pixels.shape, dcmtk)
    return (TAKEN, name) if name else (WRONG, "")


def _named(path: Path) -> Path:
    return path / "a.dcm" if path.suffix == ".zip" else path


def run(
    values: NDArray[np.uint16], files: int, seed: int, folder: Path, detector: Detector, dcmtk: Path | None = None
) -> list[Row]:
    """What was done to each damaged file, and what came of it; those with other findings stay in `folder`."""
    rng, rows, wholes = random.Random(seed), [], []
    all_kinds = kinds(values, dcmtk)
    for kind in all_kinds:
        path = folder / f"whole-{kind.name}{kind.ending}"
        path.write_bytes(kind.whole)
        wholes.append(read_radiograph(_named(path)))
        path.unlink()
    for number in range(files):
        which = number % len(all_kinds)
        kind = all_kinds[which]
        damage, data = damaged(kind, rng)
        path = folder / f"{number:03}-{kind.name}{kind.ending}"
        path.write_bytes(data)
        row = Row(path.name, damage, *outcome(kind, path, wholes[which], detector, dcmtk))
        if row.outcome not in (TAKEN, WRONG):
            path.unlink()
        rows.append(row)
    return rows


def lines(rows: list[Row]) -> list[str]:
    """The counts of all outcomes, and a row for each file whose findings are others."""
    counts = Counter(row.outcome for row in rows)
    names = (REFUSED, SAME, ALIKE, TAKEN, WRONG)
    table = Table(("files", *names), [(str(len(rows)), *(str(counts[name]) for name in names))])
    others = [row for row in rows if row.outcome in (TAKEN, WRONG)]
    return [*table.markdown(), "", *Table(("file", "damage", "outcome", "by"), others).markdown()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("radiograph", type=Path)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where files whose findings are others are kept")
    parser.add_argument("--verbose", action="store_true", help="a line for each file")
    options = parser.parse_args()
    pixels = read_radiograph(options.radiograph).pixels
    step = max(1, min(pixels.shape) // SIDE)
    pixels = pixels[: SIDE * step, : SIDE * step].reshape(SIDE, step, SIDE, step).mean(axis=(1, 3))
    noise = np.random.default_rng(options.seed).normal(0, 3, pixels.shape)
    values = np.clip(pixels * 4095 + noise, 0, 4095).astype(np.uint16)
    program = shutil.which("dcmdjpeg")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        detector = Detector.open(resolve_model(MODEL), "cpu")
        rows = run(values, options.files, options.seed, folder, detector, Path(program).parent if program else None)
    if options.verbose:
        print("\n".join(" | ".join(row) for row in rows))
    print("\n".join(lines(rows)))


if __name__ == "__main__":
    main()
