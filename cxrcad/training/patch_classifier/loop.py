"""The patch classifier trained on patches; then its weight in the ensemble chosen, and the ensemble packaged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxrcad.config import TrainConfig, to_dict
from cxrcad.core import Case, TrainingError, UsageError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import cases_to_train
from cxrcad.datasets.samples import Sample, load_samples
from cxrcad.evaluation.froc import best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.files import Pace, Progress, write_json
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.candidates import find
from cxrcad.inference.model import Bundle
from cxrcad.networks.ensemble import Ensemble, lesion_logit, segmentation_of
from cxrcad.networks.registry import build_network
from cxrcad.packaging.fold import export_fold
from cxrcad.packaging.parity import load_network
from cxrcad.training.checkpoint import CheckpointTimer, no_checkpoint
from cxrcad.training.data import drawn_ahead, make_source, shown
from cxrcad.training.device import Backend, channels_last, open_backend
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.inputs import inputs_of
from cxrcad.training.loop import CHECKPOINT, State, follow, keep_state, learning_rate, new_state, total_steps
from cxrcad.training.patch_classifier.patches import Ground, PatchSource, Places, cut, make_grounds
from cxrcad.training.signals import Stopping

__all__ = [
    "RATES",
    "WEIGHTS",
    "averaged",
    "both_logits",
    "initial_models",
    "reached",
    "take_step",
    "train_patch_classifier",
]

Map = NDArray[np.float32]

WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Weights of the patch classifier's logit that are tried on the validation cases."""

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives an image at which the sensitivity is averaged to choose one."""

SOFT = 0.02  # labels are 0.02 and 0.98: an outline is no certainty


def train_patch_classifier(
    config: TrainConfig, dataset: Dataset, split: Split, folder: Path, progress: Progress
) -> Path:
    """The folder of a finished fold whose model is an ensemble; its segmentation network is another model's.

    Patches are drawn from the training cases that have lung masks, with nodules, negative insertions and hard negatives
    in them. Hard negatives are mined so many times (--mining-rounds), by the classifier as it then is; each time
    its weights go back to their moving average, which mines them. The ensemble weight is the one with the best mean
    sensitivity on the validation cases. Raises UsageError, TrainingError, DataError.
    """
    first, second = initial_models(config, dataset, split)
    config = replace(config, initial_weights=str(first.folder))
    backend = open_backend(config)
    torch.manual_seed(config.seed)
    network = build_network(config.network, config.grid.side)
    assert isinstance(network, Ensemble)
    network.segmentation.load_state_dict(segmentation_of(load_network(first.folder)).state_dict())
    if second is not None:
        config = replace(config, classifier=replace(config.classifier, classifier_weights=str(second.folder)))
        network.classifier.load_state_dict(_ensemble(second).classifier.state_dict())
    state = new_state(channels_last(network.classifier), config)
    chosen = cases_to_train(dataset, split.train, config.normals)
    source = make_source(load_samples(chosen, config, network.multiple), config, dataset, split.train)
    held = cases_to_train(dataset, split.validation, config.normals) if split.validation else ()
    validation = load_samples(held, config, network.multiple)
    state.inputs = inputs_of(config, [*chosen, *held])
    patches = PatchSource(make_grounds(source.samples, source.zones), source.projections, config)
    if not patches.grounds:
        raise TrainingError(
            "no training case has a lung mask, and a patch classifier is trained in and about the lungs"
        )
    total = total_steps(config, source)
    network.to(backend.device)
    state.average.to(backend.device)
    if config.resume and (folder / CHECKPOINT).is_file():
        _take_hard(patches.grounds, state.load(folder / CHECKPOINT).get("hard"), folder / CHECKPOINT)
        progress.note(f"fold {split.fold}: going on from step {state.step}")
    progress.start(f"fold {split.fold}, patch classifier", total, state.step)
    _run(state, network, patches, total, backend, folder, progress)
    network.classifier.load_state_dict((state.average if config.ema else state.network).state_dict())
    entry = _weigh(network, validation, config)
    progress.note(_sentence(entry))
    entry = {
        "step": state.step,
        "epoch": state.step // source.steps_per_epoch,
        "loss": round(state.loss_sum / max(1, state.loss_steps), 6),
        **entry,
    }
    state.history = (*state.history, {**entry, "seconds": round(state.seconds, 1)})
    write_json(folder / "history.json", list(state.history))
    return export_fold(network, config, shown(source), validation, folder, state.history, state.seconds)


def _take_hard(grounds: Sequence[Ground], kept: Any, path: Path) -> None:
    """Give each image the hard negatives that the checkpoint `path` holds. Raises TrainingError for damaged ones."""
    try:
        places = [np.array(hard, dtype=np.float64).reshape(-1, 2) for hard in kept]
        fitting = len(places) == len(grounds) and all(
            ((place >= 0) & (place < ground.sample.image.shape)).all()
            for place, ground in zip(places, grounds, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        fitting = False
    if not fitting:
        raise no_checkpoint(path, f"its hard negatives are no places in {len(grounds)} images")
    for ground, place in zip(grounds, places, strict=True):
        ground.hard = place


def initial_models(config: TrainConfig, dataset: Dataset, split: Split) -> tuple[Bundle, Bundle | None]:
    """The models that `--initial-weights` and `--classifier-weights` name, if this training of the split can take them.

    Raises UsageError, TrainingError, ModelError.
    """
    return _segmentation_model(config, dataset, split), _classifier_model(config, dataset, split)


def _segmentation_model(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle:
    if config.initial_weights is None:
        raise UsageError(
            "--patch-classifier needs a segmentation network: name a model, or a run, with --initial-weights"
        )
    bundle = initial_model(config.initial_weights, "--initial-weights", config, dataset, split)
    card = bundle.card.get("network", {})
    wanted = {
        name: value
        for name, value in to_dict(config.network).items()
        if name not in ("patch_classifier", "half_side", "patch_side")
    }
    differing = [name for name, value in wanted.items() if card.get(name, value) != value]
    side = config.grid.side // 2 if config.network.half_side else config.grid.side
    own_side = (
        bundle.grid.side // 2 if card.get("patch_classifier") and card.get("half_side", True) else bundle.grid.side
    )
    if differing or own_side != side:
        theirs = ", ".join([f"side {own_side}", *(f"{name} {card[name]}" for name in differing)])
        ours = ", ".join([f"side {side}", *(f"{name} {wanted[name]}" for name in differing)])
        raise TrainingError(
            f"--initial-weights {config.initial_weights}: has {theirs}, and this training's segmentation network "
            f"{ours}; give the settings that its card names (the segmentation network's side is half of --side, or all "
            "of it with --no-half-side)"
        )
    return bundle


def _classifier_model(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle | None:
    name = config.classifier.classifier_weights
    if name is None:
        return None
    bundle = initial_model(name, "--classifier-weights", config, dataset, split)
    own, wanted, side = bundle.network, config.network, config.grid.side
    if not own.patch_classifier or (own.channels, own.patch_side, bundle.grid.side) != (
        wanted.channels,
        wanted.patch_side,
        side,
    ):
        raise TrainingError(
            f"--classifier-weights {name}: is no ensemble of side {side}, channels {wanted.channels} and patch "
            f"{wanted.patch_side}; name one, or leave it out"
        )
    return bundle


def _ensemble(bundle: Bundle) -> Ensemble:
    network = load_network(bundle.folder)
    assert isinstance(network, Ensemble)
    return network


def _run(
    state: State,
    network: Ensemble,
    patches: PatchSource,
    total: int,
    backend: Backend,
    folder: Path,
    progress: Progress,
) -> None:
    config = patches.config
    started, before = time.monotonic(), state.seconds
    turns = config.classifier.mining_rounds
    rounds = sorted({round(total * (turn + 1) / (turns + 1)) for turn in range(turns)})
    mined, timer = state.step, CheckpointTimer(config.checkpoint_minutes)
    pace = Pace(total, progress, "steps", more=", and some more for validation")

    def hard() -> list[Any]:
        return [ground.hard.round(1).tolist() for ground in patches.grounds]

    def keep() -> None:
        """The state as it stands, unless a search for hard negatives was cut short."""
        if state.step not in rounds or mined == state.step:
            keep_state(state, folder, progress, hard=hard())

    with Stopping(keep) as stopping:
        for last in [*(step for step in rounds if step > state.step), total]:  # hard negatives stay in between
            with closing(drawn_ahead(patches.draw, state.step, last, backend.workers)) as drawn:
                for places in drawn:
                    with stopping.step():
                        loss = take_step(state, places, network, total, config, backend)
                        if not np.isfinite(loss):
                            raise TrainingError(f"the loss is {loss} at step {state.step}; lower --learning-rate")
                        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                        state.step += 1
                    if state.step in rounds:
                        state.network.load_state_dict(state.average.state_dict())  # state.network is network.classifier
                        _mine(network, patches.grounds, backend)
                        mined = state.step
                    state.seconds = before + time.monotonic() - started
                    progress.step(state.step, state.loss_sum / state.loss_steps)
                    pace.step(state.step)
                    if timer.due() or state.step == total:
                        state.save(folder / CHECKPOINT, hard=hard())


def take_step(
    state: State, places: Places, network: Ensemble, total: int, config: TrainConfig, backend: Backend
) -> float:
    """Train the patch classifier on the patches at `places`, in place; the loss before that."""
    generator = torch.Generator(backend.device).manual_seed(int(places.rng.integers(2**62)))
    torch.manual_seed(int(places.rng.integers(2**62)))  # dropout
    images = cut(places, network.inputs, config, generator, backend.device)
    labels = places.labels.to(backend.device)
    state.network.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step, total)
    with backend.autocast():
        logits = state.network(images.contiguous(memory_format=torch.channels_last))
    loss = functional.binary_cross_entropy_with_logits(logits.float(), labels * (1 - 2 * SOFT) + SOFT)
    state.optimizer.zero_grad()
    backend.backward(loss)
    state.optimizer.step()
    follow(state.average, state.network, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


@torch.inference_mode()
def _mine(network: Ensemble, grounds: Sequence[Ground], backend: Backend) -> None:
    """Find each image's hard negatives: what the patch classifier, as it is, takes for nodules outside them."""
    network.eval()
    for ground in grounds:
        image = torch.from_numpy(ground.sample.pixels)[None, None].to(backend.device)
        with backend.autocast():
            judged = network.classify(image)
        ground.take(judged[0, 0].float().cpu().numpy())


def _weigh(network: Ensemble, validation: Sequence[Sample], config: TrainConfig) -> dict[str, Any]:
    """Set the ensemble weight: the one given, else the best mean sensitivity at RATES on the validation cases.

    With validation cases, what the ensemble and either part alone reach on them.
    """
    network.eval()
    given = config.classifier.ensemble_weight
    if not validation:
        assert given is not None  # `training.out_of_fold` put it there
        network.weight.fill_(given)
        return {"share": given}
    logits = [both_logits(network, sample.pixels) for sample in validation]
    cases = [(sample.case, sample.geometry) for sample in validation]
    tried = sorted({*WEIGHTS, *(() if given is None else (given,))})
    scored = {weight: reached(averaged(logits, weight), cases, config)[-2:] for weight in tried}
    best = max(WEIGHTS, key=lambda weight: scored[weight]) if given is None else given
    network.weight.fill_(best)
    return {
        "share": best,
        "f1": round(scored[best][1], 4),
        "f1_first": round(scored[0.0][1], 4),
        "f1_second": round(scored[1.0][1], 4),
        "mean_sensitivity": {f"{weight:g}": round(value[0], 4) for weight, value in scored.items()},
    }


def _sentence(entry: dict[str, Any]) -> str:
    weight = f"ensemble weight {entry['share']:g}"
    if "f1" not in entry:
        return weight
    alone = f"segmentation network alone {entry['f1_first']:.3f}, patch classifier alone {entry['f1_second']:.3f}"
    return f"{weight}: validation F1 {entry['f1']:.3f} ({alone})"


@torch.inference_mode()
def both_logits(network: Ensemble, pixels: Map) -> tuple[Map, Map]:
    """The nodule's logits (H, W) of the segmentation network and of the patch classifier, of one grid image, 0-1."""
    x = torch.from_numpy(pixels)[None, None].to(network.weight.device)
    maps = lesion_logit(network.segment(x)), network.classify(x)
    return maps[0][0, 0].cpu().numpy(), maps[1][0, 0].cpu().numpy()


def averaged(logits: Sequence[tuple[Map, Map]], weight: float) -> list[Map]:
    """Each image's logits averaged by the ensemble weight."""
    return [(1 - weight) * first + weight * second for first, second in logits]


def reached(logits: Sequence[Map], cases: Sequence[tuple[Case, Geometry]], config: TrainConfig) -> list[float]:
    """Sensitivity at RATES (0 where not reached), their mean, and the best F1, of maps of logits."""
    matches = [
        match_image(case, find((1 / (1 + np.exp(-logit))).astype(np.float32), None, geometry, config.find), HitRule())
        for logit, (case, geometry) in zip(logits, cases, strict=True)
    ]
    curve = froc(matches)
    values = [sensitivity_at(curve, rate) or 0.0 for rate in RATES]
    return [*values, float(np.mean(values)), score_at_threshold(matches, best_f1_threshold(matches)).f1]
