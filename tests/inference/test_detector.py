"""The tiny model on ONNX Runtime: its maps, its findings, its provider, and the sentences when it cannot run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import Box, ModelError, ModelIdentity, Radiograph, Source
from cxrcad.inference import detector as module
from cxrcad.inference.detector import CPU, CUDA, Detector
from cxrcad.inference.model import Bundle, load_bundle, write_card

MakeModel = Callable[..., Bundle]
EVERYWHERE = "perhaps no frontal chest: lung fields on 100 % of it"
"""What the tiny model's lung map, 0.75 throughout, gives."""


def radiograph(spacing_mm: tuple[float, float] | None = (0.5, 0.5)) -> Radiograph:
    """200 rows x 256 columns of 0.2 with a block of 0.9, 40 rows x 32 columns at (x 64, y 80)."""
    pixels = np.full((200, 256), 0.2, dtype=np.float32)
    pixels[80:120, 64:96] = 0.9
    source = Source("scan.png", "PNG", "b" * 64, notes=("8 bit",))
    return Radiograph(pixels, spacing_mm, "PNG pHYs" if spacing_mm else None, None, source)


def test_maps_have_the_images_size_and_known_values(tiny: Bundle) -> None:
    detector = Detector.open(tiny, "cpu", threads=1)
    for rows, cols in ((16, 16), (48, 32)):
        image = np.zeros((rows, cols), dtype=np.float32)
        image[5, 7] = 0.9
        maps = detector.probabilities(image)
        assert list(maps) == ["lesion", "lung"]
        expected = np.zeros_like(image)
        expected[4:7, 6:9] = 0.1
        np.testing.assert_allclose(maps["lesion"], expected, atol=1e-6)
        np.testing.assert_array_equal(maps["lung"], np.full_like(image, 0.75))


def test_a_model_of_before_has_the_map_nodule_and_gives_it_as_lesion(tmp_path: Path, make_model: MakeModel) -> None:
    names = ("nodule", "lung")
    former = make_model(tmp_path / "former", outputs=names, tasks=list(names), lesion="effusion")
    present = make_model(tmp_path / "present", lesion="effusion")
    assert former.tasks == present.tasks == ("lesion", "lung")
    assert former.settings_sha256 == present.settings_sha256
    image = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    found, wanted = (Detector.open(one, "cpu", threads=1).probabilities(image) for one in (former, present))
    assert list(found) == ["lesion", "lung"]
    np.testing.assert_array_equal(found["lesion"], wanted["lesion"])


def test_a_finding_lies_where_the_block_lies(tmp_path: Path, make_model: MakeModel) -> None:
    """Shorter side 100 of 200: two file pixels a grid pixel. The blur takes the block's four corners below half."""
    bundle = make_model(tmp_path / "m", grid={"side": 100}, multiple=8)
    result = Detector.open(bundle, "cpu", threads=1).detect(radiograph())
    assert len(result.findings) == 1
    finding = result.findings[0]
    assert finding.score == pytest.approx(1.0)
    assert finding.box_px == Box(64, 80, 96, 120)
    assert finding.center_px == pytest.approx((80.0, 100.0))
    assert finding.area_px == (20 * 16 - 4) * 4
    assert finding.area_mm2 == 20 * 16 - 4
    assert finding.box_mm == Box(32, 40, 48, 60)
    assert finding.lung_probability == 0.75


def test_a_turned_chest_and_pixels_that_are_not_square_are_told(tiny: Bundle) -> None:
    detector = Detector.open(tiny, "cpu")
    notes = detector.detect(replace(radiograph((0.6, 0.5)), orientation=("R", "H"))).notes
    assert "turned by 180 degrees for the model; boxes lie in the file's pixels" in notes
    assert "pixels 1.2 times as high as wide: resampled to square ones for the model" in notes
    assert detector.detect(replace(radiograph(), orientation=("L", "F"))).notes == detector.detect(radiograph()).notes


def test_a_result_says_what_was_read(tiny: Bundle) -> None:
    result = Detector.open(tiny, "cpu").detect(radiograph())
    assert (result.path, result.sha256, result.rows, result.cols) == ("scan.png", "b" * 64, 200, 256)
    assert (result.spacing_mm, result.spacing_from) == ((0.5, 0.5), "PNG pHYs")
    assert result.notes == ("8 bit", EVERYWHERE)
    assert set(result.seconds) == {"read", "infer", "find"}
    assert all(value >= 0 for value in result.seconds.values())


def test_unknown_spacing_is_noted(tiny: Bundle) -> None:
    result = Detector.open(tiny, "cpu").detect(radiograph(None))
    assert result.notes == ("8 bit", "pixel spacing unknown: no sizes in mm", EVERYWHERE)
    assert result.findings[0].area_mm2 is None


def test_a_model_without_a_lung_task(tmp_path: Path, make_model: MakeModel) -> None:
    bundle = make_model(tmp_path / "single", outputs=("lesion",), tasks=["lesion"])
    result = Detector.open(bundle, "cpu").detect(radiograph())
    assert result.findings[0].lung_probability is None


def test_the_identity_states_what_ran(tiny: Bundle) -> None:
    detector = Detector.open(tiny, "cpu")
    assert detector.identity == ModelIdentity("tiny", tiny.sha256, 0.5, CPU)
    other = replace(tiny, find=replace(tiny.find, threshold=0.25))
    assert Detector.open(other, "cpu").identity.threshold == 0.25


def test_a_wrong_size_names_the_multiple(tiny: Bundle) -> None:
    with pytest.raises(ModelError, match=r"tiny: takes a grid in multiples of 16, not 20 x 32"):
        Detector.open(tiny, "cpu").probabilities(np.zeros((20, 32), dtype=np.float32))


def test_a_map_that_is_not_finite_is_an_error(tmp_path: Path, make_model: MakeModel) -> None:
    bundle = make_model(tmp_path / "nan", bias=float("nan"))
    with pytest.raises(ModelError, match=r"lung map .* 256 values that are no numbers"):
        Detector.open(bundle, "cpu").probabilities(np.zeros((16, 16), dtype=np.float32))


@pytest.mark.parametrize(
    ("node", "kind", "found"),
    [
        ("Identity", "FLOAT", r"\(1, 1, 16, 16\) of float32"),
        ("ReduceSum", "FLOAT", r"\(\) of float32"),
        ("Shape", "INT64", r"\(4,\) of int64"),
        ("SequenceConstruct", "sequence", "list"),
    ],
)
def test_an_output_that_is_no_map_is_an_error(
    tmp_path: Path, make_model: MakeModel, node: str, kind: str, found: str
) -> None:
    onnx = pytest.importorskip("onnx")
    bundle = make_model(tmp_path / "odd", outputs=("lesion",), tasks=["lesion"])
    model = onnx.load(bundle.onnx_path)
    attributes = {"keepdims": 0} if node == "ReduceSum" else {}
    model.graph.node.append(onnx.helper.make_node(node, ["image"], ["odd"], **attributes))
    image = model.graph.input[0]
    given = onnx.helper.make_tensor_value_info("odd", getattr(onnx.TensorProto, kind, 1), None)
    if kind == "sequence":
        given = onnx.helper.make_tensor_sequence_value_info("odd", image.type.tensor_type.elem_type, None)
    model.graph.output.append(given)
    (bundle.onnx_path).write_bytes(model.SerializeToString())
    write_card(bundle.folder, {**bundle.card, "tasks": ["lesion", "odd"]})
    detector = Detector.open(load_bundle(bundle.folder), "cpu")
    with pytest.raises(ModelError, match=rf"its odd map of an image \(16, 16\) is {found}, where \(1, 16, 16\) of num"):
        detector.probabilities(np.zeros((16, 16), dtype=np.float32))


def test_a_graph_without_the_cards_task_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    bundle = make_model(tmp_path / "m", outputs=("lesion",))
    with pytest.raises(ModelError, match=r"gives lesion, where its card says image and lesion, lung"):
        Detector.open(bundle, "cpu")


def test_a_file_that_is_no_network_is_refused(tiny: Bundle) -> None:
    tiny.onnx_path.write_bytes(b"not a network")
    for device in ("cpu", "auto"):
        with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it"):
            Detector.open(tiny, device)


def test_an_unknown_device_names_the_devices(tiny: Bundle) -> None:
    with pytest.raises(ModelError, match=r"device is 'tpu'; choose from auto, cpu, cuda"):
        Detector.open(tiny, "tpu")


def test_cuda_without_a_driver_is_an_error_with_a_remedy(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "driver_library", lambda: None)
    with pytest.raises(ModelError, match=r"^tiny: .*CUDA|^tiny: no NVIDIA driver") as caught:
        Detector.open(tiny, "cuda")
    assert "use --device cpu" in str(caught.value)


def test_cuda_that_falls_back_is_an_error(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime was asked for CUDA and runs on the CPU without a word: we say it."""
    real = module.open_session
    monkeypatch.setattr(module, "_providers", lambda device, name: [CUDA, CPU])
    monkeypatch.setattr(module, "open_session", lambda path, providers, threads: real(path, [CPU], threads))
    with pytest.raises(ModelError, match=r"asked for CUDA, but ONNX Runtime runs on CPUExecutionProvider; use"):
        Detector.open(tiny, "cuda")


def test_auto_takes_the_cpu_where_cuda_does_not_load(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a driver but without CUDA's libraries nothing is printed and the CPU serves."""
    monkeypatch.setattr(module, "driver_library", lambda: object())
    detector = Detector.open(tiny, "auto")
    assert detector.provider in (CPU, CUDA)
    assert detector.provider == detector.session.get_providers()[0]
    assert detector.probabilities(np.zeros((16, 16), dtype=np.float32))["lung"][0, 0] == 0.75
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_cuda_is_told_not_to_try_every_algorithm_for_every_shape(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    asked: list[object] = []
    real = onnxruntime.InferenceSession

    def record(content: object, options: object, providers: list[object], enable_fallback: int) -> object:
        asked.extend(providers)
        return real(content, options, providers=[CPU], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    module.open_session(tiny.onnx_path, [CUDA, CPU], 1)
    assert asked == [(CUDA, {"cudnn_conv_algo_search": "HEURISTIC"}), (CPU, {})]


def test_how_many_images_at_once(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One on a CPU and eight with CUDA, what was asked for, and one where the graph takes no more."""
    onnx = pytest.importorskip("onnx")
    real = module.open_session

    class OnCuda:
        def __init__(self, path: Path) -> None:
            self.real = real(path, [CPU], 1)

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

    def batches() -> list[int]:
        bundle = load_bundle(tiny.folder)
        with monkeypatch.context() as patched:
            on_cpu = [Detector.open(bundle, "cpu", 1, batch).batch for batch in (None, 3)]
            patched.setattr(module, "_providers", lambda device, name: [CUDA, CPU])
            patched.setattr(module, "open_session", lambda path, providers, threads: OnCuda(path))
            return [*on_cpu, *(Detector.open(bundle, "cuda", 1, batch).batch for batch in (None, 3))]

    assert batches() == [1, 3, 8, 3]
    model = onnx.load(tiny.onnx_path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    tiny.onnx_path.write_bytes(model.SerializeToString())
    write_card(tiny.folder, {name: value for name, value in tiny.card.items() if name != "sha256"})
    assert batches() == [1, 1, 1, 1]


def test_several_images_of_one_shape_at_once(tiny: Bundle) -> None:
    detector = Detector.open(tiny, "cpu", threads=1)
    images = list(np.random.default_rng(0).random((3, 32, 48), np.float32))
    for image, together in zip(images, detector.run(images), strict=True):
        alone = detector.probabilities(image)
        for task, values in alone.items():
            np.testing.assert_allclose(together[task], values, atol=1e-6)
    with pytest.raises(ModelError, match=r"takes a grid in multiples of 16, not 20 x 32"):
        detector.run([np.zeros((20, 32), np.float32)] * 2)


def test_importing_inference_loads_nothing_heavy() -> None:
    code = (
        "import sys, cxrcad.inference.batch, cxrcad.inference.detector, cxrcad.inference.candidates;"
        "import cxrcad.interchange.boxes, cxrcad.report.drawing.overlay;"
        "heavy = ['onnxruntime', 'scipy', 'pydicom', 'PIL', 'SimpleITK', 'torch', 'matplotlib'];"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_findings_are_called_what_the_card_says(tmp_path: Path, make_model: MakeModel) -> None:
    for lesion in ("nodule", "effusion"):
        detector = Detector.open(make_model(tmp_path / lesion, lesion=lesion), "cpu")
        assert {finding.label for finding in detector.detect(radiograph()).findings} == {lesion}
