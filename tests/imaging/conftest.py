"""Radiographs made here: one pattern in every format, and DICOM files element by element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


def pattern(rows: int = 96, cols: int = 80) -> NDArray[np.uint16]:
    """A gradient from the top left to the bottom right, a dense disc in the upper left; 12 bit, 0 and 4095 in it."""
    y, x = np.mgrid[:rows, :cols]
    values = 3000 * (y / (rows - 1) + x / (cols - 1)) / 2
    values[(y - rows // 4) ** 2 + (x - cols // 4) ** 2 <= (cols // 10) ** 2] = 4095
    return values.astype(np.uint16)


@pytest.fixture
def make_pattern() -> Callable[..., NDArray[np.uint16]]:
    return pattern


@pytest.fixture
def stored() -> NDArray[np.uint16]:
    return pattern()


@pytest.fixture
def make_dicom(tmp_path: Path) -> Callable[..., Path]:
    """`make_dicom(values, name="a.dcm", bits=12, syntax=None, save=True, **elements)` -> the file.

    An element given as None is left out, one given as bytes holds these, whatever they are. `syntax` compresses through
    pydicom, or through GDCM where that is named.
    """

    def make(
        values: NDArray[Any], name: str = "a.dcm", bits: int = 12, syntax: str | None = None, **elements: Any
    ) -> Path:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.4", "1.2.5"
        dataset.Modality = "DX"
        dataset.Rows, dataset.Columns = values.shape[:2]
        dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
        dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
        if values.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * values.dtype.itemsize, bits, bits - 1
        dataset.PixelRepresentation = int(values.dtype.kind == "i")
        dataset.add_new("PixelData", "OW" if values.dtype.itemsize == 2 else "OB", values.tobytes())
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            elif keyword == "OverlayBitPosition":
                dataset.add_new((0x6000, 0x0102), "US", value)
            elif isinstance(value, bytes) and keyword != "PixelData":
                dataset[keyword] = as_written(keyword, value)
            else:
                setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1.1.1")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if syntax and not syntax.startswith("gdcm:"):
            dataset.compress(syntax)
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        if syntax and syntax.startswith("gdcm:"):
            with_gdcm(path, syntax.removeprefix("gdcm:"))
        return path

    return make


def as_written(keyword: str, value: bytes) -> Any:
    """An element that pydicom takes as it is."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    padded = value + b" " * (len(value) % 2)
    return RawDataElement(Tag(tag_for_keyword(keyword)), dictionary_VR(keyword), len(padded), padded, 0, False, True)


def with_gdcm(path: Path, syntax: str) -> None:
    """Compress a DICOM file in place with GDCM, which has encoders that pydicom has not."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.fixture
def fault() -> Callable[[Path], str]:
    """`fault(path)` -> the sentence with which `read_radiograph` refuses a file, its path cut down to the name."""
    from cxrcad.core import ReadError
    from cxrcad.imaging.read import read_radiograph

    def read(path: Path) -> str:
        with pytest.raises(ReadError) as caught:
            read_radiograph(path)
        sentence = str(caught.value)
        assert sentence.startswith(f"{path}: ")
        assert "\n" not in sentence
        assert "; " in sentence
        return path.name + sentence.removeprefix(str(path))

    return read
