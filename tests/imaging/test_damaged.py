"""Files that are damaged, or that read another: refused in a sentence; padding behind the pixels is left out."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from cxrcad.core import ReadError
from cxrcad.imaging import packed
from cxrcad.imaging.read import read_radiograph

EOI = b"\xff\xd9"


@pytest.fixture
def noise():
    return np.random.default_rng(3).integers(0, 256, (128, 128)).astype(np.uint8)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_cut_jpeg_is_refused_with_an_end_marker_too(tmp_path, noise, fault, end):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, quality=90)
    whole = read_radiograph(path).pixels
    data = path.read_bytes()
    path.write_bytes(data.removesuffix(b"\xff\xd9"))
    np.testing.assert_array_equal(read_radiograph(path).pixels, whole)
    path.write_bytes(data[: len(data) * 95 // 100] + end)
    assert "its compressed pixels are cut short or damaged" in fault(path)


@pytest.mark.parametrize("options", [{"compression": "jpeg"}, {"compression": "jpeg", "strip_size": 4096}])
@pytest.mark.parametrize(
    "damage", [lambda strip: bytes(len(strip)), lambda strip: EOI + strip[2:], lambda strip: strip[::-1]]
)
def test_a_tiff_whose_jpeg_strips_are_damaged_is_refused(tmp_path, noise, fault, options, damage):
    path = tmp_path / "a.tif"
    Image.fromarray(noise).save(path, **options)
    read_radiograph(path)
    data = path.read_bytes()
    with Image.open(path) as image:
        start, count = image.tag_v2[273][-1], image.tag_v2[279][-1]
    middle, end = start + count // 2, start + count
    path.write_bytes(data[:middle] + damage(data[middle:end]) + data[end:])
    assert "its compressed pixels " in fault(path)


def test_a_png_whose_checksum_is_wrong_is_refused(tmp_path, noise, fault):
    path = tmp_path / "a.png"
    Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "PNG data end early or are damaged, in a file of " in fault(path)


@pytest.mark.parametrize("place", [0, 1, 2000])
def test_compressed_metaimage_data_of_no_kind_are_refused(tmp_path, stored, fault, place):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path), useCompression=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"LOCAL\n") + 6 + place] ^= 1
    path.write_bytes(data)
    assert "the compressed data end early or are damaged" in fault(path)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_compressed_metaimage_data_are_checked(tmp_path, stored, fault, name):
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path), useCompression=True)
    read_radiograph(path)
    file = path if name == "a.mha" else next(tmp_path.glob("*.zraw"))
    data = bytearray(file.read_bytes())
    data[-200] ^= 0xFF
    file.write_bytes(data)
    assert "the compressed data " in fault(path)


@pytest.mark.parametrize("place", ["../b/a.raw", "/tmp/a.raw", "..\\b\\a.raw", "LIST\n../b/a.raw"])
def test_a_metaimage_reads_no_file_outside_its_folder(tmp_path, stored, fault, place):
    path = tmp_path / "a.mhd"
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path))
    path.write_text(path.read_text().replace("a.raw", place))
    assert "its pixel data lie outside its folder, in " in fault(path)


def test_4_kb_behind_the_pixels_are_left_out(make_dicom, make_pattern):
    values = make_pattern(256, 256)
    path = make_dicom(values, PixelData=values.tobytes() + bytes(4096))
    np.testing.assert_allclose(read_radiograph(path).pixels, values / 4095, atol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_bigtiff_is_read(tmp_path, stored, big):
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, big_tiff=big)
    assert path.read_bytes()[2] == (43 if big else 42)
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)


def test_mha_and_nifti_with_more_data_than_their_header_states_are_refused(tmp_path, make_pattern, fault):
    for name in ("a.mha", "a.nii", "a.mhd"):
        path = tmp_path / name
        sitk.WriteImage(sitk.GetImageFromArray(make_pattern(256, 256)), str(path))
        file = path.with_suffix(".raw") if name == "a.mhd" else path
        whole = file.read_bytes()
        file.write_bytes(whole + bytes(4096))
        read_radiograph(path)
        file.write_bytes(whole + bytes(20000))
        assert fault(path) == (
            f"{name}: 151,072 bytes of pixel data, but the header states 131,072; save the radiograph again"
        )


@pytest.mark.parametrize("name", ["a.mha", "a.png", "a.tif"])
@pytest.mark.parametrize("count", [8, 9])
def test_a_few_wild_pixels_do_not_decide_the_range(tmp_path, make_pattern, name, count):
    values = make_pattern(256, 256)
    expected = np.minimum(values, 4095) / 4095
    values[100, :count] = 60000
    path = tmp_path / name
    if name == "a.mha":
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    else:
        Image.fromarray(values).save(path)
    radiograph = read_radiograph(path)
    close = np.abs(radiograph.pixels - expected) < 1e-6
    assert close.sum() == (values.size - count if count == 8 else (values == 0).sum())
    assert radiograph.source.notes[0].startswith("8 pixels beyond 0 to 4095 clipped, ") == (count == 8)


class TestTiff:
    """libtiff takes a strip that holds more than its rows."""

    @pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
    @pytest.mark.parametrize("shape", [(64, 64), (300, 77), (257, 400)])
    @pytest.mark.parametrize("kind", ["noise", "ramp", "flat"])
    def test_whole_strips_are_read(self, tmp_path, compression, shape, kind):
        rng = np.random.default_rng(1)
        values = {
            "noise": rng.integers(0, 4096, shape),
            "ramp": np.indices(shape).sum(0) // 3,
            "flat": np.pad(np.arange(100).reshape(10, 10), ((0, shape[0] - 10), (0, shape[1] - 10))),
        }[kind].astype(np.uint16)
        path = tmp_path / "a.tif"
        Image.fromarray(values).save(path, compression=compression)
        with Image.open(path) as image:
            packed.check_strips(path, path.read_bytes(), image.tag_v2)
            tags = dict(image.tag_v2)
            damaged = tags | {256: tags[256] + 2}  # two columns more
        with pytest.raises(ReadError, match=r"TIFF data end early or are damaged, in a file of .* bytes \(strip"):
            packed.check_strips(path, path.read_bytes(), damaged)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
    def test_a_damaged_strip_is_refused(self, tmp_path, fault, compression):
        rng, refused = np.random.default_rng(1), 0
        path = tmp_path / "a.tif"
        Image.fromarray((np.indices((256, 256)).sum(0) // 8).astype(np.uint8)).save(path, compression=compression)
        whole = path.read_bytes()
        for place in rng.integers(100, len(whole) // 2, 40):
            data = bytearray(whole)
            data[place] ^= 0x80
            path.write_bytes(data)
            try:
                read_radiograph(path)
            except ReadError as error:
                refused += "TIFF data end early or are damaged" in str(error)
        assert refused >= {"tiff_lzw": 10, "packbits": 1, "tiff_adobe_deflate": 40}[compression]

    def test_tiles_are_checked_too(self, tmp_path):
        tags = {256: 100, 257: 70, 258: (16,), 259: 1, 277: 1, 322: 64, 323: 64, 324: (0, 8192, 16384, 24576)}
        packed.check_strips(tmp_path, bytes(32768), {**tags, 325: (8192,) * 4})
        with pytest.raises(ReadError, match="tile 4 of 4 holds 8,191 of 8,192 bytes"):
            packed.check_strips(tmp_path, bytes(32767), {**tags, 325: (8192,) * 4})


class TestRle:
    def test_a_segment_that_inflates_beyond_the_picture_is_not_decoded(self, make_dicom, stored, fault):
        path = make_dicom(stored, syntax=RLELossless)
        dataset = pydicom.dcmread(path)
        frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + b"\x81\x07" * 5000
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        assert "RLE segment 1 of 1 holds more than 7,680 of 7,680 bytes" in fault(path)

    def test_zeros_behind_a_segment_are_left_out(self, make_dicom, make_pattern):
        values = (make_pattern(96, 80) >> 4).astype(np.uint8)
        path = make_dicom(values, bits=8)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = RLELossless
        literal = b"".join(b"\x4f" + row.tobytes() for row in values)
        dataset.PixelData = encapsulate([np.array([1, 64, *[0] * 14], "<u4").tobytes() + literal + bytes(50)])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        np.testing.assert_allclose(read_radiograph(path).pixels, values / 255, atol=1e-6)

    def test_a_row_that_ends_inside_a_run_is_damage(self, make_dicom, stored, fault):
        path = make_dicom(stored, syntax=RLELossless)
        dataset = pydicom.dcmread(path)
        rows = [b"\xb1\x05"] * 94 + [b"\xb0\x06\xb2\x07"]  # 81 bytes and 79 in the last two
        dataset.PixelData = encapsulate([np.array([2, 64, 256, *[0] * 13], "<u4").tobytes() + b"".join(rows) * 2])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        assert "RLE segment 1 of 2 is damaged (row 95 of 96 does not end with a run)" in fault(path)

    @pytest.mark.parametrize("data", [b"\x01ab\xffc", b"\x01ab\xffc\0\0\0", b"\x80\x01ab\xffc\x07", b"\0a\0b\xffc"])
    def test_rows_that_end_with_a_run(self, data):
        assert packed._torn_row(data, 2, 2) is None
        assert packed._torn_row(data + b"\x01ab", 2, 2) == 2

    @pytest.mark.parametrize("encoder", ["pydicom", "gdcm"])
    def test_rows_of_known_encoders_end_with_a_run(self, make_dicom, encoder):
        values = np.random.default_rng(5).integers(0, 9, (97, 83)).astype(np.uint16).repeat(3, axis=1)
        path = make_dicom(values, syntax=RLELossless if encoder == "pydicom" else "gdcm:RLELossless")
        np.testing.assert_allclose(read_radiograph(path).pixels, values / 8, atol=1e-6)

    @pytest.mark.parametrize(
        ("data", "length"),
        [(b"", 0), (b"\x02abc", 3), (b"\x02ab", 2), (b"\xffa", 2), (b"\x81a", 128), (b"\x80\x00a", 1), (b"\xff", 0)],
    )
    def test_packbits_are_counted(self, data, length):
        assert packed.packbits_length(data, 1000) == length

    def test_a_code_that_no_table_has_is_damage(self):
        assert packed.lzw_length(b"\x80\x3f\xff\xff\xff", 1000) == -1


@pytest.mark.parametrize("name", ["a.dcm", "a.png", "a.tif", "a.mha", "a.nii"])
def test_values_with_their_bytes_in_the_other_order_are_refused(tmp_path, make_dicom, make_pattern, fault, name):
    rng = np.random.default_rng(5)
    values = (make_pattern(256, 256) // 2 + rng.integers(0, 20, (256, 256))).astype(np.uint16)
    for each in (values, values << 4):
        path = tmp_path / name
        for swapped in (False, True):
            written = each.byteswap() if swapped else each
            if name == "a.dcm":
                make_dicom(written, bits=16)
            elif name in ("a.png", "a.tif"):
                Image.fromarray(written).save(path)
            else:
                sitk.WriteImage(sitk.GetImageFromArray(written), str(path))
            if not swapped:
                read_radiograph(path)
        assert "its pixels are a picture only with the two bytes of each in the other order" in fault(path)


def test_a_header_s_length_is_not_believed_where_the_pixels_follow_it(tmp_path, stored, fault):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path))
    path.write_bytes(path.read_bytes().replace(b"ElementType", b"HeaderSize = 20\nElementType"))
    assert "HeaderSize 20, though its pixels follow its header" in fault(path)
