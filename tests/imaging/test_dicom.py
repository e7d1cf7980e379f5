from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
)

from cxrcad.core import NotRadiographError, ReadError
from cxrcad.imaging import decoding
from cxrcad.imaging.read import image_header, image_size, read_radiograph


def lut(first, entries, bits, as_bytes=False, count=None):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536 if count is None else count, first, bits]
    if as_bytes:
        item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(value) for value in entries])
    return Sequence([item])


def check(path, expected, *notes, tolerance=1e-6):
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, expected, atol=tolerance)
    for note in notes:
        assert note in radiograph.source.notes
    return radiograph


class TestPixels:
    def test_without_voi_the_full_range_is_taken(self, make_dicom, stored):
        radiograph = check(make_dicom(stored // 2 + 100), (stored // 2) / 2047)
        assert radiograph.source.notes == ("no VOI: full range 100 to 2147",)

    @pytest.mark.parametrize(
        ("photometric", "shape", "inverted", "note"),
        [
            ("MONOCHROME2", None, False, None),
            ("MONOCHROME2", "IDENTITY", False, None),
            ("MONOCHROME1", None, True, "MONOCHROME1 inverted"),
            ("MONOCHROME1", "IDENTITY", True, "MONOCHROME1 inverted"),
            ("MONOCHROME2", "INVERSE", True, "PresentationLUTShape INVERSE inverted"),
            ("MONOCHROME1", "INVERSE", True, "MONOCHROME1 with PresentationLUTShape INVERSE inverted once"),
        ],
    )
    def test_one_inversion_at_most(self, make_dicom, stored, photometric, shape, inverted, note):
        elements = {"PhotometricInterpretation": photometric} | ({"PresentationLUTShape": shape} if shape else {})
        radiograph = check(make_dicom(stored, **elements), 1 - stored / 4095 if inverted else stored / 4095)
        assert [text for text in radiograph.source.notes if "invert" in text] == ([note] if note else [])

    def test_8_bit(self, make_dicom, stored):
        values = (stored >> 4).astype(np.uint8)
        check(make_dicom(values, bits=8), values / 255)

    def test_16_bit(self, make_dicom, stored):
        check(make_dicom(stored * np.uint16(16), bits=16), stored / 4095)

    def test_signed(self, make_dicom, stored):
        check(make_dicom(stored.astype(np.int16) - 2048, bits=16), stored / 4095, "no VOI: full range -2048 to 2047")

    def test_signed_in_12_of_16_bit(self, make_dicom, stored):
        values = ((stored.astype(np.int32) - 2048) & 0x0FFF).astype(np.uint16)
        check(make_dicom(values, PixelRepresentation=1), stored / 4095, "no VOI: full range -2048 to 2047")

    def test_overlays_in_the_high_bits_are_masked(self, make_dicom, stored):
        values = stored | np.where(np.eye(*stored.shape, dtype=bool), 0x9000, 0).astype(np.uint16)
        check(make_dicom(values), stored / 4095, "bits above HighBit 11 in 80 pixels left out")

    def test_values_in_the_high_bits_are_shifted(self, make_dicom, stored):
        check(make_dicom((stored << 4) | 0x000A, HighBit=15), stored / 4095, "no VOI: full range 0 to 4095")

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("syntax", [None, RLELossless, "gdcm:JPEGLosslessProcess14_1", JPEG2000Lossless])
    def test_a_picture_beyond_its_bits_is_read_whole(self, make_dicom, stored, tmp_path, signed, syntax):
        import pydicom

        values = stored.astype(np.int16) * 4 - 8192 if signed else stored * np.uint16(4)
        dataset = pydicom.dcmread(make_dicom(values, bits=16, syntax=syntax))
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.save_as(tmp_path / "b.dcm")
        radiograph = check(tmp_path / "b.dcm", stored / 4095)
        assert "beyond BitsStored 12: all " in radiograph.source.notes[0]

    def test_a_picture_beyond_its_bits_keeps_its_sign(self, make_dicom, tmp_path):
        """Steps at half of the stated range are the picture's, not those of a sign."""
        import pydicom

        y, x = np.mgrid[:64, :64]
        values = (16 * (60 * y + (x % 3) * 40)).astype(np.uint16)
        dataset = pydicom.dcmread(make_dicom(values, bits=16))
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.save_as(tmp_path / "b.dcm")
        check(tmp_path / "b.dcm", values / values.max(), "values up to 61,760, beyond BitsStored 12: all 16 bit read")

    def test_bits_stored_that_lacks_is_told_by_the_high_bit(self, make_dicom, stored):
        check(make_dicom(stored, BitsStored=None), stored / 4095, "no VOI: full range 0 to 4095")

    def test_overlays_that_the_header_names_are_left_out_of_a_picture_beyond_its_bits(self, make_dicom, stored):
        y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
        values = (stored * np.uint16(2)) | np.where((x + y) % 9 == 0, 0x8000, 0).astype(np.uint16)
        path = make_dicom(values, OverlayBitPosition=15)
        check(path, stored / 4095, "values up to 8,190, beyond BitsStored 12: all 13 bit read")

    def test_intensities_for_processing_become_densities(self, make_dicom, stored):
        values = np.rint(60000 * np.exp(stored / -1000.0)).astype(np.uint16)
        elements = {"PixelIntensityRelationship": "LIN", "PresentationIntentType": "FOR PROCESSING"}
        path = make_dicom(values, bits=16, PixelIntensityRelationshipSign=1, **elements)
        note = "FOR PROCESSING, LIN, sign +1: dense = dark; its logarithm taken and inverted"
        check(path, stored / 4095, note, tolerance=1e-3)
        values = make_dicom(values, bits=16, PixelIntensityRelationshipSign=-1, **elements)
        assert note not in read_radiograph(values).source.notes

    def test_grey_in_colour_is_grey(self, make_dicom, stored):
        values = (stored >> 4).astype(np.uint8)
        path = make_dicom(np.stack([values] * 3, axis=2), bits=8)
        check(path, values / 255, "RGB with equal channels read as grey")


class TestSyntaxes:
    @pytest.mark.parametrize(
        "syntax",
        [
            RLELossless,
            JPEG2000Lossless,
            "gdcm:JPEGLosslessProcess14_1",
            "gdcm:JPEGLosslessProcess14",
            "gdcm:JPEGLSLossless",
            "gdcm:JPEG2000Lossless",
            "gdcm:RLELossless",
        ],
    )
    def test_compressed_without_loss(self, make_dicom, stored, syntax):
        path = make_dicom(stored, syntax=syntax, PhotometricInterpretation="MONOCHROME1")
        check(path, 1 - stored / 4095, "MONOCHROME1 inverted")
        assert image_size(path) == stored.shape

    @pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
    def test_compressed_and_signed(self, make_dicom, stored, syntax):
        check(make_dicom(stored.astype(np.int16) - 2048, bits=16, syntax=syntax), stored / 4095)

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
    def test_other_encodings(self, make_dicom, stored, syntax, tmp_path):
        import pydicom

        dataset = pydicom.dcmread(make_dicom(stored))
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = stored.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        path = tmp_path / "b.dcm"
        if syntax == ExplicitVRBigEndian:
            pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
        else:
            dataset.save_as(path, enforce_file_format=True)
        check(path, stored / 4095)

    @pytest.mark.parametrize("implicit", [True, False])
    def test_a_data_set_without_preamble_and_meta(self, make_dicom, stored, tmp_path, implicit):
        import pydicom

        dataset = pydicom.dcmread(make_dicom(stored))
        del dataset.file_meta, dataset.preamble
        path = tmp_path / "bare"
        pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True)
        assert path.read_bytes()[:2] == b"\x08\x00"
        check(path, stored / 4095)
        assert image_size(path) == stored.shape

    def test_a_missing_decoder_says_what_to_install(self, make_dicom, stored, fault, monkeypatch):
        from pydicom.pixels.decoders import base

        path = make_dicom(stored, syntax="gdcm:JPEGLSLossless")
        monkeypatch.setattr(base, "get_decoder", lambda _syntax: SimpleNamespace(is_available=False))
        assert fault(path) == (
            f"a.dcm: no decoder for {JPEGLSLossless.name} is installed; pip install python-gdcm pylibjpeg "
            "pylibjpeg-libjpeg pylibjpeg-openjpeg, or export the radiograph uncompressed "
            "(Explicit VR Little Endian)"
        )

    def test_a_video_has_no_decoder(self, make_dicom, stored, fault, tmp_path):
        import pydicom

        dataset = pydicom.dcmread(make_dicom(stored))
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = encapsulate([b"1234"])
        dataset.save_as(tmp_path / "v.dcm", enforce_file_format=True)
        assert fault(tmp_path / "v.dcm") == (
            "v.dcm: transfer syntax MPEG2 Main Profile / Main Level, which no decoder reads; "
            "export the radiograph uncompressed (Explicit VR Little Endian)"
        )


class TestModalityAndVoi:
    def test_rescale(self, make_dicom, stored):
        path = make_dicom(stored, RescaleSlope=-0.5, RescaleIntercept=100)
        check(path, 1 - stored / 4095, "rescaled by slope -0.5, intercept 100", "no VOI: full range -1947.5 to 100")

    def test_modality_lut(self, make_dicom, stored):
        path = make_dicom(stored, ModalityLUTSequence=lut(0, np.arange(4096)[::-1] * 4, 16))
        check(path, 1 - stored / 4095, "modality LUT applied", "no VOI: full range 0 to 16380")

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5); C.11.2.1.3.2; C.11.2.1.3.1
            ("LINEAR", lambda x: np.clip((x - 1999.5) / 1999 + 0.5, 0, 1)),
            ("LINEAR_EXACT", lambda x: np.clip((x - 2000.0) / 2000 + 0.5, 0, 1)),
            ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000.0) / 2000))),
        ],
    )
    def test_windows(self, make_dicom, stored, function, expected):
        path = make_dicom(stored, WindowCenter=2000, WindowWidth=2000, VOILUTFunction=function)
        check(path, expected(stored), f"window center 2000, width 2000 ({function}) applied")

    def test_the_first_window_counts_and_comes_after_the_rescale(self, make_dicom, stored):
        path = make_dicom(
            stored, WindowCenter=[0, 7], WindowWidth=[1601, 9], RescaleSlope=1, RescaleIntercept=-1000,
            PhotometricInterpretation="MONOCHROME1",
        )  # fmt: skip
        radiograph = check(path, 1 - np.clip((stored - 1000.0 + 0.5) / 1600 + 0.5, 0, 1))
        assert radiograph.source.notes[:3] == (
            "rescaled by slope 1, intercept -1000",
            "window center 0, width 1601 (LINEAR) applied",
            "MONOCHROME1 inverted",
        )

    @pytest.mark.parametrize(
        ("center", "width", "part"),
        # the middle of the pattern holds 600 to 2,400, and few values of its ends: a triangle
        [(128, 256, 100), (1000, 1, 100), (1500, 400, 61), (2300, 1000, 78)],
    )
    def test_a_window_that_saturates_most_of_the_chest_is_not_applied(self, make_dicom, stored, center, width, part):
        path = make_dicom(stored, WindowCenter=center, WindowWidth=width)
        note = f"window center {center}, width {width} (LINEAR) would saturate {part} % of the chest: not applied"
        check(path, stored / 4095, note, "no VOI: full range 0 to 4095")

    def test_a_window_that_saturates_less_is_applied(self, make_dicom, stored):
        path = make_dicom(stored, WindowCenter=1500, WindowWidth=1000)
        check(path, np.clip((stored - 1499.5) / 999 + 0.5, 0, 1), "window center 1500, width 1000 (LINEAR) applied")

    def test_the_next_window_is_applied_instead(self, make_dicom, stored):
        path = make_dicom(stored, WindowCenter=[128, 2048], WindowWidth=[256, 4096])
        check(path, stored / 4095, "window center 2048, width 4096 (LINEAR) applied")

    def test_a_voi_lut_that_saturates_most_of_the_chest_is_not_applied(self, make_dicom, stored):
        path = make_dicom(stored, VOILUTSequence=lut(0, np.minimum(np.arange(4096), 255), 8))
        check(path, stored / 4095, "VOI LUT would saturate 100 % of the chest: not applied")

    def test_a_width_of_zero_is_not_allowed(self, make_dicom, stored):
        path = make_dicom(stored, WindowCenter=1000, WindowWidth=0)
        note = "window center 1000, width 0 (LINEAR) is not allowed: not applied"
        check(path, stored / 4095, note, "no VOI: full range 0 to 4095")

    def test_a_window_beside_the_data_is_not_applied(self, make_dicom, stored):
        path = make_dicom(stored, WindowCenter=60000, WindowWidth=10)
        note = "window center 60000, width 10 (LINEAR) would leave one value: not applied"
        check(path, stored / 4095, note, "no VOI: full range 0 to 4095")

    @pytest.mark.parametrize("as_bytes", [True, False])
    def test_voi_lut(self, make_dicom, stored, as_bytes):
        # for values from 1000: 10 bit, then the last entry
        table = np.minimum(np.arange(2000) // 2, 1023)
        path = make_dicom(stored, VOILUTSequence=lut(1000, table, 10, as_bytes), WindowCenter=1, WindowWidth=5)
        check(path, table[np.clip(stored.astype(int) - 1000, 0, 1999)] / 1023, "VOI LUT applied")

    def test_voi_lut_for_signed_values(self, make_dicom, stored):
        path = make_dicom(stored.astype(np.int16) - 2048, bits=16, VOILUTSequence=lut(-2048, np.arange(4096)[::-1], 12))
        check(path, 1 - stored / 4095, "VOI LUT applied")

    def test_a_lut_of_65536_entries_states_0(self, make_dicom, stored):
        check(make_dicom(stored, VOILUTSequence=lut(0, np.arange(65536), 16, as_bytes=True)), stored / 65535)

    def test_a_lut_with_more_bits_than_it_states(self, make_dicom, stored):
        check(make_dicom(stored, VOILUTSequence=lut(0, np.arange(4096), 8, as_bytes=True)), stored / 4095)

    def test_a_short_lut_is_named(self, make_dicom, stored, fault):
        path = make_dicom(stored, VOILUTSequence=lut(0, np.arange(100), 12, count=4096))
        assert fault(path) == "a.dcm: 100 of 4,096 entries in its VOI LUT; export the radiograph again"

    def test_padding_is_left_out_of_the_range(self, make_dicom, stored):
        values = stored // 2 + 1000
        values[:, :10] = 0
        path = make_dicom(values, PixelPaddingValue=0)
        low, high = int(values[:, 10:].min()), int(values.max())
        expected = np.clip((values.astype(float) - low) / (high - low), 0, 1)
        check(path, expected, f"no VOI: full range {low} to {high}, padding 0 left out")


class TestGeometryAndIdentity:
    @pytest.mark.parametrize(
        ("elements", "spacing", "source"),
        [
            ({}, None, None),
            ({"PixelSpacing": [0.2, 0.15]}, (0.2, 0.15), "PixelSpacing"),
            ({"PixelSpacing": [0.2, 0.15], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.15), "PixelSpacing"),
            ({"ImagerPixelSpacing": [0.22, 0.11]}, (0.22, 0.11), "ImagerPixelSpacing"),
            (
                {"ImagerPixelSpacing": [0.22, 0.11], "EstimatedRadiographicMagnificationFactor": 1.1},
                (0.2, 0.1),
                "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor",
            ),
            ({"PixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.1}, (0.2, 0.2), "PixelSpacing"),
            ({"NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175), "NominalScannedPixelSpacing"),
            ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "ImagerPixelSpacing"),
            ({"PixelSpacing": None}, None, None),
        ],
    )
    def test_spacing(self, make_dicom, stored, elements, spacing, source):
        path = make_dicom(stored, **{key: value for key, value in elements.items() if value})
        radiograph = read_radiograph(path)
        assert radiograph.spacing_mm == (spacing if spacing is None else pytest.approx(spacing))
        assert radiograph.spacing_from == source

    def test_a_spacing_of_zero_is_noted(self, make_dicom, stored):
        radiograph = read_radiograph(make_dicom(stored, PixelSpacing=[0, 0]))
        assert radiograph.spacing_mm is None
        assert "PixelSpacing 0 x 0 mm is no size: taken as unknown" in radiograph.source.notes

    def test_a_field_of_metres_is_a_placeholder(self, make_dicom, make_pattern):
        radiograph = read_radiograph(make_dicom(make_pattern(1100, 1200), PixelSpacing=[1, 1]))
        assert radiograph.spacing_mm is None
        note = "PixelSpacing 1 x 1 mm makes a field of 1,100 x 1,200 mm: taken as unknown"
        assert note in radiograph.source.notes

    @pytest.mark.parametrize(
        ("spacing", "why"),
        [
            ([1, 1], "1 x 1 mm is a placeholder"),
            ([0.14, 14], "0.14 x 14 mm makes a field of 13 x 1,120 mm"),
            ([0.0143, 0.0143], "0.0143 x 0.0143 mm is less than any detector's"),
            ([-0.2, 0.2], "-0.2 x 0.2 mm is no size"),
        ],
    )
    def test_a_spacing_that_no_radiograph_has_is_unknown(self, make_dicom, stored, spacing, why):
        path = make_dicom(stored, PixelSpacing=spacing)
        assert f"PixelSpacing {why}: taken as unknown" in read_radiograph(path).source.notes
        assert image_header(path).spacing_mm is None

    def test_two_shapes_of_the_pixels_are_noted(self, make_dicom, stored):
        path = make_dicom(stored, PixelSpacing=[0.2, 0.2], ImagerPixelSpacing=[0.244, 0.2], PixelAspectRatio=[122, 100])
        radiograph = read_radiograph(path)
        assert radiograph.spacing_mm == (0.2, 0.2)
        assert radiograph.source.notes[-2:] == (
            "ImagerPixelSpacing 0.244 x 0.2 mm states pixels of another shape than PixelSpacing: not applied",
            "PixelAspectRatio 122:100 is not the shape of the spacing: not applied",
        )

    def test_a_calibrated_spacing_of_the_same_shape_is_not_noted(self, make_dicom, stored):
        path = make_dicom(stored, PixelSpacing=[0.2, 0.15], ImagerPixelSpacing=[0.24, 0.18], PixelAspectRatio=[4, 3])
        assert not [note for note in read_radiograph(path).source.notes if "shape" in note]

    def test_uids_orientation_and_view(self, make_dicom, stored):
        path = make_dicom(stored, PatientOrientation=["L", "F"], FrameOfReferenceUID="1.2.6", ViewPosition="PA")
        radiograph = read_radiograph(path)
        assert radiograph.orientation == ("L", "F")
        assert radiograph.source.uids == {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
            "SOPInstanceUID": "1.2.3",
            "StudyInstanceUID": "1.2.4",
            "SeriesInstanceUID": "1.2.5",
            "FrameOfReferenceUID": "1.2.6",
        }
        assert not [note for note in radiograph.source.notes if "View" in note]

    @pytest.mark.parametrize(("ratio", "aspect"), [([3, 2], 1.5), ([1, 1], 1.0), ([0, 1], None), ([9, 1], None)])
    def test_an_aspect_ratio_without_a_spacing(self, make_dicom, stored, ratio, aspect):
        radiograph = read_radiograph(make_dicom(stored, PixelAspectRatio=ratio))
        assert (radiograph.spacing_mm, radiograph.pixel_aspect) == (None, aspect)
        noted = [note for note in radiograph.source.notes if "no height and width of a pixel: not applied" in note]
        assert len(noted) == (aspect is None)

    def test_an_empty_orientation_is_none(self, make_dicom, stored):
        assert read_radiograph(make_dicom(stored, PatientOrientation="")).orientation is None


class TestFaults:
    def test_cut_short(self, make_dicom, make_pattern, fault):
        path = make_dicom(make_pattern(128, 100), "cut.dcm")
        path.write_bytes(path.read_bytes()[:-20_600])
        assert fault(path) == "cut.dcm: pixel data ends after 5,000 of 25,600 bytes; copy the file again"

    @pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
    def test_compressed_and_cut_short(self, make_dicom, stored, fault, syntax):
        path = make_dicom(stored, syntax=syntax)
        path.write_bytes(path.read_bytes()[:-50])
        size = f"{path.stat().st_size:,}"
        assert (
            fault(path)
            == f"a.dcm: the file ends inside its compressed pixel data, after {size} bytes; copy the file again"
        )

    @pytest.mark.parametrize(
        ("syntax", "fault_words"),
        [
            (RLELossless, "RLE segment 2 of 2 holds"),
            (JPEG2000Lossless, "its compressed pixels end after"),
        ],
    )
    def test_a_damaged_frame(self, make_dicom, stored, fault, syntax, fault_words, capfd):
        import pydicom

        path = make_dicom(stored, syntax=syntax)
        dataset = pydicom.dcmread(path)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
        dataset.save_as(path)
        sentence = fault(path)
        assert sentence.startswith(f"a.dcm: {fault_words} ")
        assert sentence.endswith("; copy the file again, or export the radiograph again")
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, JPEGBaseline8Bit])
    def test_gdcm_which_ends_the_process_at_some_damaged_frames_is_asked_last(self, syntax):
        plugins = decoding._plugins(Path("a.dcm"), UID(syntax))
        assert plugins[0] in ("pyjpegls", "pylibjpeg")
        assert plugins[-1] == "gdcm"

    def test_too_much_pixel_data(self, make_dicom, stored, fault):
        path = make_dicom(stored, PixelData=stored.tobytes() * 2)
        assert fault(path) == (
            "a.dcm: 30,720 bytes of pixel data, but 96 x 80 pixels of 16 bit make 15,360; export the radiograph again"
        )

    def test_the_header_alone(self, make_dicom, stored, fault):
        path = make_dicom(stored, PixelData=None)
        size = f"{path.stat().st_size:,}"
        assert fault(path) == f"a.dcm: 96 x 80 pixels stated, but no pixel data in {size} bytes; copy the file again"

    def test_cut_in_the_header(self, make_dicom, stored, fault):
        path = make_dicom(stored)
        path.write_bytes(path.read_bytes()[:200])
        assert fault(path) == "a.dcm: the DICOM file ends inside its header, after 200 bytes; copy the file again"

    @pytest.mark.parametrize(
        ("modality", "uid", "kind"),
        [
            ("SR", BasicTextSRStorage, "Basic Text SR Storage"),
            ("RTSTRUCT", RTStructureSetStorage, "RT Structure Set Storage"),
        ],
    )
    def test_documents(self, make_dicom, stored, fault, modality, uid, kind):
        path = make_dicom(stored, Modality=modality, SOPClassUID=uid, PixelData=None, Rows=None, Columns=None)
        assert fault(path) == (
            f"a.dcm: Modality {modality} ({kind}), not a radiograph's (DX, CR, RG); give a frontal chest radiograph"
        )

    def test_an_object_without_image_or_modality(self, make_dicom, stored, fault):
        path = make_dicom(
            stored, Modality=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", PixelData=None, Rows=None, Columns=None
        )
        assert fault(path) == (
            f"a.dcm: no pixel data, in a Encapsulated PDF Storage of {path.stat().st_size:,} bytes; "
            "give a frontal chest radiograph, or copy the file again if it is one"
        )

    def test_a_ct_slice_and_a_volume(self, make_dicom, stored, fault):
        path = make_dicom(stored, Modality="CT", SOPClassUID=CTImageStorage)
        assert fault(path) == (
            "a.dcm: Modality CT (CT Image Storage), not a radiograph's (DX, CR, RG); give a frontal chest radiograph, "
            "or add --force if it is one"
        )
        path = make_dicom(stored, Modality="MR", NumberOfFrames=30, PixelData=stored.tobytes() * 30)
        assert fault(path).endswith(", 30 frames), not a radiograph's (DX, CR, RG); give a frontal chest radiograph")

    def test_frames(self, make_dicom, stored, fault):
        path = make_dicom(stored, NumberOfFrames=2, PixelData=stored.tobytes() * 2)
        assert fault(path) == "a.dcm: 2 frames in one file; give a frontal chest radiograph of one frame"

    def test_colour(self, make_dicom, stored, fault):
        values = np.stack([(stored >> 4).astype(np.uint8)] * 3, axis=2)
        values[:, :40, 2] = 255 - values[:, :40, 2] // 2
        coloured = int((np.ptp(values.astype(int), axis=2) > 2).sum())
        assert fault(make_dicom(values, bits=8)) == (
            f"a.dcm: a colour image ({coloured:,} of 7,680 pixels are coloured); "
            "give the radiograph in grey, without colour marks"
        )

    def test_a_palette(self, make_dicom, stored, fault):
        assert fault(make_dicom(stored, PhotometricInterpretation="PALETTE COLOR")) == (
            "a.dcm: PALETTE COLOR without its palette; export the radiograph in grey, as MONOCHROME2"
        )

    def test_one_value(self, make_dicom, stored, fault):
        assert fault(make_dicom(stored * 0 + 9)) == (
            "a.dcm: all 7,680 pixels have the value 9; export the radiograph again"
        )

    def test_small_and_long(self, make_dicom, make_pattern, fault):
        assert fault(make_dicom(make_pattern(40, 80))) == (
            "a.dcm: 40 rows x 80 columns, but a side needs at least 64 pixels; give a frontal chest radiograph"
        )
        assert "one side more than 3 times the other" in fault(make_dicom(make_pattern(80, 300)))

    def test_bits(self, make_dicom, stored, fault):
        assert fault(make_dicom(stored, BitsStored=20)) == (
            "a.dcm: BitsAllocated 16, BitsStored 20, HighBit 11, but 8 to 16 bit are read; "
            "export the radiograph with 8 to 16 bit"
        )

    def test_missing_rows(self, make_dicom, stored, fault):
        assert fault(make_dicom(stored, Rows=None)) == "a.dcm: no Rows in its header; export the radiograph again"

    def test_a_damaged_spacing_is_noted(self, make_dicom, stored):
        path = make_dicom(stored, RescaleSlope=1, RescaleIntercept=0, PixelSpacing=[0.2, 0.2])
        data = path.read_bytes()
        assert data.count(b"0.2\\0.2") == 1
        path.write_bytes(data.replace(b"0.2\\0.2", b"abc\\def"))
        assert r"PixelSpacing is 'abc\\def', not two numbers: taken as unknown" in read_radiograph(path).source.notes

    def test_random_damage_never_gives_a_traceback(self, make_dicom, stored, tmp_path):
        from cxrcad.core import ReadError

        data = make_dicom(stored, PixelSpacing=[0.2, 0.2], WindowCenter=2000, WindowWidth=4000).read_bytes()
        header = len(data) - stored.nbytes
        rng = np.random.default_rng(0)
        refused: list[str] = []
        for _ in range(150):
            damaged = bytearray(data)
            for place in rng.integers(132, header, 4):
                damaged[place] = int(rng.integers(256))
            path = tmp_path / "d.dcm"
            path.write_bytes(damaged)
            try:
                assert min(image_size(path)) >= 0
                assert np.isfinite(read_radiograph(path).pixels).all()
            except ReadError as error:
                refused.append(str(error))
        assert len(refused) > 20
        assert not [sentence for sentence in refused if "\n" in sentence]


def test_reading_warns_of_nothing_on_stderr(make_dicom, stored, tmp_path):
    path = make_dicom(stored, PixelData=stored.tobytes() + bytes(6), StudyDate="20200101")
    path.write_bytes(path.read_bytes().replace(b"20200101", b"nodate!!"))
    code = f"from pathlib import Path; from cxrcad.imaging import read; read.read_radiograph(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_importing_the_readers_loads_no_library():
    code = (
        "import sys, cxrcad.imaging.read; "
        "print([name for name in ('pydicom', 'SimpleITK', 'PIL', 'scipy', 'gdcm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestPalette:
    """PALETTE COLOR: indices that a table of red, green and blue turns into grey."""

    @staticmethod
    def table(levels, bits):
        kind, entries = ("<u1", levels) if bits == 8 else ("<u2", levels)
        data = np.asarray(entries).astype(kind).tobytes()
        elements = {"PhotometricInterpretation": "PALETTE COLOR"}
        for colour in ("Red", "Green", "Blue"):
            elements[f"{colour}PaletteColorLookupTableDescriptor"] = [len(levels), 0, bits]
            elements[f"{colour}PaletteColorLookupTableData"] = data
        return elements

    @pytest.mark.parametrize(("bits", "top"), [(8, 255), (16, 65535), (16, 255)])
    def test_a_grey_one_is_looked_up(self, make_dicom, stored, bits, top):
        """The table is reversed, so the indices alone would be inverted."""
        index = (255 - (stored >> 4)).astype(np.uint8)
        levels = np.arange(255, -1, -1) * (257 if top == 65535 else 1)
        radiograph = read_radiograph(make_dicom(index, bits=8, **self.table(levels, bits)))
        np.testing.assert_allclose(radiograph.pixels, (stored >> 4) / 255, atol=1e-6)
        assert radiograph.source.notes[:2] == (
            "PALETTE COLOR with equal channels read as grey",
            "bright = dense assumed",
        )

    def test_a_coloured_one_is_no_radiograph(self, make_dicom, stored, fault):
        elements = self.table(np.arange(256), 8)
        elements["RedPaletteColorLookupTableData"] = bytes(256)
        path = make_dicom((stored >> 4).astype(np.uint8), bits=8, **elements)
        assert fault(path).startswith("a.dcm: a colour image (")
        with pytest.raises(NotRadiographError):
            read_radiograph(path)


@pytest.mark.parametrize(
    ("elements", "other"),
    [
        ({"Modality": "CT"}, True),
        ({"NumberOfFrames": "2", "PixelData": bytes(2 * 2 * 96 * 80)}, True),
        ({"PixelData": None, "Rows": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, True),  # encapsulated PDF
        ({"PixelData": None, "Rows": None}, False),
        ({"PixelData": None}, False),
        ({"BitsAllocated": None}, False),
    ],
)
def test_what_is_another_object_is_told_from_what_is_damaged(make_dicom, stored, elements, other):
    with pytest.raises(ReadError) as caught:
        read_radiograph(make_dicom(stored, **elements))
    assert isinstance(caught.value, NotRadiographError) == other


class TestOtherWriters:
    """What writers get wrong about numbers, and what is then read."""

    @pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, "gdcm:JPEGLosslessProcess14_1"])
    @pytest.mark.parametrize("bits", [12, 16])
    def test_a_sign_that_the_header_leaves_out_is_seen(self, make_dicom, stored, syntax, bits):
        values = (stored.astype(np.int32) - 2048 & 2**bits - 1).astype(np.uint16)
        radiograph = read_radiograph(make_dicom(values, bits=bits, syntax=syntax))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
        assert "values stated as unsigned, but smooth only as signed: taken as these" in radiograph.source.notes

    def test_a_sign_that_the_header_adds_is_seen(self, make_dicom, stored):
        radiograph = read_radiograph(make_dicom(stored, PixelRepresentation=1))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
        assert "values stated as signed, but smooth only as unsigned: taken as these" in radiograph.source.notes

    @pytest.mark.parametrize("border", [0, 4095])
    def test_a_sign_as_stated_is_left(self, make_dicom, stored, border):
        stored[:, :9] = border
        stored[:5] = 4095 - border
        for values in (stored, stored.astype(np.int16) - 2048):
            notes = read_radiograph(make_dicom(values, bits=12 if values is stored else 16)).source.notes
            assert not [note for note in notes if "smooth" in note]

    @pytest.mark.parametrize("padding", [b"\x00\x80"])
    def test_padding_of_signed_pixels_written_without_its_sign(self, make_dicom, stored, padding):
        values = stored.astype(np.int16) - 2048
        values[:, -5:] = -32768
        radiograph = read_radiograph(make_dicom(values, bits=16, PixelPaddingValue=padding))
        assert "no VOI: full range -2048 to 2047, padding -32768 left out" in radiograph.source.notes

    @pytest.mark.parametrize(
        "elements",
        [
            {"PixelIntensityRelationshipSign": 1, "PhotometricInterpretation": "MONOCHROME1"},
            {"PixelIntensityRelationshipSign": 1, "PresentationLUTShape": "INVERSE"},
            {},
            {"PresentationIntentType": None, "SOPClassUID": DigitalXRayImageStorageForProcessing},
        ],
    )
    def test_intensities_become_densities_once_whatever_the_photometric_interpretation(
        self, make_dicom, stored, elements
    ):
        values = np.rint(40000 * np.exp(-stored.astype(float) / 2000)).astype(np.uint16)
        elements = {"PixelIntensityRelationship": "LIN", "PresentationIntentType": "FOR PROCESSING"} | elements
        elements = {name: value for name, value in elements.items() if value is not None}
        radiograph = read_radiograph(make_dicom(values, bits=16, **elements))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-3)

    def test_a_window_of_one_number_is_noted(self, make_dicom, stored):
        notes = read_radiograph(make_dicom(stored, WindowCenter=b"2048")).source.notes
        assert "WindowCenter is '2048', WindowWidth is '', no window: not applied" in notes

    @pytest.mark.parametrize("text", [b"MONOCHROME 1", b"monochrome_1"])
    def test_a_space_in_the_photometric_interpretation(self, make_dicom, stored, text):
        radiograph = read_radiograph(make_dicom(4095 - stored, PhotometricInterpretation=text))
        np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)

    @pytest.mark.parametrize(
        ("elements", "told"),
        [
            (
                {"HighBit": 7},
                "HighBit 7 with BitsStored 12 of BitsAllocated 16; export the radiograph again, or correct it: "
                "dcmodify -m HighBit=11 a.dcm",
            ),
            (
                {"SamplesPerPixel": 4},
                "SamplesPerPixel 4, PixelRepresentation 0, but 1 or 3 samples",
            ),
            ({"PixelRepresentation": 2}, "SamplesPerPixel 1, PixelRepresentation 2, but 1 or 3 samples"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR without its palette; export"),
            ({"PhotometricInterpretation": "ARGB"}, "PhotometricInterpretation ARGB, but grey is MONOCHROME1 or MONO"),
        ],
    )
    def test_what_is_refused_tells_the_way_out(self, make_dicom, stored, fault, elements, told):
        assert fault(make_dicom(stored, **elements)).startswith(f"a.dcm: {told}")


@pytest.mark.parametrize(
    ("cosines", "orientation"),
    [
        ([1, 0, 0, 0, 0, -1], ("L", "F")),
        ([1, 0, 0, 0, 0, 1], ("L", "H")),
        ([0, 0.1, -1, -0.99, 0.1, 0], ("F", "R")),
        ([1, 0, 0, 0, 1, 0], None),
        ([0, 0, 0, 0, 0, 1], None),
    ],
)
def test_a_frontal_image_orientation_tells_how_the_chest_lies(make_dicom, stored, cosines, orientation):
    assert read_radiograph(make_dicom(stored, ImageOrientationPatient=cosines)).orientation == orientation
    both = make_dicom(stored, ImageOrientationPatient=cosines, PatientOrientation=["R", "F"])
    assert read_radiograph(both).orientation == ("R", "F")
    one = read_radiograph(make_dicom(stored, ImageOrientationPatient=cosines, PatientOrientation=["L"]))
    assert one.orientation == orientation
    assert any(note.startswith("PatientOrientation is 'L', not two directions: ") for note in one.source.notes)


def test_colour_that_states_no_planes_has_its_channels_side_by_side(make_dicom, stored):
    grey = (stored >> 4).astype(np.uint8)
    path = make_dicom(np.stack([grey] * 3, axis=2), bits=8, PlanarConfiguration=None)
    np.testing.assert_allclose(read_radiograph(path).pixels, grey / 255, atol=1e-6)
