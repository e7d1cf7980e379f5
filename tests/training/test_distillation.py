"""A network that learns a teacher's maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrcad.config import TrainConfig, build
from cxrcad.core import TrainingError, UsageError
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.files import Silent, read_json
from cxrcad.inference.model import load_bundle
from cxrcad.networks.registry import build_network
from cxrcad.packaging.parity import load_network
from cxrcad.training.data import make_source
from cxrcad.training.device import open_backend
from cxrcad.training.distillation import DistillationTask, as_taught
from cxrcad.training.plan import train
from cxrcad.training.state import new_state
from tests.told import Told

LARGE = {
    "side": 192, "fold": "none", "threshold": 0.5, "threads": 1, "precision": "fp32", "norm": "group",
    "channels": "raw", "batch": 2, "max_steps": 2, "normals": True, "network": "deeplabv3plus", "width": 16,
    "device": "cpu",
}  # fmt: skip
SMALL = {**LARGE, "side": 96, "normals": False}


@pytest.fixture(scope="module")
def teacher(boxed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that teaches."""
    own = {"max_steps": 20, "learning_rate": 0.01, "run": tmp_path_factory.mktemp("runs") / "teacher"}
    return train(build(TrainConfig, {**LARGE, **own, "data": boxed}))


@pytest.fixture
def task(boxed: Path, teacher: Path) -> DistillationTask:
    """What a learner at half the side does, unaugmented."""
    own = {"data": boxed, "teacher": str(teacher / "fold0" / "model"), "augment": False, "balance": "0.5"}
    config = build(TrainConfig, {**SMALL, **own})
    drawn, sides = as_taught(config, 16)
    dataset = read_dataset(boxed)
    samples = load_samples(dataset.cases[:4], drawn, sides)
    source = make_source(samples, config, dataset, [case.name for case in dataset.cases])
    return DistillationTask(source, (), config, Silent())


def test_the_maps_are_those_that_the_teacher_gives_of_the_same_image(task, teacher):
    backend = open_backend(task.config)
    batch = task.draw(0)
    images, lesion, lung = task.inputs(batch, backend)
    network = load_network(teacher / "fold0" / "model")
    for number, large in enumerate(batch.images[:, 0].numpy()):
        assert large.shape == tuple(2 * side for side in images.shape[2:])
        with torch.no_grad():
            outputs = network(torch.from_numpy(large)[None, None])
        maps = {task: logits.softmax(1)[0, 1].numpy() for task, logits in outputs.items()}
        for small, whole in ((images, large), (lesion, maps["lesion"]), (lung, maps["lung"])):
            rows, cols = small.shape[2:]
            halved = whole.reshape(rows, 2, cols, 2).mean((1, 3))
            np.testing.assert_allclose(small[number, 0].numpy(), halved, atol=1e-5)


def test_the_loss_is_least_where_the_maps_are_the_teachers(task):
    """The mean cross-entropy of both maps, weighted by the balance; another map's is larger."""
    config, backend = task.config, open_backend(task.config)
    state = new_state(build_network(config.network, config.grid.side), config)
    images, *maps = task.inputs(task.draw(0), backend)
    lesion, lung = (one.clamp(1e-6, 1 - 1e-6) for one in maps)
    p = torch.cat([lesion, lung])
    entropy = float(-(p * p.log() + (1 - p) * (1 - p).log()).mean())

    def of(shift: float) -> float:
        outputs = {
            task: torch.cat([torch.zeros_like(known), known.logit() + shift], 1)
            for task, known in (("lesion", lesion), ("lung", lung))
        }
        learner = replace(state)
        learner.network = _Fixed(outputs)
        return float(task.loss(learner, backend, images, lesion, lung))

    assert of(0.0) == pytest.approx(entropy, abs=1e-5)
    assert of(0.2) > entropy < of(-0.2)


class _Fixed(torch.nn.Module):
    def __init__(self, outputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.outputs


def test_a_learner_comes_near_its_teacher_without_any_truth(boxed, teacher, tmp_path):
    """On a set of normals alone, the loss falls; the card names the teacher and counts its images."""
    empty = tmp_path / "normals"
    empty.mkdir()
    lines = (boxed / "boxes.csv").read_text().splitlines()
    corners = lines[0].split(",").index("x0")
    rows = [line for line in lines[1:] if not line.split(",")[corners]]
    (empty / "boxes.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    for row in rows:
        name = row.split(",")[lines[0].split(",").index("file")]
        (empty / name).write_bytes((boxed / name).read_bytes())
    run = train(
        build(
            TrainConfig,
            {**SMALL, "data": empty, "run": tmp_path / "run", "teacher": str(teacher), "max_steps": 30,
             "validate_epochs": 1, "learning_rate": 0.01},
        )
    )  # fmt: skip
    history = read_json(run / "fold0" / "history.json", UsageError)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    card = read_json(run / "fold0" / "model" / "card.json", UsageError)
    taught = read_json(teacher / "fold0" / "model" / "card.json", UsageError)
    assert card["training"]["teacher"]["name"] == taught["name"]
    assert card["training"]["teacher"]["images"] == sorted(taught["training"]["images"])
    assert len(card["training"]["images"]) == len(rows)
    assert card["training"]["config"]["teacher"] == "model"


def test_each_fold_has_the_teacher_of_the_same_fold_and_goes_on_with_it(boxed, tmp_path):
    folds = tmp_path / "folds"
    for fold in ("1", "2"):
        train(build(TrainConfig, {**LARGE, "fold": fold, "max_steps": 1, "data": boxed, "run": folds}))
    own = {**SMALL, "fold": "2", "data": boxed, "run": tmp_path / "run", "teacher": str(folds), "normals": True}
    run = train(build(TrainConfig, {**own, "max_steps": 1, "checkpoint_minutes": 0}))
    card = read_json(run / "fold2" / "model" / "card.json", UsageError)
    assert card["training"]["teacher"]["sha256"] == load_bundle(folds / "fold2" / "model").sha256
    assert card["figures"]["validation cases"]["cases"] > 0
    (run / "fold2" / "model" / "card.json").unlink()
    train(build(TrainConfig, {"run": run, "resume": True, "max_steps": 2}), given={"run", "resume", "max_steps"})
    assert read_json(run / "fold2" / "model" / "card.json", UsageError)["training"]["steps"] == 2
    with pytest.raises(TrainingError, match=r"teacher is .* and None was given"):
        train(build(TrainConfig, {**own, "fold": "1", "teacher": None}))


def test_a_balance_that_learns_has_no_gradient_of_a_task_that_is_not_there(task, monkeypatch):
    assert not task.unused
    config = task.config
    single = replace(config.network, tasks="single")
    monkeypatch.setattr(task, "config", replace(config, network=single, loss=replace(config.loss, balance="learned")))
    assert task.unused


def test_settings_of_masks_are_told_to_have_no_use(boxed, teacher, tmp_path):
    told = Told()
    own = {"data": boxed, "run": tmp_path / "run", "teacher": str(teacher), "focal": 2.0, "max_steps": 1}
    train(build(TrainConfig, {**SMALL, **own}), told)
    assert "--focal not used: the teacher's maps are learned, and not masks (--teacher)" in told.notes


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"fold": "1"}, TrainingError, r"--teacher .*: each fold starts from the same fold of this run"),
        ({"side": 128}, TrainingError, r"its side is 192, no multiple of --side 128; give --side 192 or a divisor"),
        ({"low_percentile": 1.0}, TrainingError, "other percentiles; give --low-percentile 0.5 --high-percentile 99.5"),
        ({"patch_classifier": True, "side": 192}, UsageError, r"--teacher: is for a segmentation network"),
    ],
)
def test_what_cannot_teach_is_refused(boxed, teacher, tmp_path, changed, error, words):
    settings = {**SMALL, "data": boxed, "run": tmp_path / "run", "teacher": str(teacher), **changed}
    with pytest.raises(error, match=words):
        train(build(TrainConfig, settings))
    assert not (tmp_path / "run" / "folds.json").exists()


def test_a_teacher_that_saw_held_out_cases_is_refused(boxed, teacher, tmp_path):
    settings = {**SMALL, "data": boxed, "run": tmp_path / "run", "fold": "1"}
    model = str(teacher / "fold0" / "model")
    with pytest.raises(TrainingError, match=r"--teacher .*: was trained on \d+ of fold 1's validation and test cases"):
        train(build(TrainConfig, {**settings, "teacher": model}))


def test_a_teacher_without_a_lung_map_teaches_lesions_alone(boxed, tmp_path):
    single = train(build(TrainConfig, {**LARGE, "tasks": "single", "data": boxed, "run": tmp_path / "single"}))
    settings = {**SMALL, "data": boxed, "run": tmp_path / "run", "teacher": str(single)}
    with pytest.raises(TrainingError, match="has no lung map; give --tasks single, or name another model"):
        train(build(TrainConfig, settings))
    assert train(build(TrainConfig, {**settings, "tasks": "single"})).is_dir()
