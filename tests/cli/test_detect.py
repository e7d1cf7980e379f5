"""`cxrcad detect`: every format in one call, a bad file among them, and where the boxes go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import UsageError

ROOT = Path(__file__).resolve().parents[2]
SIDE = 128


def disc(level: int, background: int) -> np.ndarray:
    """A disc of radius 8 about pixel edge (40, 88) on a field plain but for a corner; `level` marks the dense."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE), background, np.uint16)
    image[0, :4] += np.arange(1, 5, dtype=np.uint16)  # two values would be a mask
    image[(rows - 87.5) ** 2 + (cols - 39.5) ** 2 <= 64] = level
    return image


def write_dicom(path: Path, pixels: np.ndarray, photometric: str, bits: int, syntax: str | None = None) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", photometric, 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, 0
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    if syntax:
        dataset.compress(syntax)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """One radiograph in eight encodings, a DICOM cut short, and files that are no radiograph."""
    from pydicom.uid import JPEG2000Lossless, RLELossless

    folder = tmp_path_factory.mktemp("scans")
    write_dicom(folder / "mono1.dcm", 4095 - disc(4000, 600), "MONOCHROME1", 12)
    write_dicom(folder / "mono2.dcm", disc(4000, 600), "MONOCHROME2", 12)
    write_dicom(folder / "j2k.dcm", disc(4000, 600), "MONOCHROME2", 12, JPEG2000Lossless)
    write_dicom(folder / "rle.dcm", disc(4000, 600), "MONOCHROME2", 12, RLELossless)
    write_dicom(folder / "deep.dcm", disc(60000, 9000), "MONOCHROME2", 16)
    Image.fromarray(disc(240, 40).astype(np.uint8)).save(folder / "gray.png")
    Image.fromarray(disc(60000, 9000)).save(folder / "gray16.png")
    jsrt = np.kron(4095 - disc(4000, 600), np.ones((16, 16), np.uint16))
    (folder / "JPCLN001.IMG").write_bytes(jsrt.astype(">u2").tobytes())
    whole = (folder / "mono2.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[: len(whole) - 5000])
    (folder / "notes.txt").write_text("not a scan")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def toy(make_toy, tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("models") / "toy", grid={"side": 128}, threshold=0.5)


@pytest.fixture
def detect(cxrcad, toy):
    return lambda *arguments: cxrcad("detect", "--model", toy, "--device", "cpu", "--threads", "1", *arguments)


def test_a_folder_of_every_format_in_one_call_with_a_cut_file_among_them(detect, scans, boxes_schema, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    answer = detect(scans)
    assert (answer.code, answer.out) == (1, "")
    document = json.loads((tmp_path / "boxes.json").read_text())
    jsonschema.validate(document, boxes_schema)
    names = ["JPCLN001.IMG", "deep.dcm", "gray.png", "gray16.png", "j2k.dcm", "mono1.dcm", "mono2.dcm", "rle.dcm"]
    assert [Path(image["path"]).name for image in document["images"]] == names
    for image in document["images"]:
        (found,) = image["findings"]
        center = [value * SIDE / image["cols"] for value in found["center_px"]]
        assert center == pytest.approx([40, 88], abs=0.3), image["path"]
        assert found["score"] > 0.9
        assert found["lung_probability"] == 0.75
    by_name = dict(zip(names, document["images"], strict=True))
    assert by_name["JPCLN001.IMG"]["spacing_mm"] == [0.175, 0.175]
    assert by_name["mono1.dcm"]["spacing_from"] == "PixelSpacing"
    assert any("MONOCHROME1" in note for note in by_name["mono1.dcm"]["notes"])
    assert by_name["mono1.dcm"]["findings"] == by_name["mono2.dcm"]["findings"] == by_name["rle.dcm"]["findings"]
    assert by_name["gray.png"]["findings"][0]["box_mm"] is None
    assert list(by_name["mono1.dcm"]["uids"]) == ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
    assert "uids" not in by_name["gray.png"]
    (failure,) = document["failures"]
    assert failure["path"] == str(scans / "cut.dcm")
    assert failure["error"].startswith(f"{scans / 'cut.dcm'}: pixel data")
    assert "copy the file again" in failure["error"]
    lines = answer.err.splitlines()
    assert lines[0] == "toy on CPUExecutionProvider: 9 images"
    seen = f"{scans / 'JPCLN001.IMG'}: perhaps no frontal chest: lung fields on 100 % of it"  # by the toy
    assert lines[1:-1] == [
        seen,
        f"failed: {failure['error']}",
        "8 images have a note as this: perhaps no frontal chest: lung fields on # % of it",
    ]
    assert lines[-1].startswith("8 images done, 8 findings, 1 failed, ")
    assert lines[-1].endswith("; boxes.json")


def test_good_files_end_with_0_and_the_boxes_on_stdout_alone(detect, scans, tmp_path):
    answer = detect(scans / "gray.png", scans / "mono1.dcm", "--out", "-")
    assert answer.code == 0
    assert [Path(image["path"]).name for image in json.loads(answer.out)["images"]] == ["gray.png", "mono1.dcm"]
    assert answer.err.splitlines()[-1].startswith("2 images done, 2 findings, ")
    assert list(tmp_path.iterdir()) == []


def test_out_names_the_file_and_makes_its_folder(detect, scans, tmp_path):
    assert detect(scans / "gray.png", "--out", "deep/er/found.json").code == 0
    assert json.loads((tmp_path / "deep" / "er" / "found.json").read_text())["model"]["name"] == "toy"


def test_notes_that_are_not_of_every_day_are_told_once_a_kind(detect, scans, tmp_path):
    from pydicom import dcmread

    for number in range(3):
        dataset = dcmread(scans / "mono2.dcm")
        dataset.WindowCenter, dataset.WindowWidth = 2000 + number, 0
        dataset.save_as(tmp_path / f"{number}.dcm")
    answer = detect(tmp_path, scans / "gray.png")
    assert answer.code == 0
    assert answer.err.splitlines()[1:-1] == [
        f"{tmp_path / '0.dcm'}: window center 2000, width 0 (LINEAR) is not allowed: not applied",
        f"{tmp_path / '0.dcm'}: perhaps no frontal chest: lung fields on 100 % of it",
        "3 images have a note as this: window center #, width # (LINEAR) is not allowed: not applied",
        "4 images have a note as this: perhaps no frontal chest: lung fields on # % of it",
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--out", "found.xlsx"), "--out found.xlsx: its ending is .xlsx; end the name in .json or .csv"),
        (("--html", "page.json"), "--html page.json: its ending is .json; end the name in .html or .htm"),
    ],
)
def test_a_file_does_not_get_another_format_s_ending(detect, scans, tmp_path, options, sentence):
    answer = detect(scans / "gray.png", *options)
    assert (answer.code, answer.out, answer.err) == (2, "", f"Error: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


def scores(answer) -> list[float]:
    return [finding["score"] for finding in json.loads(answer.out)["images"][0]["findings"]]


@pytest.fixture
def two_levels(tmp_path):
    """A bright block, and a fainter one of some 0.4."""
    pixels = disc(40, 40).astype(np.uint8)
    pixels[20:32, 20:32], pixels[80:92, 80:92] = 240, 120
    Image.fromarray(pixels).save(tmp_path / "two.png")
    return tmp_path / "two.png"


def test_threshold_and_min_score_decide_what_is_reported(detect, two_levels):
    own = detect(two_levels, "--out", "-")
    assert len(scores(own)) == 1
    lower = detect(two_levels, "--out", "-", "--threshold", "0.3")
    assert json.loads(lower.out)["model"]["threshold"] == 0.3
    assert scores(lower)[1] == pytest.approx(0.4, abs=0.02)
    everything = detect(two_levels, "--out", "-", "--min-score", "0")
    assert json.loads(everything.out)["model"]["threshold"] == 0.5
    assert scores(everything)[:2] == scores(lower)
    assert scores(detect(two_levels, "--out", "-", "--min-score", "1", "--threshold", "0.3")) == scores(own)


def test_a_setting_of_the_finding_goes_before_the_model_s(detect, two_levels, boxes_schema):
    answer = detect(two_levels, "--out", "-", "--min-score", "0", "--max-findings", "1")
    assert scores(answer) == pytest.approx([1.0])
    find = json.loads(answer.out)["find"]
    assert (find["max_findings"], find["min_score"]) == (1, 0)
    of_cards = {"operating_point", "calibrated"}  # of a model whose card has them
    assert set(find) == set(boxes_schema["properties"]["find"]["properties"]) - of_cards
    usual = json.loads(detect(two_levels, "--out", "-").out)["find"]
    assert usual["min_score"] == 0.5
    assert usual["settings_sha256"] != find["settings_sha256"]


def test_a_run_s_fold_is_a_model_too(cxrcad, make_run, disc_data, tmp_path):
    run = make_run(tmp_path / "run")
    answer = cxrcad("detect", disc_data / "images" / "JPCLN001.png", "--model", run / "fold3", "--out", "-")
    document = json.loads(answer.out)
    assert (document["model"]["name"], document["model"]["threshold"]) == ("run-fold3", 0.9)
    assert document["images"][0]["findings"][0]["center_px"] == pytest.approx([18.5, 27.5], abs=0.2)


def test_overlays_are_pictures_one_a_file_whatever_their_names(detect, scans, tmp_path):
    (tmp_path / "other").mkdir()
    Image.fromarray(disc(240, 40).astype(np.uint8)).save(tmp_path / "other" / "mono2.png")
    paths = [scans / "mono2.dcm", tmp_path / "other" / "mono2.png", scans / "cut.dcm"]
    assert detect(*paths, "--overlay", "pictures").code == 1
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["mono2-2.png", "mono2.png"]
    with Image.open(tmp_path / "pictures" / "mono2.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (768, 768))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["in.png", "--out", "."], 2, "--out .: is a folder; name the file, for example boxes.json"),
        (["in.png", "--out", "new/"], 2, "--out new/: is a folder; name the file, for example new/boxes.json"),
        (["in.png", "--out", "in.png"], 2, "--out in.png: is one of the radiographs and would be overwritten"),
        (["in.png", "--out", "in.png/boxes.json"], 2, "is a file, not a folder; name another place"),
        (["in.png", "--out", "/proc/boxes.json"], 1, "--out /proc/boxes.json: nothing can be written in /proc; name"),
        (["in.png", "--overlay", "."], 2, "--overlay .: in.png is a radiograph and would be overwritten"),
        (["in.png", "--overlay", "-"], 2, "--overlay -: standard output takes no files; name a folder"),
        (["in.png", "--overlay", "in.png"], 2, "is a file, not a folder; name another place"),
        (["in.png", "--threshold", "nan"], 2, "--threshold nan: it takes a number at least 0"),
        (["in.png", "--min-score", "2"], 2, "--min-score 2: it takes a number at least 0, at most 1"),
        (["in.png", "--threads", "0"], 2, "--threads 0: it takes a whole number at least 1"),
        (["in.png", "--device", "gpu"], 2, "--device gpu: choose from auto, cpu, cuda"),
        (["in.png", "--model", "none"], 1, "none: no packaged model has this name and there is no such folder"),
        (["in.png", "--model", "in.png"], 1, "in.png: a file; a model is a folder"),
        (["in.png", "--config", "none.toml"], 2, "none.toml: there is no such settings file; check --config"),
        (["--out", "-"], 2, "Missing argument 'PATHS...'."),
    ],
)
def test_what_cannot_be_done_is_one_sentence_before_the_work(cxrcad, toy, tmp_path, arguments, code, sentence):
    Image.fromarray(disc(240, 40).astype(np.uint8)).save(tmp_path / "in.png")
    model = [] if "--model" in arguments else ["--model", toy]
    answer = cxrcad("detect", *arguments, *model)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert sentence in answer.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_cuda_that_is_not_there_is_an_error_and_not_the_cpu_in_silence(cxrcad, toy, scans):
    answer = cxrcad("detect", scans / "gray.png", "--model", toy, "--device", "cuda", "--out", "-")
    if answer.code == 0:
        assert json.loads(answer.out)["model"]["provider"] == "CUDAExecutionProvider"
    else:
        assert (answer.code, answer.out) == (1, "")
        assert "use --device cpu, or install onnxruntime-gpu" in answer.err


@pytest.mark.parametrize("kind", ["missing", "empty folder", "empty file", "text"])
def test_a_path_without_a_radiograph_is_a_failure(detect, tmp_path, kind):
    path = tmp_path / "what"
    if kind == "empty folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty file" else "a letter")
    answer = detect(path, "--out", "-")
    document = json.loads(answer.out)
    said = {
        "missing": "there is no such file",
        "empty folder": "a folder without a radiograph",
        "empty file": "empty, 0 bytes",
        "text": "text, not an image",
    }
    assert (answer.code, document["images"]) == (1, [])
    assert document["failures"][0]["error"].startswith(f"{path}: {said[kind]}")


def run_command(toy, *arguments, **options):
    command = [sys.executable, "-m", "cxrcad", "detect", "--model", str(toy), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_was_done(toy, scans, tmp_path):
    for number in range(400):
        os.link(scans / "JPCLN001.IMG", tmp_path / f"{number:03}.IMG")
    child = run_command(toy, tmp_path, "--out", tmp_path / "part.json", "--overlay", tmp_path / "pictures")
    while not list((tmp_path / "pictures").glob("001.png")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 130
    assert "Traceback" not in said
    done = len(json.loads((tmp_path / "part.json").read_text())["images"])
    assert 1 <= done < 400
    words = f"cxrcad: stopped; {tmp_path / 'part.json'} holds the {done} of 400 files that were done; --resume goes on"
    assert [line for line in said.splitlines() if "stopped" in line] == [words]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "code", "read_on"),
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, True), (signal.SIGINT, 130, False)],
)
def test_a_stop_prints_what_was_done_where_the_boxes_go_to_stdout(toy, scans, tmp_path, number, code, read_on):
    """With `read_on`, the reader of stdout stays; else it is gone before, as Ctrl-C stops a whole pipeline."""
    for index in range(400):
        os.link(scans / "JPCLN001.IMG", tmp_path / f"{index:03}.IMG")
    read, write = os.pipe()
    if not read_on:
        os.close(read)
    with os.fdopen(write) as end:
        child = run_command(toy, tmp_path, "--out", "-", "--overlay", tmp_path / "pictures", stdout=end)
    while not list((tmp_path / "pictures").glob("001.png")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(number)
    _, said = child.communicate(timeout=600)
    assert (child.returncode, "Traceback" in said, "Exception ignored" in said) == (code, False, False)
    assert said.splitlines()[-1].startswith("cxrcad: stopped; the document holds the ")
    assert said.count("stopped") == 1
    if read_on:
        with os.fdopen(read) as printed:
            document = json.load(printed)
        done = len(document["images"])
        assert 1 <= done < 400
        assert (document["schema"], document["images"][0]["path"]) == ("cxrcad/boxes/1", str(tmp_path / "000.IMG"))
        assert f"the document holds the {done} of 400 files that were done\n" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_that_a_library_takes_for_a_fault_of_its_own_is_a_stop(toy, scans, tmp_path, number, code):
    """As ONNX Runtime's native module does where Ctrl-C reaches it while it is loaded."""
    (tmp_path / "onnxruntime.py").write_text(
        f"import os, time\ntry:\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(60)\n"
        "except KeyboardInterrupt as stop:\n    raise ImportError('initialization failed') from stop\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "cxrcad", "detect", scans / "gray.png", "--model", toy, "--out", tmp_path / "o.json"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell in the background ignores it
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "cxrcad: stopped\n")
    assert not (tmp_path / "o.json").exists()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_that_a_library_takes_for_a_fault_of_an_image_is_a_stop(
    detect, scans, tmp_path, monkeypatch, number, code
):
    from cxrcad.inference.detector import Detector

    def swallowed(self, radiograph):
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except KeyboardInterrupt as stop:
            raise RuntimeError("the library failed") from stop

    with monkeypatch.context() as patched:
        patched.setattr(Detector, "infer", swallowed)
        answer = detect(scans / "gray.png", scans / "rle.dcm", "--out", "o.json")
    assert answer.code == code
    assert answer.err.endswith("cxrcad: stopped; o.json holds the 1 of 2 files that were done; --resume goes on\n")
    assert json.loads((tmp_path / "o.json").read_text())["complete"] is False
    assert detect(scans / "gray.png", scans / "rle.dcm", "--out", "o.json", "--resume").code == 0


def test_a_closed_pipe_and_a_full_disk_end_without_a_traceback(toy, scans):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        child = run_command(toy, scans / "gray.png", "--out", "-", stdout=closed)
        _, said = child.communicate(timeout=600)
    assert (child.returncode, "Traceback" in said) == (1, False)
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        child = run_command(toy, scans / "gray.png", "--out", "-", stdout=full)
        _, said = child.communicate(timeout=600)
    assert child.returncode == 1
    assert "Error: the output: No space left on device" in said
    assert "Traceback" not in said


def test_what_is_done_is_written_when_an_overlay_cannot_be(toy, scans, tmp_path, monkeypatch):
    from cxrcad.commands import detect as detection
    from cxrcad.config import DetectConfig, build
    from cxrcad.core import WriteError
    from cxrcad.files import Silent

    def full(*arguments, **options):
        raise WriteError("the disk is full")

    monkeypatch.setattr(detection, "write_overlay", full)
    config = build(DetectConfig, {"model": str(toy), "device": "cpu"})
    out = tmp_path / "boxes.json"
    with pytest.raises(WriteError, match="the disk is full"):
        detection.detect_to_file(config, [scans / "gray.png", scans / "rle.dcm"], out, tmp_path / "ov", Silent())
    assert [Path(image["path"]).name for image in json.loads(out.read_text())["images"]] == ["gray.png"]
    with pytest.raises(UsageError, match="is a folder"):
        detection.detect_to_file(config, [scans / "gray.png"], tmp_path, None, Silent())
