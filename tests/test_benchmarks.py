"""What the benchmarks measure, on inputs whose answer is known; what they print is for a reader."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from cxrcad.config import LossConfig, NetworkConfig, TrainConfig
from cxrcad.core import Case, ModelIdentity, Nodule
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import ScoringContext
from cxrcad.imaging.preprocess import Geometry
from cxrcad.networks.registry import build_network
from cxrcad.training.patch_classifier.task import reached

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def batch_norm() -> ModuleType:
    return benchmark("batch_norm")


@pytest.fixture
def samples() -> list[Sample]:
    """Two images of noise about two levels; a nodule of 4 x 4 pixels, lungs in the left half."""
    rng = np.random.default_rng(0)
    nodules, lung = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    nodules[8:12, 8:12], lung[:, : SIDE // 2] = True, True
    images = [rng.integers(level, level + 90, (SIDE, SIDE), np.uint8) for level in (10, 150)]
    geometry = Geometry.__new__(Geometry)  # not looked at
    return [Sample(Case("a", Path("a"), SIDE, SIDE), image, nodules, lung, geometry, "") for image in images]


def test_a_batch_norm_takes_the_statistics_that_it_is_told_and_keeps_its_running_ones(batch_norm):
    norm = torch.nn.BatchNorm2d(1, eps=1e-12)
    norm.running_mean[:], norm.running_var[:] = 1.0, 4.0
    network = torch.nn.Sequential(torch.nn.ReLU(), norm)
    values = torch.tensor([[[[2.0, 4.0], [6.0, 8.0]]]])  # mean 5, variance 5
    assert batch_norm.use_statistics(network, own=False) == 1
    assert network(values).flatten().tolist() == pytest.approx([0.5, 1.5, 2.5, 3.5])
    batch_norm.use_statistics(network, own=True)
    assert network(values).flatten().tolist() == pytest.approx([x / math.sqrt(5) for x in (-3, -1, 1, 3)])
    assert (norm.running_mean.item(), norm.running_var.item()) == (1.0, 4.0)


def test_a_network_that_knows_nothing_has_a_lesion_loss_of_ln_2(batch_norm, samples):
    class Blank(torch.nn.Module):
        def forward(self, image):
            return {task: torch.zeros(len(image), 2, *image.shape[2:]) for task in ("lesion", "lung")}

    found = batch_norm.measure(Blank(), samples, LossConfig())
    assert found.lesion_loss == pytest.approx(math.log(2), abs=1e-6)
    assert found.lung_dice == 0.0
    assert [float(one.max()) for one in found.lesion_maps] == [0.5, 0.5]


@pytest.mark.parametrize(("norm", "same"), [("group", True), ("table1", False), ("batch", False)])
def test_only_group_norm_gives_the_same_with_both_statistics(batch_norm, samples, norm, same):
    torch.manual_seed(0)
    network = build_network(NetworkConfig(norm=norm), SIDE).eval()
    found = []
    for own in (False, True):
        assert (batch_norm.use_statistics(network, own) == 0) == same
        found.append(batch_norm.measure(network, samples, LossConfig()))
    assert (found[0].lesion_loss == found[1].lesion_loss) == same
    assert np.array_equal(found[0].lesion_maps[0], found[1].lesion_maps[0]) == same


@pytest.fixture(scope="module")
def looks() -> ModuleType:
    return benchmark("looks")


@pytest.fixture
def looking() -> tuple[torch.nn.Module, Sample]:
    """an ensemble of random weights and a share of 0.3, and an image of noise whose geometry is known."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(norm="group", patch_classifier=True), SIDE).eval()
    network.weight.fill_(0.3)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    case = Case("A", Path("A.png"), SIDE, SIDE, nodules=(Nodule(20.5, 30.5, 10.0),), spacing_mm=(1.0, 1.0))
    mask = np.zeros((SIDE, SIDE), bool)
    return network, Sample(case, image, mask, mask, Geometry.fit(SIDE, SIDE, SIDE, 16, (1.0, 1.0)), "")


def test_the_map_as_it_is_is_the_network_s_own_and_the_looks_stand_at_its_ends(looks, looking):
    network, sample = looking
    found = looks.variants(network, {"itself": network}, sample)
    with torch.inference_mode():
        nodule = network(torch.from_numpy(sample.pixels)[None, None])["lesion"]
    own = (nodule[:, 1] - nodule[:, 0])[0].numpy()
    first, second, _ = looks.looked(network, sample.pixels)
    np.testing.assert_allclose(found["as it is"], own, atol=1e-5)
    np.testing.assert_allclose(found["averaged with itself"], own, atol=1e-5)
    np.testing.assert_array_equal(found["share 0 everywhere"], first)
    np.testing.assert_array_equal(found["share 1 everywhere"], second)
    assert float(network.weight) == pytest.approx(0.3)


def test_the_mirrored_image_has_the_mirrored_average(looks, looking):
    network, sample = looking
    turned = replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]))
    name = "averaged with the mirrored image"
    one, other = (looks.variants(network, {}, which)[name] for which in (sample, turned))
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-5)


def test_a_map_is_lowered_by_the_mm_beyond_the_lungs_and_by_its_own_level(looks):
    lung = np.full((1, 50), -1.0, np.float32)
    lung[:, :10] = 1.0
    logit = np.zeros((1, 50), np.float32)
    lowered = looks.lowered_outside(logit, lung, (0.5, 0.5))[0]
    assert lowered[[0, 9, 13, 19, 49]] == pytest.approx([0, 0, 0, -0.05 * 3, -0.05 * 18])
    logit[:, :10], logit[:, 10:] = 2.0, 5.0
    assert looks.less_level(logit, lung)[0, [0, 49]] == pytest.approx([2 - 0.6, 5 - 0.6])
    np.testing.assert_array_equal(looks.less_level(logit, -np.abs(lung)), logit)


def test_a_map_that_finds_the_nodule_is_above_one_that_finds_another_thing(looks, looking):
    _, sample = looking
    rows, cols = np.mgrid[:SIDE, :SIDE]
    other = 3 - np.hypot(rows - 30, cols - 50).astype(np.float32)
    nodule = 6 - np.hypot(rows - 30, cols - 20).astype(np.float32)
    model = ModelIdentity("m", "", 0.5, "torch")
    context = ScoringContext("d", "jsrt-247", HitRule(), model, "n", "multi", "", 1)
    empty = replace(sample.case, name="B", nodules=())
    found = {}
    for name, logit in (("as it is", other), ("better", nodule)):
        cases = [(one, looks.findings_of(sample, logit, TrainConfig())) for one in (sample.case, empty)]
        result = looks.result_of(1, cases, context)
        found["validation", name] = [result, result]  # a case may be a validation case of several folds
        found["test", name] = [result]
    head, _, worse, better = looks.lines(found, resamples=20)
    told = dict(zip(head.split("|")[1:-1], better.split("|")[1:-1], strict=True))
    told = {key.strip(): value.strip() for key, value in told.items()}
    assert (told["test, at 1/4"], told["test, at 1/2"], told["validation"]) == (
        "0.0",
        "100.0",
        "20.0",
    )  # 1, 2, 4: not reached
    assert worse.split("|")[3:7] != better.split("|")[3:7]
    assert told["CPM less as it is"].startswith("0.")


def test_a_rate_that_is_not_reached_counts_as_nothing():
    geometry = Geometry.fit(SIDE, SIDE, SIDE, 16, (1.0, 1.0))
    case = Case("A", Path("A.png"), SIDE, SIDE, nodules=(Nodule(20.5, 30.5, 10.0),), spacing_mm=(1.0, 1.0))
    rows, cols = np.mgrid[:SIDE, :SIDE]
    other = 3 - np.hypot(rows - 30, cols - 50).astype(np.float32)
    nodule = 6 - np.hypot(rows - 30, cols - 20).astype(np.float32)
    both, alone = np.maximum(nodule, other), other
    assert reached([both], [(case, geometry)], TrainConfig()) == [1, 1, 1, 0, 0, 0.6, 1]  # one false positive
    assert reached([alone], [(case, geometry)], TrainConfig())[-2:] == [0, 0]


@pytest.mark.slow
def test_smaller_weights_make_a_smaller_file_that_says_about_the_same(tmp_path):
    weights = benchmark("onnx_weights")
    torch.manual_seed(0)
    settings = NetworkConfig(network="deeplabv3plus", norm="group", width=16, patch_classifier=True)
    network = build_network(settings, SIDE).eval()
    tasks, image = ("lesion", "lung"), np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    full, small = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    weights.write_onnx(network, tasks, network.multiple, full)
    small.write_bytes(full.read_bytes())
    weights.quantize(small, [image])
    assert small.stat().st_size < 0.5 * full.stat().st_size
    maps = [
        [one[0] for one in weights.opened(file, 1).run(list(tasks), {"image": image[None, None]})]
        for file in (full, small)
    ]
    assert weights.difference(maps[0], maps[0]) == 0
    assert 1e-6 < weights.difference(*maps) < 0.2


def test_radiographs_of_another_set_are_known_by_their_patients():
    backgrounds = benchmark("backgrounds")

    def case(name: str, *groups: str) -> Case:
        return Case(name, Path(f"{name}.png"), SIDE, SIDE, groups=groups)

    first = Dataset(Path("A"), "jsrt-247", tuple(case(f"A{n}", f"patient:{n}", f"series:{n}") for n in range(6)))
    nodules = {"nodules": (Nodule(20.5, 30.5, 10.0),)}
    again = [replace(case(f"B{n}", f"patient:{9 - n}", "series:1"), **nodules) for n in range(10)]
    split = Split(1, ("A0", "A1", "A2"), ("A3",), ("A4", "A5"))
    parts = backgrounds.by_part(first, split, Dataset(Path("B"), "jsrt-247", tuple(again)))
    names = {part: [one.name for one in cases] for part, cases in parts.items()}
    assert names == {"train": ["B7", "B8", "B9"], "validation": ["B6"], "test": ["B4", "B5"]}

    def match(score: float) -> ImageMatch:
        return ImageMatch("B", 1, (Hit(score, 0),), (FalsePositive(0.5),))

    head, _, row = backgrounds.lines({"train": [[match(0.9)] * 4, [match(0.9)] * 3 + [match(0.4)]]})
    told = dict(zip((c.strip() for c in head.split("|")), (c.strip() for c in row.split("|")), strict=True))
    assert (told["nodules a fold"], told["at 1/2"], told["at 1"]) == ("4", "87.5", "100.0")


def test_what_inflates_to_more_than_a_radiograph_is_refused_in_little_memory(tmp_path):
    bombs = benchmark("bombs")
    files = bombs.write(tmp_path, gigabytes=1)
    megabytes, sentences = bombs.peak(*files)
    assert len(files) == len(sentences) == 9
    assert not [sentence for sentence in sentences if sentence == "read" or "; " not in sentence]
    assert megabytes < 200


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    return benchmark("fuzz")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Two dark fields in a dense one with structure in them, 512 x 512 of 12 bit."""
    rows, cols = np.mgrid[:512, :512]
    rng = np.random.default_rng(0)
    fields = sum(np.hypot((rows - 260) / 170, (cols - middle) / 90) < 1 for middle in (150, 362))
    spots = sum(600 * np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / 120) for r, c in rng.integers(120, 400, (12, 2)))
    return np.clip(2600 - 1500 * fields + spots + rng.normal(0, 20, rows.shape), 0, 4095).astype(np.uint16)


def test_no_damaged_file_is_taken_for_a_whole_one(fuzz, picture, tmp_path):
    detector = fuzz.Detector.open(fuzz.resolve_model(fuzz.MODEL), "cpu")
    found = fuzz.run(picture, 46, 2, tmp_path, detector, None)
    assert len(found) == 46
    assert not [row for row in found if row[2] == fuzz.WRONG]
    outcomes = [row[2] for row in found]
    assert outcomes.count(fuzz.REFUSED) > 23
    assert fuzz.SAME in outcomes
    head, _, counts = fuzz.lines(found)[:3]
    told = dict(zip((c.strip() for c in head.split("|")), (c.strip() for c in counts.split("|")), strict=True))
    assert (told["files"], told["refused"], told["wrong"]) == ("46", str(outcomes.count(fuzz.REFUSED)), "0")


def test_another_picture_that_no_program_takes_for_damaged_would_be_told(fuzz, picture, tmp_path):
    detector = fuzz.Detector.open(fuzz.resolve_model(fuzz.MODEL), "cpu")
    kind = next(kind for kind in fuzz.kinds(picture, None) if kind.name == "mha")
    path, outcomes = tmp_path / "a.mha", []
    path.write_bytes(kind.whole)
    whole = fuzz.read_radiograph(path)
    start = kind.whole.index(kind.raw)
    turned = picture[::-1].tobytes()
    for head in (kind.whole[:start], kind.whole[:start].replace(b"BinaryData", b"Comment = x\nBinaryData")):
        path.write_bytes(head + turned)
        outcomes.append(fuzz.outcome(kind, path, whole, detector, None)[0])
    path.write_bytes(kind.whole)
    outcomes.append(fuzz.outcome(kind, path, whole, detector, None)[0])
    assert outcomes == [fuzz.TAKEN, fuzz.WRONG, fuzz.SAME]


def test_streams_are_cut_and_wrapped_as_if_whole(fuzz, picture):
    rng = fuzz.random.Random(0)
    for kind in fuzz.kinds(picture, None):
        if kind.rewrap is not None:
            short = kind.rewrap(kind.whole, 0.5, rng)
            assert 0.3 * len(kind.whole) < len(short) < len(kind.whole) + 9
            assert short[:8] == kind.whole[:8]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of memory")
def test_a_batch_is_watched_from_its_first_image_to_its_last(make_toy, tmp_path):
    soak = benchmark("soak")
    (head, _, *rows), growth = soak.soak(tmp_path / "soak", 200, [0, 1], 1, make_toy(tmp_path / "toy"))
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (head, *rows)]
    assert [row[0] for row in cells] == ["processes that read", "0", "1"]
    assert cells[0][2:4] == ["MB after 20", "MB after 200"]
    for row in cells[1:]:
        assert float(row[1]) > 0
        own, readers = map(int, row[3].split(" + "))
        assert own > 50
        assert (readers > 10) == (row[0] == "1")
    assert abs(growth) < 1
    images = [json.loads((tmp_path / "soak" / f"boxes-{n}.json").read_text())["images"] for n in (0, 1)]
    assert [len(one) for one in images] == [200, 200]
    assert len({image["sha256"] for image in images[0]}) == soak.PHANTOMS


def test_memory_that_grows_and_the_pace_are_told_as_they_are():
    soak = benchmark("soak")
    seen = [soak.Seen(n, n / 4, 100_000_000 + n * 10_000, 50_000_000) for n in range(1, 1001)]
    cells, growth = soak.row(2, seen, 1000)
    assert cells == ["2", "4.00", "101 + 50", "110 + 50", "+6.0 %"]
    assert growth == pytest.approx((159.745 - 150.745) / 150.745)


def test_two_models_are_timed_in_turn_and_their_maps_compared_where_their_grids_are_alike():
    detect = benchmark("detect")
    calls, now = [], iter(range(100))

    class Session:
        def __init__(self, name: str, value: float) -> None:
            self.name, self.value = name, value

        def get_outputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name=f"{self.name} map")]

        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            calls.append((names, float(feed["image"][0, 0, 0, 0])))
            return [feed["image"][0] + self.value]

    images = [[np.full((2, 2), value, np.float32)] * 2 for value in (1, 2)]
    sessions = [Session("old", 0.0), Session("new", 0.25)]
    assert list(detect.pairs(sessions, images, 3, lambda: next(now))) == [([1, 1], 0.25)] * 3
    assert calls == [([f"{name} map"], value) for value in (2, 1, 2, 1) for name in ("old", "new")]
    other = [[np.ones((4, 4), np.float32), np.ones((2, 2), np.float32)]]
    assert list(detect.pairs(sessions, other, 1, lambda: next(now))) == [([1, 1], None)]


def test_a_median_leaves_out_the_first_time_and_a_slow_one():
    detect = benchmark("detect")
    done, times = [], iter([0, 1, 10, 99, 100, 103])
    assert detect.seconds_of(lambda: done.append(1), 3, lambda: next(times)) == 3
    assert len(done) == 4
    assert detect.clock_of(1) is time.process_time
    assert detect.clock_of(2) is time.perf_counter


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    for name in ("detect", "soak"):  # which it imports as a script beside them
        benchmark(name)
    return benchmark("scale")


def test_a_simulated_site_is_as_fast_as_its_slowest_step(scale):
    steps = [scale.Step("link", 0.1), scale.Step("core", 1.0), scale.Step("card", 0.5), scale.Step("core", 0.2)]
    seconds, busy = scale.simulate(1000, steps, {"link": 1, "core": 12, "card": 4}, 64)
    assert seconds == pytest.approx(1000 * 0.125, rel=0.02)  # the cards
    assert busy["card"] == pytest.approx(1.0, abs=0.02)
    assert busy["core"] == pytest.approx(1.2 / 12 / 0.125, abs=0.02)
    seconds, _ = scale.simulate(1000, steps, {"link": 1, "core": 4, "card": 4}, 64)
    assert seconds == pytest.approx(1000 * 0.3, rel=0.02)  # the cores
    seconds, _ = scale.simulate(1000, steps, {"link": 1, "core": 64, "card": 64}, 200)
    assert seconds == pytest.approx(1000 * 0.1, rel=0.02)  # the link
    assert scale.simulate(3, steps, {"link": 1, "core": 1, "card": 1}, 1)[0] == pytest.approx(3 * 1.8)


def test_a_plan_tells_pace_and_what_is_busiest(scale):
    rates = {"bytes": 4e6, "read": 0.7, "grid": 0.0, "network": 0.5, "findings": 0.1}
    assert scale.site(rates, 13, 0, 0.0, 1250.0) == (pytest.approx(10.0, rel=0.01), "core")
    assert scale.site(rates, 80, 1, 0.05, 1250.0) == (pytest.approx(20.0, rel=0.01), "card")
    assert scale.site(rates, 80, 16, 0.05, 125.0) == (pytest.approx(31.25, rel=0.01), "link")


def test_rates_are_of_both_kinds_and_a_run_is_compared_with_its_prediction(
    scale, tmp_path, make_toy, monkeypatch, capsys
):
    bundle = scale.load_bundle(make_toy(tmp_path / "toy"))
    monkeypatch.setattr(scale, "resolve_model", lambda: bundle)
    monkeypatch.setattr(sys.modules["soak"], "resolve_model", lambda: bundle)
    monkeypatch.setattr(scale, "large_images", lambda folder: [])
    measured = dict.fromkeys([*scale.READ, *scale.WORK, "writing", "bytes", "row_bytes"], 0.01)
    monkeypatch.setattr(
        scale, "rates_of", lambda bundle, images: {**measured, "seen": len(images), "side": bundle.grid.side}
    )
    scale.measure(tmp_path)
    rates = json.loads((tmp_path / "rates.json").read_text())
    assert (rates["small"]["seen"], rates["small"]["side"]) == (scale.CASES, scale.SMALL_GRID)
    scale.compare(tmp_path, 30, "local")
    ran = json.loads((tmp_path / "run-local.json").read_text())
    assert len(json.loads((tmp_path / "local-images-30.json").read_text())["images"]) == 30
    assert 0 < ran["own"] < ran["clock"] * 1.1
    assert "predicted for 30 images" in capsys.readouterr().out
