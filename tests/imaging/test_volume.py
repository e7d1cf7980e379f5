from __future__ import annotations

import gzip
import re
import struct
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from cxrcad.files import sha256_of
from cxrcad.imaging.polarity import MEAN_CHEST
from cxrcad.imaging.read import image_header, image_size, read_radiograph
from cxrcad.imaging.volume import image_sha256


def save(path, values, spacing=None, **options):
    image = sitk.GetImageFromArray(values, isVector=options.pop("colour", False))
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path), **options)
    return path


def test_node21s_files_are_two_dimensional(tmp_path, stored):
    radiograph = read_radiograph(save(tmp_path / "a.mha", stored, (0.168, 0.17)))
    assert (radiograph.spacing_mm, radiograph.spacing_from) == ((0.17, 0.168), "header")
    assert radiograph.source.format == "MetaImage"
    assert radiograph.source.notes == ("range 0 to 4095 stretched to 0-1", "bright = dense assumed")


def test_compressed_and_negative_values(tmp_path, stored):
    path = save(tmp_path / "a.mha", stored.astype(np.int16) - 1024, useCompression=True)
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert radiograph.source.notes[0] == "range -1024 to 3071 stretched to 0-1"


@pytest.mark.parametrize("name", ["a.mha", "a.nii"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_of_three_dimensions(tmp_path, stored, name, axis):
    path = save(tmp_path / name, np.expand_dims(stored, axis), (0.15, 0.2, 0.3))  # x, y, z
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert radiograph.spacing_mm == {0: (0.2, 0.15), 1: (0.3, 0.15), 2: (0.3, 0.2)}[axis]
    assert image_size(path) == stored.shape


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
def test_a_spacing_of_one_is_unknown(tmp_path, stored, name):
    radiograph = read_radiograph(save(tmp_path / name, stored))
    assert (radiograph.spacing_mm, radiograph.spacing_from) == (None, None)
    assert "header spacing 1 x 1 mm is a placeholder: taken as unknown" in radiograph.source.notes


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
def test_a_spacing_that_no_radiograph_has_is_unknown(tmp_path, stored, name):
    path = save(tmp_path / name, stored, (0.3, 30.0))
    radiograph = read_radiograph(path)
    assert (radiograph.spacing_mm, image_header(path).spacing_mm) == (None, None)
    assert "header spacing 30 x 0.3 mm makes a field of 2,880 x 24 mm: taken as unknown" in radiograph.source.notes


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
@pytest.mark.parametrize(
    ("axis", "x", "y", "z", "letters"),
    [
        (0, 1, 1, 1, None),  # the identity tells nothing
        (0, 1, -1, 1, ("L", "H")),  # dcm2niix: rows bottom up, in the axial plane
        (0, -1, -1, 1, ("R", "H")),
        (1, -1, 1, -1, ("R", "F")),  # coronal
    ],
)
def test_the_matrix_tells_how_the_chest_lies(tmp_path, stored, name, axis, x, y, z, letters):
    image = sitk.GetImageFromArray(np.expand_dims(stored, axis))
    image.SetDirection(np.diag([x, y, z]).astype(float).ravel().tolist())
    image.SetSpacing((0.2, 0.2, 0.2))
    sitk.WriteImage(image, str(tmp_path / name))
    radiograph = read_radiograph(tmp_path / name)
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert radiograph.orientation == letters


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
def test_a_lateral_view_by_the_matrix_is_refused(tmp_path, stored, fault, name):
    image = sitk.GetImageFromArray(np.expand_dims(stored, 2))
    image.SetDirection([1.0, 0, 0, 0, 1, 0, 0, 0, -1])  # sagittal
    image.SetSpacing((0.2, 0.2, 0.2))
    sitk.WriteImage(image, str(tmp_path / name))
    against = "the header's matrix: rows run to P, columns to F"
    assert f"no frontal chest radiograph by its header ({against})" in fault(tmp_path / name)
    radiograph = read_radiograph(tmp_path / name, force=True)
    assert f"{against}: no frontal chest radiograph by its header, read all the same" in radiograph.source.notes


def test_rows_and_columns_of_one_direction_are_refused(tmp_path, stored, fault):
    path = save(tmp_path / "a.mha", stored)
    data = path.read_bytes()
    assert b"TransformMatrix = 1 0 0 1" in data
    path.write_bytes(data.replace(b"TransformMatrix = 1 0 0 1", b"TransformMatrix = 1 0 1 0"))
    assert fault(path) == "a.mha: rows and columns that both run to L by its matrix; save the radiograph again"


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.2, 0.2)])
def test_a_nifti_matrix_of_ones_is_a_placeholder(tmp_path, stored, spacing):
    """RAS's identity, which writers put in without knowing, is x and y reversed in ITK's LPS."""
    image = sitk.GetImageFromArray(stored[None])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((*spacing, 1.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    assert read_radiograph(tmp_path / "a.nii").orientation == (None if spacing == (1.0, 1.0) else ("R", "H"))


CHEST = np.hstack([np.array(MEAN_CHEST), np.array(MEAN_CHEST)[:, ::-1]]).repeat(10, axis=0).repeat(10, axis=1) + 100


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.2, 0.2)])
@pytest.mark.parametrize(
    ("values", "letters", "place"),
    [
        (CHEST, None, "top"),
        (CHEST[::-1], ("L", "H"), "bottom"),
        (CHEST.T, ("F", "L"), "left"),  # nibabel, given rows and columns
        (CHEST.T[:, ::-1], ("H", "L"), "right"),
    ],
    ids=["upright", "upside down", "transposed", "turned"],
)
def test_the_pixels_are_believed_where_a_nifti_matrix_says_little(tmp_path, spacing, values, letters, place):
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.astype(np.int16))[None])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((*spacing, 1.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    radiograph = read_radiograph(tmp_path / "a.nii")
    by_matrix = "bottom" if spacing == (0.2, 0.2) else "top"
    if place == by_matrix:
        letters = ("R", "H") if place == "bottom" else None
    assert radiograph.orientation == letters
    told = [note for note in radiograph.source.notes if "the pixels show it" in note]
    assert len(told) == (place != by_matrix)
    assert all(place in note and by_matrix in note for note in told)


def test_a_nifti_matrix_that_the_pixels_leave_in_doubt_is_noted(tmp_path, stored):
    image = sitk.GetImageFromArray(stored[None])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((0.2, 0.2, 1.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    told = "the header's matrix: rows run to R, columns to H; the pixels do not tell whether it is right"
    assert told in read_radiograph(tmp_path / "a.nii").source.notes


def anatomical(path, values, letters, axis=0, matrix=b""):
    """A MetaImage of one slice whose AnatomicalOrientation is `letters`."""
    sitk.WriteImage(sitk.GetImageFromArray(np.expand_dims(values.astype(np.int16), axis)), str(path))
    data = path.read_bytes()
    assert b"AnatomicalOrientation = RAI" in data
    data = data.replace(b"= RAI", b"= " + letters).replace(b"1 0 0 0 1 0 0 0 1", matrix or b"1 0 0 0 1 0 0 0 1")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("letters", "values", "expected"),
    [
        (b"RAI", CHEST, None),
        (b"???", CHEST, None),
        (b"LPS", CHEST, ("L", "F")),
        (b"LPS", CHEST[::-1, ::-1], ("R", "H")),
        (b"lps", np.zeros(0), ("L", "F")),
        (b"RPI", CHEST[::-1], ("L", "H")),
        (b"RPI", np.zeros(0), ("L", "H")),
        (b"RSA", CHEST, ("L", "F")),
        (b"RSA", CHEST[::-1], ("R", "H")),
        (b"ARI", CHEST.T, ("F", "L")),
        (b"ARI", CHEST, None),
        (b"XYZ", CHEST, None),
        (b"LRS", CHEST, None),
    ],
)
def test_an_anatomical_orientation_counts_where_the_matrix_is_the_identity(tmp_path, stored, letters, values, expected):
    radiograph = read_radiograph(anatomical(tmp_path / "a.mha", values if values.size else stored, letters))
    assert radiograph.orientation == expected
    told = [note for note in radiograph.source.notes if "AnatomicalOrientation" in note]
    assert len(told) == (letters not in (b"RAI", b"???"))
    if letters == b"ARI" and expected is None:
        assert told == [
            "AnatomicalOrientation puts the head on the left, the pixels show it at the top: taken as stored"
        ]


@pytest.mark.parametrize("letters", [b"ASL", b"PIR", b"SAL"])
def test_a_lateral_view_by_its_anatomical_orientation_is_refused(tmp_path, stored, fault, letters):
    path = anatomical(tmp_path / "a.mha", stored, letters)
    assert f"no frontal chest radiograph by its header (AnatomicalOrientation {letters.decode()}: rows" in fault(path)
    assert read_radiograph(path, force=True).source.notes[0].endswith("read all the same")


@pytest.mark.parametrize(("letters", "count"), [(b"RPI", 0), (b"LAS", 0), (b"RAI", 0), (b"RSA", 1), (b"PRI", 1)])
def test_a_matrix_counts_before_the_anatomical_orientation(tmp_path, stored, letters, count):
    path = anatomical(tmp_path / "a.mha", stored, letters, matrix=b"1 0 0 0 -1 0 0 0 1")
    radiograph = read_radiograph(path)
    assert radiograph.orientation == ("L", "H")
    told = [note for note in radiograph.source.notes if "is not what the matrix says: not applied" in note]
    assert len(told) == count


def test_a_volume_is_refused_before_its_data_are_read(tmp_path, fault):
    path = save(tmp_path / "a.mha", np.zeros((5, 70, 80), dtype=np.int16))
    path.write_bytes(path.read_bytes()[:1000])
    assert fault(path) == "a.mha: 80 x 70 x 5 pixels, a volume; give one frontal chest radiograph"


def test_colour_is_refused(tmp_path, fault):
    path = save(tmp_path / "a.mha", np.zeros((70, 80, 3), dtype=np.uint8), colour=True)
    assert fault(path) == "a.mha: 3 values a pixel, a colour image; give the radiograph in grey"


def test_one_value_and_small_sides_are_refused(tmp_path, fault):
    path = save(tmp_path / "a.mha", np.full((64, 64), 3, dtype=np.int16))
    assert fault(path) == "a.mha: all 4,096 pixels have the value 3; export the radiograph again"
    path = save(tmp_path / "b.mha", np.zeros((40, 64), dtype=np.int16))
    assert fault(path) == (
        "b.mha: 40 rows x 64 columns, but a side needs at least 64 pixels; give a frontal chest radiograph"
    )


@pytest.mark.parametrize("name", ["a.mha", "a.nii"])
def test_data_cut_short_are_counted(tmp_path, stored, fault, name):
    path = save(tmp_path / name, stored)
    path.write_bytes(path.read_bytes()[:-10_360])
    assert fault(path) == f"{name}: pixel data ends after 5,000 of 15,360 bytes; copy the file again"


def test_compressed_data_cut_short_are_counted(tmp_path, stored, fault):
    path = save(tmp_path / "a.mha", stored, useCompression=True)
    data = path.read_bytes()
    length = int(data.split(b"CompressedDataSize = ")[1].split(b"\n")[0])
    path.write_bytes(data[:-100])
    assert fault(path) == f"a.mha: pixel data ends after {length - 100:,} of {length:,} bytes; copy the file again"


@pytest.mark.parametrize("stated", [b"", b"CompressedDataSize = 10\n", b"CompressedDataSize = 1000000\n"])
def test_a_compressed_image_is_read_whatever_size_it_states(tmp_path, stored, fault, capfd, stated):
    """ITK makes noise of it, with a word on stderr."""
    path = save(tmp_path / "a.mha", stored, useCompression=True)
    data = re.sub(rb"CompressedDataSize = \d+\n", stated, path.read_bytes())
    path.write_bytes(data)
    if b"1000000" in stated:
        assert fault(path).startswith("a.mha: pixel data ends after ")
        return
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)
    assert capfd.readouterr().err == ""
    path.write_bytes(data[:-30])
    assert "the compressed data end early or are damaged" in fault(path)


def test_compressed_pixels_in_the_other_byte_order(tmp_path, stored):
    path = save(tmp_path / "a.mha", stored, useCompression=True)
    head = path.read_bytes().split(b"CompressedDataSize")[0].replace(b"OrderMSB = False", b"OrderMSB = True")
    tail = b"DimSize = 80 96\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(head + tail + zlib.compress(stored.astype(">u2").tobytes()))
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)


def test_a_gzip_of_several_members_is_whole(tmp_path, stored, fault):
    data = save(tmp_path / "a.nii", stored, (0.2, 0.2)).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)
    path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:])[:-3])
    assert fault(path).startswith("b.nii.gz: the compressed data end early or are damaged (")


def test_a_cut_gzip_is_named(tmp_path, stored, fault):
    path = save(tmp_path / "a.nii.gz", stored)
    path.write_bytes(path.read_bytes()[:-40])
    assert fault(path).startswith("a.nii.gz: the compressed data end early or are damaged (")


def test_a_gzip_whole_in_itself_around_a_cut_file(tmp_path, stored, fault):
    path = save(tmp_path / "a.nii", stored)
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()[:-360]))
    assert fault(packed) == "b.nii.gz: pixel data ends after 15,000 of 15,360 bytes; copy the file again"


def test_a_header_without_its_data_file(tmp_path, stored, fault):
    path = save(tmp_path / "a.mhd", stored)
    (tmp_path / "a.raw").write_bytes(b"123")
    assert fault(path) == "a.mhd: pixel data ends after 3 of 15,360 bytes; copy the file again"
    (tmp_path / "a.raw").unlink()
    assert fault(path) == "a.mhd: its pixel data lie in a.raw, which is not there; copy that file beside it"


def test_a_header_that_lacks_a_field(tmp_path, fault, capfd):
    path = tmp_path / "a.mha"
    path.write_bytes(b"ObjectType = Image\nNDims = 2\nDimSize = 80 80\nElementDataFile = LOCAL\n")
    assert fault(path) == "a.mha: no ElementType in its header; copy the file again"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("field", "other", "told"),
    [
        (b"DimSize = 80 96", b"DimSize = -80 96", "DimSize is '-80 96', but 2 whole numbers above 0 are needed"),
        (b"DimSize = 80 96", b"DimSize = x y", "DimSize is 'x y', but 2 whole numbers above 0 are needed"),
        (
            b"ElementSpacing = 0.25 0.25",
            b"ElementSpacing = 0,2 0,2",
            "ElementSpacing is '0,2 0,2', but 2 numbers other than 0, with decimal points are needed",
        ),
        (
            b"ElementSpacing = 0.25 0.25",
            b"ElementSpacing = 0.25",
            "ElementSpacing is '0.25', but 2 numbers other than 0, with decimal points are needed",
        ),
        (b"MET_USHORT", b"met_ushort", "ElementType is 'met_ushort', not one of MET_CHAR, "),
        (b"BinaryData = True", b"BinaryData = False", "its pixels are text (BinaryData = False)"),
    ],
)
def test_a_field_that_itk_takes_for_another_is_refused(tmp_path, stored, fault, capfd, field, other, told):
    path = save(tmp_path / "a.mha", stored, (0.25, 0.25))
    assert field in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(field, other))
    assert fault(path).startswith(f"a.mha: {told}")
    assert capfd.readouterr().err == ""


def test_a_header_that_itk_cannot_read(tmp_path, stored, fault):
    path = save(tmp_path / "a.nii", stored)
    data = bytearray(path.read_bytes())
    struct.pack_into("<h", data, 70, 77)  # datatype
    path.write_bytes(data)
    assert fault(path).startswith("a.nii: a damaged header (")


@pytest.mark.parametrize(("name", "beside"), [("a.mhd", "a.raw"), ("a.hdr", "a.img")])
def test_the_sha256_is_of_the_pixels_too_where_they_lie_in_another_file(tmp_path, stored, name, beside):
    path = save(tmp_path / name, stored)
    before = read_radiograph(path).source.sha256
    assert before == image_sha256(path) != sha256_of(path)
    head = path.read_bytes()
    save(path, stored[::-1].copy())
    assert path.read_bytes() == head
    assert read_radiograph(path).source.sha256 == image_sha256(path) != before
    (tmp_path / beside).unlink()
    assert image_sha256(path) == sha256_of(path)


@pytest.mark.parametrize("name", ["a.mha", "a.nii", "a.nii.gz"])
def test_the_sha256_of_a_file_that_holds_its_pixels_is_the_file_s(tmp_path, stored, name):
    path = save(tmp_path / name, stored)
    assert read_radiograph(path).source.sha256 == image_sha256(path) == sha256_of(path)


@pytest.mark.parametrize("files", ["LIST\na.raw", "a%03d.raw 1 1 1"])
def test_pixels_in_several_files_are_refused(tmp_path, stored, fault, files):
    path = save(tmp_path / "a.mhd", stored)
    path.write_text(path.read_text().replace("a.raw", files))
    told = files.partition("\n")[0]
    words = f"a.mhd: its pixel data lie in several files (ElementDataFile = {told}); save it in one file"
    assert fault(path) == words


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_whose_header_states_two_sizes_of_its_pixels_is_refused(tmp_path, stored, fault, capfd, ending):
    import gzip
    import struct

    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(tmp_path / "whole.nii"))
    assert read_radiograph(tmp_path / "whole.nii").spacing_mm == (0.25, 0.5)
    data = bytearray((tmp_path / "whole.nii").read_bytes())
    struct.pack_into("<f", data, 76 + 4 * 2, 0.75)  # pixdim[2]
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    assert fault(path) == (
        f"a{ending}: pixels of 0.75 x 0.5 mm by its pixdim, of 0.25 x 0.5 mm by its sform; save the radiograph again"
    )
    assert capfd.readouterr().err == ""


def test_a_nifti_that_lies_in_two_ways_is_refused(tmp_path, stored, fault):
    image = sitk.GetImageFromArray(stored[None])
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((0.2, 0.2, 1.0))
    path = tmp_path / "a.nii"
    sitk.WriteImage(image, str(path))
    assert read_radiograph(path).orientation == ("L", "H")
    data = bytearray(path.read_bytes())
    struct.pack_into("<4f", data, 296, *(-value for value in struct.unpack_from("<4f", data, 296)))  # srow_y
    path.write_bytes(data)
    told = "rows run to L and columns to H by its qform, to L and columns to F by its sform"
    assert fault(path) == f"a.nii: {told}; save the radiograph again"


def test_nifti_2_is_named(tmp_path, fault, capfd):
    path = tmp_path / "a.nii"
    path.write_bytes(struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(20000))
    assert fault(path) == "a.nii: a NIfTI-2 file, which is not read; save it as NIfTI-1"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.mha", "a.nii"])
def test_a_wrong_sign_of_the_numbers_is_turned_round(tmp_path, name):
    values = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint16) * np.uint16(120)
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(values.view(np.int16)), str(path))
    found = read_radiograph(path)
    assert "values stated as signed, but smooth only as unsigned: taken as these" in found.source.notes
    expected = (values.astype(np.float64) - values.min()) / np.ptp(values)
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
