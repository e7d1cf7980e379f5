"""Header values that others wrote: what is unambiguous is read, what decides the picture is else refused."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxrcad.imaging.elements import number
from cxrcad.imaging.read import image_header, read_radiograph

NO_NUMBERS = ["nan", "inf", "-Infinity", "1e400", "1_000", "1,250", "1.2.3", "0x10", "\u0661", "abc", "--1", "1 2", ""]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("-1,0", -1.0),
        ("0,143", 0.143),
        ("1250,5", 1250.5),
        (",5", 0.5),
        ("+2.E1", 20.0),
        ("1,5e-1", 0.15),
    ],
)
def test_a_number_with_a_point_or_a_decimal_comma(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_or_two(text):
    assert number(text) is None


@pytest.mark.parametrize("slope", [b"-1,0", b" -1.0\0", b"-1.0\\-1.0", b"-1"])
def test_a_slope_in_any_spelling_turns_the_polarity(make_dicom, stored, slope):
    radiograph = read_radiograph(make_dicom(4095 - stored, RescaleSlope=slope, RescaleIntercept=b"4095,0"))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert "rescaled by slope -1, intercept 4095" in radiograph.source.notes


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "1,250", "abc", "1\\2"])
def test_a_rescale_that_cannot_be_read_is_refused(make_dicom, stored, fault, name, text):
    sentence = f"a.dcm: {name} is {text!r}, but one number is needed; {correction(name)}"
    assert fault(make_dicom(stored, **{name: text.encode()})) == sentence


def correction(name, file="a.dcm"):
    return f"export the radiograph again, or correct it: dcmodify -m {name}=NUMBER {file}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("Rows", b"96.0"), ("Rows", b"0096"), ("Columns", b"80,0"), ("BitsStored", b"12.0"), ("HighBit", b"11.")),
        *(("BitsAllocated", b"+16.0"), ("PixelRepresentation", b"0.0"), ("SamplesPerPixel", b"1.0")),
    ],
)
def test_a_number_as_text_where_a_binary_one_belongs(make_dicom, stored, name, text):
    np.testing.assert_allclose(read_radiograph(make_dicom(stored, **{name: text})).pixels, stored / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("Rows", b"96.5", "'96.5', but a whole number is needed"),
        ("BitsStored", b"twelve", "'twelve', but one number is needed"),
        ("Columns", b"\x50\0\0\0", r"'80\\0', but one number is needed"),
    ],
)
def test_what_is_no_whole_number_is_told_with_a_command(make_dicom, stored, fault, name, value, told):
    path = make_dicom(stored, name="a b.dcm", **{name: value})
    assert fault(path) == f"a b.dcm: {name} is {told}; " + correction(name, "'a b.dcm'")


@pytest.mark.skipif(shutil.which("dcmodify") is None, reason="DCMTK's commands are not installed")
@pytest.mark.parametrize(
    ("elements", "number"),
    [
        ({"Rows": b"96.5"}, "96"),
        ({"RescaleSlope": b"1\\2"}, "1"),
        ({"HighBit": 9}, ""),
        ({"BitsAllocated": None, "PhotometricInterpretation": None}, ""),
    ],
)
def test_the_command_that_is_told_works(make_dicom, stored, fault, elements, number):
    path = make_dicom(stored, name="a b.dcm", **elements)
    command = shlex.split(fault(path).split("correct it: ")[1].replace("NUMBER", number))
    subprocess.run(command, cwd=path.parent, check=True)
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)


def test_an_empty_rescale_is_none(make_dicom, stored):
    radiograph = read_radiograph(make_dicom(stored, RescaleSlope=b"", RescaleIntercept=b" "))
    assert radiograph.source.notes == ("no VOI: full range 0 to 4095",)


@pytest.mark.parametrize(("slope", "intercept"), [(b"1e308", b"0"), (b"1e-300", b"1e5")])
def test_a_rescale_that_leaves_no_picture_is_refused(make_dicom, stored, fault, slope, intercept):
    sentence = fault(make_dicom(stored, RescaleSlope=slope, RescaleIntercept=intercept))
    assert sentence.endswith(" would leave no picture; export the radiograph again")


@pytest.mark.parametrize(
    ("center", "width"), [(b"2048,0", b"4096,0"), (b"2048.0,2048.0", b"4096.0,4096.0"), (b"x\\2048", b"\\4096")]
)
def test_a_window_with_decimal_commas(make_dicom, stored, center, width):
    radiograph = read_radiograph(make_dicom(stored, WindowCenter=center, WindowWidth=width))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert "window center 2048, width 4096 (LINEAR) applied" in radiograph.source.notes


@pytest.mark.parametrize(("center", "width"), [(b"NaN", b"4096"), (b"2048", b"1e400"), (b"1,250", b"4096")])
def test_a_window_that_cannot_be_read_is_not_applied(make_dicom, stored, center, width):
    radiograph = read_radiograph(make_dicom(stored, WindowCenter=center, WindowWidth=width))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    told = f"WindowCenter is {center.decode()!r}, WindowWidth is {width.decode()!r}, no window: not applied"
    assert radiograph.source.notes == (told, "no VOI: full range 0 to 4095")


@pytest.mark.parametrize("function", [b"sigmoid", b" Sigmoid ", b"SIGMOID\\SIGMOID"])
def test_a_function_in_small_letters(make_dicom, stored, function):
    path = make_dicom(stored, WindowCenter=2000, WindowWidth=1000, VOILUTFunction=function)
    assert "window center 2000, width 1000 (SIGMOID) applied" in read_radiograph(path).source.notes


@pytest.mark.parametrize("spacing", [b"0,2\\0,15", b"0.2,0.15", b" 0.2 \\ 0.15 ", b"2e-1\\,15"])
def test_a_spacing_in_any_spelling(make_dicom, stored, spacing):
    path = make_dicom(stored, PixelSpacing=spacing)
    assert read_radiograph(path).spacing_mm == (0.2, 0.15)
    assert image_header(path).spacing_mm == (0.2, 0.15)


@pytest.mark.parametrize("spacing", ["0.2", "nan\\nan", "1e400\\0.2", "1,250\\1,250", "a\\b", "0.2\\0.2\\0.2"])
def test_a_spacing_that_cannot_be_read_is_noted(make_dicom, stored, spacing):
    radiograph = read_radiograph(make_dicom(stored, PixelSpacing=spacing.encode(), ImagerPixelSpacing=[0.1, 0.1]))
    assert (radiograph.spacing_mm, radiograph.spacing_from) == ((0.1, 0.1), "ImagerPixelSpacing")
    assert f"PixelSpacing is {spacing!r}, not two numbers: taken as unknown" in radiograph.source.notes


@pytest.mark.parametrize("factor", ["nan", "0", "1,250", "-1", "abc"])
def test_a_magnification_that_cannot_be_read_is_noted(make_dicom, stored, factor):
    elements = {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": factor.encode()}
    radiograph = read_radiograph(make_dicom(stored, **elements))
    assert radiograph.spacing_mm == (0.2, 0.2)
    told = f"EstimatedRadiographicMagnificationFactor is {factor!r}, no magnification: not applied"
    assert told in radiograph.source.notes


@pytest.mark.parametrize(
    "photometric", [b"monochrome1", b" MONOCHROME1", b"Monochrome1\0", b"MONOCHROME1\\MONOCHROME1"]
)
def test_a_photometric_interpretation_in_any_spelling(make_dicom, stored, photometric):
    radiograph = read_radiograph(make_dicom(4095 - stored, PhotometricInterpretation=photometric))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert "MONOCHROME1 inverted" in radiograph.source.notes


def test_two_photometric_interpretations_are_refused(make_dicom, stored, fault):
    assert "PhotometricInterpretation MONOCHROME1\\MONOCHROME2, but grey is" in fault(
        make_dicom(stored, PhotometricInterpretation=b"MONOCHROME1\\MONOCHROME2")
    )


@pytest.mark.parametrize(("shape", "inverted"), [(b"inverse", True), (b" Inverse ", True), (b"identity", False)])
def test_a_presentation_shape_in_any_spelling(make_dicom, stored, shape, inverted):
    radiograph = read_radiograph(make_dicom(stored, PresentationLUTShape=shape))
    np.testing.assert_allclose(radiograph.pixels, 1 - stored / 4095 if inverted else stored / 4095, atol=1e-6)


def test_an_unknown_presentation_shape_is_noted(make_dicom, stored):
    radiograph = read_radiograph(make_dicom(stored, PresentationLUTShape=b"LIN OD"))
    assert "PresentationLUTShape is 'LIN OD', not IDENTITY or INVERSE: not applied" in radiograph.source.notes


@pytest.mark.parametrize("modality", [b"ct", b" CT ", b"Ct\0"])
def test_another_modality_in_any_spelling(make_dicom, stored, fault, modality):
    assert fault(make_dicom(stored, Modality=modality)).startswith("a.dcm: Modality CT (")


@pytest.mark.parametrize(
    ("letters", "read"),
    [
        (b"r\\h", ("R", "H")),
        (b" R \\ H ", ("R", "H")),
        (b"RF\\HL", ("RF", "HL")),
        (b"R/H ", ("R", "H")),
        (b"r, h", ("R", "H")),
    ],
)
def test_an_orientation_in_any_spelling(make_dicom, stored, letters, read):
    assert read_radiograph(make_dicom(stored, PatientOrientation=letters)).orientation == read


@pytest.mark.parametrize("letters", ["R", "RH", "R\\X", "1\\2", "R\\F\\A"])
def test_an_orientation_that_cannot_be_read_is_noted(make_dicom, stored, letters):
    radiograph = read_radiograph(make_dicom(stored, PatientOrientation=letters.encode()))
    assert radiograph.orientation is None
    assert f"PatientOrientation is {letters!r}, not two directions: taken as upright" in radiograph.source.notes


@pytest.mark.parametrize("frames", [b"", b"1 ", b"1.0", b"0"])
def test_one_frame_in_any_spelling(make_dicom, stored, frames):
    np.testing.assert_allclose(
        read_radiograph(make_dicom(stored, NumberOfFrames=frames)).pixels, stored / 4095, atol=1e-6
    )


@pytest.mark.parametrize("frames", ["one", "1.5", "nan", "1\\2"])
def test_frames_that_cannot_be_read_are_refused(make_dicom, stored, fault, frames):
    assert fault(make_dicom(stored, NumberOfFrames=frames.encode())).startswith(
        f"a.dcm: NumberOfFrames is {frames!r}, but "
    )


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"])
def test_two_values_where_one_belongs(make_dicom, stored, fault, name):
    path = make_dicom(stored, **{name: [96, 80]})
    assert fault(path) == rf"a.dcm: {name} is '96\\80', but one number is needed; {correction(name)}"


HALF = [{"LUTDescriptor": [4096, 0, 12]}, {"LUTData": [1, 2, 3]}]
WHOLE = {"LUTDescriptor": [4096, 0, 12], "LUTData": [4095 - value for value in range(4096)]}


def tables(*items):
    found = []
    for elements in items:
        found.append(Dataset())
        for keyword, value in elements.items():
            found[-1].add_new(keyword, "US", value)
    return Sequence(found)


class TestTables:
    @pytest.mark.parametrize("item", [{}, {"LUTDescriptor": 7}, *HALF])
    def test_an_empty_voi_lut_beside_a_window(self, make_dicom, stored, item):
        elements = {"VOILUTSequence": tables(item), "WindowCenter": 2048, "WindowWidth": 4096}
        radiograph = read_radiograph(make_dicom(stored, **elements))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
        assert radiograph.source.notes == (
            "VOI LUT without its entries or their number: not applied",
            "window center 2048, width 4096 (LINEAR) applied",
        )

    def test_an_empty_voi_lut_before_a_whole_one(self, make_dicom, stored):
        radiograph = read_radiograph(make_dicom(stored, VOILUTSequence=tables({}, WHOLE)))
        np.testing.assert_allclose(radiograph.pixels, 1 - stored / 4095, atol=1e-6)
        assert radiograph.source.notes[:2] == (
            "VOI LUT (first of 2) without its entries or their number: not applied",
            "VOI LUT (number 2 of 2) applied",
        )

    def test_an_empty_modality_lut_is_none(self, make_dicom, stored):
        radiograph = read_radiograph(make_dicom(stored, ModalityLUTSequence=tables({})))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
        assert "an empty modality LUT: not applied" in radiograph.source.notes

    @pytest.mark.parametrize("item", HALF)
    def test_half_a_modality_lut_is_refused(self, make_dicom, stored, fault, item):
        path = make_dicom(stored, ModalityLUTSequence=tables(item))
        assert fault(path) == "a.dcm: a modality LUT without its entries or their number; export the radiograph again"

    @pytest.mark.parametrize("implicit", [True, False])
    def test_a_table_in_either_encoding(self, make_dicom, stored, tmp_path, implicit):
        path = make_dicom(stored, VOILUTSequence=tables(WHOLE))
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
        dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
        np.testing.assert_allclose(read_radiograph(tmp_path / "b.dcm").pixels, 1 - stored / 4095, atol=1e-6)


def test_a_text_that_a_header_states_as_bytes_is_read(make_dicom, stored, tmp_path):
    dataset = pydicom.dcmread(make_dicom(stored))
    del dataset.PhotometricInterpretation
    dataset.add_new("PhotometricInterpretation", "OB", b"MONOCHROME1 ")
    dataset.save_as(tmp_path / "b.dcm")
    assert "MONOCHROME1 inverted" in read_radiograph(tmp_path / "b.dcm").source.notes
