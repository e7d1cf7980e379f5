from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from cxrcad.core import ReadError
from cxrcad.imaging.read import image_size, read_mask, read_radiograph


@pytest.fixture
def grey(stored):
    return (stored >> 4).astype(np.uint8)


def save(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_8_bit_is_read_over_its_whole_range(tmp_path, grey):
    radiograph = read_radiograph(save(tmp_path, Image.fromarray(grey // 2)))
    np.testing.assert_allclose(radiograph.pixels, (grey // 2) / 255, atol=1e-7)
    assert radiograph.source.format == "PNG"
    assert radiograph.source.notes == ("8 bit, 0-255 to 0-1", "bright = dense assumed")


@pytest.mark.parametrize(("shift", "top"), [(0, 4095), (2, 16383), (4, 65535)])
def test_16_bit_files_hold_12_14_or_16_bit(tmp_path, stored, shift, top):
    radiograph = read_radiograph(save(tmp_path, Image.fromarray(stored << shift)))
    np.testing.assert_allclose(radiograph.pixels, (stored << shift) / top, atol=1e-6)
    assert radiograph.source.notes[0] == f"{12 + shift} bit in 16, 0-{top:,} to 0-1"


def test_print_resolution_is_no_spacing(tmp_path, grey):
    radiograph = read_radiograph(save(tmp_path, Image.fromarray(grey), dpi=(300, 300)))
    assert (radiograph.spacing_mm, radiograph.spacing_from, radiograph.orientation) == (None, None, None)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_other_modes_is_grey(tmp_path, grey, mode):
    image = Image.fromarray(grey)
    if mode == "P":  # the palette is reversed, so the indices alone would be inverted
        image = Image.fromarray(255 - grey, mode="L")
        image.putpalette([level for value in range(255, -1, -1) for level in (value, value, value)])
    radiograph = read_radiograph(save(tmp_path, image.convert(mode) if mode != "P" else image))
    np.testing.assert_allclose(radiograph.pixels, grey / 255, atol=1e-7)
    note = {"LA": "alpha channel left out", "RGBA": "alpha channel left out", "P": "palette read as grey"}
    assert note.get(mode, "equal channels read as grey") in radiograph.source.notes


def test_a_grey_jpeg_in_colour_mode_is_grey(tmp_path, grey):
    radiograph = read_radiograph(save(tmp_path, Image.fromarray(grey).convert("RGB"), "a.jpg", quality=95))
    np.testing.assert_allclose(radiograph.pixels, grey / 255, atol=0.06)


@pytest.mark.parametrize("bits", [8, 16])
def test_min_is_white_is_inverted_once(tmp_path, stored, bits):
    values = stored << 4 if bits == 16 else (stored >> 4).astype(np.uint8)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    path = save(tmp_path, Image.fromarray(values), "a.tif", tiffinfo=tags)
    with Image.open(path) as image:
        assert image.tag_v2[262] == 0
    raw = np.frombuffer(path.read_bytes()[-4096:], dtype=np.uint8)
    assert raw.size
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, 1 - stored_in_file(path, values) / (2**bits - 1), atol=1e-5)
    assert "min-is-white inverted" in radiograph.source.notes


def stored_in_file(path, values):
    """What the TIFF's strip holds, as Pillow may invert on saving."""
    with Image.open(path) as image:
        start, rows_per_strip = image.tag_v2[273][0], image.tag_v2[278]
    assert rows_per_strip >= values.shape[0]
    data = path.read_bytes()[start : start + values.nbytes]
    return np.frombuffer(data, dtype=values.dtype).reshape(values.shape)


def test_float_tiffs_are_stretched(tmp_path, stored):
    radiograph = read_radiograph(save(tmp_path, Image.fromarray(stored.astype(np.float32) - 1000), "a.tif"))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert radiograph.source.notes[0] == "range -1000 to 3095 stretched to 0-1"


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(("number", "letters"), [(1, None), (3, ("R", "H")), (6, ("F", "R"))])
def test_exif_orientation_is_told_and_the_stored_pixels_are_left(tmp_path, grey, name, number, letters):
    """Pillow turns a TIFF by itself."""
    exif = Image.Exif()
    exif[274] = number
    path = save(tmp_path, Image.fromarray(grey), name, exif=exif)
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, grey / 255, atol=1e-6)
    assert radiograph.orientation == letters
    assert (f"EXIF orientation {number}" in radiograph.source.notes) == (number != 1)
    assert image_size(path) == grey.shape


def test_a_mask_lies_as_it_is_stored_whatever_exif_says(tmp_path):
    mask = np.zeros((96, 80), dtype=np.uint8)
    mask[:30, :20] = 255
    exif = Image.Exif()
    exif[274] = 6
    assert (read_mask(save(tmp_path, Image.fromarray(mask), "a.tif", exif=exif)) == (mask > 0)).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_unequal_resolutions_make_pixels_that_are_not_square(tmp_path, grey, name):
    path = save(tmp_path, Image.fromarray(grey), name, dpi=(150, 100))
    assert read_radiograph(path).pixel_aspect == pytest.approx(1.5, rel=1e-3)
    assert read_radiograph(save(tmp_path, Image.fromarray(grey), name, dpi=(100, 100))).pixel_aspect is None


class TestFaults:
    def test_colour(self, tmp_path, grey, fault):
        photograph = np.stack([grey, grey, grey], axis=2)
        photograph[:48, :, 0] = 255 - photograph[:48, :, 0] // 4
        coloured = int((np.ptp(photograph.astype(int), axis=2) > 2).sum())
        assert fault(save(tmp_path, Image.fromarray(photograph))) == (
            f"a.png: a colour image ({coloured:,} of 7,680 pixels are coloured); "
            "give the radiograph in grey, without colour marks"
        )

    @pytest.mark.parametrize("values", [2, 3, 4])
    def test_a_mask_in_grey(self, tmp_path, grey, fault, values):
        mask = (np.digitize(grey, np.linspace(0, 255, values + 1)[1:-1]) * (255 // (values - 1))).astype(np.uint8)
        assert len(np.unique(mask)) == values
        assert fault(save(tmp_path, Image.fromarray(mask))) == (
            f"a.png: only {values} values in 7,680 pixels; give the radiograph, not a mask of it"
        )

    def test_few_values_are_no_mask_where_others_are_elsewhere(self, tmp_path, grey):
        flat = np.zeros((512, 512), dtype=np.uint8)
        flat[:3, :2] = np.arange(6).reshape(3, 2) + 9
        assert read_radiograph(save(tmp_path, Image.fromarray(flat))).pixels.shape == (512, 512)

    def test_black_and_white(self, tmp_path, grey, fault):
        assert fault(save(tmp_path, Image.fromarray(grey > 99))) == (
            "a.png: 1 bit a pixel, black and white; give the radiograph, not a mask of it"
        )

    def test_one_value(self, tmp_path, fault):
        path = save(tmp_path, Image.fromarray(np.full((64, 64), 7, dtype=np.uint8)))
        assert fault(path) == "a.png: all 4,096 pixels have the value 7; export the radiograph again"

    def test_too_small(self, tmp_path, fault, grey):
        assert fault(save(tmp_path, Image.fromarray(grey[:63]))) == (
            "a.png: 63 rows x 80 columns, but a side needs at least 64 pixels; give a frontal chest radiograph"
        )

    def test_too_long(self, tmp_path, fault):
        assert fault(save(tmp_path, Image.fromarray(np.eye(64, 200, dtype=np.uint8)))) == (
            "a.png: 64 rows x 200 columns, one side more than 3 times the other; give a frontal chest radiograph"
        )

    def test_too_many_pixels(self, tmp_path, fault):
        path = save(tmp_path, Image.new("1", (10000, 9000)))
        assert fault(path) == "a.png: more than 89,478,485 pixels; give a frontal chest radiograph"

    def test_several_images(self, tmp_path, fault, grey):
        image = Image.fromarray(grey)
        path = save(tmp_path, image, "a.tif", save_all=True, append_images=[image, image])
        assert fault(path) == "a.tif: 3 images in one file; save the radiograph alone"

    def test_not_finite(self, tmp_path, fault, stored):
        values = stored.astype(np.float32)
        values[0, :5] = np.nan
        assert fault(save(tmp_path, Image.fromarray(values), "a.tif")) == (
            "a.tif: 5 of 7,680 pixels are not finite numbers; export the radiograph again"
        )

    @pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.tif", "TIFF")])
    def test_cut_short(self, tmp_path, fault, grey, name, kind):
        noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
        path = save(tmp_path, Image.fromarray(noise), name)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        sentence = fault(path)
        if kind == "TIFF" and "header" in sentence:  # its directory may come last
            assert sentence.startswith("a.tif: a damaged image header")
        elif kind == "JPEG":
            assert sentence.startswith("a.jpg: its compressed pixels are cut short or damaged (from row ")
        else:
            size = f"{len(data) // 2:,}"
            assert sentence.startswith(f"{name}: {kind} data end early or are damaged, in a file of {size} bytes (")
        assert "; copy the file again" in sentence

    def test_a_damaged_header(self, tmp_path, fault):
        path = tmp_path / "a.jpg"
        path.write_bytes(b"\xff\xd8\xff" + bytes(100))
        assert fault(path) == (
            "a.jpg: a damaged image header, or a kind that Pillow does not read (103 bytes); "
            "copy the file again, or save it as PNG"
        )


class TestMask:
    def test_a_gif_with_its_palette(self, tmp_path):
        mask = np.zeros((40, 30), dtype=bool)
        mask[5:20, 3:9] = True
        path = save(tmp_path, Image.fromarray(mask.astype(np.uint8) * 255), "a.gif")
        assert np.array_equal(read_mask(path), mask)

    @pytest.mark.parametrize("level", [1, 255])
    def test_any_level_counts_against_its_own_largest(self, tmp_path, level):
        mask = np.eye(10, dtype=np.uint8)
        assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(mask * np.uint8(level)))), mask.astype(bool))

    def test_1_bit_and_16_bit(self, tmp_path):
        mask = np.eye(10, dtype=bool)
        assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(mask))), mask)
        assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(mask.astype(np.uint16) * 60000))), mask)

    def test_an_empty_mask_is_false_throughout(self, tmp_path):
        path = save(tmp_path, Image.fromarray(np.zeros((10, 10), dtype=np.uint8)))
        assert not read_mask(path).any()

    def test_a_cut_mask_is_named(self, tmp_path):
        path = save(
            tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99), dtype=np.uint8)), "a.gif"
        )
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ReadError, match=r"a\.gif: GIF data end early or are damaged, in a file of 2,000 bytes"):
            read_mask(path)
